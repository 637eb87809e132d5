//! Dialogues with servers that others wrote: Postfix's smtp-sink and aiosmtpd.
//!
//! `POSTROOM_TEST_TOOLS` names a folder with `smtp-sink` and `venv/bin/python` (with aiosmtpd). Without it these tests fail.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use super::peer::{route, send, send_between, settings, signed_in, tuned_route};
use crate::mail::{AttemptOutcome, Phase};
use crate::smtp::{AuthMechanism, BreakerState, RouteSettings, TlsMode, Tuning};

fn tool(name: &str) -> PathBuf {
    let folder = std::env::var_os("POSTROOM_TEST_TOOLS")
        .expect("POSTROOM_TEST_TOOLS must name a folder with `smtp-sink` and `venv/bin/python`; tests/run prepares it");
    let path = Path::new(&folder).join(name);
    assert!(path.exists(), "POSTROOM_TEST_TOOLS has no `{name}`");
    path
}

/// A server that dies with the test.
struct Server {
    process: Child,
    port: u16,
    lines: Option<BufReader<ChildStdout>>,
    _folder: Option<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Server {
    /// Starts smtp-sink on a port, or a free one, and waits until it answers.
    async fn sink(port: Option<u16>, options: &[&str]) -> Self {
        let port = match port {
            Some(port) => port,
            None => TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port(),
        };
        let mut command = Command::new(tool("smtp-sink"));
        let command = command.args(options).args([&format!("127.0.0.1:{port}"), "100"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { process, port, lines: None, _folder: None };
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(server.process.try_wait().unwrap().is_none(), "smtp-sink ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server
    }

    /// Starts aiosmtpd; the certificate is for `name`.
    fn aiosmtpd(mode: &str, name: &str) -> (Self, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("own.pem"), folder.path().join("own.key"));
        let script = folder.path().join("server.py");
        std::fs::write(&certificate, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        std::fs::write(&script, include_str!("real_server.py")).unwrap();
        let mut process = Command::new(tool("venv/bin/python"))
            .args([script.as_os_str(), mode.as_ref(), certificate.as_os_str(), key.as_os_str()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // it warns of what these tests want
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut server = Self { process, port: 0, lines: Some(lines), _folder: Some(folder) };
        server.port = server.line().trim().parse().expect("aiosmtpd did not start");
        (server, certificate)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// The next message: aiosmtpd prints it before it says 250.
    fn message(&mut self) -> (serde_json::Value, Vec<u8>) {
        let message: serde_json::Value = serde_json::from_str(&self.line()).unwrap();
        let content = std::fs::read(message["file"].as_str().unwrap()).unwrap();
        (message, content)
    }
}

#[tokio::test]
async fn many_mails_share_the_connections_of_their_route() {
    let sink = Server::sink(None, &[]).await;
    let route = route(&settings(sink.port));
    let senders: Vec<_> = (0..20)
        .map(|_| {
            let route = Arc::clone(&route);
            tokio::spawn(async move {
                for _ in 0..25 {
                    let reply = send(&route, "Subject: hi\r\n\r\n.dot\r\n").await;
                    assert_eq!(
                        (reply.phase, reply.outcome),
                        (Phase::Final, AttemptOutcome::Accepted),
                        "{reply:?}"
                    );
                    assert!(route.status().open <= 4);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let status = route.status();
    assert_eq!((status.idle, status.busy), (status.open, 0));
    assert!((1..=4).contains(&status.open));
}

#[tokio::test]
async fn the_sinks_refusals_mean_what_they_say() {
    use AttemptOutcome::{Permanent, Transient, Unknown};
    for (options, phase, outcome) in [
        (["-r", "MAIL"], Phase::MailFrom, Transient),
        // It says 500, as if it did not understand: that is about us, and the mail is kept.
        (["-f", "MAIL"], Phase::MailFrom, Transient),
        (["-r", "RCPT"], Phase::RcptTo, Transient),
        (["-f", "RCPT"], Phase::RcptTo, Permanent),
        (["-f", "DATA"], Phase::Data, Permanent),
        (["-r", "."], Phase::Final, Transient),
        (["-f", "."], Phase::Final, Permanent),
        (["-q", "."], Phase::Final, Unknown),
        (["-q", "DATA"], Phase::Data, Transient),
        (["-Q", "RCPT"], Phase::RcptTo, Transient),
        (["-f", "CONNECT"], Phase::Greeting, Transient),
    ] {
        let sink = Server::sink(None, &options).await;
        let reply = send(&route(&settings(sink.port)), "hi").await;
        assert_eq!((reply.phase, reply.outcome), (phase, outcome), "{options:?} {reply:?}");
    }
}

#[tokio::test]
async fn a_relay_that_restarts_is_found_again() {
    let sink = Server::sink(None, &[]).await;
    let port = sink.port;
    let tuning = Tuning { first_pause: Duration::from_millis(10), ..Tuning::default() };
    let route = tuned_route(&settings(port), tuning);
    assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
    drop(sink);
    let reply = send(&route, "two").await;
    assert_eq!((reply.phase, reply.outcome), (Phase::Connect, AttemptOutcome::Transient));
    assert_ne!(route.status().breaker, BreakerState::Closed);
    let _sink = Server::sink(Some(port), &[]).await;
    while matches!(route.status().breaker, BreakerState::Open { .. }) {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&route, "two").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(route.status().breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_message_arrives_byte_for_byte() {
    let (mut server, _) = Server::aiosmtpd("plain", "localhost");
    let route = route(&settings(server.port));
    let odd = "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\nzwölf\r\n.\r\n".to_owned();
    let long = format!("Subject: long\r\n\r\n{}", "...012345678901234567890123456789\r\n".repeat(60_000));
    for message in [odd, long] {
        let reply =
            send_between(&route, Some("ann@example.net"), "jörg@example.net", message.as_bytes()).await;
        assert_eq!(reply.outcome, AttemptOutcome::Accepted, "{reply:?}");
        let (seen, content) = server.message();
        assert!(content == message.as_bytes(), "the message of {} bytes changed", message.len());
        assert_eq!((&seen["from"], &seen["to"][0]), (&"ann@example.net".into(), &"jörg@example.net".into()));
        assert_eq!(reply.provider_id, Some(if message.len() < 100 { "1" } else { "2" }.to_owned()));
    }
    let refused = send_between(&route, None, "nobody@example.net", b"hi").await;
    assert_eq!((refused.phase, refused.outcome), (Phase::RcptTo, AttemptOutcome::Permanent));
    assert_eq!(send_between(&route, None, "bob@example.net", b"hi").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(server.message().0["from"], "<>");
    assert_eq!(route.status().open, 1);
}

#[tokio::test]
async fn starttls_is_used_with_a_certificate_that_is_trusted() {
    let (mut server, certificate) = Server::aiosmtpd("starttls", "127.0.0.1");
    let trusting =
        RouteSettings { tls: TlsMode::Starttls, ca_file: Some(certificate), ..signed_in(server.port) };
    let trusting = route(&trusting);
    for message in ["one\r\n", "two\r\n"] {
        assert_eq!(send(&trusting, message).await.outcome, AttemptOutcome::Accepted);
        let (seen, content) = server.message();
        assert_eq!((&seen["encrypted"], &seen["user"]), (&true.into(), &"PLAIN ann".into()));
        assert_eq!(content, message.as_bytes());
    }
    trusting.close_idle().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_stops_the_mail_unless_tls_is_opportunistic() {
    let (mut server, certificate) = Server::aiosmtpd("starttls", "mx.example.net");
    let wary = RouteSettings { tls: TlsMode::Starttls, ..settings(server.port) };
    let other_name = RouteSettings { ca_file: Some(certificate), ..wary.clone() };
    for settings in [wary, other_name] {
        let reply = send(&route(&settings), "hi").await;
        assert_eq!((reply.phase, reply.outcome), (Phase::Tls, AttemptOutcome::Transient));
        assert!(reply.text.contains("certificate"), "{}", reply.text);
    }
    let easy = RouteSettings { tls: TlsMode::Opportunistic, ..settings(server.port) };
    assert_eq!(send(&route(&easy), "hi").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(server.message().0["encrypted"], true);
}

#[tokio::test]
async fn implicit_tls_signs_in_with_either_mechanism_and_carries_long_messages() {
    let (mut server, certificate) = Server::aiosmtpd("tls", "127.0.0.1");
    let base = RouteSettings { tls: TlsMode::Tls, ca_file: Some(certificate), ..signed_in(server.port) };
    let message = "0123456789012345678901234567890123456789\r\n".repeat(50_000);
    for (auth, user) in [(None, "PLAIN ann"), (Some(AuthMechanism::Login), "LOGIN ann")] {
        let reply = send(&route(&RouteSettings { auth, ..base.clone() }), &message).await;
        assert_eq!(reply.outcome, AttemptOutcome::Accepted, "{reply:?}");
        let (seen, content) = server.message();
        assert_eq!((&seen["encrypted"], &seen["user"]), (&true.into(), &user.into()));
        assert!(content == message.as_bytes());
    }
    let wrong = RouteSettings { password: Some("hunter3".into()), ..base };
    let reply = send(&route(&wrong), "hi").await;
    assert_eq!((reply.phase, reply.outcome, reply.code), (Phase::Auth, AttemptOutcome::Transient, Some(535)));
    assert!(!reply.text.contains("hunter"));
}
