//! From a host name to a connection that is ready for mail: connect, greeting, EHLO, STARTTLS, AUTH.

use std::{io, net::IpAddr, path::Path, sync::Arc};

use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};

use super::{
    attempt_error::{AttemptError, ConnectionError},
    auth::Credentials,
    capabilities::Capabilities,
    connection::Connection,
    hello_name::machine_name,
    open_count::{OpenCount, Opened},
    replies::without_addresses,
    route_error::RouteError,
    settings::{RouteSettings, TlsMode},
    stream::Stream,
    tls::Encryption,
    transcript::Transcript,
    tuning::Timeouts,
    wire::ServerReply,
};
use crate::mail::Phase;

/// Opens connections of one route.
pub(super) struct Dialer {
    host: String,
    port: u16,
    mode: TlsMode,
    encryption: Option<Encryption>,
    credentials: Option<Credentials>,
    hello_name: Option<String>,
    timeouts: Timeouts,
    opened: Arc<Opened>,
}

impl Dialer {
    /// Takes what it needs from checked settings. `system_file` holds certificates to trust beside the public ones.
    pub(super) fn new(
        settings: &RouteSettings,
        timeouts: Timeouts,
        system_file: Option<&Path>,
        opened: Arc<Opened>,
    ) -> Result<Self, RouteError> {
        let encryption = match settings.tls {
            TlsMode::None => None,
            _ => Some(Encryption::new(settings, system_file)?),
        };
        Ok(Self {
            host: settings.bare_host().to_owned(),
            port: settings.port,
            mode: settings.tls,
            encryption,
            credentials: Credentials::of(settings),
            hello_name: settings.hello_name.clone().or_else(machine_name),
            timeouts,
            opened,
        })
    }

    /// Whether both trust the same servers.
    pub(super) fn trusts_as(&self, other: &Self) -> bool {
        match (&self.encryption, &other.encryption) {
            (Some(one), Some(other)) => one.trusts_as(other),
            (one, other) => one.is_none() == other.is_none(),
        }
    }

    /// The relay's host and port.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Opens a connection up to the point where MAIL may follow.
    pub(super) async fn dial(&self) -> Result<Connection, AttemptError> {
        let transcript = Transcript::default();
        let mut dialled = self.dial_as(self.mode, &transcript).await;
        // A handshake that failed leaves the connection useless; the next one stays plain (RFC 7435).
        if self.mode == TlsMode::Opportunistic
            && dialled.as_ref().is_err_and(|error| error.phase == Phase::Tls)
        {
            dialled = self.dial_as(TlsMode::None, &transcript).await;
        }
        dialled.map_err(|error| self.with_transcript(error, &transcript))
    }

    /// Keeps what was said with the error, without our credentials.
    pub(super) fn with_transcript(&self, mut error: AttemptError, transcript: &Transcript) -> AttemptError {
        let text = transcript.text();
        let is_about_us = error.stops_the_route();
        error.transcript = (!text.is_empty()).then(|| match &self.credentials {
            Some(credentials) => credentials.redact_transcript(&text, is_about_us),
            None => text,
        });
        error
    }

    /// What the relay said when it refused, fit for the operators' log, without addresses; ours where it said nothing.
    pub(super) fn words_for_the_log(&self, error: &AttemptError) -> String {
        let Some(words) = error.words() else { return error.text() };
        let words = match &self.credentials {
            Some(credentials) => credentials.redact(&words),
            None => words,
        };
        without_addresses(&words)
    }

    async fn dial_as(&self, mode: TlsMode, transcript: &Transcript) -> Result<Connection, AttemptError> {
        let socket = self.connect().await.map_err(|lost| AttemptError::lost(Phase::Connect, lost))?;
        let address = |found: io::Result<std::net::SocketAddr>| {
            found.map(|address| address.ip()).map_err(|error| AttemptError::lost(Phase::Connect, error))
        };
        let is_this_machine = address(socket.peer_addr())?.is_loopback();
        let hello_name = match &self.hello_name {
            Some(name) => name.clone(),
            None => address_literal(address(socket.local_addr())?),
        };
        let count = self.opened.count();
        let mut connection = match mode {
            TlsMode::Tls => self.encrypt(socket, count, transcript).await?,
            _ => Connection::new(Stream::Plain(socket), self.timeouts, count, transcript.clone()),
        };
        greeting(&mut connection).await?;
        hello(&mut connection, &hello_name).await?;
        if matches!(mode, TlsMode::Starttls | TlsMode::Opportunistic) {
            connection = self.starttls(connection, &hello_name).await?;
        }
        if let Some(credentials) = &self.credentials {
            if !(connection.is_encrypted() || is_this_machine || self.mode == TlsMode::None) {
                let text = "the connection is not encrypted, so the password is not sent";
                return Err(AttemptError::transient(Phase::Auth, text));
            }
            credentials.sign_in(&mut connection).await?;
        }
        connection.note_ready();
        Ok(connection)
    }

    /// Tries each address of the host; each gets its share of the time that is left.
    async fn connect(&self) -> Result<TcpStream, ConnectionError> {
        let within = self.timeouts.connect;
        let deadline = Instant::now() + within;
        let found = timeout_at(deadline, lookup_host((self.host.as_str(), self.port))).await;
        let addresses: Vec<_> = found.map_err(|_| ConnectionError::TimedOut(within))??.collect();
        let mut last =
            ConnectionError::Failed(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
        for (index, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => {
                    // Without this, Nagle's algorithm meets the server's delayed ACK: 40 ms for every mail.
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Ok(Err(error)) => last = ConnectionError::Failed(error),
                Err(_) => last = ConnectionError::TimedOut(share),
            }
        }
        Err(last)
    }

    async fn starttls(
        &self,
        mut connection: Connection,
        hello_name: &str,
    ) -> Result<Connection, AttemptError> {
        let is_required = self.mode == TlsMode::Starttls;
        if !connection.capabilities.starttls {
            return if is_required {
                Err(AttemptError::transient(Phase::Tls, "the server does not offer STARTTLS"))
            } else {
                Ok(connection)
            };
        }
        let lost = |lost: ConnectionError| AttemptError::lost(Phase::Tls, lost);
        let said = connection.ask("STARTTLS", self.timeouts.hello).await.map_err(lost)?;
        if said.is_refusal() {
            return if is_required || said.is_closing_channel() {
                Err(AttemptError::replied(Phase::Tls, said))
            } else {
                Ok(connection)
            };
        }
        if !said.is_positive() {
            return Err(lost(connection.protocol_error()));
        }
        let transcript = connection.transcript.clone();
        let (socket, count) = connection.into_plain_socket().map_err(lost)?;
        let mut connection = self.encrypt(socket, count, &transcript).await?;
        hello(&mut connection, hello_name).await?;
        Ok(connection)
    }

    async fn encrypt(
        &self,
        socket: TcpStream,
        count: OpenCount,
        transcript: &Transcript,
    ) -> Result<Connection, AttemptError> {
        let within = self.timeouts.hello;
        let Some(encryption) = &self.encryption else {
            return Err(AttemptError::transient(Phase::Tls, "this route has no TLS"));
        };
        match timeout(within, encryption.handshake(socket)).await {
            Ok(Ok(stream)) => {
                transcript.note("   ", "[encrypted from here]");
                Ok(Connection::new(stream, self.timeouts, count, transcript.clone()))
            }
            Ok(Err(error)) => {
                Err(AttemptError::transient(Phase::Tls, format!("TLS handshake failed: {error}")))
            }
            Err(_) => Err(AttemptError::lost(Phase::Tls, ConnectionError::TimedOut(within))),
        }
    }
}

async fn greeting(connection: &mut Connection) -> Result<(), AttemptError> {
    let said = connection
        .reply(connection.timeouts.greeting)
        .await
        .map_err(|lost| AttemptError::lost(Phase::Greeting, lost))?;
    accepted(said, Phase::Greeting, connection).map(drop)
}

/// EHLO, or HELO with a server that does not know it; what an encrypted server can do replaces what was said before.
async fn hello(connection: &mut Connection, name: &str) -> Result<(), AttemptError> {
    let within = connection.timeouts.hello;
    let lost = |lost: ConnectionError| AttemptError::lost(Phase::Hello, lost);
    let said = connection.ask(&format!("EHLO {name}"), within).await.map_err(lost)?;
    connection.capabilities = Capabilities::default();
    if said.code >= 500 {
        let said = connection.ask(&format!("HELO {name}"), within).await.map_err(lost)?;
        return accepted(said, Phase::Hello, connection).map(drop);
    }
    let said = accepted(said, Phase::Hello, connection)?;
    connection.capabilities = Capabilities::from_ehlo(&said);
    Ok(())
}

fn accepted(
    said: ServerReply,
    phase: Phase,
    connection: &mut Connection,
) -> Result<ServerReply, AttemptError> {
    if said.is_positive() {
        Ok(said)
    } else if said.is_refusal() {
        Err(AttemptError::replied(phase, said))
    } else {
        Err(AttemptError::lost(phase, connection.protocol_error()))
    }
}

/// Our address where we have no name (RFC 5321, section 4.1.3).
fn address_literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}
