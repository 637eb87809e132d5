//! Lines out, replies in, each within its time. Buffers live as long as the connection and are reused by every mail.
//!
//! A connection notes by itself when it must not be used again: after a lost line, a time-out, garbage, or a 421. A reply
//! that is there before its command was sent answers something else, or nothing: it is not believed, and the connection
//! is broken.

use std::time::Duration;

use bytes::Buf;
use futures_util::FutureExt;
use memchr::memchr;
use secrecy::zeroize::Zeroize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{
    attempt_error::ConnectionError,
    capabilities::Capabilities,
    open_count::OpenCount,
    stream::Stream,
    transcript::Transcript,
    tuning::Timeouts,
    wire::{LONGEST_LINE, MOST_OF_A_LINE, ProtocolError, ReplyLines, ServerReply, begins_a_line},
};

/// One open connection to a relay.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    incoming: Vec<u8>,
    /// How much of `incoming` has been read as lines.
    consumed: usize,
    /// What the next [`Self::write`] sends.
    pub(super) outgoing: Vec<u8>,
    pub(super) capabilities: Capabilities,
    pub(super) timeouts: Timeouts,
    /// The last transaction was refused half-way: RSET comes before the next MAIL.
    pub(super) needs_reset: bool,
    /// How many transactions were tried on it.
    pub(super) mails: u32,
    /// The server takes no further mail over it.
    pub(super) is_full: bool,
    /// Each command waits for the answer to the one before it, although the server says that it takes several at once.
    pub(super) is_stepwise: bool,
    /// How long the server took for the answer to the last message.
    pub(super) final_took: Duration,
    /// What was said for the mail at hand.
    pub(super) transcript: Transcript,
    is_broken: bool,
    count: OpenCount,
}

/// Not all was sent.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) why: ConnectionError,
    /// The part of a message was, but not what came after it.
    pub(super) is_content_sent: bool,
}

impl Connection {
    pub(super) fn new(stream: Stream, timeouts: Timeouts, count: OpenCount, transcript: Transcript) -> Self {
        Self {
            stream,
            incoming: Vec::with_capacity(1_024),
            consumed: 0,
            outgoing: Vec::with_capacity(1_024),
            capabilities: Capabilities::default(),
            timeouts,
            needs_reset: false,
            mails: 0,
            is_full: false,
            is_stepwise: false,
            final_took: Duration::ZERO,
            transcript,
            is_broken: false,
            count,
        }
    }

    /// Notes that it has come to where MAIL may follow.
    pub(super) fn note_ready(&mut self) {
        self.count.note_ready();
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Encrypted(_))
    }

    /// Whether the next mail may use it: it works, and the server has not said anything that nobody asked for.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_broken && self.consumed == self.incoming.len()
    }

    /// Whether several commands may leave in one write (RFC 2920).
    pub(super) fn takes_groups(&self) -> bool {
        self.capabilities.pipelining && !self.is_stepwise
    }

    /// Whether it may carry another mail, of at most so many.
    pub(super) fn has_room(&self, most_mails: u32) -> bool {
        let most_mails = self.capabilities.most_mails.unwrap_or(u32::MAX).min(most_mails);
        !self.is_full && self.mails < most_mails
    }

    /// Whether nothing more can be sent or read.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Gives it up: nothing more is sent over it.
    pub(super) fn abandon(&mut self) {
        self.is_broken = true;
    }

    /// Sends what stands in `outgoing`, in one write where the socket takes it. A server that has said something since its
    /// last reply is sent nothing more, unless it said that it hangs up.
    pub(super) async fn write(&mut self, within: Duration) -> Result<(), ConnectionError> {
        self.expect_silence()?;
        self.transcript.sent(&self.outgoing);
        self.put(&[], within).await.map_err(|unsent| unsent.why)
    }

    /// Sends a part of a message and then what stands in `outgoing`, in one write where the socket takes it, under the same
    /// condition. None of it shows in the transcript.
    pub(super) async fn write_after(&mut self, content: &[u8], within: Duration) -> Result<(), Unsent> {
        self.expect_silence().map_err(|why| Unsent { why, is_content_sent: false })?;
        self.put(content, within).await
    }

    async fn put(&mut self, content: &[u8], within: Duration) -> Result<(), Unsent> {
        let (stream, outgoing) = (&mut self.stream, self.outgoing.as_slice());
        let mut rest = Buf::chain(content, outgoing);
        let written = timeout(within, async {
            stream.write_all_buf(&mut rest).await?;
            stream.flush().await
        })
        .await;
        // What the socket took may arrive, although what came after it does not.
        let is_content_sent = !outgoing.is_empty() && rest.remaining() <= outgoing.len();
        self.outgoing.clear();
        let why = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => ConnectionError::from(error),
            Err(_) => ConnectionError::TimedOut(within),
        };
        self.is_broken = true;
        Err(Unsent { why, is_content_sent })
    }

    /// Breaks off where something unasked has come that is not a 421, which may come at any time (RFC 5321, section 3.8).
    fn expect_silence(&mut self) -> Result<(), ConnectionError> {
        let early = self.unasked();
        let farewell = b"421";
        if early.is_empty() || early.starts_with(farewell) || farewell.starts_with(early) {
            return Ok(());
        }
        self.is_broken = true;
        self.outgoing.clear();
        Err(ProtocolError::Early.into())
    }

    /// What has come beyond the last reply. Looks, but does not wait.
    fn unasked(&mut self) -> &[u8] {
        if self.consumed == self.incoming.len() {
            self.incoming.clear();
            self.consumed = 0;
            // Its end and its errors show again when an answer is waited for.
            let _ = self.stream.read_buf(&mut self.incoming).now_or_never();
        }
        &self.incoming[self.consumed..]
    }

    /// Reads one reply.
    pub(super) async fn reply(&mut self, within: Duration) -> Result<ServerReply, ConnectionError> {
        let reply = match timeout_at(Instant::now() + within, self.read_reply()).await {
            Ok(reply) => reply,
            Err(_) => Err(ConnectionError::TimedOut(within)),
        };
        self.is_broken |= reply.as_ref().map_or(true, ServerReply::is_closing_channel);
        match &reply {
            Ok(said) => self.transcript.said(said.code, said.lines()),
            Err(lost) => self.transcript.note("   ", &format!("[{lost}]")),
        }
        reply
    }

    /// Sends one command and reads the reply.
    pub(super) async fn ask(
        &mut self,
        command: &str,
        within: Duration,
    ) -> Result<ServerReply, ConnectionError> {
        self.outgoing.extend_from_slice(command.as_bytes());
        self.outgoing.extend_from_slice(b"\r\n");
        self.write(within).await?;
        self.reply(within).await
    }

    /// Notes a reply that has no meaning where it came.
    pub(super) fn protocol_error(&mut self) -> ConnectionError {
        self.is_broken = true;
        ConnectionError::Protocol(ProtocolError::OutOfSequence)
    }

    /// Overwrites what was sent, so that no password stays in memory.
    pub(super) fn wipe(&mut self) {
        self.outgoing.zeroize();
    }

    /// Gives back the socket for a TLS handshake.
    ///
    /// # Errors
    /// When the server has sent something beyond its last reply: somebody on the way may have put it there, to be taken
    /// for an answer that came encrypted (CVE-2011-0411).
    pub(super) fn into_plain_socket(self) -> Result<(TcpStream, OpenCount), ConnectionError> {
        match self.stream {
            _ if self.consumed < self.incoming.len() => Err(ProtocolError::Early.into()),
            Stream::Plain(socket) => Ok((socket, self.count)),
            Stream::Encrypted(_) => Err(ConnectionError::Closed),
        }
    }

    /// Says goodbye and closes. Nothing depends on the answer, so errors are passed over.
    pub(super) async fn quit(mut self) {
        let within = self.timeouts.quit;
        if !self.is_broken && self.ask("QUIT", within).await.is_ok() {
            // For TLS this is the close_notify; a server that hangs up first is as good.
            drop(timeout(within, self.stream.shutdown()).await);
        }
    }

    async fn read_reply(&mut self) -> Result<ServerReply, ConnectionError> {
        let mut lines = ReplyLines::default();
        let mut thrown_away = 0;
        loop {
            let unread = &self.incoming[self.consumed..];
            let Some(line_end) = memchr(b'\n', unread) else {
                thrown_away += self.cut_line()?;
                if thrown_away > MOST_OF_A_LINE {
                    return Err(ProtocolError::LongLine.into());
                }
                self.receive().await?;
                continue;
            };
            let line = &unread[..line_end];
            let collected = lines.push(line.strip_suffix(b"\r").unwrap_or(line))?;
            self.consumed += line_end + 1;
            thrown_away = 0;
            if let Some(reply) = collected {
                return Ok(reply);
            }
        }
    }

    /// Throws away what a line that has not ended yet has beyond what is kept of it, and returns how many bytes that is. A line
    /// that is none of a reply ends the dialogue.
    fn cut_line(&mut self) -> Result<usize, ConnectionError> {
        let beyond = (self.incoming.len() - self.consumed).saturating_sub(LONGEST_LINE);
        if beyond > 0 {
            begins_a_line(&self.incoming[self.consumed..])?;
            self.incoming.truncate(self.consumed + LONGEST_LINE);
        }
        Ok(beyond)
    }

    async fn receive(&mut self) -> Result<(), ConnectionError> {
        self.incoming.drain(..self.consumed);
        self.consumed = 0;
        match self.stream.read_buf(&mut self.incoming).await? {
            0 => Err(ConnectionError::Closed),
            _ => Ok(()),
        }
    }
}
