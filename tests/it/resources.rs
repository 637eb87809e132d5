//! What merchants' systems tell postroom, and what becomes of templates afterwards.

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::{Value, json};

use super::support::{Backends, Daemon, Scene, Shop, brand, template, welcome};

fn template_with(html: &str) -> Value {
    let mut changed = template();
    changed["html"] = json!(html);
    changed
}

on_both! {
    async fn a_document_is_stored_shown_replaced_and_deleted(backends: Backends) {
        let scene = Scene::open(backends).await;
        let path = "/api/v1/members/m 1/ü".replace(' ', "%20").replace("/ü", "%2F%C3%BC");
        let member = json!({"brand_id": "tea", "email": "Ann@EXAMPLE.net", "tags": {"points": 1.5, "a": [null, {"b": "ü"}]}});
        let mut shown = member.clone();
        shown["id"] = json!("m 1/ü");
        shown["email"] = json!("Ann@example.net");

        assert_eq!(scene.shop.put(&path, &member).await.expect(201).json(), shown);
        assert_eq!(scene.shop.get(&path).await.expect(200).json(), shown);
        assert_eq!(scene.shop.put(&path, &shown).await.expect(200).json(), shown, "what was shown can be put back");
        scene.shop.delete(&path).await.expect(204);
        scene.shop.delete(&path).await.expect(404);
        scene.shop.get(&path).await.expect(404);
    }

    async fn a_list_is_read_page_by_page(backends: Backends) {
        let scene = Scene::open(backends).await;
        for number in 0..7 {
            scene.shop.put(&format!("/api/v1/brands/b{number}"), &brand()).await.expect(201);
        }
        let (mut found, mut after) = (Vec::new(), "b".to_owned());
        loop {
            let page = scene.shop.get(&format!("/api/v1/brands?limit=3&after={after}")).await.expect(200).json();
            let ids: Vec<_> = page["data"].as_array().unwrap().iter().map(|brand| brand["id"].as_str().unwrap().to_owned()).collect();
            assert!(ids.len() <= 3);
            after = ids.last().cloned().unwrap();
            found.extend(ids);
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(found, ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "tea"]);
    }

    async fn a_document_with_a_fault_is_refused_with_its_path(backends: Backends) {
        let scene = Scene::open(backends).await;
        let sender = json!({"email": "hello@tea.example"});
        for (kind, document, path) in [
            ("brands", json!({"name": "Tea", "sender": sender, "colour": "red"}), "colour"),
            ("brands", json!({"name": "Tea", "sender": {"email": "hello@tea.example", "colour": "red"}}), "sender.colour"),
            ("brands", json!({"name": "Tea", "sender": {"email": "nonsense"}}), "sender.email"),
            ("brands", json!({"name": "Tea\r\nBcc: all@example.net", "sender": sender}), "name"),
            ("brands", json!({"name": "", "sender": sender}), "name"),
            ("brands", json!({"name": "x".repeat(256), "sender": sender}), "name"),
            ("brands", json!({"name": "Tea", "sender": sender, "reply_to": "x"}), "reply_to"),
            ("brands", json!({"name": "Tea", "sender": sender, "reply_to": "jörg@tea.example"}), "reply_to"),
            ("stores", json!({"support_email": "jörg@tea.example"}), "support_email"),
            ("members", json!({"brand_id": "tea", "email": "ann@example.net", "tags": []}), "tags"),
            ("members", json!({"brand_id": "unknown", "email": "ann@example.net"}), "brand_id"),
            ("templates", json!({"brand_id": "tea", "title": "t", "subject": "s", "html": 5}), "html"),
            ("templates", json!({"brand_id": "tea", "title": "t", "subject": "s", "html": "h", "class": "spam"}), "class"),
        ] {
            let refusal = scene.shop.put(&format!("/api/v1/{kind}/x"), &document).await.expect(422);
            assert_eq!(refusal.faulty_fields(), [path], "{document}: {refusal:?}");
        }
        for (kind, missing) in [("brands", "name"), ("members", "brand_id"), ("templates", "brand_id")] {
            let refusal = scene.shop.put(&format!("/api/v1/{kind}/x"), &json!({})).await.expect(422);
            assert!(refusal.body.contains(missing), "{refusal:?}");
        }
        let mut misnamed = brand();
        misnamed["id"] = json!("other");
        scene.shop.put("/api/v1/brands/x", &misnamed).await.expect(422);
    }

    async fn a_template_that_does_not_compile_is_refused_with_line_and_column(backends: Backends) {
        let scene = Scene::open(backends).await;
        for (html, said) in [
            ("<p>one\ntwo {{#if x}}</p>", "line"),
            ("<p>{{name</p>", "line 1 column"),
            ("<p>{{> welcome}}</p>", "partial"),
            ("<p>{{#> welcome}}{{/welcome}}</p>", "line 1"),
            ("{{{{raw}}}}{{{{/raw}}}}", "line 1"),
            ("<p>{{#unknown x}}{{/unknown}}</p>", "unknown"),
            ("<p>{{log x}}</p>", "log"),
        ] {
            let refusal = scene.shop.put("/api/v1/templates/bad", &template_with(html)).await.expect(422);
            assert_eq!(refusal.faulty_fields(), ["html"], "{html}");
            let message = refusal.json()["errors"][0]["message"].as_str().unwrap().to_owned();
            assert!(message.contains(said) && message.contains("line"), "{html}: {message}");
        }
        scene.shop.get("/api/v1/templates/bad").await.expect(404);
    }

    async fn a_template_that_is_too_large_is_refused(backends: Backends) {
        let scene = Scene::open(backends.with("render.template_bytes", 10_000)).await;
        let refusal = scene.shop.put("/api/v1/templates/large", &template_with(&"x".repeat(10_001))).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["html"]);
        scene.shop.put("/api/v1/templates/large", &template_with(&"x".repeat(10_000))).await.expect(201);
    }

    async fn a_mail_that_becomes_too_large_fails_alone(backends: Backends) {
        let backends = backends.with("render.rendered_bytes", 2_000_000);
        let mut daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        let html = "<p>{{#each rows}}{{../filler}}{{/each}}</p>";
        shop.put("/api/v1/templates/welcome", &template_with(html)).await.expect(200);
        shop.enrol("ok@example.net").await;
        let ask = async |rows: usize| {
            let mut body = welcome("ok@example.net");
            body["user"]["rows"] = json!(vec![1; rows]);
            body["user"]["filler"] = json!("x".repeat(1_000));
            shop.post("/mail", &body).await
        };
        let id_of = |answer: Value| answer["data"]["ok@example.net"]["transaction_id"].as_str().unwrap().to_owned();
        let refusal = ask(3_000).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["template_id"]);
        let large = id_of(ask(1_500).await.expect(200).json());
        let small = id_of(ask(2).await.expect(200).json());

        // A smaller limit from now on: what was recorded meets it when it is sent.
        daemon.stop().await;
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let _backends = backends.with("render.rendered_bytes", 1_000_000).with_route_to(&sink);
        daemon.start_again().await;
        shop.wait_until(&small, "sent").await;
        let story = shop.wait_until(&large, "failed").await;
        assert_eq!(story["attempts"][0]["phase"], "render");
        assert!(story["error"].as_str().unwrap().contains("larger than 1000000 bytes"), "{story}");
        assert_eq!(sink.count(), 1);
    }

    async fn a_mail_keeps_the_version_of_its_template(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1s")).await;
        let old = scene.shop.send_to("greylist-once@example.net").await;
        scene.shop.wait_until(&old, "deferred").await;
        scene.shop.put("/api/v1/templates/welcome", &template_with("<p>New words</p>")).await.expect(200);
        let new = scene.shop.send_to("ok@example.net").await;
        scene.shop.delete("/api/v1/templates/welcome").await.expect(204);
        for id in [&old, &new] {
            scene.shop.wait_until(id, "sent").await;
        }
        assert!(scene.sink.find("greylist-once@example.net").unwrap().html().unwrap().contains("Dear Ann Lee"));
        assert!(scene.sink.find("ok@example.net").unwrap().html().unwrap().contains("New words"));
    }

    async fn a_preview_shows_what_is_there_and_names_what_is_missing(backends: Backends) {
        let scene = Scene::open(backends).await;
        let path = "/api/v1/templates/welcome/preview";
        let shown = scene.shop.post(path, &json!({"user": {"first_name": "Ann", "full_name": "<Ann>"}})).await.expect(200);
        let shown = shown.json();
        assert_eq!(shown["subject"], "Welcome, Ann");
        assert!(shown["html"].as_str().unwrap().contains("Dear &lt;Ann&gt;, welcome to ."));
        assert!(shown["text"].as_str().unwrap().contains("Dear <Ann>, welcome to ."));
        assert_eq!(shown["missing"], json!(["brand_name"]));
        let empty = scene.shop.post(path, &json!({})).await.expect(200).json();
        assert_eq!(empty["missing"], json!(["first_name", "full_name", "brand_name"]));
        scene.shop.post(path, &json!({"user": {}, "colour": 1})).await.expect(422);
        scene.shop.post("/api/v1/templates/none/preview", &json!({})).await.expect(404);
        assert_eq!(scene.sink.count(), 0);
    }

    async fn an_import_takes_the_good_lines_and_names_the_others(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut lines: Vec<_> = (0..2_000)
            .map(|number| json!({"kind": "members", "id": format!("m{number}"), "brand_id": "new", "email": format!("m{number}@example.net")}).to_string())
            .collect();
        lines[0] = json!({"kind": "brands", "id": "new", "name": "New", "sender": {"email": "new@tea.example"}}).to_string();
        for (index, line) in [
            (9, "{\"kind\":\"members\""),
            (19, r#"{"kind":"members","id":"x","brand_id":"new","email":"no address"}"#),
            (29, r#"{"kind":"members","id":"x","brand_id":"unknown","email":"x@example.net"}"#),
            (39, r#"{"kind":"robots","id":"x"}"#),
            (49, r#"{"kind":"members","brand_id":"new","email":"x@example.net"}"#),
            (1_499, r#"{"kind":"members","id":"x","brand_id":"new","email":"x@example.net","colour":"red"}"#),
            (1_999, r#"{"kind":"templates","id":"x","brand_id":"new","title":"t","subject":"{{","html":"h"}"#),
        ] {
            lines[index] = line.to_owned();
        }
        let body = lines.join("\n");
        let answer = scene.shop.post_text("/api/v1/import", "application/x-ndjson", body).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(1_993), &json!(7)));
        let faults: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| (error["line"].as_u64().unwrap(), error["path"].as_str().unwrap())).collect();
        assert_eq!(
            faults,
            [(10, ""), (20, "email"), (30, "brand_id"), (40, "kind"), (50, "id"), (1_500, "colour"), (2_000, "subject")]
        );
        scene.shop.get("/api/v1/members/m1998").await.expect(200);
        scene.shop.get("/api/v1/members/x").await.expect(404);
        scene.shop.post_text("/api/v1/import", "application/json", "{}").await.expect(415);
    }
}
