//! The catcher over real sockets: raw dialogues, Python's smtplib, and its page.

mod dialogue;
mod page;
mod real_client;
mod steering;
mod tls;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{Catcher, CatcherOptions};

/// Long enough for a busy machine; nobody waits that long unless something is broken.
const LONG: Duration = Duration::from_secs(20);

async fn catcher() -> Catcher {
    Catcher::start(CatcherOptions::default()).await.unwrap()
}

/// A client that sends what it is told and reads reply by reply.
struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

impl Client {
    /// Connects and reads the greeting.
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client::over(stream);
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// Connects and says EHLO.
    async fn greeted(address: SocketAddr) -> Self {
        let mut client = Client::connect(address).await;
        assert!(client.ask("EHLO client.test").await.contains("250-localhost"));
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn over(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next reply with all its lines, without the last line's end; empty when the connection ended.
    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let line = tokio::time::timeout(LONG, self.stream.read_line(&mut reply));
            if line.await.expect("the catcher is silent").unwrap_or(0) == 0
                || reply.as_bytes()[start + 3] != b'-'
            {
                return reply.trim_end().to_owned();
            }
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    /// Sends each line, and asserts that its reply begins as expected.
    async fn converse(&mut self, lines: &[(&str, &str)]) {
        for (line, begins) in lines {
            let reply = self.ask(line).await;
            assert!(reply.starts_with(begins) && !begins.is_empty(), "{line}: {reply}");
        }
    }

    /// Sends a mail command by command; the reply that decided.
    async fn mail_to(&mut self, recipient: &str) -> String {
        self.converse(&[("MAIL FROM:<shop@shop.test>", "250 2.1.0")]).await;
        let rcpt = self.ask(&format!("RCPT TO:<{recipient}>")).await;
        if !rcpt.starts_with("250") {
            return rcpt;
        }
        self.converse(&[("DATA", "354")]).await;
        self.ask("Subject: Hello\r\n\r\nHi.\r\n.").await
    }

    /// Asserts that the catcher closed the connection without another word.
    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(LONG, self.stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection is still open");
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}
