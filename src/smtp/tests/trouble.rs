//! Relays that get too much, take no more over a connection, or take connections and no mail.

use std::{sync::Arc, time::Duration};

use super::peer::{
    FROM, GREETING, MAIL, PIPELINING, Peer, STEPS, hasty, route, script, send, send_between, settings,
    tuned_route, verdict,
};
use crate::mail::{Address, AttemptOutcome, Message, Phase};
use crate::smtp::{
    BreakerState, Envelope, NotReady, Route, RouteSettings, Sent, Tuning, Unfenced, pool_permit::PoolPermit,
};

const PLAIN: &str = "S: 250 hi\n";
const RESET: &str = "C: RSET\nS: 250 ok\n";
const TAKEN: &str = "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 ok\n";
const GOODBYE: &str = "C: QUIT\nS: 221 bye\nX: wait\n";
const ENOUGH: &str = "S: 451 4.5.3 Too many messages in this session\n";

/// Sends a mail that was admitted before.
async fn send_with(permit: PoolPermit) -> Result<Sent, NotReady> {
    let (ann, bob): (Address, Address) =
        ("ann@example.net".parse().unwrap(), "bob@example.net".parse().unwrap());
    let envelope = Envelope { sender: Some(&ann), recipient: &bob };
    Ok(permit.connect().await?.send(&envelope, &Message::new(b"hi".to_vec()), &Unfenced).await)
}

/// A route that is tried again soon.
fn quick_route(port: u16) -> Arc<Route> {
    tuned_route(&settings(port), Tuning { first_pause: Duration::from_millis(20), ..Tuning::default() })
}

async fn until_it_may_be_tried(route: &Route) {
    while route.status().breaker != BreakerState::HalfOpen {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_relay_that_gets_too_much_gets_nothing_more_of_what_was_admitted_before() {
    let too_much = "S: 450 4.2.1 Peak SMTP relay limit exceeded for this customer.\nX: wait\n";
    let peer = Peer::play([script(&[GREETING, PLAIN, FROM, too_much])]).await;
    let route = route(&settings(peer.port));
    let mut permits = route.permits(3);
    let [first, second] = [permits.next().unwrap(), permits.next().unwrap()];
    drop(permits);
    assert!(matches!(send_with(first).await, Ok(Sent::Answered(reply)) if reply.code == Some(450)));
    let second = send_with(second).await;
    assert!(matches!(second, Ok(Sent::RouteWaits)), "{second:?}");
    assert_eq!((route.permits(4).len(), route.status().stopped.is_none()), (0, true));
    let pause = route.pause().unwrap();
    assert!(pause > Duration::from_secs(14) && pause <= Duration::from_secs(15), "{pause:?}");
    drop(route);
    peer.finish().await;
}

#[tokio::test]
async fn after_the_time_that_it_asked_for_a_relay_gets_one_mail_at_a_time() {
    let too_much = "S: 421-4.7.0 Too many messages from your address,\nS: 421 4.7.0 try again in 1 second\n";
    let peer = Peer::play([
        script(&[GREETING, PLAIN, STEPS, "C: ...\n", too_much]),
        script(&[GREETING, PLAIN, STEPS, "C: ...\nS: 250 ok\n"]),
    ])
    .await;
    let route = route(&settings(peer.port));
    assert_eq!(verdict(&send(&route, "hi").await), (Phase::Final, AttemptOutcome::Transient, Some(421)));
    assert!(matches!(route.status().breaker, BreakerState::Open { .. }));
    while route.pause() != Some(Duration::ZERO) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(route.permits(4).len(), 1);
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted);
    let pause = route.pause().unwrap();
    assert!(pause > Duration::from_secs(1) && pause <= Duration::from_secs(2), "{pause:?}");
    peer.finish().await;
}

#[tokio::test]
async fn a_relay_that_takes_no_connection_for_a_while_is_not_dialled_before() {
    let peer = Peer::play(["S: 421 4.7.0 Too many connections, try again in 300 seconds"]).await;
    let route = route(&settings(peer.port));
    assert_eq!(send(&route, "hi").await.phase, Phase::Greeting);
    let pause = route.pause().unwrap();
    assert!(pause > Duration::from_secs(290) && pause <= Duration::from_secs(300), "{pause:?}");
    peer.finish().await;
}

#[tokio::test]
async fn a_relay_that_wants_no_further_connection_goes_on_with_those_that_there_are() {
    let refused = "S: 421 4.7.0 Too many connections, try again in 300 seconds";
    let peer = Peer::play([script(&[GREETING, PIPELINING, MAIL, TAKEN]), refused]).await;
    let route = route(&settings(peer.port));
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted);
    let in_use = route.permits(1).next().unwrap().connect().await.unwrap();
    let refused = route.permits(1).next().unwrap().connect().await;
    assert!(matches!(refused, Err(NotReady::Away(_))), "a mail waits for the connection that there is");
    assert!(route.pause().unwrap() <= Duration::from_secs(1));
    drop(in_use);
    peer.finish().await;
}

#[tokio::test]
async fn a_connection_that_has_carried_enough_is_replaced_within_the_attempt() {
    let refused = [ENOUGH, "S: 503 no\nS: 503 no\n"].concat();
    let peer = Peer::play([
        script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, &refused, GOODBYE]),
        script(&[GREETING, PIPELINING, MAIL, TAKEN]),
    ])
    .await;
    let route = route(&RouteSettings { connections: 1, ..settings(peer.port) });
    for message in ["one", "two"] {
        assert_eq!(send(&route, message).await.outcome, AttemptOutcome::Accepted, "{message}");
    }
    assert_eq!(peer.finish().await, ["one\r\n.\r\n", "two\r\n.\r\n"]);
}

#[tokio::test]
async fn a_new_connection_that_carries_nothing_is_left_alone_by_the_next_mail() {
    let peer = Peer::play([
        script(&[GREETING, PLAIN, FROM, ENOUGH, GOODBYE]),
        script(&[GREETING, PIPELINING, MAIL, TAKEN]),
    ])
    .await;
    let route = route(&RouteSettings { connections: 1, ..settings(peer.port) });
    assert_eq!(verdict(&send(&route, "hi").await), (Phase::MailFrom, AttemptOutcome::Transient, Some(451)));
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted);
    peer.finish().await;
}

#[tokio::test]
async fn a_connection_carries_as_many_mails_as_the_relay_says() {
    let limited = "S: 250-hi\nS: 250-PIPELINING\nS: 250 LIMITS MAILMAX=2 RCPTMAX=1\n";
    let first = script(&[GREETING, limited, MAIL, TAKEN, MAIL, TAKEN, GOODBYE]);
    let peer = Peer::play([first, script(&[GREETING, limited, MAIL, TAKEN])]).await;
    let route = route(&settings(peer.port));
    for message in ["one", "two", "three"] {
        assert_eq!(send(&route, message).await.outcome, AttemptOutcome::Accepted);
    }
    peer.finish().await;
}

#[tokio::test]
async fn a_relay_that_hangs_up_on_each_mail_is_away_until_it_takes_one() {
    let lost = script(&[GREETING, PLAIN, FROM]);
    let peer = Peer::play([lost, lost, lost, lost, script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
    let route = quick_route(peer.port);
    for _ in 0..3 {
        assert_eq!(route.status().breaker, BreakerState::Closed);
        assert_eq!(verdict(&send(&route, "hi").await), (Phase::MailFrom, AttemptOutcome::Transient, None));
    }
    assert!(route.pause().is_some() && route.status().stopped.is_none());
    until_it_may_be_tried(&route).await;
    let trial = route.permits(4);
    assert_eq!((trial.len(), route.permits(4).len()), (1, 0));
    drop(trial);
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Transient);
    until_it_may_be_tried(&route).await;
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted);
    assert_eq!((route.pause(), route.status().breaker), (None, BreakerState::Closed));
    peer.finish().await;
}

#[tokio::test]
async fn a_relay_with_the_same_fault_for_each_mail_is_away_and_one_that_knows_some_is_not() {
    let last = [FROM, "S: 451 4.3.0 Temporary server error, milter not available\n"].concat();
    let fault = [last.as_str(), RESET].concat();
    let to_bob = "S: 250 ok\nC: RCPT TO:<bob@example.net>\n";
    let unknown = [FROM, to_bob, "S: 550 5.1.1 no such user\n", RESET].concat();
    let peer = Peer::play([script(&[
        GREETING,
        PLAIN,
        &fault,
        &fault,
        &unknown,
        &fault,
        &fault,
        &last,
        "X: wait\n",
    ])]);
    let peer = peer.await;
    let route = quick_route(peer.port);
    for code in [451, 451, 550, 451, 451] {
        assert_eq!(send(&route, "hi").await.code, Some(code));
        assert_eq!(route.pause(), None);
    }
    assert_eq!(send(&route, "hi").await.code, Some(451));
    assert!(route.pause().is_some());
    assert_eq!(route.status().last_error.unwrap().text, "the relay takes no mail now (451)");
    drop(route);
    peer.finish().await;
}

#[tokio::test]
async fn a_relay_that_loses_commands_that_come_together_gets_one_at_a_time() {
    let one_by_one = "C: MAIL FROM:<ann@example.net>\nX: pause\nX: silence\nS: 250 ok\n\
        C: RCPT TO:<bob@example.net>\nX: silence\nS: 250 ok\nC: DATA\nS: 354 go on\nC: ...\nS: 250 ok\n";
    for lost in ["S: 250 ok\nX: wait\n", "S: 250 ok\nS: 354 go on\nX: wait\n"] {
        let peer = Peer::play([
            script(&[GREETING, PIPELINING, MAIL, lost]),
            script(&[GREETING, PIPELINING, one_by_one, one_by_one]),
        ])
        .await;
        let timeouts = hasty(Duration::from_millis(500));
        let route = tuned_route(&settings(peer.port), Tuning { timeouts, ..Tuning::default() });
        assert_eq!(verdict(&send(&route, "hi").await), (Phase::RcptTo, AttemptOutcome::Transient, None));
        for _ in 0..2 {
            let taken = send_between(&route, Some("ann@example.net"), "bob@example.net", b"hi").await;
            assert_eq!(taken.outcome, AttemptOutcome::Accepted, "{lost}");
        }
        peer.finish().await;
    }
}
