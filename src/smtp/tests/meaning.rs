//! What follows from replies on the wire: which stop the route, which a sender's domain, and what is kept of a dialogue.

use std::time::Duration;

use super::peer::{Peer, route, send, send_between, send_through, settings, signed_in};
use crate::mail::{Address, AttemptOutcome, Consequence, Message, Phase, ReplyClass};
use crate::smtp::{BreakerState, Envelope, NotReady, Sent, Unfenced};

const HELLO: &str = "S: 220 hi\nC: EHLO me.example.net\nS: 250 hi\n";
const MAIL: &str = "C: MAIL FROM:<ann@example.net>\n";
const RCPT: &str = "S: 250 ok\nC: RCPT TO:<bob@example.net>\n";
const TAKEN: &str = "S: 250 ok\nC: DATA\nS: 354 go on\nC: ...\nS: 250 ok\n";

fn hi() -> Message {
    Message::new(b"hi".to_vec())
}

fn script(parts: &[&str]) -> &'static str {
    Box::leak(parts.concat().into_boxed_str())
}

#[tokio::test]
async fn a_relay_that_refuses_us_in_words_stops_the_route_and_fails_no_mail() {
    for (end, class) in [
        ("S: 550 5.7.1 Relaying denied\nX: wait", ReplyClass::Config),
        ("S: 550 5.4.5 Daily user sending limit exceeded.\nX: wait", ReplyClass::RateLimited),
        ("S: 451 Authentication failed: Maximum credits exceeded\nX: wait", ReplyClass::RateLimited),
        (
            "S: 554 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org\nX: wait",
            ReplyClass::Reputation,
        ),
    ] {
        let peer = Peer::play([script(&[HELLO, MAIL, RCPT, end])]).await;
        let route = route(&settings(peer.port));
        let reply = send(&route, "hi").await;
        assert_eq!((reply.outcome, reply.judgement.class), (AttemptOutcome::Transient, class), "{end}");
        assert_eq!(route.permits(4).len(), 0, "{end}");
        let status = route.status();
        assert!(matches!(status.breaker, BreakerState::Open { .. }));
        assert!(status.stopped.unwrap().text.starts_with("the relay refused us, not the mail"));
        peer.finish().await;
    }
}

#[tokio::test]
async fn a_route_that_is_stopped_is_tried_by_one_mail_and_goes_on_when_that_is_taken() {
    let refused = script(&[HELLO, MAIL, "S: 530 5.7.0 Authentication required\nX: wait"]);
    let peer = Peer::play([refused, script(&[HELLO, MAIL, RCPT, TAKEN])]).await;
    let route = route(&settings(peer.port));
    assert_eq!(send(&route, "hi").await.judgement.then, Consequence::Stop);
    while route.status().breaker != BreakerState::HalfOpen {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let trial = route.permits(4);
    assert_eq!((trial.len(), route.permits(4).len()), (1, 0));
    drop(trial);
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted);
    assert_eq!((route.permits(4).len(), route.status().stopped.is_none()), (4, true));
    peer.finish().await;
}

#[tokio::test]
async fn a_sender_that_a_relay_refuses_stops_alone() {
    let peer = Peer::play([script(&[
        HELLO,
        MAIL,
        "S: 553 5.1.8 <ann@example.net>: Sender address rejected: Domain not found\nC: RSET\nS: 250 ok\n",
        "C: MAIL FROM:<eve@example.org>\n",
        RCPT,
        TAKEN,
    ])])
    .await;
    let route = route(&settings(peer.port));
    let refused = send(&route, "hi").await;
    assert_eq!((refused.outcome, refused.judgement.then), (AttemptOutcome::Transient, Consequence::Stop));
    let (ann, bob): (Address, Address) =
        ("Else@EXAMPLE.net".parse().unwrap(), "bob@example.net".parse().unwrap());
    let envelope = Envelope { sender: Some(&ann), recipient: &bob };
    match send_through(&route, &envelope, &hi(), &Unfenced).await {
        Ok(Sent::SenderWaits(pause)) => assert!(pause <= Duration::from_secs(15), "{pause:?}"),
        other => panic!("{other:?}"),
    }
    let taken = send_between(&route, Some("eve@example.org"), "bob@example.net", b"hi").await;
    assert_eq!((taken.outcome, route.status().stopped.is_none()), (AttemptOutcome::Accepted, true));
    peer.finish().await;
}

#[tokio::test]
async fn a_reply_of_ten_thousand_lines_with_odd_bytes_is_bounded_and_judged() {
    let mut lines = "S: 550-5.1.1 \u{0}User unknown".to_owned();
    for number in 0..10_000 {
        lines.push_str(&format!("\\r\\n550-line {number} \u{fc}"));
    }
    let peer = Peer::play([script(&[HELLO, MAIL, RCPT, &lines, "\\r\\n550 the end\nX: wait"])]).await;
    let route = route(&settings(peer.port));
    let reply = send(&route, "hi").await;
    assert_eq!((reply.outcome, reply.judgement.class), (AttemptOutcome::Permanent, ReplyClass::BadAddress));
    assert_eq!((reply.judgement.then, reply.phase), (Consequence::Suppress, Phase::RcptTo));
    assert!(reply.text.len() <= 1_024 && reply.transcript.unwrap().len() <= 8_192);
    assert_eq!(route.status().idle, 1, "the connection is good for another mail");
    drop(route);
    peer.finish().await;
}

#[tokio::test]
async fn a_failed_attempt_keeps_what_was_said_without_credentials_and_content() {
    let peer = Peer::play(["
        S: 220 hi
        C: EHLO me.example.net
        S: 250-hi
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AGFubgBodW50ZXIy
        S: 235 2.7.0 welcome
        C: MAIL FROM:<ann@example.net>
        S: 250 ok
        C: RCPT TO:<bob@example.net>
        S: 250 ok
        C: DATA
        S: 354 go on
        C: ...
        S: 554 5.6.0 hunter2 is malformed
        X: wait
    "])
    .await;
    let route = route(&signed_in(peer.port));
    let transcript = send(&route, "a secret voucher").await.transcript.unwrap();
    for expected in [
        "S: 220 hi",
        "C: AUTH PLAIN [credentials]",
        "C: RCPT TO:<bob@example.net>",
        "C: [message of 18 bytes]",
        "S: 554 5.6.0",
    ] {
        assert!(transcript.contains(expected), "{expected} is missing in:\n{transcript}");
    }
    for secret in ["hunter2", "AGFubg", "voucher"] {
        assert!(!transcript.contains(secret), "{secret} is in:\n{transcript}");
    }
    drop(route);
    peer.finish().await;
}

#[tokio::test]
async fn a_relay_that_says_421_to_each_second_connection_gets_its_mails_over_the_others() {
    let taken = script(&[HELLO, MAIL, RCPT, TAKEN]);
    let peer = Peer::play(["S: 421 4.3.2 not now", taken]).await;
    let route = route(&settings(peer.port));
    let refused = send(&route, "hi").await;
    assert_eq!((refused.phase, refused.outcome), (Phase::Greeting, AttemptOutcome::Transient));
    let bob: Address = "bob@example.net".parse().unwrap();
    let envelope = Envelope { sender: None, recipient: &bob };
    assert!(matches!(send_through(&route, &envelope, &hi(), &Unfenced).await, Err(NotReady::Away(_))));
    while route.status().breaker != BreakerState::HalfOpen {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted);
    peer.finish().await;
}
