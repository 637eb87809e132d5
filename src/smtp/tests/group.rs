//! A mail whose envelope leaves with the message of the one before it: what becomes of both, whatever the relay does.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::peer::{GREETING, MAIL, PIPELINING, Peer, hasty, script, send, settings, tuned_route, verdict};
use crate::mail::{
    Address, AttemptOutcome, Consequence, Judgement, MailLane, Message, Phase, Reply, ReplyClass, ReplyScope,
};
use crate::smtp::{
    Envelope, Fence, NotReady, Route, RouteSettings, Sent, Tuning, Unfenced, WaitingMail,
    pool_permit::PoolPermit,
};

const TAKEN: &str = "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 ok\n";
/// The first mail, up to its final dot.
const FIRST: &str = "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\n";
/// The commands of the second mail.
const SECOND: &str = "C: MAIL FROM:<ann@example.net>\nC: RCPT TO:<carl@example.net>\nC: DATA\n";
/// The answer to the first mail, and then to the second one.
const ALL_GOOD: &str = "S: 250 one\nS: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 two\n";

const ACCEPTED: (Phase, AttemptOutcome, Option<u16>) = (Phase::Final, AttemptOutcome::Accepted, Some(250));
const UNKNOWN: (Phase, AttemptOutcome, Option<u16>) = (Phase::Final, AttemptOutcome::Unknown, None);

/// A mail from ann.
struct Mail<'a> {
    recipient: Address,
    message: Message,
    fence: &'a dyn Fence,
    is_good: bool,
}

impl<'a> Mail<'a> {
    fn to(recipient: &str, message: &str, fence: &'a dyn Fence) -> Self {
        let message = Message::new(message.as_bytes().to_vec());
        Self { recipient: recipient.parse().unwrap(), message, fence, is_good: true }
    }

    async fn go(&self, mut permit: PoolPermit) -> Result<Sent, NotReady> {
        let ann = "ann@example.net".parse().unwrap();
        let envelope = Envelope { sender: Some(&ann), recipient: &self.recipient };
        let good_until = (!self.is_good).then(Instant::now);
        permit.arrive(WaitingMail::new(MailLane::Transactional, &envelope, &self.message, good_until)).await;
        Ok(permit.connect().await?.send(&envelope, &self.message, self.fence).await)
    }
}

fn answered(sent: Result<Sent, NotReady>) -> Reply {
    match sent {
        Ok(Sent::Answered(reply)) | Err(NotReady::Failed(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// A route with one connection, and nothing that is timed; it has sent a mail to a relay that is thus known to be quick.
async fn warm_route(port: u16, tuning: Tuning) -> Arc<Route> {
    let patient = Duration::from_secs(60);
    let tuning = Tuning { quick: patient, patience: patient, ..tuning };
    let route = tuned_route(&RouteSettings { connections: 1, ..settings(port) }, tuning);
    assert_eq!(send(&route, "zero").await.outcome, AttemptOutcome::Accepted);
    route
}

/// A mail to bob, and one to carl.
fn one_and_two() -> (Mail<'static>, Mail<'static>) {
    (Mail::to("bob@example.net", "one", &Unfenced), Mail::to("carl@example.net", "two", &Unfenced))
}

/// The permits of a mail that has the only slot, and of one that is ahead of it.
fn now_and_ahead(route: &Arc<Route>) -> (PoolPermit, PoolPermit) {
    let mut permits = route.permits(2);
    let (now, ahead) = (permits.next().unwrap(), permits.next().unwrap());
    assert!(!now.is_ahead() && ahead.is_ahead());
    (now, ahead)
}

/// Sends both over the only connection; the second waits in line when the first is sent.
async fn send_both(route: &Arc<Route>, first: Mail<'_>, second: Mail<'_>) -> [Result<Sent, NotReady>; 2] {
    let (now, ahead) = now_and_ahead(route);
    let both = async { tokio::join!(biased; second.go(ahead), first.go(now)) };
    let (second, first) = timeout(Duration::from_secs(20), both).await.expect("the dialogue is stuck");
    [first, second]
}

fn is_grouping(route: &Route) -> bool {
    route.relay.pool.pooled().grouping.is_on(Instant::now())
}

/// What becomes of two mails when the relay goes on like this after the second envelope came with the first message;
/// the second mail may come again over another connection.
async fn both_with(end: &str, comes_again: bool, tuning: Tuning) -> (Arc<Route>, [Reply; 2], Vec<String>) {
    let mut scripts = vec![script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, SECOND, end])];
    if comes_again {
        scripts.push(script(&[GREETING, PIPELINING, SECOND, TAKEN]));
    }
    let peer = Peer::play_all(scripts).await;
    let route = warm_route(peer.port, tuning).await;
    let (first, second) = one_and_two();
    let replies = send_both(&route, first, second).await.map(answered);
    (route, replies, peer.finish().await)
}

#[tokio::test]
async fn the_next_envelope_leaves_with_a_message() {
    let (route, replies, messages) = both_with(ALL_GOOD, false, Tuning::default()).await;
    assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, ACCEPTED]);
    assert_eq!(replies.map(|reply| reply.text), ["one", "two"]);
    assert_eq!(messages, ["zero\r\n.\r\n", "one\r\n.\r\n", "two\r\n.\r\n"]);
    let status = route.status();
    assert_eq!((status.idle, status.busy), (1, 0));
}

#[tokio::test]
async fn a_refused_message_says_nothing_about_the_mail_that_follows() {
    for (said, first) in [
        ("451 4.3.0 later", (Phase::Final, AttemptOutcome::Transient, Some(451))),
        ("554 5.7.1 spam", (Phase::Final, AttemptOutcome::Permanent, Some(554))),
    ] {
        let (_, replies, messages) =
            both_with(&ALL_GOOD.replacen("250 one", said, 1), false, Tuning::default()).await;
        assert_eq!(replies.each_ref().map(verdict), [first, ACCEPTED], "{said}");
        let [refused, _] = replies.map(|reply| reply.transcript);
        assert!(refused.is_some_and(|said| said.contains("bob") && !said.contains("carl")));
        assert_eq!(messages.len(), 3);
    }
}

#[tokio::test]
async fn when_the_relay_hangs_up_only_the_mail_whose_dot_was_sent_may_have_arrived() {
    let farewell = (Phase::Final, AttemptOutcome::Transient, Some(421));
    for (end, first) in [
        ("", UNKNOWN),
        ("X: reset", UNKNOWN),
        ("S: nonsense", UNKNOWN),
        ("S: 354 what?", UNKNOWN),
        ("S: 421 4.3.2 bye", farewell),
        ("S: 250 one", ACCEPTED),
        ("S: 250 one\nS: 421 bye", ACCEPTED),
        ("S: 250 one\nS: 250 ok", ACCEPTED),
        ("S: 250 one\nS: 250 ok\nS: 421 bye", ACCEPTED),
        ("S: 250 one\nS: 250 ok\nS: 250 ok", ACCEPTED),
        ("S: 250 one\nS: 250 ok\nS: 250 ok\nS: 421 bye", ACCEPTED),
    ] {
        let (route, replies, messages) = both_with(end, true, Tuning::default()).await;
        assert_eq!(replies.each_ref().map(verdict), [first, ACCEPTED], "{end}");
        assert_eq!(messages, ["zero\r\n.\r\n", "one\r\n.\r\n", "two\r\n.\r\n"], "{end}");
        assert!(is_grouping(&route), "{end}: it is no fault of the group");
    }
}

#[tokio::test]
async fn a_mail_that_follows_is_unknown_as_any_other_once_its_own_dot_was_sent() {
    let end = "S: 250 one\nS: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\n";
    let (_, replies, _) = both_with(end, false, Tuning::default()).await;
    assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, UNKNOWN]);
}

#[tokio::test]
async fn a_recipient_refused_in_a_group_costs_nobody_the_connection() {
    for end in [
        "S: 250 one\nS: 250 ok\nS: 550 5.1.1 no such user\nS: 503 5.5.1 no recipient\n",
        "S: 250 one\nS: 250 ok\nS: 550 5.1.1 no such user\nS: 354 go on\nC: .\nS: 554 no valid recipients\n",
    ] {
        let more = "S: 250 reset\nS: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 ok\n";
        let whole =
            script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, SECOND, end, "C: RSET\n", MAIL, more]);
        let peer = Peer::play([whole]).await;
        let route = warm_route(peer.port, Tuning::default()).await;
        let (first, second) = one_and_two();
        let replies = send_both(&route, first, second).await.map(answered);
        let refused = (Phase::RcptTo, AttemptOutcome::Permanent, Some(550));
        assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, refused], "{end}");
        assert_eq!(send(&route, "three").await.outcome, AttemptOutcome::Accepted);
        assert_eq!(peer.finish().await, ["zero\r\n.\r\n", "one\r\n.\r\n", "three\r\n.\r\n"]);
    }
}

#[tokio::test]
async fn mail_that_is_refused_in_a_group_is_asked_for_alone() {
    let alone = ["C: RSET\n", SECOND, "S: 250 reset\n"].concat();
    let refused = (Phase::MailFrom, AttemptOutcome::Permanent, Some(550));
    for (in_group, then, second, goes_on) in [
        (
            "503 5.5.1 nested MAIL command",
            "S: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 two\n",
            ACCEPTED,
            false,
        ),
        ("550 5.7.1 not you", "S: 550 5.7.1 not you\nS: 503 no\nS: 503 no\n", refused, true),
    ] {
        let end = format!("S: 250 one\nS: {in_group}\nS: 503 no\nS: 503 no\n{alone}{then}");
        let (route, replies, _) = both_with(&end, false, Tuning::default()).await;
        assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, second], "{in_group}");
        assert_eq!(is_grouping(&route), goes_on, "{in_group}");
        drop(route);
    }
}

#[tokio::test]
async fn a_connection_that_has_carried_enough_is_no_fault_of_the_group() {
    let end = "S: 250 one\nS: 451 4.5.3 Too many messages in this session\nS: 503 no\nS: 503 no\nC: QUIT\nS: 221 bye\nX: wait\n";
    let (route, replies, messages) = both_with(end, true, Tuning::default()).await;
    assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, ACCEPTED]);
    assert_eq!((messages.len(), is_grouping(&route)), (3, true));
}

#[tokio::test]
async fn a_relay_that_loses_what_follows_a_message_is_sent_no_further_group() {
    let silent = (Phase::MailFrom, AttemptOutcome::Transient, None);
    let tuning = Tuning { timeouts: hasty(Duration::from_secs(1)), ..Tuning::default() };
    for (end, comes_again, second) in [
        // It answers DATA, and MAIL and RCPT are lost.
        ("S: 250 one\nS: 354 go on\nX: wait\n", true, ACCEPTED),
        ("S: 250 one\nS: nonsense\nX: wait\n", true, ACCEPTED),
        // It says that it knows PIPELINING, and throws away what it has not read.
        ("S: 250 one\nX: wait\n", false, silent),
    ] {
        let (route, replies, messages) = both_with(end, comes_again, tuning).await;
        assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, second], "{end}");
        assert_eq!(messages.len(), if comes_again { 3 } else { 2 });
        assert!(!is_grouping(&route), "{end}");
    }
}

#[tokio::test]
async fn silence_after_a_message_leaves_that_unknown_and_the_next_mail_goes_elsewhere() {
    let tuning = Tuning { timeouts: hasty(Duration::from_secs(1)), ..Tuning::default() };
    let (_, replies, messages) = both_with("X: wait\n", true, tuning).await;
    assert_eq!(replies.each_ref().map(verdict), [UNKNOWN, ACCEPTED]);
    assert_eq!(messages.len(), 3);
}

#[tokio::test]
async fn a_mail_that_leaves_after_its_envelope_takes_the_connection_along_and_not_the_first_mail() {
    let end = "X: signal\nX: pause\nS: 250 one\nS: 250 ok\nS: 250 ok\nS: 354 go on\nX: wait\n";
    let again = script(&[GREETING, PIPELINING, MAIL, TAKEN]);
    let peer =
        Peer::play([script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, SECOND, end]), again]).await;
    let route = warm_route(peer.port, Tuning::default()).await;
    let (now, ahead) = now_and_ahead(&route);
    let (first, second) = one_and_two();
    let leaves = async {
        tokio::select! {
            sent = second.go(ahead) => panic!("{sent:?}"),
            () = peer.signal() => {}
        }
    };
    let ((), sent) = tokio::join!(biased; leaves, first.go(now));
    assert_eq!(verdict(&answered(sent)), ACCEPTED);
    assert_eq!((route.status().open, route.status().busy), (0, 0));
    assert_eq!(send(&route, "three").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.finish().await, ["zero\r\n.\r\n", "one\r\n.\r\n", "three\r\n.\r\n"]);
}

#[tokio::test]
async fn a_mail_whose_sender_is_gone_before_its_message_frees_the_one_behind_it() {
    // The job of the first mail ends while its message is under way: it is closed with its connection.
    let first = script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, SECOND, "X: signal\nX: wait\n"]);
    let peer = Peer::play([first, script(&[GREETING, PIPELINING, SECOND, TAKEN])]).await;
    let route = warm_route(peer.port, Tuning::default()).await;
    let (now, ahead) = now_and_ahead(&route);
    let (first, second) = one_and_two();
    let leaves = async {
        tokio::select! {
            sent = first.go(now) => panic!("{sent:?}"),
            () = peer.signal() => {}
        }
    };
    let both = async { tokio::join!(biased; second.go(ahead), leaves).0 };
    let sent = timeout(Duration::from_secs(20), both).await.expect("the second mail waits for ever");
    assert_eq!(verdict(&answered(sent)), ACCEPTED);
    assert_eq!(peer.finish().await.len(), 3);
}

/// A fence that closes at some point.
struct Shut {
    next: bool,
    content: bool,
}

impl Fence for Shut {
    fn may_begin(&self) -> bool {
        true
    }

    fn may_begin_next(&self) -> bool {
        !self.next
    }

    fn may_offer(&self) -> bool {
        !self.content
    }
}

#[tokio::test]
async fn the_fence_of_a_mail_that_follows_is_asked_before_its_message() {
    let end = "S: 250 one\nS: 250 ok\nS: 250 ok\nS: 354 go on\nX: silence\nX: wait\n";
    let whole = script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, SECOND, end]);
    let peer = Peer::play([whole]).await;
    let route = warm_route(peer.port, Tuning::default()).await;
    let shut = Shut { next: false, content: true };
    let (first, second) =
        (Mail::to("bob@example.net", "one", &Unfenced), Mail::to("carl@example.net", "two", &shut));
    let [first, second] = send_both(&route, first, second).await;
    assert_eq!(verdict(&answered(first)), ACCEPTED);
    assert!(matches!(second, Ok(Sent::Withheld)), "{second:?}");
    assert_eq!(route.status().open, 0);
    assert_eq!(peer.finish().await.len(), 2);
}

/// Two mails of which the second must wait for the answer to the first, over the same connection.
async fn one_after_the_other(prepare: impl FnOnce(&Route), first: Mail<'_>, second: Mail<'_>) {
    let end = ["X: pause\nX: silence\nS: 250 one\n", SECOND, TAKEN].concat();
    let peer = Peer::play([script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, &end])]).await;
    let route = warm_route(peer.port, Tuning::default()).await;
    prepare(&route);
    let replies = send_both(&route, first, second).await.map(answered);
    assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, ACCEPTED]);
    peer.finish().await;
}

#[tokio::test]
async fn a_mail_that_may_not_leave_with_a_message_waits_for_the_answer_to_it() {
    let first = || Mail::to("bob@example.net", "one", &Unfenced);
    let second = || Mail::to("carl@example.net", "two", &Unfenced);
    let nothing = |_: &Route| {};
    let stale = Mail { is_good: false, ..second() };
    one_after_the_other(nothing, first(), stale).await;
    let stopping = Shut { next: true, content: false };
    one_after_the_other(nothing, Mail::to("bob@example.net", "one", &stopping), second()).await;
    let failed = |route: &Route| assert!(route.relay.pool.pooled().grouping.failed(Instant::now()));
    one_after_the_other(failed, first(), second()).await;
}

#[tokio::test]
async fn a_sender_that_the_relay_slows_down_does_not_leave_with_a_message() {
    let whole =
        script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, "X: pause\nX: silence\nS: 250 one\n"]);
    let peer = Peer::play([whole]).await;
    let route = warm_route(peer.port, Tuning::default()).await;
    let slow = Judgement {
        class: ReplyClass::RateLimited,
        then: Consequence::Slow,
        scope: ReplyScope::SenderDomain,
        wait: None,
    };
    // The first mail has had its turn when the relay slows its sender's domain down.
    struct Slows<'a>(&'a Route, Judgement);
    impl Fence for Slows<'_> {
        fn may_begin(&self) -> bool {
            true
        }
        fn may_begin_next(&self) -> bool {
            true
        }
        fn may_offer(&self) -> bool {
            self.0.with_senders(|senders| senders.note("example.net", &self.1, Instant::now()));
            true
        }
    }
    let slows = Slows(&route, slow);
    let (first, second) =
        (Mail::to("bob@example.net", "one", &slows), Mail::to("carl@example.net", "two", &Unfenced));
    let [first, second] = send_both(&route, first, second).await;
    assert_eq!(verdict(&answered(first)), ACCEPTED);
    assert!(matches!(second, Ok(Sent::SenderWaits(_))), "{second:?}");
    drop(route);
    peer.finish().await;
}

#[tokio::test]
async fn a_connection_that_has_carried_its_share_takes_no_further_mail_along() {
    let end = "X: pause\nX: silence\nS: 250 one\nC: QUIT\nS: 221 bye\nX: wait\n";
    let first = script(&[GREETING, PIPELINING, MAIL, TAKEN, MAIL, FIRST, end]);
    let peer = Peer::play([first, script(&[GREETING, PIPELINING, SECOND, TAKEN])]).await;
    let route = warm_route(peer.port, Tuning { mails_per_connection: 2, ..Tuning::default() }).await;
    let (first, second) = one_and_two();
    let replies = send_both(&route, first, second).await.map(answered);
    assert_eq!(replies.each_ref().map(verdict), [ACCEPTED, ACCEPTED]);
    peer.finish().await;
}
