//! What a long round trip costs, and how many connections are used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::peer::{send, settings, tuned_route};
use crate::mail::{AttemptOutcome, MailLane, Message};
use crate::smtp::{Envelope, NotReady, Route, RouteSettings, Sent, Tuning, Unfenced, WaitingMail};

/// A relay that takes all mails, several commands at once. Returns its port, and how many connections it has had.
async fn relay() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(take_mails(socket));
        }
    });
    (port, connections)
}

async fn take_mails(socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    let mut socket = BufReader::new(socket);
    let (mut line, mut answers, mut is_message) = (String::new(), "220 hi\r\n".to_owned(), false);
    loop {
        if socket.buffer().is_empty() && !answers.is_empty() {
            if socket.get_mut().write_all(answers.as_bytes()).await.is_err() {
                return;
            }
            answers.clear();
        }
        line.clear();
        let Ok(1..) = socket.read_line(&mut line).await else { return };
        answers.push_str(match line.get(..4).unwrap_or_default() {
            _ if is_message && line != ".\r\n" => continue,
            "EHLO" => "250-hi\r\n250 PIPELINING\r\n",
            "DATA" => "354 go on\r\n",
            "QUIT" => return,
            _ => "250 ok\r\n",
        });
        is_message = line == "DATA\r\n";
    }
}

/// Passes bytes on after this time. Returns its port.
async fn slow_way_to(port: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            for socket in [&client, &server] {
                socket.set_nodelay(true).unwrap();
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            pass(from_client, to_server, delay);
            pass(from_server, to_client, delay);
        }
    });
    own
}

fn pass(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    delay: Duration,
) {
    let (send, mut under_way) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if send.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
}

/// Sends so many mails, as many at a time as find a slot or may be ahead, and says how many connections were open at most.
async fn send_many(route: &Arc<Route>, mails: usize, at_a_time: usize) -> usize {
    let left = Arc::new(AtomicUsize::new(mails));
    let most = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..at_a_time)
        .map(|_| {
            let (route, left, most) = (Arc::clone(route), Arc::clone(&left), Arc::clone(&most));
            tokio::spawn(async move {
                let one_less = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                    let sent = send_one(&route).await;
                    assert!(
                        matches!(&sent, Ok(Sent::Answered(reply)) if reply.outcome == AttemptOutcome::Accepted),
                        "{sent:?}"
                    );
                    most.fetch_max(route.status().open, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    most.load(Ordering::Relaxed)
}

async fn send_one(route: &Arc<Route>) -> Result<Sent, NotReady> {
    let (ann, bob) = ("ann@example.net".parse().unwrap(), "bob@example.net".parse().unwrap());
    let envelope = Envelope { sender: Some(&ann), recipient: &bob };
    let message = Message::new(b"Subject: tea\r\n\r\n.\r\n".to_vec());
    let mut permit = loop {
        match route.permits(1).next() {
            Some(permit) => break permit,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    permit.arrive(WaitingMail::new(MailLane::Transactional, &envelope, &message, None)).await;
    Ok(permit.connect().await?.send(&envelope, &message, &Unfenced).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_one_connection_a_mail_costs_one_round_trip() {
    let (relay, connections) = relay().await;
    let port = slow_way_to(relay, Duration::from_millis(25)).await;
    let route = tuned_route(&RouteSettings { connections: 1, ..settings(port) }, Tuning::default());
    assert_eq!(send(&route, "zero").await.outcome, AttemptOutcome::Accepted);
    let (mails, began) = (40, Instant::now());
    let all_sent = async {
        send_many(&route, mails, 4).await;
        began.elapsed()
    };
    let (took, round_trip) = tokio::join!(all_sent, real_round_trip(port));
    let each = took.div_f64(mails as f64);
    println!(
        "{:.1} mails a second; each took {each:?} at a round trip of {round_trip:?}",
        1.0 / each.as_secs_f64()
    );
    assert!(each < round_trip.mul_f64(1.5), "each mail took {each:?} at a round trip of {round_trip:?}");
    assert_eq!(connections.load(Ordering::Relaxed), 2, "one of them for the measurement");
}

/// How long a command and its answer really take, on a machine as busy as it is now.
async fn real_round_trip(port: u16) -> Duration {
    let mut relay = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let mut answer = String::new();
    relay.read_line(&mut answer).await.unwrap();
    let (commands, began) = (30, Instant::now());
    for _ in 0..commands {
        relay.get_mut().write_all(b"NOOP\r\n").await.unwrap();
        relay.read_line(&mut answer).await.unwrap();
    }
    began.elapsed() / commands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_opened_only_as_the_line_grows() {
    let patience = Duration::from_secs(60);
    for (at_a_time, few) in [(1, 1), (6, 2), (12, 4), (24, 8)] {
        let (port, _) = relay().await;
        let tuning = Tuning { quick: patience, patience, ..Tuning::default() };
        let route = tuned_route(&RouteSettings { connections: 20, ..settings(port) }, tuning);
        assert_eq!(send(&route, "zero").await.outcome, AttemptOutcome::Accepted);
        let most = send_many(&route, 400, at_a_time).await;
        assert!(most <= few, "{at_a_time} at a time: {most} connections");
    }
}

#[tokio::test]
async fn a_mail_that_waits_for_a_connection_does_so_only_for_a_moment_while_there_are_other_places() {
    let (port, _) = relay().await;
    let tuning = Tuning { quick: Duration::from_secs(60), ..Tuning::default() };
    let route = tuned_route(&settings(port), tuning);
    assert_eq!(send(&route, "zero").await.outcome, AttemptOutcome::Accepted);
    // The relay of the first mail says nothing: here, nobody sends it.
    let held = route.permits(1).next().unwrap();
    let began = Instant::now();
    assert!(matches!(send_one(&route).await, Ok(Sent::Answered(_))));
    assert!(began.elapsed() >= tuning.patience, "it waited for the connection at work");
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(held);
}

#[tokio::test]
async fn a_mail_alone_waits_for_nothing() {
    let (port, _) = relay().await;
    let patience = Duration::from_secs(60);
    let route = tuned_route(&settings(port), Tuning { quick: patience, patience, ..Tuning::default() });
    for _ in 0..3 {
        let permit = route.permits(1).next().unwrap();
        assert!(!permit.is_ahead());
        drop(permit);
        assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
    }
}
