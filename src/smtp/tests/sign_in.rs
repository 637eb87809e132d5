//! What comes between the greeting and the first mail: TLS and signing in.

use super::peer::{GREETING, Peer, route, script, send, settings, signed_in, verdict};
use crate::mail::{AttemptOutcome, Phase};
use crate::smtp::{AuthMechanism, BreakerState, RouteSettings, TlsMode};

#[tokio::test]
async fn each_way_to_sign_in_follows_its_own_steps() {
    for (auth, dialogue) in [
        (None, "S: 250 AUTH LOGIN PLAIN\nC: AUTH PLAIN AGFubgBodW50ZXIy"),
        (
            None,
            "S: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YW5u\nS: 334 UGFzc3dvcmQ6\nC: aHVudGVyMg==",
        ),
        (
            Some(AuthMechanism::Plain),
            "S: 250 AUTH PLAIN\nC: AUTH PLAIN AGFubgBodW50ZXIy\nS: 334\nC: AGFubgBodW50ZXIy",
        ),
        (
            Some(AuthMechanism::Xoauth2),
            "S: 250 AUTH XOAUTH2\nC: AUTH XOAUTH2 dXNlcj1hbm4BYXV0aD1CZWFyZXIgaHVudGVyMgEB\nS: 334 e30=\nC:",
        ),
    ] {
        let dialogue = format!("{GREETING}S: 250-hi\n{dialogue}\nS: 535 5.7.8 no");
        let peer = Peer::play([script(&[&dialogue])]).await;
        let reply = send(&route(&RouteSettings { auth, ..signed_in(peer.port) }), "hi").await;
        assert_eq!(verdict(&reply), (Phase::Auth, AttemptOutcome::Transient, Some(535)), "{dialogue}");
        peer.finish().await;
    }
}

#[tokio::test]
async fn required_tls_that_is_not_offered_or_refused_sends_nothing_in_plain_text() {
    for (end, code) in [
        ("S: 250 hi\nX: wait", None),
        ("S: 250-hi\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 no\nX: wait", Some(454)),
    ] {
        let dialogue = format!("{GREETING}{end}");
        let peer = Peer::play([script(&[&dialogue])]).await;
        let route = route(&RouteSettings { tls: TlsMode::Starttls, ..signed_in(peer.port) });
        assert_eq!(verdict(&send(&route, "hi").await), (Phase::Tls, AttemptOutcome::Transient, code));
        peer.finish().await;
    }
}

#[tokio::test]
async fn opportunistic_tls_falls_back_to_a_new_plain_connection_when_the_handshake_fails() {
    let peer = Peer::play([
        "S: 220 hi\nC: EHLO me.example.net\nS: 250-hi\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nS: this is not TLS",
        "S: 220 hi\nC: EHLO me.example.net\nS: 250-hi\nS: 250 STARTTLS\nC: MAIL FROM:<ann@example.net>\nS: 450 later",
    ])
    .await;
    let route = route(&RouteSettings { tls: TlsMode::Opportunistic, ..settings(peer.port) });
    assert_eq!(verdict(&send(&route, "hi").await), (Phase::MailFrom, AttemptOutcome::Transient, Some(450)));
    peer.finish().await;
}

#[tokio::test]
async fn a_relays_words_to_our_sign_in_are_nobodys_to_read() {
    let said = "535 5.7.8 ann with hunter2 (AGFubgBodW50ZXIy) is wrong";
    let dialogue =
        format!("{GREETING}S: 250-hi\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGFubgBodW50ZXIy\nS: {said}");
    let peer = Peer::play([script(&[&dialogue])]).await;
    let route = route(&signed_in(peer.port));
    let refused = send(&route, "hi").await;
    assert_eq!(refused.text, "the relay refused our sign-in (535)");
    assert_eq!((refused.code, refused.enhanced.unwrap().to_string().as_str()), (Some(535), "5.7.8"));
    peer.finish().await;
    assert!(matches!(route.status().breaker, BreakerState::Open { .. }));
    assert_eq!(route.status().last_error.unwrap().text, "the relay refused our sign-in (535)");
}
