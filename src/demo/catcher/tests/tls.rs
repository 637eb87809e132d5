//! STARTTLS, TLS from the first byte, and AUTH.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// A certificate for `localhost` and 127.0.0.1: the server's side of it, and the PEM that a client trusts.
pub(super) fn certificate() -> (Arc<ServerConfig>, rcgen::Certificate) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(server), cert)
}

pub(super) fn credentials() -> Option<(String, String)> {
    Some(("shop".to_owned(), "s3cret".to_owned()))
}

async fn handshake(stream: TcpStream, trusted: &rcgen::Certificate) -> Client<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    Client::over(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

#[tokio::test]
async fn starttls_begins_a_new_dialogue_and_auth_is_offered_in_it_only() {
    let (tls, certificate) = certificate();
    let options = CatcherOptions { tls: Some(tls), credentials: credentials(), ..Default::default() };
    let catcher = Catcher::start(options).await.unwrap();
    let mut client = Client::connect(catcher.smtp_addr()).await;
    let offered = client.ask("EHLO client.test").await;
    assert!(offered.contains("STARTTLS") && !offered.contains("AUTH"), "{offered}");
    client.converse(&[("AUTH PLAIN AGEAYg==", "538 5.7.11"), ("STARTTLS", "220 2.0.0")]).await;
    let mut client = handshake(client.stream.into_inner(), &certificate).await;
    client.converse(&[("MAIL FROM:<a@b.test>", "503 5.5.1")]).await;
    let offered = client.ask("EHLO client.test").await;
    assert!(!offered.contains("STARTTLS") && offered.contains("AUTH PLAIN LOGIN XOAUTH2"), "{offered}");
    client.converse(&[("STARTTLS", "503 5.5.1"), ("MAIL FROM:<a@b.test>", "530 5.7.0")]).await;
    let plain = BASE64_STANDARD.encode("\0shop\0s3cret");
    client.converse(&[(&format!("AUTH PLAIN {plain}"), "235 2.7.0")]).await;
    assert!(client.mail_to("ok@b.test").await.starts_with("250 2.0.0"));
    let mails = catcher.mails();
    assert_eq!((mails[0].tls, mails[0].authenticated_as.as_deref()), (true, Some("shop")));
    client.converse(&[("QUIT", "221")]).await;
    client.is_closed().await;
}

#[tokio::test]
async fn commands_smuggled_in_before_the_handshake_are_never_obeyed() {
    let (tls, _) = certificate();
    let catcher = Catcher::start(CatcherOptions { tls: Some(tls), ..Default::default() }).await.unwrap();
    let mut client = Client::greeted(catcher.smtp_addr()).await;
    client.send("STARTTLS\r\nEHLO evil.test\r\n").await;
    assert!(client.reply().await.starts_with("554 5.5.0"));
    client.is_closed().await;
}

#[tokio::test]
async fn implicit_tls_speaks_tls_from_the_first_byte() {
    let (tls, certificate) = certificate();
    let options = CatcherOptions { tls: Some(tls), implicit_tls: true, ..Default::default() };
    let catcher = Catcher::start(options).await.unwrap();
    let stream = TcpStream::connect(catcher.smtp_addr()).await.unwrap();
    let mut client = handshake(stream, &certificate).await;
    assert!(client.reply().await.starts_with("220 "));
    client.converse(&[("EHLO client.test", "250-")]).await;
    assert!(client.mail_to("ok@b.test").await.starts_with("250 2.0.0"));
    assert!(catcher.mails()[0].tls);
}

#[tokio::test]
async fn implicit_tls_without_a_certificate_is_no_way_to_start() {
    let options = CatcherOptions { implicit_tls: true, ..Default::default() };
    assert!(Catcher::start(options).await.is_err());
}

#[tokio::test]
async fn only_the_right_user_with_the_right_password_logs_in() {
    let options = CatcherOptions { credentials: credentials(), ..Default::default() };
    let catcher = Catcher::start(options).await.unwrap();
    let code = |text: &str| BASE64_STANDARD.encode(text);
    let bearer = |token: &str| code(&format!("user=shop\x01auth=Bearer {token}\x01\x01"));
    let dialogues: [&[(String, &str)]; 9] = [
        &[
            (format!("AUTH plain {}", code("\0shop\0s3cret")), "235 2.7.0"),
            ("AUTH PLAIN".into(), "503 5.5.1"),
        ],
        &[("AUTH PLAIN".into(), "334"), (code("me\0shop\0s3cret"), "235 2.7.0")],
        &[(format!("AUTH PLAIN {}", code("\0shop\0wrong")), "535 5.7.8")],
        &[(format!("AUTH PLAIN {}", code("shop")), "535 5.7.8"), ("AUTH PLAIN =".into(), "535 5.7.8")],
        &[
            ("AUTH LOGIN".into(), "334 VXNlcm5hbWU6"),
            (code("shop"), "334 UGFzc3dvcmQ6"),
            (code("s3cret"), "235"),
        ],
        &[(format!("AUTH LOGIN {}", code("shop")), "334 UGFzc3dvcmQ6"), (code("wrong"), "535 5.7.8")],
        &[(format!("AUTH XOAUTH2 {}", bearer("s3cret")), "235 2.7.0")],
        &[(format!("AUTH XOAUTH2 {}", bearer("stale")), "334 "), (String::new(), "535 5.7.8")],
        &[
            ("AUTH PLAIN ?".into(), "501 5.5.2"),
            ("AUTH LOGIN".into(), "334"),
            ("*".into(), "501 5.7.0"),
            ("AUTH CRAM-MD5".into(), "504 5.5.4"),
            ("MAIL FROM:<a@b.test>".into(), "530 5.7.0"),
        ],
    ];
    for dialogue in dialogues {
        let mut client = Client::greeted(catcher.smtp_addr()).await;
        for (line, begins) in dialogue {
            client.converse(&[(line, begins)]).await;
        }
    }
}
