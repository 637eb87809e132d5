//! What a request gives a mail beside its values: files, tags, metadata, headers, an address for replies.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::support::{Backends, Hook, Scene, eventually, python};

/// What a mail program makes of a message: headers, and the parts with their names and sizes.
const READ: &str = r#"
import email, email.policy, json, sys
mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = [{"type": part.get_content_type(), "name": part.get_filename(), "id": part["content-id"],
          "how": part.get_content_disposition(), "size": len(part.get_payload(decode=True) or b"")} for part in mail.walk()]
print(json.dumps({"headers": {name.lower(): str(value) for name, value in mail.items()}, "parts": parts}))
"#;

fn with(more: &Value) -> Value {
    let mut body =
        json!({"brand_id": "tea", "template_id": "welcome", "user": {"identifier": "ann@example.net"}});
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}

on_both! {
    async fn files_tags_metadata_and_headers_go_with_a_mail_and_come_back(backends: Backends) {
        let mut hook = Hook::listen().await;
        let scene = Scene::open(backends.allowing_hooks()).await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.sent"]})).await.expect(201);
        scene.shop.enrol("ann@example.net").await;
        let picture = BASE64_STANDARD.encode([7u8; 3_000]);
        let body = with(&json!({
            "reply_to": "help@tea.example", "tags": ["spring", "vip"], "metadata": {"invoice": "7/2026"},
            "headers": {"X-Campaign": "spring 2026", "References": "<1@tea.example>"},
            "attachments": [
                {"filename": "Rechnung Nr. 7 – März.pdf", "content": BASE64_STANDARD.encode("%PDF-1.7"), "content_type": "application/pdf"},
                {"filename": "logo.png", "content": picture, "content_type": "image/png", "content_id": "logo"},
                {"filename": "plain.txt", "content": BASE64_STANDARD.encode("text\n.\nmore")},
            ],
        }));
        let answer = scene.shop.post("/mail", &body).await.expect(200).json();
        let id = answer["data"]["ann@example.net"]["transaction_id"].as_str().unwrap().to_owned();
        let story = scene.shop.wait_until(&id, "sent").await;
        assert_eq!((&story["tags"], &story["metadata"]["invoice"]), (&json!(["spring", "vip"]), &json!("7/2026")));
        assert_eq!(story["attachments"][0]["size"], 8, "{story:#}");

        let caught = scene.sink.find("ann@example.net").unwrap();
        let read: Value = serde_json::from_str(&python(READ, &caught.bytes)).unwrap();
        let headers = &read["headers"];
        assert_eq!(headers["reply-to"], "help@tea.example", "{read:#}");
        assert_eq!((&headers["x-campaign"], &headers["references"]), (&json!("spring 2026"), &json!("<1@tea.example>")));
        let parts: Vec<_> = read["parts"].as_array().unwrap().iter().map(|part| part["type"].as_str().unwrap()).collect();
        assert_eq!(parts, ["multipart/mixed", "multipart/related", "multipart/alternative", "text/plain", "text/html",
            "image/png", "application/pdf", "application/octet-stream"]);
        let part = |index: usize| read["parts"][index].clone();
        assert_eq!(part(5), json!({"type": "image/png", "name": "logo.png", "id": "<logo>", "how": "inline", "size": 3_000}));
        assert_eq!(part(6)["name"], "Rechnung Nr. 7 – März.pdf");
        assert_eq!((&part(7)["name"], &part(7)["size"]), (&json!("plain.txt"), &json!(11)));

        let told = hook.next(&scene.shop).await;
        assert_eq!((&told["data"]["tags"], &told["data"]["metadata"]), (&json!(["spring", "vip"]), &json!({"invoice": "7/2026"})));

        // Found by them, with other terms and without, by the merchant and by an operator.
        scene.shop.wait_until(&scene.shop.send_to("bob@example.net").await, "sent").await;
        for (query, found) in [
            ("tag:spring", 1), ("tag:invoice=7/2026", 1), ("tag:spring state:sent", 1), ("tag:spring state:failed", 0),
            ("-tag:spring", 1), ("tag:autumn", 0), ("tag:vip -to:ann@example.net", 0),
        ] {
            let path = format!("/api/v1/mails?q={}", query.replace(':', "%3A").replace(' ', "%20").replace('@', "%40").replace('=', "%3D").replace('/', "%2F"));
            let page = scene.shop.get(&path).await.expect(200).json();
            assert_eq!(page["data"].as_array().unwrap().len(), found, "{query}: {page:#}");
            let words = ["mail", "list", "--json", query];
            let listed = if query.contains(' ') || query.starts_with('-') { continue } else { scene.backends.command_line().run(&words).expect(0).json() };
            assert_eq!(listed.as_array().unwrap().len(), found, "{query}");
        }
    }

    async fn a_file_is_stored_once_and_goes_with_its_last_mail(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ann@example.net").await;
        let file = json!([{"filename": "a.bin", "content": BASE64_STANDARD.encode(vec![9u8; 2_000_000])}]);
        for _ in 0..3 {
            scene.shop.post("/mail", &with(&json!({"attachments": file}))).await.expect(200);
        }
        eventually("all are sent", async || scene.caught("ann@example.net") == 3).await;
        let stored = scene.backends.tally("SELECT 'files', COUNT(*) FROM attachments").await;
        assert_eq!(stored["files"], 1);
        let app = postroom::app::App::open(postroom::config::Config::load(Some(&scene.backends.config()), []).unwrap()).await.unwrap();
        assert_eq!(app.store.forget_unused_attachments().await.unwrap(), 0);
        scene.backends.execute("UPDATE mails SET settled_at = 1, id = '01900000' || substr(id, 9)").await;
        scene.backends.execute("UPDATE mail_attachments SET mail_id = '01900000' || substr(mail_id, 9)").await;
        scene.backends.execute("UPDATE attachments SET stored_at = 1").await;
        assert_eq!(app.store.forget_old_mails(std::time::Duration::from_secs(1)).await.unwrap(), 3);
        assert_eq!(app.store.forget_unused_attachments().await.unwrap(), 1);
    }

    async fn an_extra_that_cannot_go_with_a_mail_is_refused_and_the_answer_says_why(backends: Backends) {
        let scene = Scene::open(backends.with("stored.attachments", 20_000_000)).await;
        scene.shop.enrol("ann@example.net").await;
        let refused = scene.shop.post("/mail", &with(&json!({"cc": "bob@example.net", "headers": {"Bcc": "eve@example.net"}}))).await.expect(422);
        assert_eq!(refused.faulty_fields(), ["cc", "headers.Bcc"]);
        assert!(refused.json()["errors"]["cc"][0].as_str().unwrap().contains("one recipient"));
        let file = |seed: u8, bytes: usize| json!([{"filename": "a.bin", "content": BASE64_STANDARD.encode(vec![seed; bytes])}]);
        let too_large = scene.shop.post("/mail", &with(&json!({"attachments": file(1, 10_000_001)}))).await.expect(422);
        assert_eq!(too_large.faulty_fields(), ["attachments"]);
        scene.shop.post("/mail", &with(&json!({"attachments": file(1, 10_000_000)}))).await.expect(200);
        scene.shop.post("/mail", &with(&json!({"attachments": file(2, 9_000_000)}))).await.expect(200);
        let no_room = scene.shop.post("/mail", &with(&json!({"attachments": file(3, 9_000_000)}))).await.expect(422);
        assert_eq!(no_room.faulty_fields(), ["attachments"]);
        eventually("two are sent", async || scene.caught("ann@example.net") == 2).await;
    }
}
