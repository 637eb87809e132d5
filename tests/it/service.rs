//! What systemd hears of the daemon and gives it, on a real notify socket and with a socket that was passed; and its units.

use std::{
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use sqlx::{AnyConnection, Connection, Executor};

use super::support::{Backends, mortal, python, signal};

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// The daemon as systemd would start it.
fn serve(backends: &Backends) -> Command {
    let mut command = mortal(env!("CARGO_BIN_EXE_postroom"));
    command.arg("--config").arg(backends.config()).arg("serve");
    command
}

fn heard(socket: &UnixDatagram) -> String {
    let mut text = [0; 4_096];
    let length = socket.recv(&mut text).unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// Waits until it hears this, and returns what it heard with it.
fn until(socket: &UnixDatagram, word: &str) -> String {
    let begun = Instant::now();
    loop {
        let text = heard(socket);
        if text.lines().any(|line| line == word) {
            return text;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{word} was not said");
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn systemd_hears_when_it_is_ready_that_it_lives_and_when_it_stops() {
    let backends = Backends::sqlite_memory().with("http.listen", "127.0.0.1:0");
    let place = backends.folder().join("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = serve(&backends);
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "2000000");
    let mut daemon = Running(command.spawn().unwrap());

    let ready = until(&socket, "READY=1");
    assert!(
        ready.contains("STATUS=takes requests on 127.0.0.1:") && ready.contains("sends mails"),
        "{ready}"
    );
    // Four times within its patience of two seconds.
    let begun = Instant::now();
    for _ in 0..3 {
        until(&socket, "WATCHDOG=1");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // A process that hangs is not heard any more.
    signal(daemon.0.id(), "STOP");
    socket.set_read_timeout(Some(Duration::from_millis(1_500))).unwrap();
    let mut text = [0; 64];
    while socket.recv(&mut text).is_ok() {}
    signal(daemon.0.id(), "CONT");
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    until(&socket, "WATCHDOG=1");
    signal(daemon.0.id(), "TERM");
    assert!(until(&socket, "STOPPING=1").contains("STATUS="));
    assert!(daemon.0.wait().unwrap().success());
}

#[test]
fn systemd_hears_of_a_reload_by_sighup_whatever_comes_of_it() {
    let mut backends = Backends::sqlite_memory().with("http.listen", "127.0.0.1:0");
    let place = backends.folder().join("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = serve(&backends);
    command.env("NOTIFY_SOCKET", &place);
    let mut daemon = Running(command.spawn().unwrap());
    until(&socket, "READY=1");
    for (rate, said_after) in [("5/s", false), ("five", true), ("6/s", false)] {
        backends.set("limits.mails", rate);
        signal(daemon.0.id(), "HUP");
        let reloading = until(&socket, "RELOADING=1");
        let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(at.unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
        let ready = until(&socket, "READY=1");
        assert_eq!(ready.contains("the last reload was refused"), said_after, "{ready}");
        assert!(ready.contains("takes requests on"), "{ready}");
    }
    signal(daemon.0.id(), "TERM");
    until(&socket, "STOPPING=1");
    assert!(daemon.0.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_that_a_migration_goes_on_for_as_long_as_it_does() {
    let backends = Backends::postgres_redis().await.with("http.listen", "127.0.0.1:0");
    sqlx::any::install_default_drivers();
    let mut other = AnyConnection::connect(&backends.database().url).await.unwrap();
    // The migration makes this table first.
    other.execute("BEGIN; CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY)").await.unwrap();
    let place = backends.folder().join("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = serve(&backends);
    command.env("NOTIFY_SOCKET", &place);
    let _daemon = Running(command.spawn().unwrap());
    for _ in 0..3 {
        let said = until(&socket, "STATUS=brings the schema up to date");
        assert!(said.contains("EXTEND_TIMEOUT_USEC=") && !said.contains("READY=1"), "{said}");
    }
    other.execute("ROLLBACK").await.unwrap();
    until(&socket, "READY=1");
}

/// Listens as systemd does, restarts the daemon, and asks while there is none.
const RESTART: &str = r#"
import os, signal, socket, sys, threading, time
binary, config = sys.stdin.read().split("\n")[:2]
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(128)
port = listener.getsockname()[1]

def start():
    child = os.fork()
    if child == 0:
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.execve(binary, [binary, "--config", config, "serve"],
                  {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    return child

def ask():
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return connection.makefile("rb").readline().decode().strip()

first = start()
try:
    print(ask())
    os.kill(first, signal.SIGTERM)
    os.waitpid(first, 0)
    answers = []
    asked = threading.Thread(target=lambda: answers.append(ask()))
    asked.start()
    time.sleep(0.5)
    first = start()
    asked.join(60)
    print(*answers)
finally:
    os.kill(first, signal.SIGTERM)
    os.waitpid(first, 0)
"#;

#[test]
fn a_restart_refuses_no_connection_where_systemd_listens() {
    // Nobody listens there: it is taken already, and not used.
    let backends = Backends::sqlite_memory().with("http.listen", "127.0.0.1:1");
    let asked = format!("{}\n{}\n", env!("CARGO_BIN_EXE_postroom"), backends.config().display());
    let said = python(RESTART, asked.as_bytes());
    assert_eq!(said.lines().filter(|line| line.contains("200 OK")).count(), 2, "{said}");
}

/// Listens on some sockets as systemd does, and asks on each of them; or says how the daemon ended.
const SOCKETS: &str = r#"
import fcntl, os, signal, socket, sys
binary, config, kinds = sys.stdin.read().split("\n")[:3]
listeners = []
for kind in kinds.split():
    listener = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    listener.bind(config + ".socket" if kind == "unix" else ("127.0.0.1", 0))
    listener.listen(128)
    listeners.append(listener)
log = open(config + ".log", "w+")

daemon = os.fork()
if daemon == 0:
    os.dup2(log.fileno(), 2)
    above = [fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD, 50) for listener in listeners]
    for place, descriptor in enumerate(above, 3):
        os.dup2(descriptor, place)
    os.execve(binary, [binary, "--config", config, "serve"],
              {**os.environ, "LISTEN_FDS": str(len(listeners)), "LISTEN_PID": str(os.getpid())})
if "unix" in kinds:
    ended = os.waitstatus_to_exitcode(os.waitpid(daemon, 0)[1])
    log.seek(0)
    print(ended, log.read())
    sys.exit()
try:
    for listener in listeners:
        with socket.create_connection(listener.getsockname(), timeout=60) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            print(connection.makefile("rb").readline().decode().strip())
finally:
    os.kill(daemon, signal.SIGTERM)
    os.waitpid(daemon, 0)
"#;

#[test]
fn each_tcp_socket_that_systemd_listens_on_is_served_and_others_are_refused() {
    let backends = Backends::sqlite_memory().with("http.listen", "127.0.0.1:1");
    let given = |kinds: &str| {
        let words = format!("{}\n{}\n{kinds}\n", env!("CARGO_BIN_EXE_postroom"), backends.config().display());
        python(SOCKETS, words.as_bytes())
    };
    let said = given("tcp tcp");
    assert_eq!(said.lines().filter(|line| line.contains("200 OK")).count(), 2, "{said}");
    let said = given("tcp unix");
    assert!(said.starts_with("1 ") && said.contains("a path is not supported"), "{said}");
}

#[test]
fn the_units_are_well_formed_and_leave_the_daemon_hardly_any_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(units()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".service") || name.ends_with(".socket") {
            // The binary of an installation is not here.
            let unit =
                std::fs::read_to_string(&path).unwrap().replace("/usr/local/bin/postroom", "/bin/true");
            let file = folder.path().join(name.replace('@', "@a"));
            std::fs::write(&file, unit).unwrap();
            files.push(file);
        }
    }
    assert_eq!(files.len(), 5, "{files:?}");
    for unit in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "service")) {
        let text = std::fs::read_to_string(unit).unwrap();
        assert!(text.contains("\nType=notify\n") && text.contains(" reload --wait "), "{}", unit.display());
        assert!(text.contains("\nStartLimitIntervalSec=0\n"), "{}", unit.display());
    }
    for file in files {
        let verified =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        // Other units of the machine are loaded too; theirs are not ours to mend.
        let ours: Vec<_> = said.lines().filter(|line| line.contains("postroom")).collect();
        assert!(ours.is_empty(), "{}: {ours:?}", file.display());
        if file.extension().is_some_and(|extension| extension == "service") {
            let words = ["security", "--offline=true", "--threshold=12", "--no-pager"];
            let judged = Command::new("systemd-analyze").args(words).arg(&file).output().unwrap();
            assert!(
                judged.status.success(),
                "{}: {}",
                file.display(),
                String::from_utf8_lossy(&judged.stdout)
            );
        }
    }
}
