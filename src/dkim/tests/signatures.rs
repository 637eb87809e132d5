//! Signed messages, as a receiver sees them.

use proptest::prelude::*;

use super::{
    super::*,
    SIGNED_AT, ed25519,
    receiver::{is_good, parts, received, signatures, tags},
    rsa, signer,
};
use crate::{
    mail::{Mailbox, Timestamp},
    render::{Content, Headers, compose},
};

const PLAIN: &str = "From: Ann <ann@example.net>\r\nTo: bob@example.com\r\nSubject: Tea\r\nDate: x\r\n\
    Message-ID: <1@example.net>\r\nList-Unsubscribe: <https://shop.example/u/1>\r\n\
    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Campaign: 7\r\n\r\n.\r\nHello,  Bob\r\n";

/// Whether the RSA signature, which comes first, and the Ed25519 signature are good.
fn verdicts(message: &[u8]) -> [bool; 2] {
    let both = signatures(message);
    let keys = [rsa().public_key(), ed25519().public_key()];
    [0, 1].map(|at| is_good(message, &both[at], &keys[at]))
}

fn sign(message: &[u8]) -> Vec<u8> {
    signer().sign(message, SIGNED_AT).unwrap()
}

#[test]
fn a_signed_message_has_an_rsa_signature_and_then_an_ed25519_one_and_is_else_unchanged() {
    let signed = sign(PLAIN.as_bytes());
    assert!(signed.ends_with(PLAIN.as_bytes()));
    assert_eq!(verdicts(&signed), [true, true]);
    let both: Vec<_> = signatures(&signed).iter().map(|signature| tags(signature)).collect();
    let expected = [("rsa-sha256", "rsa"), ("ed25519-sha256", "ed")];
    for (tags, (algorithm, selector)) in both.iter().zip(expected) {
        let said = ["v", "a", "c", "d", "s", "t"].map(|tag| tags[tag].as_str());
        assert_eq!(said, ["1", algorithm, "relaxed/relaxed", "example.net", selector, "1795000000"]);
    }
}

#[test]
fn shown_headers_are_signed_once_more_than_they_are_there_and_headers_that_relays_change_are_not() {
    let signed = sign(PLAIN.as_bytes());
    let tags = tags(&signatures(&signed)[0]);
    let names: Vec<_> = tags["h"].split(':').collect();
    let expected = [
        "From",
        "From",
        "Subject",
        "Subject",
        "To",
        "To",
        "Reply-To",
        "Cc",
        "Date",
        "Date",
        "Message-ID",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_receiver_notices_what_was_changed_or_added_and_forgives_what_relays_do() {
    let signed = String::from_utf8(sign(PLAIN.as_bytes())).unwrap();
    for (change, with, is_good) in [
        ("Subject: Tea\r\n", "Subject: Coffee\r\n", false),
        ("/u/1>", "/u/2>", false),
        ("=One-Click", "=Two-Clicks", false),
        ("Hello", "Hallo", false),
        ("Bob\r\n", "Bob\r\nPS\r\n", false),
        ("X-Campaign: 7\r\n", "X-Campaign: 7\r\nFrom: evil@example.net\r\n", false),
        ("X-Campaign: 7\r\n", "X-Campaign: 7\r\nReply-To: evil@example.net\r\n", false),
        ("X-Campaign: 7\r\n", "X-Campaign: 7\r\nCc: evil@example.net\r\n", false),
        ("X-Campaign: 7\r\n", "X-Campaign: 8\r\nX-Mailer: 9\r\n", true),
        ("Subject: Tea\r\n", "SUBJECT:\r\n\tTea  \r\n", true),
        ("Hello,  Bob\r\n", "Hello,\tBob \r\n\r\n\r\n", true),
    ] {
        let changed = signed.replace(change, with);
        assert_ne!(changed, signed);
        let changed = format!("Received: from here\r\n{changed}");
        assert_eq!(verdicts(changed.as_bytes()), [is_good; 2], "{change:?} {with:?}");
    }
}

#[test]
fn no_line_of_a_signature_is_longer_than_76_characters_unless_the_domain_is() {
    let domain = [["a"; 31].concat(), ["b"; 31].concat(), "example.net".to_owned()].join(".");
    for (domain, longest) in [("example.net".to_owned(), 76), (domain, 4 + 31 + 1 + 31 + 12)] {
        let keys = vec![("rsa".to_owned(), rsa()), ("ed".to_owned(), ed25519())];
        let signed = Signer::new(domain, keys).sign(PLAIN.as_bytes(), SIGNED_AT).unwrap();
        assert_eq!(verdicts(&signed), [true, true]);
        for signature in signatures(&signed) {
            assert!(signature.lines().all(|line| line.len() <= longest), "{signature}");
            let continued =
                signature.lines().skip(1).all(|line| line.starts_with(' ') && !line.trim().is_empty());
            assert!(continued, "{signature}");
        }
    }
}

fn composed(name: &str, subject: &str, text: &str) -> Vec<u8> {
    let mailbox =
        |name: &str, email: &str| Mailbox { name: Some(name.to_owned()), email: email.parse().unwrap() };
    let headers = Headers {
        sender: &mailbox("Tea & Co", "shop@example.net"),
        reply_to: Some(&mailbox(name, "help@example.net")),
        recipient: &mailbox(name, "jörg@example.com"),
        message_id: "1@example.net",
        date: Timestamp(0),
        list_unsubscribe: Some("https://shop.example.net/u/1"),
        more: &[],
    };
    let content = Content { subject: subject.to_owned(), html: format!("<p>{text}"), text: text.to_owned() };
    compose(&headers, &content).unwrap().unstuffed().into_owned()
}

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,200}", "[ \t\r\n.a:é日]{0,60}", "[a-z]{0,1200}", any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_composed_message_is_signed_so_that_it_verifies(
        name in odd_text(), subject in odd_text(), text in odd_text(),
    ) {
        let message = composed(&name, &subject, &text);
        let signed = sign(&message);
        prop_assert_eq!(&received(&signed), &signed, "it is sent as it was signed");
        prop_assert_eq!(verdicts(&signed), [true, true]);
        prop_assert!(tags(&signatures(&signed)[0])["h"].contains("List-Unsubscribe"));
    }

    #[test]
    fn the_signatures_of_any_message_are_good_once_it_was_sent(
        values in prop::collection::vec("[ -~\t]{0,90}(\r\n[ \t][!-~]{0,90}){0,2}", 1..8),
        body in prop::collection::vec("[ .ab\té\r\n]{0,30}", 0..12),
    ) {
        let names = ["From", "Subject", "X-Odd", "From", "References", "subject ", "To"];
        let fields: String = names.iter().zip(&values).map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        let message = format!("{fields}\r\n{}", body.join("\r\n"));
        let sent = received(&sign(message.as_bytes()));
        prop_assert_eq!(parts(&sent).0.len(), 2 + values.len().min(names.len()));
        prop_assert_eq!(verdicts(&sent), [true, true]);
    }
}
