//! Mails that one relay does not take, and what another makes of them within the same attempt.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;
use crate::{
    admission::{
        Admission, Admit,
        tests::{admission_to, leases},
    },
    clock,
    mail::Address,
    queue::Decision,
    smtp::Unfenced,
    store::PauseRecord,
};

/// What a relay answers in place of what it should; `hang up` for no answer.
type Says = fn(&str) -> Option<&'static str>;

/// A relay that takes all mails but for that, and offers this. Returns its port, and how many messages it took.
async fn relay(offers: &'static str, says: Says) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(converse(socket, offers, says, Arc::clone(&count)));
        }
    });
    (port, taken)
}

async fn converse(socket: TcpStream, offers: &str, says: Says, taken: Arc<AtomicUsize>) {
    let mut socket = BufReader::new(socket);
    let (mut line, mut is_message, mut answer) = (String::new(), false, "220 hi".to_owned());
    loop {
        if answer == "hang up" || socket.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return;
        }
        line.clear();
        while is_message && line != ".\r\n" {
            line.clear();
            let Ok(1..) = socket.read_line(&mut line).await else { return };
        }
        if std::mem::take(&mut is_message) {
            taken.fetch_add(1, Ordering::Relaxed);
            answer = "250 ok".to_owned();
            continue;
        }
        let Ok(1..) = socket.read_line(&mut line).await else { return };
        let command = line.get(..4).unwrap_or_default();
        let usual = if command == "DATA" { "354 go on" } else { "250 ok" };
        let said = says(command);
        is_message = command == "DATA" && said.is_none();
        answer = if command == "EHLO" {
            format!("250-hi\r\n250 {offers}")
        } else {
            said.unwrap_or(usual).to_owned()
        };
    }
}

/// Two routes to these ports, of which the first is preferred.
fn first_and_second(first: u16, second: u16) -> Admission {
    let (first, second) = (format!("port = {first}\npriority = 5"), format!("port = {second}"));
    let (admission, worker) = admission_to(&[("first", &first), ("second", &second)], "", "");
    worker.note_heartbeat(clock::now(), Instant::now());
    admission
}

/// What becomes of a mail of a hundred letters.
async fn send(admission: &Admission) -> Reply {
    let mails = leases(&[("acme", "a.example")]).await;
    let (_, reserved) = admission.reserve(1);
    let Some(Decision::Now(permit)) = admission.decide(reserved, &mails).await.pop() else {
        panic!("it may go")
    };
    let (ann, bob): (Address, Address) =
        ("ann@shop.example".parse().unwrap(), "bob@a.example".parse().unwrap());
    let envelope = Envelope { sender: Some(&ann), recipient: &bob };
    let Ok(offer) = permit.connect().await else { panic!("there is a connection") };
    match offer.send(&envelope, &Message::new(vec![b'x'; 100]), &Unfenced).await {
        Sent::Answered(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn route_and_outcome(reply: &Reply) -> (&str, AttemptOutcome) {
    (&reply.route, reply.outcome)
}

#[tokio::test]
async fn a_mail_of_which_a_relay_heard_no_content_goes_to_the_next_route_at_once() {
    let (reserve, taken) = relay("SIZE 0", |_| None).await;
    let says: [Says; 5] = [
        |command| (command == "MAIL").then_some("hang up"),
        |command| (command == "RCPT").then_some("what?"),
        |command| (command == "DATA").then_some("hang up"),
        |command| (command == "DATA").then_some("554 5.7.1 Relaying denied"),
        |command| (command == "MAIL").then_some("530 5.7.0 Authentication required"),
    ];
    for (number, says) in says.into_iter().enumerate() {
        let (first, _) = relay("SIZE 0", says).await;
        let reply = send(&first_and_second(first, reserve)).await;
        assert_eq!(route_and_outcome(&reply), ("second", AttemptOutcome::Accepted), "{number}: {reply:?}");
        assert_eq!(taken.load(Ordering::Relaxed), number + 1);
    }
}

#[tokio::test]
async fn a_mail_that_a_relay_refuses_or_may_have_goes_to_no_other() {
    let (reserve, taken) = relay("SIZE 0", |_| None).await;
    let says: [(Says, AttemptOutcome); 3] = [
        (|command| (command == "RCPT").then_some("550 5.1.1 no such user"), AttemptOutcome::Permanent),
        (|command| (command == "MAIL").then_some("451 4.3.0 not now"), AttemptOutcome::Transient),
        (|command| (command == "DATA").then_some("354 go on\r\n550 5.7.1 no"), AttemptOutcome::Transient),
    ];
    for (says, outcome) in says {
        let (first, _) = relay("SIZE 0", says).await;
        let reply = send(&first_and_second(first, reserve)).await;
        assert_eq!(route_and_outcome(&reply), ("first", outcome), "{reply:?}");
    }
    assert_eq!(taken.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_mail_that_one_relay_cannot_carry_goes_to_another_and_fails_only_where_none_can() {
    let (small, _) = relay("SIZE 50", |_| None).await;
    let (large, taken) = relay("SIZE 0", |_| None).await;
    let reply = send(&first_and_second(small, large)).await;
    assert_eq!(route_and_outcome(&reply), ("second", AttemptOutcome::Accepted));
    assert_eq!(taken.load(Ordering::Relaxed), 1);

    let reply = send(&first_and_second(small, small)).await;
    assert_eq!(route_and_outcome(&reply), ("first", AttemptOutcome::Permanent));
    assert!(reply.text.ends_with("the relay takes at most 50"), "{}", reply.text);

    // Nobody knows what the other one can.
    let nowhere = send(&first_and_second(small, 1)).await;
    assert_eq!(route_and_outcome(&nowhere), ("second", AttemptOutcome::Transient));
    let paused = first_and_second(small, large);
    let scope = crate::mail::PauseScope::parse("route", "second").unwrap();
    let (reason, actor) = ("tried".to_owned(), "cli:ann".to_owned());
    let record = PauseRecord { scope, reason, actor, at: clock::now(), ends_at: None, is_suspension: false };
    paused.set_paused(crate::admission::paused::Paused::of(vec![record]));
    let later = send(&paused).await;
    assert_eq!(route_and_outcome(&later), ("first", AttemptOutcome::Transient));
    assert!(later.text.ends_with("no other route can take it now"), "{}", later.text);

    // The first could have carried it, and only hung up.
    let (lost, _) = relay("SIZE 0", |command| (command == "MAIL").then_some("hang up")).await;
    let reply = send(&first_and_second(lost, small)).await;
    assert_eq!(route_and_outcome(&reply), ("first", AttemptOutcome::Transient));
}
