//! `POST /mail` and `GET /templates`: what is asked, what is refused, and what a template is filled with.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::{Backends, Scene, brand, eventually, send, template, welcome};

/// A valid request with one change.
fn request(change: impl FnOnce(&mut Value)) -> Value {
    let mut request = welcome("ok@example.net");
    change(&mut request);
    request
}

on_both! {
    async fn a_shop_that_asks_fast_right_after_a_start_is_refused_nothing(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        assert_eq!(scene.daemon.stop().await, 0);
        scene.daemon.start_again().await;
        let body = welcome("ok@example.net");
        let answers = join_all((0..150).map(|_| scene.shop.post("/mail", &body))).await;
        answers.into_iter().for_each(|answer| drop(answer.expect(200)));
    }

    async fn the_answer_names_the_mail_by_the_members_identifier(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let answer = scene.shop.post("/mail", &welcome("ok@example.net")).await.expect(200).json();
        let id = answer["data"]["ok@example.net"]["transaction_id"].as_str().unwrap();
        assert_eq!(
            answer,
            json!({"message": "Request successful",
                "data": {"ok@example.net": {"status": "queued", "transaction_id": id}}})
        );
        let story = scene.shop.mail(id).await;
        assert_eq!((&story["member"], &story["template"]), (&json!("ok@example.net"), &json!("welcome")));
        let extra = request(|body| body["colour"] = json!("red"));
        scene.shop.post("/mail", &extra).await.expect(200);
    }

    async fn a_request_with_a_fault_is_refused_naming_the_field(backends: Backends) {
        let scene = Scene::open(backends).await;
        let shop = &scene.shop;
        shop.enrol("ok@example.net").await;
        shop.put("/api/v1/brands/coffee", &brand()).await.expect(201);
        let mut other = template();
        other["brand_id"] = json!("coffee");
        shop.put("/api/v1/templates/other", &other).await.expect(201);
        shop.put("/api/v1/members/stranger", &json!({"brand_id": "coffee", "email": "ok@example.net"})).await.expect(201);

        let remove = |path: &'static str| request(move |body| drop(body.as_object_mut().unwrap().remove(path)));
        let set = |path: &'static str, value: Value| request(move |body| body[path] = value);
        let identify = |value: Value| request(move |body| body["user"]["identifier"] = value);
        for (body, fields) in [
            (remove("brand_id"), &["brand_id"][..]),
            (remove("template_id"), &["template_id"]),
            (set("user", json!({})), &["user.identifier"]),
            (set("user", json!({"first_name": "Ann"})), &["user.identifier"]),
            (set("brand_id", Value::Null), &["brand_id"]),
            (set("brand_id", json!("")), &["brand_id"]),
            (set("brand_id", json!(5)), &["brand_id"]),
            (set("template_id", json!(["welcome"])), &["template_id"]),
            (set("template_id", json!(true)), &["template_id"]),
            (identify(json!(5)), &["user.identifier"]),
            (identify(Value::Null), &["user.identifier"]),
            (identify(json!({})), &["user.identifier"]),
            (set("brand_id", json!("unknown")), &["brand_id"]),
            (set("brand_id", json!("tea\r\n")), &["brand_id"]),
            (set("template_id", json!("unknown")), &["template_id"]),
            (set("template_id", json!("other")), &["template_id"]),
            (identify(json!("unknown")), &["user.identifier"]),
            (identify(json!("stranger")), &["user.identifier"]),
            (identify(json!("ok@example.net\n")), &["user.identifier"]),
            (set("coupon_id", json!("unknown")), &["coupon_id"]),
            (set("storecard_id", json!("unknown")), &["storecard_id"]),
            (request(|body| (body["brand_id"], body["template_id"]) = (json!(1), Value::Null)), &["brand_id", "template_id"]),
        ] {
            let refusal = shop.post("/mail", &body).await.expect(422);
            assert_eq!(refusal.faulty_fields(), fields, "{body}");
            let message = &refusal.json()["errors"][fields[0]][0];
            assert!(message.as_str().is_some_and(|message| !message.is_empty()), "{refusal:?}");
        }
        for body in [json!({}), set("user", Value::Null), remove("user"), set("user", json!("ann"))] {
            let fields = shop.post("/mail", &body).await.expect(422).faulty_fields();
            assert!(fields.iter().any(|field| field.starts_with("user")), "{body}: {fields:?}");
        }
        assert_eq!(shop.get("/api/v1/mails").await.json()["data"], json!([]), "nothing was recorded");
    }

    async fn a_mail_whose_template_lacks_a_value_is_refused(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut needy = template();
        needy["subject"] = json!("{{points}} points");
        needy["html"] = json!("<p>{{city}} {{#if shop}}{{shop.name}}{{/if}} {{#each items}}{{name}}{{/each}}</p>");
        scene.shop.put("/api/v1/templates/welcome", &needy).await.expect(200);
        scene.shop.enrol("ok@example.net").await;
        let mut body = welcome("ok@example.net");
        let refusal = scene.shop.post("/mail", &body).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["user.city", "user.points"]);

        body["user"]["points"] = json!(12);
        body["user"]["items"] = json!([{"name": "Tea"}, {}]);
        body["user"]["shop"] = json!({"city": "Bonn"});
        let refusal = scene.shop.post("/mail", &body).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["user.city", "user.items.1.name", "user.shop.name"]);

        body["user"]["city"] = Value::Null;
        body["user"]["items"] = json!([]);
        body["user"]["shop"] = json!(null);
        scene.shop.post("/mail", &body).await.expect(200);
    }

    async fn a_given_value_goes_over_the_systems_but_for_the_address(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut all = template();
        all["subject"] = json!("{{first_name}} {{last_name}} {{full_name}}");
        all["html"] = json!("<p>{{email}}|{{brand_name}}|{{language}}|{{city}}|{{#if unsubscribe_link}}{{unsubscribe_link}}{{/if}}</p>");
        scene.shop.put("/api/v1/templates/welcome", &all).await.expect(200);
        let member = json!({"brand_id": "tea", "email": "ok@example.net", "first_name": "Ann", "last_name": "Lee",
            "language": "de", "tags": {"city": "Bonn", "email": "evil@example.net"}});
        scene.shop.put("/api/v1/members/ann", &member).await.expect(201);
        let mut body = welcome("ann");
        body["user"]["first_name"] = json!("Anna");
        body["user"]["brand_name"] = json!("Kaffee");
        body["user"]["email"] = json!("evil@example.net");
        body["user"]["unsubscribe_link"] = json!("https://evil.example");
        let answer = scene.shop.post("/mail", &body).await.expect(200).json();
        scene.shop.wait_until(answer["data"]["ann"]["transaction_id"].as_str().unwrap(), "sent").await;

        let caught = scene.sink.find("ok@example.net").unwrap();
        assert_eq!(caught.subject(), "Anna Lee Anna Lee");
        assert!(caught.html().unwrap().contains("<p>ok@example.net|Kaffee|de|Bonn|"), "{:?}", caught.html());
        assert!(!caught.html().unwrap().contains("evil"));
    }

    async fn templates_are_listed_for_a_brand_in_the_query_or_in_the_body(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut own = template();
        own["sender"] = json!({"email": "own@tea.example"});
        scene.shop.put("/api/v1/templates/own", &own).await.expect(201);
        let line = |identifier: &str, sender: &str| {
            json!({"identifier": identifier, "title": "Welcome", "subject": "Welcome, {{first_name}}", "sender": sender})
        };
        let expected = json!({"success": true,
            "data": [line("own", "own@tea.example"), line("welcome", "Tea & Co <hello@tea.example>")]});
        let in_query = scene.shop.get("/templates?brand_id=tea").await.expect(200);
        assert_eq!(in_query.json(), expected);
        let in_body = scene.shop.request(reqwest::Method::GET, "/templates").json(&json!({"brand_id": "tea"}));
        assert_eq!(send(in_body).await.expect(200).json(), expected);

        for path in ["/templates", "/templates?brand_id=unknown"] {
            let refusal = scene.shop.get(path).await.expect(422).json();
            assert_eq!((&refusal["success"], refusal["message"].is_string()), (&json!(false), true));
        }
    }

    async fn all_templates_of_a_brand_are_in_one_list(backends: Backends) {
        let scene = Scene::open(backends).await;
        let line = |number: usize| {
            let mut line = template();
            line["kind"] = json!("templates");
            line["id"] = json!(format!("t{number:04}"));
            line.to_string()
        };
        let lines: Vec<_> = (0..1_003).map(line).collect();
        let imported = scene.shop.post_text("/api/v1/import", "application/x-ndjson", lines.join("\n")).await;
        assert_eq!(imported.expect(200).json()["accepted"], 1_003);
        let listed = scene.shop.get("/templates?brand_id=tea").await.expect(200).json();
        let names: Vec<_> =
            listed["data"].as_array().unwrap().iter().map(|line| line["identifier"].as_str().unwrap()).collect();
        assert_eq!((names.len(), names[0], names[1_002], names[1_003]), (1_004, "t0000", "t1002", "welcome"));
        assert!(names.is_sorted());
    }

    async fn a_template_may_say_the_identifier(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut says = template();
        says["subject"] = json!("For {{identifier}}");
        scene.shop.put("/api/v1/templates/welcome", &says).await.expect(200);
        let shown = scene.shop.get("/templates/welcome").await.expect(200).json();
        assert!(shown["data"]["custom_tags"].as_array().unwrap().contains(&json!("identifier")), "{shown}");
        let users: Vec<_> = ["one@example.net", "two@example.net"].map(|id| json!({"identifier": id})).into();
        scene.shop.enrol("ok@example.net").await;
        scene.shop.enrol("one@example.net").await;
        scene.shop.enrol("two@example.net").await;
        scene.shop.post("/mail", &welcome("ok@example.net")).await.expect(200);
        let batch = json!({"brand_id": "tea", "template_id": "welcome", "users": users});
        scene.shop.post("/mails", &batch).await.expect(200);
        for who in ["ok", "one", "two"] {
            let address = format!("{who}@example.net");
            eventually("it arrives", async || scene.sink.find(&address).is_some()).await;
            assert_eq!(scene.sink.find(&address).unwrap().subject(), format!("For {address}"));
        }
    }

    async fn a_template_tells_which_placeholders_postroom_fills(backends: Backends) {
        let scene = Scene::open(backends).await;
        let html = "<style>p { color: red }</style><p>{{first_name}} {{city}} {{#each items}}{{name}}{{/each}}</p>";
        let mut tagged = template();
        tagged["html"] = json!(html);
        tagged["text"] = json!("{{points}} {{link_to_pass}}");
        scene.shop.put("/api/v1/templates/welcome", &tagged).await.expect(200);
        let answer = scene.shop.get("/templates/welcome").await.expect(200).json();
        assert_eq!(
            answer["data"],
            json!({"identifier": "welcome", "title": "Welcome", "subject": "Welcome, {{first_name}}",
                "sender": "Tea & Co <hello@tea.example>", "brand_id": "tea", "html": html,
                "reserved_tags": ["email", "first_name", "last_name", "full_name", "language", "brand_name",
                    "link_to_pass", "unsubscribe_link"],
                "custom_tags": ["city", "items", "points"]})
        );
        let missing = scene.shop.get("/templates/unknown").await.expect(404).json();
        assert_eq!(missing["success"], false);
    }
}
