//! Who may ask for what.

use reqwest::Method;
use serde_json::json;

use super::support::{Answer, Backends, Credential, Scene, Shop, eventually, send, welcome};

const PATHS: [(&str, &str); 5] = [
    ("POST", "/mail"),
    ("GET", "/templates?brand_id=tea"),
    ("GET", "/templates/welcome"),
    ("GET", "/api/v1/mails"),
    ("PUT", "/api/v1/brands/tea"),
];

async fn ask(shop: &Shop, method: &str, path: &str) -> Answer {
    let body = match path {
        "/mail" => welcome("ok@example.net"),
        _ => json!({"name": "Tea", "sender": {"email": "hello@tea.example"}}),
    };
    let request = shop.request(method.parse().unwrap(), path);
    send(if method == "GET" { request } else { request.json(&body) }).await
}

#[track_caller]
fn is_unauthorized(answer: Answer) {
    let answer = answer.expect(401);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("Basic") && challenge.contains("Bearer"), "{challenge}");
}

on_both! {
    async fn nobody_gets_in_without_a_credential(backends: Backends) {
        let scene = Scene::open(backends).await;
        let nobody = scene.shop.with(Credential::Nobody);
        for (method, path) in PATHS {
            is_unauthorized(ask(&nobody, method, path).await);
        }
        for header in ["", "Basic", "Bearer", "Basic !!!", "Basic YW5u", "Bearer ", "Digest x", "pr_x"] {
            let request = nobody.request(Method::GET, "/api/v1/mails").header("authorization", header);
            is_unauthorized(send(request).await);
        }
    }

    async fn a_wrong_password_or_token_does_not_get_in(backends: Backends) {
        let scene = Scene::open(backends).await;
        let account = scene.shop.new_account("ann");
        let Credential::Basic(_, password) = &account else { unreachable!() };
        assert_eq!(ask(&scene.shop.with(account.clone()), "GET", "/api/v1/mails").await.status, 200);
        for (username, password) in [
            ("ann", "wrong"), ("ann", ""), ("Ann", password), ("bob", password), ("", password), ("a\0b", password),
        ] {
            let wrong = Credential::Basic(username.to_owned(), password.to_owned());
            is_unauthorized(ask(&scene.shop.with(wrong), "GET", "/api/v1/mails").await);
        }
        for token in ["pr_wrong", "x", &"y".repeat(5_000)] {
            let wrong = Credential::Bearer(token.to_owned());
            is_unauthorized(ask(&scene.shop.with(wrong), "GET", "/api/v1/mails").await);
        }
    }

    async fn an_account_may_do_everything_that_its_merchant_may(backends: Backends) {
        let scene = Scene::open(backends).await;
        let shop = scene.shop.with(scene.shop.new_account("ann"));
        shop.enrol("ok@example.net").await;
        for (method, path) in PATHS {
            let answer = ask(&shop, method, path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }

    async fn a_token_may_do_only_what_it_was_made_for(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        for (abilities, may) in [
            ("templates.get", &["/templates?brand_id=tea", "/templates/welcome"][..]),
            ("templates.store", &["/mail"]),
            ("mails.read", &["/api/v1/mails"]),
            ("resources.write", &["/api/v1/brands/tea"]),
            ("resources.read,mails.manage", &[]),
            ("mails.read,templates.store", &["/mail", "/api/v1/mails"]),
        ] {
            let shop = scene.shop.with(Credential::Bearer(scene.shop.new_token(abilities)));
            for (method, path) in PATHS {
                let answer = ask(&shop, method, path).await;
                let expected = if may.contains(&path) { 200 } else { 403 };
                assert_eq!(answer.status, expected, "{abilities} {path}: {answer:?}");
            }
        }
    }

    async fn a_token_that_expired_or_was_revoked_does_not_get_in(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let words = ["token", "create", "--merchant", "tea-co", "--abilities", "*", "--expires-in", "1ms", "--json"];
        let expired = commands.run(&words).expect(0).json()["token"].as_str().unwrap().to_owned();
        is_unauthorized(ask(&scene.shop.with(Credential::Bearer(expired)), "GET", "/api/v1/mails").await);

        let token = scene.shop.new_token("*");
        let shop = scene.shop.with(Credential::Bearer(token.clone()));
        ask(&shop, "GET", "/api/v1/mails").await.expect(200);
        commands.run(&["token", "revoke", &token]).expect(0);
        commands.run(&["token", "revoke", &token]).expect(1);
        eventually("the token is refused", async || ask(&shop, "GET", "/api/v1/mails").await.status == 401).await;
    }

    async fn a_suspended_merchant_is_turned_away(backends: Backends) {
        let scene = Scene::open(backends).await;
        let shop = scene.shop.with(Credential::Bearer(scene.shop.new_token("*")));
        scene.backends.execute("UPDATE merchants SET suspended_at = 1").await;
        for (method, path) in PATHS {
            ask(&shop, method, path).await.expect(403);
        }
    }

    async fn another_merchants_things_do_not_exist(backends: Backends) {
        let scene = Scene::open(backends).await;
        let id = scene.shop.send_to("ok@example.net").await;
        let other = Shop::open(&scene.daemon, &scene.backends.command_line(), "coffee-co");
        for path in [
            "/templates/welcome", "/api/v1/brands/tea", "/api/v1/templates/welcome", "/api/v1/members/ok@example.net",
            &format!("/api/v1/mails/{id}"),
        ] {
            other.get(path).await.expect(404);
        }
        for path in ["cancel", "retry"].map(|what| format!("/api/v1/mails/{id}/{what}")) {
            other.post(&path, &json!({})).await.expect(404);
        }
        other.post("/api/v1/templates/welcome/preview", &json!({"user": {}})).await.expect(404);
        other.delete("/api/v1/members/ok@example.net").await.expect(404);
        other.get("/templates?brand_id=tea").await.expect(422);
        for path in ["/api/v1/mails", "/api/v1/members", "/api/v1/templates"] {
            assert_eq!(other.get(path).await.expect(200).json()["data"], json!([]), "{path}");
        }
        let refusal = other.post("/mail", &welcome("ok@example.net")).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["brand_id"]);

        // The same ids are free for it, one by one.
        other.fill_shelves().await;
        let refusal = other.post("/mail", &welcome("ok@example.net")).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["user.identifier"]);
        scene.shop.get("/api/v1/members/ok@example.net").await.expect(200);
    }
}
