//! A peer that slips plain text in behind its 220 to STARTTLS, which must not be taken for an encrypted answer
//! (CVE-2011-0411).

use std::sync::Arc;

use rustls::{ServerConfig, crypto::ring::default_provider, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::peer::{route, send, settings};
use crate::mail::{AttemptOutcome, Phase, Reply};
use crate::smtp::{RouteSettings, TlsMode};

/// Answers each line that the client sends with the next of `answers`; returns what it heard.
async fn converse(socket: impl AsyncRead + AsyncWrite + Unpin, answers: &[&str]) -> Vec<String> {
    let (mut socket, mut heard) = (BufReader::new(socket), Vec::new());
    for answer in answers {
        let mut line = String::new();
        socket.read_line(&mut line).await.unwrap();
        heard.push(line.trim_end().to_owned());
        socket.get_mut().write_all(answer.as_bytes()).await.unwrap();
        socket.get_mut().flush().await.unwrap();
    }
    heard
}

/// Returns what it heard encrypted, if it came to that.
async fn play(mut socket: TcpStream, acceptor: TlsAcceptor, go: &str) -> Vec<String> {
    socket.write_all(b"220 hi\r\n").await.unwrap();
    converse(&mut socket, &["250-hi\r\n250 STARTTLS\r\n", go]).await;
    let Ok(socket) = acceptor.accept(socket).await else { return Vec::new() };
    converse(socket, &["250 SIZE\r\n", "450 later\r\n"]).await
}

/// Sends a mail over a route that requires STARTTLS, to a server that answers this to it.
async fn send_after(go: &'static str) -> (Reply, Vec<String>) {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, own.cert.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        play(socket, TlsAcceptor::from(Arc::new(config)), go).await
    });

    let trusting =
        RouteSettings { tls: TlsMode::Starttls, ca_file: Some(file.path().to_owned()), ..settings(port) };
    let reply = send(&route(&trusting), "hi").await;
    (reply, peer.await.unwrap())
}

#[tokio::test]
async fn plain_text_behind_the_answer_to_starttls_ends_the_dialogue() {
    let (reply, heard) = send_after("220 go\r\n").await;
    assert_eq!((reply.phase, reply.outcome), (Phase::MailFrom, AttemptOutcome::Transient), "{reply:?}");
    assert_eq!(heard, ["EHLO me.example.net", "MAIL FROM:<ann@example.net>"]);

    let (reply, heard) = send_after("220 go\r\n250 injected\r\n").await;
    assert_eq!((reply.phase, reply.outcome), (Phase::Tls, AttemptOutcome::Transient), "{reply:?}");
    assert!(heard.is_empty(), "{heard:?}");
}
