//! POSTs to real receivers that do everything wrong, and to names that move.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::{RootCertStore, pki_types::PrivateKeyDer};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use super::{Callbacks, LookUp, WebhookRequest, wait_of};
use crate::{
    callback::{
        CallbackSettings, Secret,
        receiver::{self, Act, Receiver, settings},
        trust, verify,
    },
    clock,
    mail::Timestamp,
    webhook::{CallbackOutcome, CallbackReply},
};

fn impatient() -> CallbackSettings {
    CallbackSettings { timeout: Duration::from_millis(300), ..settings() }
}

async fn post(callbacks: &Callbacks, url: &str) -> CallbackReply {
    let secrets = [Secret::generate()];
    let webhook = WebhookRequest {
        id: "evt-1".to_owned(),
        url,
        body: r#"{"type":"x"}"#.to_owned(),
        secrets: &secrets,
        trace_parent: None,
    };
    callbacks.post(webhook).await
}

async fn reply_to(act: Act, settings: &CallbackSettings) -> (CallbackReply, Receiver) {
    let receiver = Receiver::start(move |_| act.clone()).await;
    let reply = post(&Callbacks::new(settings).unwrap(), &receiver.url()).await;
    (reply, receiver)
}

#[tokio::test]
async fn a_post_carries_the_body_and_the_three_headers_of_standard_webhooks() {
    let mut receiver = Receiver::start(|_| Act::status(200)).await;
    let secrets = [Secret::generate(), Secret::generate()];
    let body = r#"{"type":"email.sent","city":"Köln"}"#;
    let webhook = WebhookRequest {
        id: "evt-1".to_owned(),
        url: &receiver.url(),
        body: body.to_owned(),
        secrets: &secrets,
        trace_parent: None,
    };
    let reply = Callbacks::new(&settings()).unwrap().post(webhook).await;
    assert!(reply.is_taken(), "{reply:?}");
    assert_eq!(reply.text, "ok");
    let received = receiver.next().await;
    assert_eq!((received.line.as_str(), received.body.as_str()), ("POST /hook HTTP/1.1", body));
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(received.headers["user-agent"], format!("postroom/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(received.headers["webhook-id"], "evt-1");
    for secret in secrets {
        assert!(verify(&received.signed(), body.as_bytes(), &[secret], clock::now()));
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_or_drips_is_left_in_time() {
    for act in [Act::Hang, Act::Drip] {
        let (reply, _receiver) = reply_to(act, &impatient()).await;
        assert_eq!((reply.outcome, reply.status), (CallbackOutcome::TimedOut, None));
        assert!(reply.took >= Duration::from_millis(300) && reply.took < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_flood_of_informational_answers_or_of_a_head_ends_with_the_patience() {
    for act in [Act::Inform, Act::EndlessHead] {
        let (reply, receiver) = reply_to(act.clone(), &impatient()).await;
        assert!(!reply.is_taken() && reply.status.is_none(), "{act:?}: {reply:?}");
        assert!(reply.took < Duration::from_secs(5), "{act:?}: {reply:?}");
        let ended = async {
            while receiver.flooded() != u64::MAX {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
        assert!(ended.is_ok(), "{act:?}: nobody listens to it any more");
    }
}

#[tokio::test]
async fn a_gigabyte_of_answer_is_not_read() {
    let (reply, receiver) = reply_to(Act::Flood, &settings()).await;
    assert_eq!((reply.status, reply.text.len()), (Some(200), 4_096));
    assert!(reply.took < Duration::from_secs(5), "{reply:?}");
    // What fits into the buffers of both sockets may have been sent; the rest has nobody to go to.
    assert!(receiver.flooded() < 64 << 20, "{} bytes", receiver.flooded());
}

#[tokio::test]
async fn an_answer_counts_by_its_status_and_one_that_breaks_off_before_it_is_none() {
    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly th".to_owned();
    let (reply, _receiver) = reply_to(Act::Say(partial), &settings()).await;
    assert_eq!((reply.is_taken(), reply.text.as_str()), (true, "only th"));
    for broken in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nX: y\r\n", "220 mail.example ESMTP\r\n", "\0\0\0\0"]
    {
        let (reply, _receiver) = reply_to(Act::Say(broken.to_owned()), &settings()).await;
        assert_eq!((reply.outcome, reply.status), (CallbackOutcome::HungUp, None), "{broken:?}: {reply:?}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_as_text_that_a_database_can_hold() {
    let odd = "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\na\0ü".to_owned();
    let (reply, _receiver) = reply_to(Act::Say(odd), &settings()).await;
    assert_eq!(reply.text, "a\u{fffd}ü");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = Receiver::start(|_| Act::status(200)).await;
    for status in [301, 302, 303, 307, 308] {
        let to = inside.url();
        let answer = format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let (reply, _receiver) = reply_to(Act::Say(answer), &settings()).await;
        assert_eq!((reply.status, reply.is_taken()), (Some(status), false));
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_wish_to_be_left_alone_is_heard() {
    let answer = "HTTP/1.1 429 Slow down\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (reply, _receiver) = reply_to(Act::Say(answer), &settings()).await;
    assert_eq!((reply.status, reply.retry_after), (Some(429), Some(Duration::from_secs(120))));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let reply = post(&Callbacks::new(&settings()).unwrap(), &url).await;
    assert_eq!(reply.outcome, CallbackOutcome::Unreachable, "{reply:?}");
}

#[tokio::test]
async fn without_leave_no_connection_is_opened_to_loopback_nor_without_tls() {
    let receiver = Receiver::start(|_| Act::status(200)).await;
    let port = receiver.address.port();
    let shut = CallbackSettings { allow_networks: Vec::new(), ..settings() };
    let shut = Callbacks::new(&shut).unwrap();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"] {
        let reply = post(&shut, &format!("http://{host}:{port}/")).await;
        assert_eq!(reply.outcome, CallbackOutcome::Forbidden, "{host}: {reply:?}");
    }
    let encrypted_only = CallbackSettings { allow_http: false, ..settings() };
    let reply = post(&Callbacks::new(&encrypted_only).unwrap(), &receiver.url()).await;
    assert_eq!(reply.outcome, CallbackOutcome::Forbidden, "{reply:?}");
    assert_eq!(receiver.connections(), 0);
}

/// Gives another answer each time it is asked.
struct Turning(Vec<Vec<&'static str>>, Arc<AtomicUsize>);

impl LookUp for Turning {
    fn look_up(&self, _name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        let turn = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
        let answer = &self.0[turn];
        let found = answer.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
        Box::pin(async move { Ok(found) })
    }
}

fn with_names(settings: &CallbackSettings, turns: &[&[&'static str]]) -> (Callbacks, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let names = Turning(turns.iter().map(|turn| turn.to_vec()).collect(), Arc::clone(&asked));
    (Callbacks::with(settings, names, trust::tls().unwrap()).unwrap(), asked)
}

#[tokio::test]
async fn a_name_that_turns_to_a_forbidden_address_leads_nowhere() {
    let open = Receiver::listen("127.0.0.2:0".parse().unwrap(), |_| Act::status(200)).await;
    let port = open.address.port();
    let inside =
        Receiver::listen(SocketAddr::new("127.0.0.1".parse().unwrap(), port), |_| Act::status(200)).await;
    let only = CallbackSettings { allow_networks: vec!["127.0.0.2/32".parse().unwrap()], ..settings() };
    let turns: &[&[&str]] =
        &[&["127.0.0.2"], &["127.0.0.1"], &["127.0.0.1", "127.0.0.2"], &["::1", "127.0.0.1"], &[]];
    let (callbacks, asked) = with_names(&only, turns);
    let url = format!("http://rebind.example:{port}/");
    let mut outcomes = Vec::new();
    for _ in turns {
        outcomes.push(post(&callbacks, &url).await.outcome);
    }
    use CallbackOutcome::{Answered, Forbidden, Unresolved};
    assert_eq!(outcomes, [Answered, Forbidden, Answered, Forbidden, Unresolved]);
    assert_eq!((open.connections(), inside.connections()), (2, 0));
    assert_eq!(
        asked.load(Ordering::SeqCst),
        turns.len(),
        "what was judged is what is connected to: one look-up"
    );
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_be_the_hosts_own() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["shop.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (sender, mut requests) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                receiver::serve(stream, Act::status(200), sender.clone(), Arc::default()).await;
            }
        }
    });
    let names = || Turning(vec![vec!["127.0.0.1"]], Arc::default());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let trusting = Callbacks::with(&settings(), names(), trust::trusting(roots).unwrap()).unwrap();
    let strict = Callbacks::with(&settings(), names(), trust::tls().unwrap()).unwrap();

    let reply = post(&trusting, &format!("https://shop.example:{port}/")).await;
    assert!(reply.is_taken(), "{reply:?}");
    assert_eq!(requests.recv().await.unwrap().line, "POST / HTTP/1.1");
    for (callbacks, host) in [(&trusting, "other.example"), (&strict, "shop.example")] {
        let reply = post(callbacks, &format!("https://{host}:{port}/")).await;
        assert_eq!(reply.outcome, CallbackOutcome::Untrusted, "{reply:?}");
    }
    serving.abort();
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let now = Timestamp::parse("2026-11-21T10:00:00Z").unwrap();
    let seconds = |text| wait_of(text, now).map(|wait| wait.as_secs());
    assert_eq!(seconds("120"), Some(120));
    assert_eq!(seconds("Sat, 21 Nov 2026 10:02:00 GMT"), Some(120));
    assert_eq!(seconds("Sat, 21 Nov 2026 09:00:00 GMT"), Some(0), "a date in the past");
    assert_eq!(["soon", "-1", "1.5", ""].map(seconds), [None; 4]);
}
