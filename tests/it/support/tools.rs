//! Python, Node.js and Postfix's smtp-sink, as `tests/install` left them: SMTP servers that are not ours.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, own_address, place::mortal};

/// The folder that `tests/install` fills.
pub fn tools() -> PathBuf {
    std::env::var_os("POSTROOM_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"), PathBuf::from)
}

/// Runs a Python program with something on its standard input, and returns what it printed.
pub fn python(program: &str, input: &[u8]) -> String {
    run_python(Path::new("python3"), program, input)
}

/// The same with the packages that `tests/install` installed.
pub fn python_of_tools(program: &str, input: &[u8]) -> String {
    run_python(&tools().join("venv/bin/python"), program, input)
}

/// Runs a program of Node.js with the packages that `tests/install` installed.
pub fn node_of_tools(program: &str, input: &[u8]) -> String {
    let mut node = Command::new("node");
    node.current_dir(tools().join("node")).args(["-e", program]);
    run(node, input)
}

fn run_python(python: &Path, program: &str, input: &[u8]) -> String {
    let mut command = Command::new(python);
    command.args(["-c", program]);
    run(command, input)
}

/// Runs a program to its end with this on its standard input.
fn run(mut program: Command, input: &[u8]) -> String {
    let mut process = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "see the traceback above");
    String::from_utf8(output.stdout).unwrap()
}

/// A server in a process of its own that keeps each mail as a file in a folder.
struct Server {
    folder: TempDir,
    address: Ipv4Addr,
    process: Child,
}

impl Server {
    async fn start(command: impl FnOnce(&Path, Ipv4Addr) -> Command) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), own_address());
        let process = command(folder.path(), address).spawn().unwrap();
        eventually("the relay listens", async || TcpStream::connect((address, PORT)).is_ok()).await;
        Self { folder, address, process }
    }

    /// The content of the first file that ends like this, once it is there and whole.
    async fn first_mail(&self, suffix: &str, is_whole: impl Fn(&str) -> bool) -> String {
        let mut content = String::new();
        eventually("the relay has a mail", async || {
            let files = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let mut mails = files.filter(|path| path.to_str().unwrap().ends_with(suffix));
            content = mails.next().map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default();
            is_whole(&content)
        })
        .await;
        content
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A free port on an address of one's own.
const PORT: u16 = 2525;

/// Postfix's smtp-sink: plain text, nobody signs in.
pub struct SmtpSink(Server);

impl SmtpSink {
    /// Starts it.
    pub async fn start() -> Self {
        let server = Server::start(|folder, address| {
            let mut command = mortal(tools().join("smtp-sink"));
            command.arg("-d").arg(folder.join("%s.mail.")).arg(format!("{address}:{PORT}")).arg("100");
            command
        });
        Self(server.await)
    }

    /// Where it listens.
    pub fn address(&self) -> (Ipv4Addr, u16) {
        (self.0.address, PORT)
    }

    /// The first mail, with the envelope in lines that begin with `X-`.
    pub async fn first_mail(&self) -> String {
        self.0.first_mail("", |mail| mail.contains("</p>")).await
    }
}

/// The SMTP server aiosmtpd; who sends must sign in as `ann` with the password `tea`.
pub struct Aiosmtpd(Server);

/// Keeps each mail with how it came as a JSON file.
const AIOSMTPD: &str = r#"
import json, pathlib, ssl, sys, threading
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

folder, address, port, tls, certificate, key = sys.argv[1:]
context = None
if tls != "none":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

class Keeper:
    async def handle_DATA(self, server, session, envelope):
        mail = {
            "sender": envelope.mail_from, "recipients": envelope.rcpt_tos,
            "content": envelope.content.decode("utf-8"), "user": session.auth_data,
            "is_encrypted": session.ssl is not None or tls == "tls",
        }
        path = pathlib.Path(folder)
        (path / "mail.new").write_text(json.dumps(mail))
        (path / "mail.new").rename(path / "mail.json")
        return "250 2.0.0 Ok: queued as AIO1"

def sign_in(server, session, envelope, mechanism, data):
    right = (data.login, data.password) == (b"ann", b"tea")
    return AuthResult(success=right, handled=right, auth_data=data.login.decode() if right else None)

class Server(Controller):
    def factory(self):
        starttls = context if tls == "starttls" else None
        return SMTP(Keeper(), hostname="relay.test", enable_SMTPUTF8=True, authenticator=sign_in, auth_required=True,
            auth_require_tls=tls == "starttls", tls_context=starttls, require_starttls=starttls is not None)

Server(Keeper(), hostname=address, port=int(port), ssl_context=context if tls == "tls" else None).start()
threading.Event().wait()
"#;

impl Aiosmtpd {
    /// Starts it with `none`, `starttls` or `tls`, and a certificate for its address.
    pub async fn start(tls: &str) -> Self {
        let server = Server::start(|folder, address| {
            let made = rcgen::generate_simple_self_signed([address.to_string()]).unwrap();
            let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
            fs::write(&certificate, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            let mut command = mortal(tools().join("venv/bin/python"));
            command.args(["-W", "ignore", "-c", AIOSMTPD]).arg(folder);
            command.args([address.to_string(), PORT.to_string(), tls.to_owned()]).arg(certificate).arg(key);
            command
        });
        Self(server.await)
    }

    /// Where it listens.
    pub fn address(&self) -> (Ipv4Addr, u16) {
        (self.0.address, PORT)
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.0.folder.path().join("certificate.pem")
    }

    /// The first mail and how it came.
    pub async fn first_mail(&self) -> Value {
        let mail = self.0.first_mail(".json", |mail| !mail.is_empty()).await;
        serde_json::from_str(&mail).unwrap()
    }
}
