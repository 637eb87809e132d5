//! The bytes of an SMTP dialogue: lines in, replies out, and the message between DATA and its final dot.
//!
//! Replies wait in a buffer until the client's input is used up, so pipelined commands are answered in one go
//! (RFC 2920, section 3.2). Used by the dialogue only; memory is bounded whatever the client sends.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

/// The longest command line in bytes: 512 (RFC 5321, section 4.5.3.1.4), and room for AUTH (RFC 4954, section 4).
const LONGEST_COMMAND: usize = 12_288;

/// The longest line of a message in bytes, its CRLF included (RFC 5321, section 4.5.3.1.6).
const LONGEST_TEXT_LINE: usize = 1_000;

/// How many bytes are read at a time, at most.
const BLOCK: usize = 64 * 1024;

/// How long a client may be silent (RFC 5321, section 4.5.3.2.7).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);

/// A client's next line.
#[derive(Debug)]
pub(super) enum Line {
    /// The line without its end.
    Text(Bytes),
    /// It was longer than any command may be; its bytes are gone.
    TooLong,
    /// The client closed the connection, or was silent for too long.
    End,
}

/// What came between DATA and the final dot.
#[derive(Debug)]
pub(super) enum Content {
    /// The message, without the dialogue's transparency.
    Message(Bytes),
    /// The message was read to its end, but must be refused with this reply.
    Refused(&'static str),
    /// The client left before the final dot.
    End,
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    input: BytesMut,
    output: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), output: Vec::with_capacity(512) }
    }

    /// Puts a reply line behind those that wait to be sent.
    pub(super) fn say(&mut self, reply: &str) {
        self.output.extend_from_slice(reply.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Sends the replies that wait.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            timeout(SILENCE_TIMEOUT, self.stream.write_all(&self.output)).await??;
            self.output.clear();
            // TLS keeps what it could not write at once.
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Whether the client sent more than was asked of it so far.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Gives the stream back, for the TLS handshake. What was read but not used is dropped: it came in the clear.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// The next line, ended by CRLF or a bare LF, after the waiting replies were sent if it has not come yet.
    pub(super) async fn line(&mut self) -> io::Result<Line> {
        let (mut searched, mut too_long) = (0, false);
        loop {
            if let Some(end) = self.input[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.input.split_to(searched + end + 1).freeze();
                let text = line.strip_suffix(b"\r\n").unwrap_or(&line[..line.len() - 1]);
                too_long |= line.len() > LONGEST_COMMAND;
                return Ok(if too_long { Line::TooLong } else { Line::Text(line.slice_ref(text)) });
            }
            searched = self.input.len();
            if searched > LONGEST_COMMAND {
                self.input.clear();
                (searched, too_long) = (0, true);
            }
            if !self.read_more().await? {
                return Ok(Line::End);
            }
        }
    }

    /// Reads the message up to its final dot, `<CRLF>.<CRLF>` and nothing else, and takes its transparency away.
    ///
    /// A message of more than `largest` bytes, with a line that is too long or with a line end that is not CRLF is
    /// read to its end and then refused.
    pub(super) async fn content(&mut self, largest: usize) -> io::Result<Content> {
        let mut reading = Reading::new(largest);
        loop {
            let used = reading.take_lines(&self.input);
            let _ = self.input.split_to(used);
            if reading.ended {
                return Ok(reading.verdict());
            }
            if self.input.len() > BLOCK {
                // No line can be that long: its remainder is no start of a line.
                reading.skip_line();
                self.input.clear();
            }
            if !self.read_more().await? {
                return Ok(Content::End);
            }
        }
    }

    /// Waits for `wait`, or until the client leaves; says whether it is still there.
    pub(super) async fn stays(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while self.input.len() < BLOCK {
            self.input.reserve(BLOCK);
            match timeout_at(until, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(0) | Err(_)) => return false,
                Ok(Ok(_)) => {}
                Err(_) => return true,
            }
        }
        tokio::time::sleep_until(until).await;
        true
    }

    /// Sends what waits and closes; gives the client a moment to read it, for unread input would reset the connection.
    pub(super) async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await?;
        self.input.clear();
        let _ = timeout(Duration::from_secs(1), async {
            while self.stream.read_buf(&mut self.input).await? > 0 {
                self.input.clear();
            }
            io::Result::Ok(())
        })
        .await;
        Ok(())
    }

    async fn read_more(&mut self) -> io::Result<bool> {
        self.flush().await?;
        self.input.reserve(BLOCK);
        match timeout(SILENCE_TIMEOUT, self.stream.read_buf(&mut self.input)).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => {
                self.say("421 4.4.2 I have waited long enough");
                self.flush().await?;
                Ok(false)
            }
        }
    }
}

/// A message on its way in.
struct Reading {
    message: Vec<u8>,
    largest: usize,
    fault: Option<&'static str>,
    at_line_start: bool,
    ended: bool,
}

impl Reading {
    fn new(largest: usize) -> Self {
        Self { message: Vec::new(), largest, fault: None, at_line_start: true, ended: false }
    }

    /// Takes the whole lines at the start of `input` up to the final dot; says how many bytes those are.
    fn take_lines(&mut self, input: &[u8]) -> usize {
        let mut used = 0;
        while let Some(end) = input[used..].iter().position(|byte| *byte == b'\n') {
            let line = &input[used..=used + end];
            used += line.len();
            if self.at_line_start && line == b".\r\n" {
                self.ended = true;
                break;
            }
            self.take_line(line);
        }
        used
    }

    fn take_line(&mut self, line: &[u8]) {
        let text = line.strip_suffix(b"\r\n");
        if text.is_none_or(|text| text.contains(&b'\r')) {
            self.fault.get_or_insert("554 5.6.0 Lines must end with CR LF, and both must not appear alone");
        }
        let line = if self.at_line_start { line.strip_prefix(b".").unwrap_or(line) } else { line };
        if line.len() > LONGEST_TEXT_LINE {
            self.fault.get_or_insert("554 5.6.0 A line is longer than 998 octets");
        }
        if self.message.len() + line.len() > self.largest {
            self.fault.get_or_insert("552 5.3.4 Message is too big");
        }
        if self.fault.is_none() {
            self.message.extend_from_slice(line);
        }
        // What follows a bare LF is no new line to SMTP, so a dot there neither ends nor is doubled.
        self.at_line_start = text.is_some();
    }

    fn skip_line(&mut self) {
        self.fault.get_or_insert("554 5.6.0 A line is longer than 998 octets");
        self.at_line_start = false;
    }

    fn verdict(mut self) -> Content {
        // It may be kept for long: its reserve is not.
        self.message.shrink_to_fit();
        match self.fault {
            Some(refusal) => Content::Refused(refusal),
            None => Content::Message(self.message.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(input: &'static [u8], largest: usize) -> Content {
        let (mut client, server) = tokio::io::duplex(7);
        let send = async move { client.write_all(input).await };
        let mut wire = Wire::new(server);
        let (_, content) = tokio::join!(send, wire.content(largest));
        content.unwrap()
    }

    #[tokio::test]
    async fn dots_are_unstuffed_and_only_crlf_dot_crlf_ends_the_message() {
        for (input, message) in [
            (&b".\r\n"[..], &b""[..]),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"a\r\n..b\r\n...\r\nc.\r\n.d\r\n.\r\n", b"a\r\n.b\r\n..\r\nc.\r\nd\r\n"),
        ] {
            let Content::Message(bytes) = read(input, 1_000).await else { panic!("{input:?} was refused") };
            assert_eq!(bytes, message);
        }
    }

    #[tokio::test]
    async fn a_message_that_breaks_a_rule_is_read_to_its_end_and_refused() {
        let refusal = async |input| match read(input, 2_000).await {
            Content::Refused(reply) => reply,
            other => panic!("{other:?}"),
        };
        assert!(refusal(b"a\n.\r\nb\r\n.\r\n").await.contains("CR LF"));
        assert!(refusal(b"a\n.\nb\r\n.\r\n").await.contains("CR LF"));
        assert!(refusal(b"a\rb\r\n.\r\n").await.contains("CR LF"));
        let long: &'static [u8] =
            Box::leak(format!("{}\r\n.\r\n", "x".repeat(999)).into_boxed_str()).as_bytes();
        assert!(refusal(long).await.contains("998"));
        assert!(matches!(read(&long[1..], 2_000).await, Content::Message(_)), "998 octets are allowed");
        let endless: &'static [u8] =
            Box::leak(format!("{}\r\n.\r\n", "x".repeat(200_000)).into_boxed_str()).as_bytes();
        assert!(refusal(endless).await.contains("998"));
        let big: &'static [u8] =
            Box::leak(format!("{}.\r\n", "x\r\n".repeat(700)).into_boxed_str()).as_bytes();
        assert!(refusal(big).await.starts_with("552 5.3.4"));
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_the_final_dot_has_sent_nothing() {
        assert!(matches!(read(b"a\r\n.\r", 1_000).await, Content::End));
    }

    #[tokio::test]
    async fn a_command_of_any_length_is_survived() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all("x".repeat(300_000).as_bytes()).await.unwrap();
        client.write_all(b"\r\nNOOP\r\nQUIT\n").await.unwrap();
        drop(client);
        let mut wire = Wire::new(server);
        assert!(matches!(wire.line().await.unwrap(), Line::TooLong));
        for expected in ["NOOP", "QUIT"] {
            let Line::Text(line) = wire.line().await.unwrap() else { panic!("no line") };
            assert_eq!(line, expected);
        }
        assert!(matches!(wire.line().await.unwrap(), Line::End));
    }
}
