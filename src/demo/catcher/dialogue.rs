//! One SMTP connection to the catcher, from its greeting to its end (RFC 5321).
//!
//! The acceptor starts [`hold`] once per connection. A mail is in the inbox before its final reply is sent, so whoever
//! got a 250 finds it there.

use std::{
    io,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{
    CaughtMail, Conduct,
    command::Command,
    state::CatcherState,
    wire::{Content, Line, Wire},
};

/// After so many wrong commands in a row the client is sent away.
const MOST_FAULTS: u32 = 20;

/// The most recipients of one message (RFC 5321, section 4.5.3.1.8).
const MOST_RECIPIENTS: usize = 100;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Speaks with a client until one of the two closes the connection.
pub(super) async fn hold(stream: TcpStream, state: Arc<CatcherState>, connection: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let plain = match &state.acceptor {
        Some(acceptor) if state.options.implicit_tls => {
            let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
            Dialogue::new(stream, &state, connection, true).greet().run().await?;
            return Ok(());
        }
        _ => Dialogue::new(stream, &state, connection, false).greet().run().await?,
    };
    if let (Some(stream), Some(acceptor)) = (plain, &state.acceptor) {
        let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
        Dialogue::new(stream, &state, connection, true).run().await?;
    }
    Ok(())
}

/// What follows a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next command.
    Listen,
    /// The end, after the replies were sent.
    Close,
    /// The end, at once.
    HangUp,
    /// The TLS handshake.
    StartTls,
}

/// A connection and what was said on it so far.
pub(super) struct Dialogue<'a, S> {
    pub(super) wire: Wire<S>,
    pub(super) state: &'a CatcherState,
    pub(super) user: Option<String>,
    connection: u64,
    tls: bool,
    helo: Option<String>,
    envelope: Option<Envelope>,
    faults: u32,
}

struct Envelope {
    sender: String,
    recipients: Vec<(String, Conduct)>,
    eight_bit: bool,
    smtputf8: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Dialogue<'a, S> {
    fn new(stream: S, state: &'a CatcherState, connection: u64, tls: bool) -> Self {
        let wire = Wire::new(stream);
        Self { wire, state, user: None, connection, tls, helo: None, envelope: None, faults: 0 }
    }

    fn greet(mut self) -> Self {
        self.wire.say("220 localhost ESMTP postroom catcher");
        self
    }

    /// Speaks until the connection ends, or gives the stream back for the TLS handshake.
    async fn run(mut self) -> io::Result<Option<S>> {
        loop {
            let next = match self.wire.line().await? {
                Line::Text(_) if self.wire.has_input() && !self.state.options.pipelining => {
                    self.reply("554 5.5.0 Wait for my replies: I do not offer PIPELINING", Next::Close)
                }
                Line::Text(line) => self.obey(&line).await?,
                Line::TooLong => self.fault("500 5.5.2 That line is too long"),
                Line::End => return Ok(None),
            };
            match next {
                Next::Listen => {}
                Next::Close => return self.wire.close().await.map(|()| None),
                Next::HangUp => return self.wire.flush().await.map(|()| None),
                Next::StartTls => {
                    self.wire.flush().await?;
                    return Ok(Some(self.wire.into_stream()));
                }
            }
        }
    }

    /// Replies without an opinion on the command.
    pub(super) fn reply(&mut self, reply: &str, next: Next) -> Next {
        self.wire.say(reply);
        next
    }

    /// Replies to a command that was right in itself, whatever becomes of it.
    fn answer(&mut self, reply: &str) -> Next {
        self.faults = 0;
        self.reply(reply, Next::Listen)
    }

    /// Replies that the command is wrong, or sends a client away that gets nothing right.
    pub(super) fn fault(&mut self, reply: &str) -> Next {
        self.faults += 1;
        if self.faults > MOST_FAULTS {
            return self.reply("421 4.7.0 That were too many faults", Next::Close);
        }
        self.reply(reply, Next::Listen)
    }

    async fn obey(&mut self, line: &[u8]) -> io::Result<Next> {
        let command = match Command::read(line) {
            Ok(command) => command,
            Err(refusal) => return Ok(self.fault(refusal)),
        };
        Ok(match command {
            Command::Hello { name, extended } => self.hello(name, extended),
            Command::Mail { sender, size, eight_bit, smtputf8 } => {
                let envelope =
                    Envelope { sender: sender.to_owned(), recipients: Vec::new(), eight_bit, smtputf8 };
                self.mail(envelope, size)
            }
            Command::Rcpt { recipient } => self.rcpt(recipient),
            Command::Data => return self.data().await,
            Command::Reset => {
                self.envelope = None;
                self.answer("250 2.0.0 Ok")
            }
            Command::Noop => self.answer("250 2.0.0 Ok"),
            Command::Verify => self.answer("252 2.0.0 Send it a mail and you will see"),
            Command::Help => self.answer("214 2.0.0 The recipient's local part steers me, see my page"),
            Command::Quit => self.reply("221 2.0.0 Bye", Next::Close),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => return self.auth(mechanism, initial).await,
        })
    }

    fn hello(&mut self, name: &str, extended: bool) -> Next {
        self.envelope = None;
        self.helo = Some(name.to_owned());
        if !extended {
            return self.answer("250 localhost");
        }
        let options = &self.state.options;
        self.wire.say(&format!("250-localhost greets {name}"));
        if options.pipelining {
            self.wire.say("250-PIPELINING");
        }
        if self.offers_tls() {
            self.wire.say("250-STARTTLS");
        }
        if options.credentials.is_some() && !self.offers_tls() {
            self.wire.say("250-AUTH PLAIN LOGIN XOAUTH2");
        }
        self.wire.say(&format!("250-SIZE {}", options.largest));
        self.wire.say("250-8BITMIME");
        self.wire.say("250-SMTPUTF8");
        self.answer("250 ENHANCEDSTATUSCODES")
    }

    fn offers_tls(&self) -> bool {
        self.state.acceptor.is_some() && !self.tls
    }

    fn start_tls(&mut self) -> Next {
        if !self.offers_tls() {
            return self.fault("503 5.5.1 There is no TLS to start");
        }
        // What follows in the clear was perhaps put there by someone else (CVE-2011-0411).
        if self.wire.has_input() {
            return self.reply("554 5.5.0 Nothing may follow STARTTLS before its reply", Next::Close);
        }
        self.reply("220 2.0.0 Go ahead", Next::StartTls)
    }

    async fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> io::Result<Next> {
        Ok(match (&self.state.options.credentials, &self.helo) {
            (None, _) => self.fault("502 5.5.1 There is no AUTH here"),
            (_, None) => self.fault("503 5.5.1 Say EHLO first"),
            _ if self.offers_tls() => self.fault("538 5.7.11 AUTH needs TLS"),
            _ if self.user.is_some() || self.envelope.is_some() => self.fault("503 5.5.1 Not now"),
            (Some(credentials), _) => return self.log_in(credentials, mechanism, initial).await,
        })
    }

    fn mail(&mut self, envelope: Envelope, size: usize) -> Next {
        let options = &self.state.options;
        match &self.envelope {
            _ if self.helo.is_none() => self.fault("503 5.5.1 Say EHLO first"),
            _ if options.credentials.is_some() && self.user.is_none() => self.fault("530 5.7.0 AUTH first"),
            Some(_) => self.fault("503 5.5.1 There is a sender already"),
            _ if size > options.largest => self.reply("552 5.3.4 Message is too big", Next::Listen),
            _ if !envelope.smtputf8 && !envelope.sender.is_ascii() => {
                self.fault("553 5.6.7 That needs SMTPUTF8")
            }
            _ if Conduct::of(&envelope.sender) == Conduct::Busy => {
                self.reply("421 4.3.2 I am busy, come back later", Next::Close)
            }
            None => {
                self.envelope = Some(envelope);
                self.answer("250 2.1.0 Ok")
            }
        }
    }

    fn rcpt(&mut self, recipient: &str) -> Next {
        let Some(envelope) = &mut self.envelope else {
            return self.fault("503 5.5.1 Say MAIL first");
        };
        if !envelope.smtputf8 && !recipient.is_ascii() {
            return self.fault("553 5.6.7 That needs SMTPUTF8");
        }
        if envelope.recipients.len() >= MOST_RECIPIENTS {
            return self.reply("452 4.5.3 Too many recipients", Next::Listen);
        }
        match Conduct::of(recipient) {
            Conduct::GreylistOnce if self.state.inbox.is_new_to_greylist(recipient) => {
                self.answer("451 4.7.1 Greylisted, try again later")
            }
            Conduct::Defer => self.answer("451 4.3.0 Not now, try again later"),
            Conduct::Reject => self.answer("550 5.1.1 There is no such mailbox"),
            Conduct::Busy => self.reply("421 4.3.2 I am busy, come back later", Next::Close),
            Conduct::HangUp => Next::HangUp,
            conduct => {
                envelope.recipients.push((recipient.to_owned(), conduct));
                self.answer("250 2.1.5 Ok")
            }
        }
    }

    async fn data(&mut self) -> io::Result<Next> {
        match &self.envelope {
            None => return Ok(self.fault("503 5.5.1 Say MAIL first")),
            Some(envelope) if envelope.recipients.is_empty() => {
                return Ok(self.fault("554 5.5.1 There is no recipient"));
            }
            Some(_) => {}
        }
        self.wire.say("354 End data with <CR><LF>.<CR><LF>");
        let content = self.wire.content(self.state.options.largest).await?;
        let Some(envelope) = self.envelope.take() else { return Ok(Next::HangUp) };
        Ok(match content {
            Content::Message(bytes) => self.take(envelope, bytes).await?,
            Content::Refused(reply) => self.answer(reply),
            Content::End => Next::HangUp,
        })
    }

    /// Keeps the message or refuses it, as its recipients ask for.
    async fn take(&mut self, envelope: Envelope, bytes: Bytes) -> io::Result<Next> {
        let conducts = || envelope.recipients.iter().map(|(_, conduct)| *conduct);
        if conducts().any(|conduct| conduct == Conduct::RejectData) {
            return Ok(self.answer("554 5.6.0 I do not like that message"));
        }
        if conducts().any(|conduct| conduct == Conduct::DeferData) {
            return Ok(self.answer("451 4.3.0 Not that message now, try again later"));
        }
        let mut answered = conducts().all(|conduct| conduct != Conduct::DropAfterData);
        let wait = conducts().filter_map(|conduct| match conduct {
            Conduct::Slow(wait) => Some(wait),
            _ => None,
        });
        if let (true, Some(wait)) = (answered, wait.max()) {
            self.wire.flush().await?;
            answered = self.wire.stays(wait).await;
        }
        let queue_id = format!("{:08X}", self.state.messages.fetch_add(1, Ordering::Relaxed) + 1);
        self.keep(envelope, bytes, &queue_id, answered);
        Ok(if answered { self.answer(&format!("250 2.0.0 Ok: queued as {queue_id}")) } else { Next::HangUp })
    }

    fn keep(&self, envelope: Envelope, bytes: Bytes, queue_id: &str, answered: bool) {
        let at = crate::clock::now();
        let Envelope { sender, recipients, eight_bit, smtputf8 } = envelope;
        self.state.inbox.keep(recipients.into_iter().map(|(recipient, _)| CaughtMail {
            number: 0, // the inbox gives it
            at,
            sender: sender.clone(),
            recipient,
            helo: self.helo.clone().unwrap_or_default(),
            tls: self.tls,
            authenticated_as: self.user.clone(),
            queue_id: queue_id.to_owned(),
            answered,
            eight_bit,
            smtputf8,
            connection: self.connection,
            bytes: bytes.clone(),
            content: OnceLock::new(),
        }));
    }
}
