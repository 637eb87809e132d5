//! Connections that want more than their share: half-sent heads, too many at once, slow bodies, slow readers.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt, future::join_all};
use postroom::demo::catcher::{Catcher, CatcherOptions};
use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::support::{Backends, Daemon, Shop, eventually, send, welcome};

const HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n";
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

fn backends() -> Backends {
    Backends::sqlite_memory().with("http.header_timeout", "1s")
}

fn address(daemon: &Daemon) -> SocketAddr {
    daemon.url().trim_start_matches("http://").parse().unwrap()
}

async fn connect(daemon: &Daemon, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address(daemon)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Reads one answer to `GET /healthz`.
async fn answer(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1_024]);
    while !text.ends_with("ok\n") {
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap_or(0);
        if read == 0 {
            break;
        }
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

/// All that comes until the connection is closed; none when it is not within `patience`.
async fn until_closed(stream: &mut TcpStream, patience: Duration) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // A connection may be closed with a reset, which is an end too.
    timeout(patience, stream.read_to_end(&mut bytes)).await.ok().map(|_| bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_do_not_end_are_not_waited_for() {
    let backends = backends();
    let daemon = Daemon::start(&backends).await;
    let started = Instant::now();
    let mut streams = join_all((0..300).map(|_| connect(&daemon, HEAD))).await;
    // A byte now and then does not help.
    let mut dripping = connect(&daemon, HEAD).await;
    // Nor does it help to be well-behaved first.
    let mut second = connect(&daemon, REQUEST).await;
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 200"));
    second.write_all(HEAD).await.unwrap();
    let mut others = connect(&daemon, REQUEST).await;
    assert!(answer(&mut others).await.starts_with("HTTP/1.1 200"), "others are served meanwhile");
    for _ in 0..10 {
        sleep(Duration::from_millis(200)).await;
        let _ = dripping.write_all(b"x").await;
    }
    streams.extend([dripping, second]);
    let ended = join_all(streams.iter_mut().map(|stream| until_closed(stream, Duration::from_secs(8)))).await;
    assert!(ended.iter().all(Option::is_some), "{} stand", ended.iter().filter(|end| end.is_none()).count());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    others.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut others).await.starts_with("HTTP/1.1 200"), "an idle connection stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_a_client_keeps_for_later_is_not_a_late_head() {
    let backends = backends();
    let daemon = Daemon::start(&backends).await;
    let mut stream = connect(&daemon, b"").await;
    sleep(Duration::from_secs(3)).await;
    stream.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_more_than_32_kib_is_431() {
    let backends = backends();
    let daemon = Daemon::start(&backends).await;
    let of = |bytes: usize| [HEAD, b"x-long: ", "x".repeat(bytes).as_bytes(), b"\r\n\r\n"].concat();
    let mut stream = connect(&daemon, &of(20_000)).await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    for bytes in [70_000, 400_000] {
        let mut stream = TcpStream::connect(address(&daemon)).await.unwrap();
        let _ = stream.write_all(&of(bytes)).await; // it may be closed before all is written
        let mut beginning = [0; 12];
        stream.read_exact(&mut beginning).await.unwrap();
        assert_eq!(&beginning, b"HTTP/1.1 431", "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_there_is_room_for_are_refused_until_idle_ones_make_room() {
    let backends = backends().with("http.connections", 20);
    let daemon = Daemon::start(&backends).await;
    // The client that waited for the daemon may have a connection open.
    let mut idle = Vec::new();
    for _ in 0..19 {
        let mut stream = connect(&daemon, REQUEST).await;
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        idle.push(stream);
    }
    let _last = connect(&daemon, b"").await;
    eventually("one is refused", async || {
        let mut stream = TcpStream::connect(address(&daemon)).await.unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text.starts_with("HTTP/1.1 503") && text.contains("retry-after")
    })
    .await;
    // Who has a connection is served.
    idle[0].write_all(REQUEST).await.unwrap();
    assert!(answer(&mut idle[0]).await.starts_with("HTTP/1.1 200"));
    eventually("there is room again", async || {
        let mut stream = TcpStream::connect(address(&daemon)).await.unwrap();
        let _ = stream.write_all(REQUEST).await;
        answer(&mut stream).await.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_leaves_descriptors_for_the_database_and_the_relay() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = Backends::sqlite_memory().with_route_to(&sink).with("http.header_timeout", "60s");
    let daemon = Daemon::start_with_descriptors(&backends, 256).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    shop.enrol("ok@example.net").await;
    let few = daemon.log().into_iter().find(|line| line["wanted"] == 2_000).expect("the log says so");
    assert!((16..200).contains(&few["most"].as_u64().unwrap()), "{few}");
    // On the connection that the shop has; the mails go over new connections to the relay.
    let sending = tokio::spawn(async move {
        for _ in 0..50 {
            let request = shop.request(reqwest::Method::POST, "/mail").json(&welcome("ok@example.net"));
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
            sleep(Duration::from_millis(100)).await;
        }
    });
    eventually("the first is delivered", async || !sink.mails().is_empty()).await;
    let flood = join_all((0..400).map(|_| async {
        let mut stream = TcpStream::connect(address(&daemon)).await.ok()?;
        let _ = stream.write_all(HEAD).await;
        Some(stream)
    }))
    .await;
    timeout(Duration::from_secs(40), sending).await.unwrap().unwrap();
    eventually("all are delivered", async || sink.mails().len() == 50).await;
    drop(flood);
    let text = daemon.log_text();
    assert!(!text.contains("os error 24") && !text.contains("\"ERROR\""), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_408_and_quick_ones_may_pause() {
    let backends = backends();
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let line = |number: usize| {
        let id = format!("{number}@example.net");
        json!({"kind": "members", "id": id, "brand_id": "tea", "email": id, "tags": {"x": "y".repeat(200)}})
            .to_string()
            + "\n"
    };
    let import = |pieces: Vec<(u64, String)>| {
        let stream = futures_util::stream::iter(pieces).then(async |(pause, piece)| {
            sleep(Duration::from_millis(pause)).await;
            Ok::<_, std::io::Error>(piece)
        });
        let request = shop.request(reqwest::Method::POST, "/api/v1/import");
        send(request.header("content-type", "application/x-ndjson").body(reqwest::Body::wrap_stream(stream)))
    };
    let many: String = (0..100).map(line).collect();
    let paused = import(vec![(0, many.clone()), (2_000, line(101)), (1_500, line(102))]).await.expect(200);
    assert_eq!(paused.json()["accepted"], 102);
    let dripping = (0..100).map(|_| (100, " ".to_owned())).collect();
    import(dripping).await.expect(408);
    let dripping = (0..100).map(|_| (100, " ".to_owned())).collect::<Vec<_>>();
    let stream = futures_util::stream::iter(dripping).then(async |(pause, piece)| {
        sleep(Duration::from_millis(pause)).await;
        Ok::<_, std::io::Error>(piece)
    });
    let request = shop.request(reqwest::Method::POST, "/mails").header("content-type", "application/json");
    send(request.body(reqwest::Body::wrap_stream(stream))).await.expect(408);
}

/// Sends this head with a body of so many bytes, nobody's, and reads the head of the answer.
async fn refused(daemon: &Daemon, head: &str, declared: usize, sent: usize) -> (TcpStream, String) {
    let head = format!("POST /mail HTTP/1.1\r\nhost: x\r\n{head}content-length: {declared}\r\n\r\n");
    let mut stream = connect(daemon, head.as_bytes()).await;
    let _ = stream.write_all(&vec![b' '; sent]).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = timeout(Duration::from_secs(10), stream.read_buf(&mut answer)).await.unwrap();
        assert!(matches!(read, Ok(1..)), "{read:?} after {}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    (stream, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_answered_before_its_body_was_read_may_ask_again_or_is_told_not_to() {
    const MANY: usize = 4_000_000;
    let backends = backends();
    let daemon = Daemon::start(&backends).await;
    for _ in 0..10 {
        let (mut stream, answer) = refused(&daemon, "", MANY, MANY).await;
        assert!(!answer.contains("connection: close"), "{answer}");
        stream.write_all(REQUEST).await.unwrap();
        assert!(self::answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    // What does not come, what is too much, and what is not sent before the answer.
    for (head, declared, sent) in
        [("", MANY, 1_000), ("", 100 * MANY, 1_000), ("expect: 100-continue\r\n", MANY, 0)]
    {
        let (mut stream, answer) = refused(&daemon, head, declared, sent).await;
        assert!(answer.contains("connection: close"), "{head}{declared}: {answer}");
        assert!(until_closed(&mut stream, Duration::from_secs(5)).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_the_answers_is_not_waited_for() {
    let backends = backends();
    let daemon = Daemon::start(&backends).await;
    let asked = 3_000;
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(asked);
    let mut stream = TcpStream::connect(address(&daemon)).await.unwrap();
    let _ = timeout(Duration::from_secs(2), stream.write_all(&requests)).await;
    sleep(Duration::from_secs(5)).await;
    let bytes = until_closed(&mut stream, Duration::from_secs(20)).await.expect("it is closed");
    let answers = bytes.windows(12).filter(|window| window == b"HTTP/1.1 200").count();
    assert!(answers < asked, "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_idle_connections() {
    let backends = backends();
    let mut daemon = Daemon::start(&backends).await;
    let mut idle = connect(&daemon, REQUEST).await;
    assert!(answer(&mut idle).await.starts_with("HTTP/1.1 200"));
    let _half = connect(&daemon, HEAD).await;
    let started = Instant::now();
    assert_eq!(daemon.stop().await, 0);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert!(until_closed(&mut idle, Duration::from_secs(1)).await.is_some());
}
