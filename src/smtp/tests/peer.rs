//! A relay that follows a script, for dialogues that no real server would have. For tests only.
//!
//! One script is one connection, written as people write dialogues:
//!
//! | line | the peer |
//! |---|---|
//! | `S: text` | says it; `\\r\\n` within it is a line end |
//! | `C: text` | expects exactly this line |
//! | `C: ...` | reads a message up to its final dot and keeps it |
//! | `X: silence` | expects that the client has sent nothing more |
//! | `X: signal` | lets [`Peer::signal`] return |
//! | `X: pause` | lets what it said before be read on its own |
//! | `X: wait` | waits until the client hangs up |
//! | `X: reset` | hangs up with RST; the end of the script hangs up with FIN |

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};

use crate::mail::{Address, AttemptOutcome, Message, Phase, Reply};
use crate::smtp::{
    Envelope, Fence, NotReady, ReplyRules, Route, RouteSettings, Sent, Timeouts, TlsMode, Tuning, Unfenced,
    shared::Shared,
};

/// A connection up to the answer to EHLO.
pub(super) const GREETING: &str = "S: 220 hi\nC: EHLO me.example.net\n";
/// The answer of a server that takes several commands in one write.
pub(super) const PIPELINING: &str = "S: 250-hi\nS: 250 PIPELINING\n";
/// The commands of a mail from ann to bob, in one write.
pub(super) const MAIL: &str = "C: MAIL FROM:<ann@example.net>\nC: RCPT TO:<bob@example.net>\nC: DATA\n";
/// The first of them.
pub(super) const FROM: &str = "C: MAIL FROM:<ann@example.net>\n";
/// The commands one after the other, up to the leave to send the message.
pub(super) const STEPS: &str = "C: MAIL FROM:<ann@example.net>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nC: DATA\nS: 354 go on\n";

/// Nothing in these tests takes long; what does is stuck.
const STUCK: Duration = Duration::from_secs(20);

/// A script of these parts.
pub(super) fn script(parts: &[&str]) -> &'static str {
    Box::leak(parts.concat().into_boxed_str())
}

/// The phase, outcome and code of a reply: what decides about the mail.
pub(super) fn verdict(reply: &Reply) -> (Phase, AttemptOutcome, Option<u16>) {
    (reply.phase, reply.outcome, reply.code)
}

pub(super) struct Peer {
    pub(super) port: u16,
    signal: Arc<Notify>,
    playing: JoinHandle<Vec<String>>,
}

impl Peer {
    /// Listens, and plays one script after the other on the connections that come.
    pub(super) async fn play<const N: usize>(scripts: [&'static str; N]) -> Self {
        Self::play_all(scripts.to_vec()).await
    }

    pub(super) async fn play_all(scripts: Vec<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let signal = Arc::new(Notify::new());
        let signals = Arc::clone(&signal);
        let playing = tokio::spawn(async move {
            let mut messages = Vec::new();
            for (number, script) in scripts.into_iter().enumerate() {
                let (socket, _) = listener.accept().await.unwrap();
                play_one(socket, script, number + 1, &signals, &mut messages).await;
            }
            messages
        });
        Self { port, signal, playing }
    }

    /// Waits for an `X: signal`.
    pub(super) async fn signal(&self) {
        timeout(STUCK, self.signal.notified()).await.expect("the script did not come to its signal");
    }

    /// Waits until every script was played to its end; gives the messages that came.
    pub(super) async fn finish(self) -> Vec<String> {
        timeout(STUCK, self.playing).await.expect("the client did not follow the scripts to the end").unwrap()
    }
}

async fn play_one(
    socket: TcpStream,
    script: &str,
    number: usize,
    signal: &Notify,
    messages: &mut Vec<String>,
) {
    let mut socket = BufReader::new(socket);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (who, text) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        match (who, text) {
            ("S", text) => {
                let text = text.replace("\\r\\n", "\r\n");
                socket.get_mut().write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
            }
            ("X", "signal") => signal.notify_one(),
            ("X", "pause") => tokio::time::sleep(Duration::from_millis(50)).await,
            ("C", "...") => messages.push(read_message(&mut socket).await),
            ("C", text) => {
                let mut heard = String::new();
                socket.read_line(&mut heard).await.unwrap();
                assert_eq!(heard, format!("{text}\r\n"), "connection {number}, at `{line}`");
            }
            ("X", "silence") => {
                let early = String::from_utf8_lossy(socket.buffer()).into_owned();
                assert_eq!(early, "", "connection {number}: sent too early");
            }
            ("X", "wait") => {
                let mut rest = String::new();
                // A client that was told off may hang up with RST; either is the end.
                drop(socket.read_to_string(&mut rest).await);
                assert_eq!(rest, "", "connection {number}, at `{line}`");
            }
            ("X", "reset") => socket.get_mut().set_zero_linger().unwrap(),
            _ => panic!("no such line in a script: {line}"),
        }
    }
}

async fn read_message(socket: &mut BufReader<TcpStream>) -> String {
    let mut message = String::new();
    while !(message == ".\r\n" || message.ends_with("\r\n.\r\n")) {
        assert_ne!(socket.read_line(&mut message).await.unwrap(), 0, "the message has no end: {message:?}");
    }
    message
}

/// The settings of a plain route to this machine.
pub(super) fn settings(port: u16) -> RouteSettings {
    RouteSettings {
        connections: 4,
        hello_name: Some("me.example.net".to_owned()),
        ..RouteSettings::new("main", "127.0.0.1", port, TlsMode::None)
    }
}

/// The same with a user to sign in as.
pub(super) fn signed_in(port: u16) -> RouteSettings {
    RouteSettings {
        username: Some("ann".to_owned()),
        password: Some(SecretString::from("hunter2")),
        ..settings(port)
    }
}

/// A route with the usual time-outs.
pub(super) fn route(settings: &RouteSettings) -> Arc<Route> {
    tuned_route(settings, Tuning::default())
}

/// A route with other time-outs.
pub(super) fn tuned_route(settings: &RouteSettings, tuning: Tuning) -> Arc<Route> {
    let shared = Arc::new(Shared::new(tuning, ReplyRules::shipped()));
    Arc::new(Route::new(settings, None, &shared, None).unwrap())
}

/// A route that waits only this long in every phase.
pub(super) fn hasty_route(port: u16, patience: Duration) -> Arc<Route> {
    tuned_route(&settings(port), Tuning { timeouts: hasty(patience), ..Tuning::default() })
}

/// The same time-out in every phase.
pub(super) fn hasty(patience: Duration) -> Timeouts {
    Timeouts {
        connect: patience,
        greeting: patience,
        hello: patience,
        command: patience,
        data: patience,
        block: patience,
        final_reply: patience,
        quit: patience,
    }
}

/// Sends a message from ann to bob.
pub(super) async fn send(route: &Arc<Route>, message: &str) -> Reply {
    send_between(route, Some("ann@example.net"), "bob@example.net", message.as_bytes()).await
}

pub(super) async fn send_between(
    route: &Arc<Route>,
    sender: Option<&str>,
    recipient: &str,
    message: &[u8],
) -> Reply {
    let message = Message::new(message.to_vec());
    let sender: Option<Address> = sender.map(|sender| sender.parse().unwrap());
    let recipient: Address = recipient.parse().unwrap();
    let envelope = Envelope { sender: sender.as_ref(), recipient: &recipient };
    let sent = timeout(STUCK, send_through(route, &envelope, &message, &Unfenced)).await;
    match sent.expect("the dialogue is stuck") {
        Ok(Sent::Answered(reply)) | Err(NotReady::Failed(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// Waits for a slot, which nobody but a test does here, and sends.
pub(super) async fn send_through(
    route: &Arc<Route>,
    envelope: &Envelope<'_>,
    message: &Message,
    fence: &dyn Fence,
) -> Result<Sent, NotReady> {
    let permit = loop {
        match route.permits(1).next() {
            Some(permit) => break permit,
            None if route.pause().is_some() => return Err(NotReady::Away(crate::clock::now())),
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    Ok(permit.connect().await?.send(envelope, message, fence).await)
}
