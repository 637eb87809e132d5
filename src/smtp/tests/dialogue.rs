//! One mail over one connection, with relays that do odd things.

use std::time::Duration;

use super::peer::{
    FROM, GREETING, MAIL, PIPELINING, Peer, STEPS, hasty_route, route, script, send, send_between, settings,
    signed_in, verdict,
};
use crate::mail::{AttemptOutcome, Phase};
use crate::smtp::BreakerState;

#[tokio::test]
async fn three_commands_leave_in_one_write_when_the_server_takes_them_so() {
    let peer = Peer::play(["
        S: 220 ready
        C: EHLO me.example.net
        S: 250-hello
        S: 250-PIPELINING
        S: 250 SIZE 1000
        C: MAIL FROM:<ann@example.net> SIZE=10
        C: RCPT TO:<bob@example.net>
        C: DATA
        S: 250 2.1.0 Ok
        S: 250 2.1.5 Ok
        S: 354 go on
        C: ...
        S: 250 2.0.0 Ok: queued as 4F2A1
    "])
    .await;
    let reply = send(&route(&settings(peer.port)), "hi\r\n.\r\n!").await;
    assert_eq!(verdict(&reply), (Phase::Final, AttemptOutcome::Accepted, Some(250)));
    assert_eq!(reply.provider_id.as_deref(), Some("4F2A1"));
    assert_eq!(reply.enhanced.unwrap().to_string(), "2.0.0");
    assert_eq!((reply.route.as_str(), reply.text.as_str()), ("main", "2.0.0 Ok: queued as 4F2A1"));
    assert_eq!(peer.finish().await, ["hi\r\n..\r\n!\r\n.\r\n"]);
}

#[tokio::test]
async fn commands_wait_for_their_answers_when_the_server_knows_no_pipelining() {
    let peer = Peer::play(["
        S: 220-ready
        S: 220 indeed
        C: EHLO me.example.net
        S: 502 what?
        C: HELO me.example.net
        S: 250 hello
        C: MAIL FROM:<>
        X: silence
        S: 250 ok
        C: RCPT TO:<bob@example.net>
        X: silence
        S: 251 elsewhere
        C: DATA
        X: silence
        S: 354 go on
        C: ...
        S: 250 ok
    "])
    .await;
    let reply = send_between(&route(&settings(peer.port)), None, "bob@example.net", b"hi").await;
    assert_eq!(verdict(&reply), (Phase::Final, AttemptOutcome::Accepted, Some(250)));
    assert_eq!(reply.provider_id, None);
    peer.finish().await;
}

#[tokio::test]
async fn a_recipient_refused_before_354_leaves_a_connection_for_the_next_mail() {
    let peer = Peer::play([script(&[
        GREETING,
        PIPELINING,
        "C: MAIL FROM:<ann@example.net>\nC: RCPT TO:<nobody@example.net>\nC: DATA\nS: 250 ok\nS: 550 5.1.1 no such user\nS: 354 go on\nC: .\nS: 554 no valid recipients\nC: RSET\n",
        MAIL,
        "S: 250 reset\nS: 250 ok\nS: 250 ok\nS: 354 go on\nC: ...\nS: 250 ok\n",
    ])])
    .await;
    let route = route(&settings(peer.port));
    let reply = send_between(&route, Some("ann@example.net"), "nobody@example.net", b"hi").await;
    assert_eq!(verdict(&reply), (Phase::RcptTo, AttemptOutcome::Permanent, Some(550)));
    assert_eq!(reply.enhanced.unwrap().to_string(), "5.1.1");
    assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.finish().await.len(), 1);
}

#[tokio::test]
async fn a_2xx_to_the_lone_dot_is_no_delivery() {
    let peer = Peer::play([script(&[
        GREETING,
        PIPELINING,
        MAIL,
        "S: 250 ok\nS: 450 4.2.1 later\nS: 354 go on\nC: .\nS: 250 ok: queued as 1\n",
    ])])
    .await;
    let reply = send(&route(&settings(peer.port)), "hi").await;
    assert_eq!(verdict(&reply), (Phase::RcptTo, AttemptOutcome::Transient, Some(450)));
    assert_eq!(reply.provider_id, None);
    peer.finish().await;
}

#[tokio::test]
async fn a_server_that_wants_the_message_of_a_refused_sender_gets_nothing() {
    let peer = Peer::play([script(&[
        GREETING,
        PIPELINING,
        MAIL,
        "S: 550 5.7.1 not you\nS: 250 ok\nS: 354 go on\nX: wait\n",
    ])])
    .await;
    let reply = send(&route(&settings(peer.port)), "hi").await;
    assert_eq!(verdict(&reply), (Phase::MailFrom, AttemptOutcome::Permanent, Some(550)));
    peer.finish().await;
}

#[tokio::test]
async fn a_refusal_without_pipelining_is_followed_by_rset() {
    let peer = Peer::play(["
        S: 220 ready
        C: EHLO me.example.net
        S: 250 hello
        C: MAIL FROM:<ann@example.net>
        S: 250 ok
        C: RCPT TO:<bob@example.net>
        S: 450 4.2.1 later
        C: RSET
        S: 250 reset
        C: MAIL FROM:<ann@example.net>
        S: 250 ok
        C: RCPT TO:<bob@example.net>
        S: 250 ok
        C: DATA
        S: 451 4.3.0 not now
    "])
    .await;
    let route = route(&settings(peer.port));
    assert_eq!(verdict(&send(&route, "hi").await), (Phase::RcptTo, AttemptOutcome::Transient, Some(450)));
    assert_eq!(verdict(&send(&route, "hi").await), (Phase::Data, AttemptOutcome::Transient, Some(451)));
    peer.finish().await;
}

#[tokio::test]
async fn a_mail_that_the_server_cannot_carry_is_refused_without_asking_it() {
    let peer = Peer::play([script(&[GREETING, "S: 250-hello\nS: 250 SIZE 100\nX: wait\n"])]).await;
    let route = route(&settings(peer.port));
    let ann = Some("ann@example.net");
    for (sender, recipient, message, phase, enhanced, said) in [
        (ann, "bob@example.net", "ü", Phase::MailFrom, "5.6.3", "8BITMIME"),
        (ann, "jörg@example.net", "hi", Phase::RcptTo, "5.6.7", "SMTPUTF8"),
        (Some("jörg@example.net"), "bob@example.net", "hi", Phase::MailFrom, "5.6.7", "SMTPUTF8"),
        (ann, "bob@example.net", &"x".repeat(101), Phase::MailFrom, "5.3.4", "at most 100"),
    ] {
        let reply = send_between(&route, sender, recipient, message.as_bytes()).await;
        assert_eq!(verdict(&reply), (phase, AttemptOutcome::Permanent, None), "{reply:?}");
        assert_eq!(reply.enhanced.unwrap().to_string(), enhanced);
        assert!(reply.text.contains(said), "{}", reply.text);
    }
    assert_eq!(route.status().idle, 1);
    drop(route);
    peer.finish().await;
}

#[tokio::test]
async fn extensions_that_a_mail_needs_are_announced_with_mail() {
    let peer = Peer::play(["
        S: 220 ready
        C: EHLO me.example.net
        S: 250-hello
        S: 250-8BITMIME
        S: 250 SMTPUTF8
        C: MAIL FROM:<ann@example.net> BODY=8BITMIME SMTPUTF8
        S: 250 ok
        C: RCPT TO:<jörg@example.net>
        S: 250 ok
        C: DATA
        S: 354 go on
        C: ...
        S: 250 ok
    "])
    .await;
    let route = route(&settings(peer.port));
    let reply = send_between(&route, Some("ann@example.net"), "jörg@example.net", "grüezi".as_bytes()).await;
    assert_eq!(reply.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.finish().await, ["grüezi\r\n.\r\n"]);
}

#[tokio::test]
async fn a_5xx_before_mail_from_is_about_the_route_and_opens_its_breaker() {
    for (script, phase, code) in [
        ("S: 554 go away", Phase::Greeting, Some(554)),
        ("S: 421 too many", Phase::Greeting, Some(421)),
        (
            "S: 220 hi\nC: EHLO me.example.net\nS: 500 no\nC: HELO me.example.net\nS: 550 no",
            Phase::Hello,
            Some(550),
        ),
        ("S: 220 hi\nC: EHLO me.example.net\nS: 250 AUTH", Phase::Auth, None),
        (
            "S: 220 hi\nC: EHLO me.example.net\nS: 250-hi\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGFubgBodW50ZXIy\nS: 535 5.7.8 no",
            Phase::Auth,
            Some(535),
        ),
        ("S: SSH-2.0-OpenSSH_9.9", Phase::Greeting, None),
        ("", Phase::Greeting, None),
    ] {
        let peer = Peer::play([script]).await;
        let route = route(&signed_in(peer.port));
        assert_eq!(verdict(&send(&route, "hi").await), (phase, AttemptOutcome::Transient, code), "{script}");
        peer.finish().await;
        assert_eq!(route.permits(1).len(), 0, "{script}");
        assert!(matches!(route.status().breaker, BreakerState::Open { .. }));
        assert_eq!(route.status().last_error.unwrap().phase, phase);
        assert_eq!(route.status().open, 0);
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_final_dot_is_transient_and_after_it_unknown() {
    for (end, phase, outcome) in [
        (format!("{FROM}X: reset"), Phase::MailFrom, AttemptOutcome::Transient),
        (format!("{FROM}S: nonsense"), Phase::MailFrom, AttemptOutcome::Transient),
        (format!("{FROM}S: 354 what?"), Phase::MailFrom, AttemptOutcome::Transient),
        (format!("{STEPS}C: ..."), Phase::Final, AttemptOutcome::Unknown),
        (format!("{STEPS}C: ...\nX: reset"), Phase::Final, AttemptOutcome::Unknown),
        (format!("{STEPS}C: ...\nS: nonsense"), Phase::Final, AttemptOutcome::Unknown),
        (format!("{STEPS}C: ...\nS: 354 more?"), Phase::Final, AttemptOutcome::Unknown),
    ] {
        let peer = Peer::play([script(&[GREETING, "S: 250 hi\n", &end])]).await;
        let route = route(&settings(peer.port));
        assert_eq!(verdict(&send(&route, "hi").await), (phase, outcome, None), "{end}");
        assert_eq!(route.status().open, 0, "{end}");
        assert_eq!(route.status().breaker, BreakerState::Closed);
        peer.finish().await;
    }
}

#[tokio::test]
async fn the_answer_to_the_final_dot_decides() {
    for (code, outcome) in
        [(450, AttemptOutcome::Transient), (421, AttemptOutcome::Transient), (554, AttemptOutcome::Permanent)]
    {
        let dialogue = format!("{GREETING}S: 250 hi\n{STEPS}C: ...\nS: {code} 5.7.1 no");
        let peer = Peer::play([script(&[&dialogue])]).await;
        let reply = send(&route(&settings(peer.port)), "hi").await;
        assert_eq!(verdict(&reply), (Phase::Final, outcome, Some(code)));
        peer.finish().await;
    }
}

#[tokio::test]
async fn an_odd_answer_to_the_final_dot_is_read_as_what_it_says() {
    let long = format!("S: 250 2.0.0 queued as 4F2A1 {}", "x".repeat(200_000));
    let long_first = format!("S: 250-{}\nS: 250 2.0.0 queued as 4F2A1", "x".repeat(5_000));
    for odd in [long.as_str(), &long_first, "S: 250-2.0.0 ok\nS: 251 2.0.0 queued as 4F2A1"] {
        let peer =
            Peer::play([script(&[GREETING, "S: 250 hi\n", STEPS, "C: ...\n", odd, "\nC: QUIT\n"])]).await;
        let route = route(&settings(peer.port));
        assert_eq!(send(&route, "hi").await.outcome, AttemptOutcome::Accepted, "{:.80}", odd);
        route.close_idle().await;
        peer.finish().await;
    }
    let endless = format!("S: 250 {}", "x".repeat(3_000_000));
    let peer =
        Peer::play([script(&[GREETING, "S: 250 hi\n", STEPS, "C: ...\n", &endless, "\nX: wait\n"])]).await;
    let reply = send(&route(&settings(peer.port)), "hi").await;
    assert_eq!(verdict(&reply), (Phase::Final, AttemptOutcome::Unknown, None), "{reply:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_middle_of_the_message_is_heard() {
    let peer = Peer::play([script(&[GREETING, "S: 250 hello\n", STEPS, "S: 552 5.3.4 far too big\n"])]).await;
    // More than any socket buffer holds, so that the server is gone before the last byte is sent.
    let reply = send(&route(&settings(peer.port)), &"x".repeat(40_000_000)).await;
    assert_eq!(reply.phase, Phase::Content, "{reply:?}");
    let heard = (reply.outcome, reply.code) == (AttemptOutcome::Permanent, Some(552));
    // The kernel may throw the words away together with the connection.
    assert!(heard || (reply.outcome, reply.code) == (AttemptOutcome::Transient, None), "{reply:?}");
    peer.finish().await;
}

#[tokio::test]
async fn silence_is_transient_before_the_final_dot_and_unknown_after_it() {
    let patience = Duration::from_millis(100);
    for (dialogue, phase, outcome) in [
        (&["X: wait"] as &[&str], Phase::Greeting, AttemptOutcome::Transient),
        (&[GREETING, "X: wait"], Phase::Hello, AttemptOutcome::Transient),
        (&[GREETING, "S: 250 hi\n", FROM, "X: wait"], Phase::MailFrom, AttemptOutcome::Transient),
        (&[GREETING, "S: 250 hi\n", STEPS, "C: ...\nX: wait"], Phase::Final, AttemptOutcome::Unknown),
    ] {
        let peer = Peer::play([script(dialogue)]).await;
        let reply = send(&hasty_route(peer.port, patience), "hi").await;
        assert_eq!(verdict(&reply), (phase, outcome, None), "{dialogue:?}");
        assert!(reply.text.contains("no answer within 100ms"), "{}", reply.text);
        assert!(reply.took >= patience);
        peer.finish().await;
    }
}

#[tokio::test]
async fn a_reply_that_comes_ahead_of_its_command_is_not_believed() {
    for (dialogue, phase) in [
        ("S: 220 hi\\r\\n250 me too\nX: wait".to_owned(), Phase::Hello),
        (format!("{GREETING}S: 250 hi\\r\\n250 ok\nX: wait"), Phase::MailFrom),
        (
            format!("{GREETING}S: 250 hi\nC: MAIL FROM:<ann@example.net>\nS: 250 ok\\r\\n250 ok\nX: wait"),
            Phase::RcptTo,
        ),
        (
            format!(
                "{GREETING}S: 250-hi\nS: 250 PIPELINING\\r\\n250 ok\\r\\n250 ok\\r\\n354 go\\r\\n250 taken\nX: wait"
            ),
            Phase::MailFrom,
        ),
        // The worst: the mail would be on record as sent, and the relay has nothing of it.
        (
            format!("{GREETING}{PIPELINING}{MAIL}S: 250 ok\\r\\n250 ok\\r\\n354 go\\r\\n250 taken\nX: wait"),
            Phase::Content,
        ),
        (
            format!("{GREETING}{PIPELINING}{MAIL}S: 250 ok\\r\\n250 ok\\r\\n354 go\\r\\n550 no\nX: wait"),
            Phase::Content,
        ),
    ] {
        let peer = Peer::play([script(&[&dialogue])]).await;
        let route = route(&settings(peer.port));
        let reply = send(&route, "hi").await;
        assert_eq!(verdict(&reply), (phase, AttemptOutcome::Transient, None), "{dialogue}: {reply:?}");
        assert!(reply.text.contains("before it was asked"), "{}", reply.text);
        assert_eq!(route.status().open, 0, "{dialogue}");
        peer.finish().await;
    }
}

#[tokio::test]
async fn a_refusal_that_is_about_us_puts_the_mail_off_and_shows_at_the_route() {
    for (end, phase, code) in [
        ("S: 530 5.7.0 Authentication required", Phase::MailFrom, 530),
        ("S: 503 5.5.1 bad sequence of commands", Phase::MailFrom, 503),
        ("S: 535 5.7.8 not you", Phase::MailFrom, 535),
        (
            "S: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 530 5.7.0 Must issue a STARTTLS command first",
            Phase::RcptTo,
            530,
        ),
        (
            "S: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nC: DATA\nS: 538 5.7.11 encryption required",
            Phase::Data,
            538,
        ),
        (
            "S: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nC: DATA\nS: 354 go on\nC: ...\nS: 534 5.7.9 too weak",
            Phase::Final,
            534,
        ),
    ] {
        let peer = Peer::play([script(&[GREETING, "S: 250 hi\n", FROM, end, "\nX: wait"])]).await;
        let route = route(&settings(peer.port));
        let reply = send(&route, "hi").await;
        assert_eq!(verdict(&reply), (phase, AttemptOutcome::Transient, Some(code)), "{end}");
        assert_eq!(reply.text, format!("the relay refused us, not the mail ({code})"));
        let status = route.status();
        assert!(matches!(status.breaker, BreakerState::Open { .. }), "{end}");
        assert_eq!((status.last_error.unwrap().phase, status.open), (phase, 0), "{end}");
        peer.finish().await;
    }
}
