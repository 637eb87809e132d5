//! The bytes that reach a relay: addresses, headers, and what another program reads in them.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::support::{Backends, Scene, python, template, welcome};

/// The headers that a mail has, in their order.
const HEADERS: [&str; 8] =
    ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];

/// Fails when Python's `email` finds a defect in any message.
const WITHOUT_DEFECTS: &str = r#"
import base64, email, email.policy, json, sys

for case in json.load(sys.stdin):
    raw = base64.b64decode(case["message"])
    assert b"\r" not in raw.replace(b"\r\n", b"") and b"\n" not in raw.replace(b"\r\n", b""), "bare CR or LF"
    assert max(map(len, raw.split(b"\r\n"))) <= 998, "a line is too long"
    mail = email.message_from_bytes(raw, policy=email.policy.default.clone(utf8=True))
    defects = [defect for part in mail.walk() for defect in part.defects]
    defects += [defect for part in mail.walk() for value in part.values() for defect in value.defects]
    assert not defects, (case, defects)
    assert mail["Subject"] == case["subject"], (mail["Subject"], case["subject"])
    for part in mail.iter_parts():
        assert case["says"] in part.get_content().replace("\r\n", "\n"), (case, part.get_content())
    print(mail["To"].addresses[0].addr_spec)
"#;

async fn send_with(scene: &Scene, member: &str, values: &Value) -> String {
    let mut body = welcome(member);
    for (tag, value) in values.as_object().unwrap() {
        body["user"][tag] = value.clone();
    }
    let answer = scene.shop.post("/mail", &body).await.expect(200).json();
    let id = answer["data"][member]["transaction_id"].as_str().unwrap().to_owned();
    scene.shop.wait_until(&id, "sent").await;
    id
}

on_both! {
    async fn unusual_addresses_are_reached_and_odd_ones_refused(backends: Backends) {
        let scene = Scene::open(backends).await;
        let longest = format!("{}@example.net", "x".repeat(64));
        for (given, envelope) in [
            (&*longest, &*longest),
            ("ann@bücher.example", "ann@xn--bcher-kva.example"),
            ("\"ann lee\"@example.net", "\"ann lee\"@example.net"),
            ("\"a\\\"@b\"@example.net", "\"a\\\"@b\"@example.net"),
            ("jörg@example.net", "jörg@example.net"),
            ("o'neil+tea/x=y@example.net", "o'neil+tea/x=y@example.net"),
        ] {
            let member = json!({"brand_id": "tea", "email": given, "first_name": "Ann", "last_name": "Lee"});
            scene.shop.put("/api/v1/members/m", &member).await;
            send_with(&scene, "m", &json!({})).await;
            let caught = scene.sink.find(envelope).unwrap_or_else(|| panic!("{given} got nothing"));
            assert_eq!(caught.smtputf8, given.starts_with("jörg"), "{given}");
            assert_eq!(caught.sender, "hello@tea.example");
        }
        for refused in [
            "ann(comment)@example.net", "ann", "@example.net", "ann@localhost", "ann@[127.0.0.1]", "a b@example.net",
            "ann@example.net,bob@example.net", "<ann@example.net>", "ann@example.net\r\nRCPT TO:<bob@example.net>",
            &format!("{}@example.net", "x".repeat(65)), "ann@exa_mple.net", "",
        ] {
            let member = json!({"brand_id": "tea", "email": refused});
            let refusal = scene.shop.put("/api/v1/members/odd", &member).await.expect(422);
            assert_eq!(refusal.faulty_fields(), ["email"], "{refused}");
        }
    }

    async fn no_value_adds_a_header(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut wide = template();
        wide["subject"] = json!("For {{first_name}} {{{city}}}");
        wide["html"] = json!("<p>{{first_name}} {{{city}}}</p>");
        wide["text"] = json!("{{first_name}}\n{{city}}");
        scene.shop.put("/api/v1/templates/welcome", &wide).await.expect(200);
        scene.shop.enrol("ok@example.net").await;
        for evil in [
            "x\r\nBcc: evil@example.net", "x\nBcc: evil@example.net", "x\rBcc: evil@example.net", "\r\n\r\n<b>body</b>",
            "x\u{2028}Bcc: evil@example.net", "x\u{85}Bcc: evil@example.net", "=?utf-8?q?x=0D=0ABcc:_evil?=",
            "x\r\n.\r\nMAIL FROM:<evil@example.net>", "\u{b}\u{c}\u{1b}", " ", &"word ".repeat(90),
        ] {
            scene.sink.clear();
            send_with(&scene, "ok@example.net", &json!({"first_name": evil, "city": evil})).await;
            let mails = scene.sink.mails();
            assert_eq!(mails.len(), 1, "{evil:?}");
            let names: Vec<_> = mails[0].headers().iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, HEADERS, "{evil:?}");
            assert!(!mails[0].subject().contains(char::is_control), "{evil:?}");
        }
        for field in ["first_name", "last_name"] {
            let mut member = json!({"brand_id": "tea", "email": "ok@example.net"});
            member[field] = json!("Ann\r\nBcc: evil@example.net");
            let refusal = scene.shop.put("/api/v1/members/evil", &member).await.expect(422);
            assert_eq!(refusal.faulty_fields(), [field]);
        }
    }

    async fn a_mail_from_a_brand_with_a_reply_address_says_so(backends: Backends) {
        let scene = Scene::open(backends).await;
        let brand = json!({"name": "Tea", "sender": {"name": "Tée, \"Co\"", "email": "hello@tea.example"},
            "reply_to": "help@tea.example"});
        scene.shop.put("/api/v1/brands/tea", &brand).await.expect(200);
        let id = scene.shop.send_to("ok@example.net").await;
        scene.shop.wait_until(&id, "sent").await;
        let caught = scene.sink.find("ok@example.net").unwrap();
        assert_eq!(caught.header("reply-to"), Some("help@tea.example"));
        assert_eq!(caught.from(), "Tée, \"Co\" <hello@tea.example>");
        assert_eq!(caught.to(), "Ann Lee <ok@example.net>");
        assert_eq!(caught.message_id().unwrap().split('@').nth(1), Some("tea.example"));
    }

    async fn python_finds_no_defect_in_any_mail(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut plain = template();
        plain["subject"] = json!("{{first_name}}");
        plain["html"] = json!("<p>.</p>\n.\n..\n<p>{{{city}}}</p>");
        plain["text"] = json!(".\n..\n{{city}}\n.");
        scene.shop.put("/api/v1/templates/welcome", &plain).await.expect(200);
        let mut cases = Vec::new();
        for (number, (subject, says)) in [
            ("Hello", "Hello"),
            ("Grüße aus Köln, 東京 und 🍵", "Grüße aus Köln, 東京 und 🍵"),
            (&*"a long subject of many words ".repeat(20), &*"a long line ".repeat(500)),
            (&*"ü".repeat(300), &*"東".repeat(2_000)),
            ("=?utf-8?q?no?=", "=20 = =3D"),
            ("From: me", "From me\nFrom you"),
        ]
        .into_iter()
        .enumerate()
        {
            let address = format!("ok-{number}@example.net");
            scene.shop.enrol(&address).await;
            send_with(&scene, &address, &json!({"first_name": subject, "city": says})).await;
            let caught = scene.sink.find(&address).unwrap();
            cases.push(json!({"message": BASE64_STANDARD.encode(&caught.bytes), "subject": subject.trim(), "says": says}));
        }
        let read = python(WITHOUT_DEFECTS, Value::from(cases).to_string().as_bytes());
        assert_eq!(read.lines().count(), 6, "{read}");
    }
}
