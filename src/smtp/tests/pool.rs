//! Many mails over few connections: reuse, limits, idle ends, and what happens when somebody hangs up.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::peer::{
    GREETING, MAIL, PIPELINING, Peer, hasty_route, route, script, send, send_through, settings, tuned_route,
};
use crate::mail::{AttemptOutcome, MailLane, Message, Phase};
use crate::smtp::attempt_error::AttemptError;
use crate::smtp::{
    BreakerState, Envelope, Fence, NotReady, Ready, RouteSettings, Sent, Tuning, Unfenced, WaitingMail,
};

const TAKEN: &str = "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 ok\n";

#[tokio::test]
async fn an_idle_connection_that_died_is_replaced_within_the_attempt() {
    for last_words in ["", "X: reset\n", "S: 421 4.4.2 timeout\n"] {
        let first = script(&[GREETING, PIPELINING, MAIL, TAKEN, last_words]);
        let peer = Peer::play([first, script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
        let route = route(&settings(peer.port));
        assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
        assert_eq!(send(&route, "two").await.outcome, AttemptOutcome::Accepted, "{last_words}");
        assert_eq!(peer.finish().await, ["one\r\n.\r\n", "two\r\n.\r\n"]);
    }
}

#[tokio::test]
async fn a_relay_that_refused_us_and_cannot_be_reached_now_is_not_tried_before_it_may_be_reached() {
    let route = route(&settings(1));
    let fault = || AttemptError::transient(Phase::Connect, "refused");
    let Some(before) = Instant::now().checked_sub(Duration::from_secs(5)) else { return };
    route.breaker().refused(&fault(), before);
    assert_eq!(route.permits(5).len(), 1, "its pause is over: one mail tries");
    let now = Instant::now();
    route.breaker().ask(now).unwrap().failed(&fault(), None, now);
    assert_eq!(route.permits(5).len(), 0);
    assert!(route.pause().unwrap() > Duration::ZERO);
}

#[tokio::test]
async fn a_421_to_an_idle_connection_is_not_held_against_the_mail() {
    for refusal in ["S: 421 bye\n", "S: 250 ok\nS: 421 bye\n", "S: 250 ok\nS: 250 ok\nS: 421 bye\n"] {
        let first = script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, refusal]);
        let peer = Peer::play([first, script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
        let route = route(&settings(peer.port));
        assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
        assert_eq!(send(&route, "two").await.outcome, AttemptOutcome::Accepted, "{refusal}");
        peer.finish().await;
    }
}

#[tokio::test]
async fn a_message_that_may_have_arrived_is_not_sent_again() {
    let first =
        script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\n"]);
    let peer = Peer::play([first]).await;
    let route = route(&settings(peer.port));
    assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
    let reply = send(&route, "two").await;
    assert_eq!((reply.phase, reply.outcome), (Phase::Final, AttemptOutcome::Unknown));
    assert_eq!(peer.finish().await.len(), 2);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_not_tried_twice() {
    let peer = Peer::play([script(&[GREETING, PIPELINING, MAIL])]).await;
    let reply = send(&route(&settings(peer.port)), "one").await;
    assert_eq!((reply.phase, reply.outcome), (Phase::MailFrom, AttemptOutcome::Transient));
    peer.finish().await;
}

#[tokio::test]
async fn a_server_that_talks_out_of_turn_is_not_spoken_to_again() {
    let first = script(&[
        GREETING,
        PIPELINING,
        MAIL,
        "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 ok\\r\\n250 ok again\nX: wait\n",
    ]);
    let peer = Peer::play([first]).await;
    let route = route(&settings(peer.port));
    assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(route.status().open, 0);
    peer.finish().await;
}

#[tokio::test]
async fn an_idle_connection_that_says_something_unasked_is_replaced_within_the_attempt() {
    for early in ["250 ok", "250 ok\\r\\n250 ok\\r\\n354 go on\\r\\n250 taken", "550 no", "nonsense"] {
        let first = script(&[
            GREETING,
            PIPELINING,
            MAIL,
            TAKEN,
            "X: pause\nS: ",
            early,
            "\nX: pause\nX: signal\nX: wait\n",
        ]);
        let peer = Peer::play([first, script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
        let route = route(&settings(peer.port));
        assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
        peer.signal().await;
        assert_eq!(send(&route, "two").await.outcome, AttemptOutcome::Accepted, "{early}");
        assert_eq!(peer.finish().await, ["one\r\n.\r\n", "two\r\n.\r\n"]);
    }
}

#[tokio::test]
async fn an_abandoned_dialogue_takes_its_connection_along() {
    let peer = Peer::play([
        script(&[GREETING, PIPELINING, MAIL, "X: signal\nX: wait\n"]),
        script(&[GREETING, PIPELINING, MAIL, TAKEN]),
    ])
    .await;
    let route = route(&RouteSettings { connections: 1, ..settings(peer.port) });
    let sending = tokio::spawn({
        let route = Arc::clone(&route);
        async move { send(&route, "one").await }
    });
    peer.signal().await;
    assert_eq!((route.status().open, route.status().busy), (1, 1));
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    assert_eq!((route.status().open, route.status().busy), (0, 0));
    assert_eq!(send(&route, "two").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.finish().await, ["two\r\n.\r\n"]);
}

#[tokio::test]
async fn mails_wait_for_the_connections_that_there_are() {
    let peer = Peer::play([script(&[
        GREETING,
        PIPELINING,
        MAIL,
        TAKEN,
        MAIL,
        TAKEN,
        MAIL,
        TAKEN,
        "C: QUIT\nS: 221 bye\n",
    ])])
    .await;
    let route = route(&RouteSettings { connections: 1, ..settings(peer.port) });
    let replies = tokio::join!(send(&route, "1"), send(&route, "2"), send(&route, "3"));
    assert!([replies.0, replies.1, replies.2].iter().all(|reply| reply.outcome == AttemptOutcome::Accepted));
    let status = route.status();
    assert_eq!((status.open, status.idle, status.busy), (1, 1, 0));
    route.close_idle().await;
    assert_eq!(route.status().open, 0);
    let mut received = peer.finish().await;
    received.sort(); // whoever asks first when the slot is free is next
    assert_eq!(received, ["1\r\n.\r\n", "2\r\n.\r\n", "3\r\n.\r\n"]);
}

#[tokio::test]
async fn of_a_quick_relay_a_few_mails_are_ahead_of_their_slots_and_wait_for_them() {
    let peer = Peer::play([script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, TAKEN])]).await;
    let route = route(&RouteSettings { connections: 1, ..settings(peer.port) });
    assert_eq!(route.permits(9).len(), 1, "nobody knows yet that it is quick");
    assert_eq!(send(&route, "1").await.outcome, AttemptOutcome::Accepted);
    let mut permits = route.permits(30);
    assert_eq!(permits.len(), 17, "its slot, and sixteen ahead");
    let (now, mut ahead) = (permits.next().unwrap(), permits.next().unwrap());
    drop(permits);
    assert!(!now.is_ahead() && ahead.is_ahead());
    let bob = "bob@example.net".parse().unwrap();
    let envelope = Envelope { sender: None, recipient: &bob };
    let mail = || WaitingMail::new(MailLane::Transactional, &envelope, &Message::new(b"2".to_vec()), None);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), ahead.arrive(mail())).await.is_err(),
        "the slot is taken"
    );
    drop(now);
    ahead.arrive(mail()).await;
    assert!(!ahead.is_ahead());
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(ahead);
    assert_eq!(route.permits(9).len(), 1, "it took nothing for a while");
}

#[tokio::test]
async fn a_connection_says_goodbye_when_it_was_idle_too_long() {
    let peer =
        Peer::play([script(&[GREETING, PIPELINING, MAIL, TAKEN, "C: QUIT\nS: 221 bye\nX: wait\n"])]).await;
    let tuning = Tuning { idle: Duration::from_millis(50), ..Tuning::default() };
    let route = tuned_route(&settings(peer.port), tuning);
    assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
    peer.finish().await;
    while route.status().open > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(route.status().idle, 0);
}

#[tokio::test]
async fn a_connection_is_replaced_after_its_share_of_mails() {
    let first = script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, TAKEN, "C: QUIT\nS: 221 bye\nX: wait\n"]);
    let peer = Peer::play([first, script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
    let tuning = Tuning { mails_per_connection: 2, ..Tuning::default() };
    let route = tuned_route(&settings(peer.port), tuning);
    for message in ["one", "two", "three"] {
        assert_eq!(send(&route, message).await.outcome, AttemptOutcome::Accepted);
    }
    peer.finish().await;
}

#[tokio::test]
async fn a_relay_that_comes_back_is_used_again() {
    let peer = Peer::play(["S: 421 not yet", script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
    let tuning = Tuning { first_pause: Duration::from_millis(20), ..Tuning::default() };
    let route = tuned_route(&settings(peer.port), tuning);
    assert_eq!(send(&route, "one").await.phase, Phase::Greeting);
    while route.status().breaker != BreakerState::HalfOpen {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&route, "one").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(route.status().breaker, BreakerState::Closed);
    assert!(route.status().last_error.unwrap().text.contains("takes no connections from us"));
    peer.finish().await;
}

/// A fence that closes before MAIL, or before the message.
struct Shut {
    before_mail: bool,
}

impl Fence for Shut {
    fn may_begin(&self) -> bool {
        !self.before_mail
    }

    fn may_begin_next(&self) -> bool {
        false
    }

    fn may_offer(&self) -> bool {
        false
    }
}

async fn send_past(route: &Arc<crate::smtp::Route>, fence: &Shut) -> Result<Sent, NotReady> {
    let recipient: crate::mail::Address = "bob@example.net".parse().unwrap();
    let sender: crate::mail::Address = "ann@example.net".parse().unwrap();
    let message = Message::new(b"no".to_vec());
    send_through(route, &Envelope { sender: Some(&sender), recipient: &recipient }, &message, fence).await
}

#[tokio::test]
async fn a_mail_that_may_not_be_offered_any_more_leaves_the_connection_to_another() {
    let peer = Peer::play([script(&[GREETING, PIPELINING, MAIL, TAKEN])]).await;
    let route = route(&settings(peer.port));
    assert!(matches!(send_past(&route, &Shut { before_mail: true }).await, Ok(Sent::Withheld)));
    assert_eq!(send(&route, "yes").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.finish().await, ["yes\r\n.\r\n"]);
}

#[tokio::test]
async fn a_mail_that_may_not_be_offered_after_data_ends_with_its_connection_and_without_a_byte() {
    let first =
        script(&[GREETING, PIPELINING, MAIL, "S: 250 ok\nS: 250 ok\nS: 354 go on\nX: silence\nX: wait\n"]);
    let peer = Peer::play([first]).await;
    let route = route(&settings(peer.port));
    assert!(matches!(send_past(&route, &Shut { before_mail: false }).await, Ok(Sent::Withheld)));
    assert_eq!(route.status().open, 0);
    assert_eq!(peer.finish().await, [""; 0]);
}

#[tokio::test]
async fn permits_are_as_many_as_places_and_one_where_the_relay_is_to_be_tried_again() {
    let peer = Peer::play(["S: 421 not yet", "S: 421 not yet"]).await;
    let tuning = Tuning { first_pause: Duration::from_millis(20), ..Tuning::default() };
    let route = tuned_route(&settings(peer.port), tuning);
    let mut all = route.permits(9);
    assert_eq!((all.len(), route.permits(9).len()), (4, 0));
    let one = all.next();
    drop(all);
    assert_eq!(route.permits(9).len(), 3);
    drop(one);
    assert_eq!(send(&route, "one").await.phase, Phase::Greeting);
    assert_eq!(route.permits(9).len(), 0);
    while route.status().breaker != BreakerState::HalfOpen {
        tokio::task::yield_now().await;
    }
    assert_eq!(route.permits(9).len(), 1);
    assert_eq!(send(&route, "one").await.phase, Phase::Greeting);
    peer.finish().await;
}

async fn send_over(ready: Ready, message: &str) -> AttemptOutcome {
    let (ann, bob) = ("ann@example.net".parse().unwrap(), "bob@example.net".parse().unwrap());
    let envelope = Envelope { sender: Some(&ann), recipient: &bob };
    match ready.send(&envelope, &Message::new(message.as_bytes().to_vec()), &Unfenced).await {
        Sent::Answered(reply) => reply.outcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mail_whose_connection_is_not_greeted_takes_one_that_comes_free() {
    // While the peer plays its only script it accepts nobody else: the second connection waits for a greeting.
    let peer =
        Peer::play([script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, TAKEN, "C: QUIT\nS: 221 bye\n"])])
            .await;
    let route = route(&settings(peer.port));
    let mut permits = route.permits(2);
    let (first, second) = (permits.next().unwrap(), permits.next().unwrap());
    drop(permits);
    let first = first.connect().await.unwrap();
    let second = tokio::spawn(second.connect());
    while route.status().open < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(send_over(first, "one").await, AttemptOutcome::Accepted);
    let second =
        timeout(Duration::from_secs(5), second).await.expect("it waits for its own").unwrap().unwrap();
    assert_eq!(route.status().busy, 2, "the connection that is being opened has its slot still");
    assert_eq!(send_over(second, "two").await, AttemptOutcome::Accepted);
    assert_eq!((route.status().busy, route.status().idle), (1, 1));
    route.close_idle().await;
    assert_eq!(peer.finish().await, ["one\r\n.\r\n", "two\r\n.\r\n"]);
    // Nobody listens any more. That it cannot be opened is told to the breaker.
    while route.status().busy > 0 {
        tokio::task::yield_now().await;
    }
    assert_ne!(route.status().breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_connection_that_cannot_be_opened_is_no_attempt_while_another_one_works() {
    let peer = Peer::play([script(&[GREETING, PIPELINING, "X: wait\n"]), "S: 421 not you"]).await;
    let route = hasty_route(peer.port, Duration::from_millis(100));
    let mut permits = route.permits(2);
    let (first, second) = (permits.next().unwrap(), permits.next().unwrap());
    drop(permits);
    let first = first.connect().await.unwrap();
    assert!(matches!(second.connect().await, Err(NotReady::Away(_))));
    assert_ne!(route.status().breaker, BreakerState::Closed);
    drop(first);
    while route.status().breaker != BreakerState::HalfOpen {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let alone = route.permits(1).next().unwrap().connect().await;
    assert!(matches!(alone, Err(NotReady::Failed(_))), "no other one would serve it");
    peer.finish().await;
}

#[tokio::test]
async fn a_place_that_is_given_back_tells_those_who_wait() {
    let route = route(&settings(1));
    let freed = Arc::clone(&route.shared.freed.worker);
    drop(route.permits(4));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), freed.notified()).await.is_err(),
        "none was used"
    );
    drop(route.permits(4).next());
    tokio::time::timeout(Duration::from_secs(5), freed.notified()).await.unwrap();
}
