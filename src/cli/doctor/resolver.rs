//! Asks one DNS server (RFC 1035): over UDP, and over TCP where the answer does not fit.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE, rdata::RData};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// Where DNS servers listen.
pub(super) const PORT: u16 = 53;
/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const TRIES: usize = 3;

/// Asks one DNS server.
pub(super) struct Resolver {
    server: SocketAddr,
}

/// Why a look-up has no outcome.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookUpError {
    /// `/etc/resolv.conf` names no server.
    #[error("/etc/resolv.conf names no DNS server; give one with --resolver")]
    NoServer,
    /// The name is too long for the DNS.
    #[error("`{0}` cannot be looked up")]
    Name(String),
    /// Nothing came in time.
    #[error("the DNS server {0} does not answer: {1}")]
    Silent(SocketAddr, io::Error),
    /// It does not know.
    #[error("the DNS server {0} answers with {1:?}")]
    Failed(SocketAddr, RCODE),
}

impl Resolver {
    /// Asks this server.
    pub(super) fn at(server: SocketAddr) -> Self {
        Self { server }
    }

    /// Asks the first server of `/etc/resolv.conf`.
    pub(super) fn of_this_machine() -> Result<Self, LookUpError> {
        let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
        let mut addresses = servers.filter_map(|address| address.trim().parse::<IpAddr>().ok());
        let address = addresses.next().ok_or(LookUpError::NoServer)?;
        Ok(Self::at(SocketAddr::new(address, PORT)))
    }

    /// TXT records, the strings of each joined.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<String>, LookUpError> {
        self.ask(name, TYPE::TXT, |data| match data {
            RData::TXT(text) => String::try_from(text).ok(),
            _ => None,
        })
        .await
    }

    /// MX records, the preferred ones first.
    pub(super) async fn exchanges(&self, name: &str) -> Result<Vec<(u16, String)>, LookUpError> {
        let read = |data: RData<'_>| match data {
            RData::MX(mx) => Some((mx.preference, mx.exchange.to_string())),
            _ => None,
        };
        let mut exchanges = self.ask(name, TYPE::MX, read).await?;
        exchanges.sort();
        Ok(exchanges)
    }

    /// The addresses of a host.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookUpError> {
        let read = |data: RData<'_>| match data {
            RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from_bits(a.address))),
            RData::AAAA(aaaa) => Some(IpAddr::V6(Ipv6Addr::from_bits(aaaa.address))),
            _ => None,
        };
        let mut addresses = self.ask(name, TYPE::A, read).await?;
        addresses.extend(self.ask(name, TYPE::AAAA, read).await?);
        Ok(addresses)
    }

    /// The reverse names of an address.
    pub(super) async fn names(&self, address: IpAddr) -> Result<Vec<String>, LookUpError> {
        let name = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let nibbles = (0..32).map(|place| format!("{:x}.", (bits >> (4 * place)) & 0xf));
                nibbles.collect::<String>() + "ip6.arpa"
            }
        };
        self.ask(&name, TYPE::PTR, |data| match data {
            RData::PTR(name) => Some(name.0.to_string()),
            _ => None,
        })
        .await
    }

    /// The records of one type; none where there is no such name.
    async fn ask<T>(
        &self,
        name: &str,
        kind: TYPE,
        read: impl Fn(RData<'_>) -> Option<T>,
    ) -> Result<Vec<T>, LookUpError> {
        let id = rand::random();
        let query = query(id, name, kind).ok_or_else(|| LookUpError::Name(name.to_owned()))?;
        let mut failed = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..TRIES {
            let answer = match timeout(TRY_TIMEOUT, self.exchange(id, &query)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    failed = error;
                    continue;
                }
                Err(_) => continue,
            };
            let Ok(packet) = Packet::parse(&answer) else {
                failed = io::Error::other("its answer cannot be read");
                continue;
            };
            return match packet.rcode() {
                RCODE::NoError => {
                    Ok(packet.answers.into_iter().filter_map(|record| read(record.rdata)).collect())
                }
                RCODE::NameError => Ok(Vec::new()),
                other => Err(LookUpError::Failed(self.server, other)),
            };
        }
        Err(LookUpError::Silent(self.server, failed))
    }

    /// The answer, whole.
    async fn exchange(&self, id: u16, query: &[u8]) -> io::Result<Vec<u8>> {
        let any: IpAddr =
            if self.server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.server).await?;
        socket.send(query).await?;
        let mut answer = vec![0; 4_096];
        loop {
            let length = socket.recv(&mut answer).await?;
            let Ok(packet) = Packet::parse(&answer[..length]) else { continue };
            if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
                continue; // of somebody else
            }
            if packet.has_flags(PacketFlag::TRUNCATION) {
                return self.exchange_over_tcp(query).await;
            }
            answer.truncate(length);
            return Ok(answer);
        }
    }

    async fn exchange_over_tcp(&self, query: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.server).await?;
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

fn query(id: u16, name: &str, kind: TYPE) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).ok()?, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}
