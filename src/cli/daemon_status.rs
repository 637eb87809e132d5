//! Asks the daemon on this machine, over its admin listener, what only it knows: an embedded queue, and how the relays are.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    config::Config,
    http::{QUEUE_PATH, QueueView, WAITING_PATH, Waiting},
    mail::MailId,
};

/// How long the daemon may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of an answer.
const LARGEST: u64 = 4 << 20;

/// What the daemon knows; none when there is no daemon on this machine, or it does not answer.
pub(super) async fn ask(config: &Config) -> Option<QueueView> {
    serde_json::from_slice(&get(config, QUEUE_PATH).await?).ok()
}

/// What the daemon knows of why a mail waits.
pub(super) async fn waiting(config: &Config, mail: MailId) -> Option<Waiting> {
    serde_json::from_slice(&get(config, &format!("{WAITING_PATH}/{mail}")).await?).ok()?
}

/// Its metrics.
pub(super) async fn metrics(config: &Config) -> Option<String> {
    String::from_utf8(get(config, "/metrics").await?).ok()
}

async fn get(config: &Config, path: &str) -> Option<Vec<u8>> {
    timeout(ANSWER_TIMEOUT, get_in_time(config, path)).await.ok()?
}

/// The body of a 200.
async fn get_in_time(config: &Config, path: &str) -> Option<Vec<u8>> {
    let mut address = config.admin.listen;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let mut stream = TcpStream::connect(address).await.ok()?;
    // HTTP/1.0: the body ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).await.ok()?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let status = answer.split(|byte| *byte == b' ').nth(1)?;
    (status == b"200").then(|| answer.split_off(body))
}
