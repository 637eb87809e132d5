//! `Idempotency-Key`: the same request made again gets the first answer again.

use futures_util::future::join_all;
use postroom::store::{Answer as Kept, KeyHolder, Reservation, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Answer, Backends, Credential, Scene, Shop, send, welcome};

async fn mails(shop: &Shop) -> usize {
    shop.get("/api/v1/mails").await.expect(200).json()["data"].as_array().unwrap().len()
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

on_both! {
    async fn the_same_request_gets_the_first_answer_and_sends_one_mail(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let body = welcome("ok@example.net");
        let first = scene.shop.post_once("/mail", "key-1", &body).await.expect(200);
        let second = scene.shop.post_once("/mail", "key-1", &body).await.expect(200);
        assert!(!is_replayed(&first) && is_replayed(&second));
        assert_eq!(first.body, second.body);

        scene.daemon.stop().await;
        scene.daemon.start_again().await;
        let third = scene.shop.post_once("/mail", "key-1", &body).await.expect(200);
        assert_eq!((is_replayed(&third), &third.body), (true, &first.body));
        assert_eq!(mails(&scene.shop).await, 1);
    }

    async fn the_same_key_for_another_body_is_refused(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        scene.shop.post_once("/mail", "key-1", &welcome("ok@example.net")).await.expect(200);
        let mut other = welcome("ok@example.net");
        other["user"]["first_name"] = json!("Anna");
        let refusal = scene.shop.post_once("/mail", "key-1", &other).await.expect(422);
        assert!(refusal.json()["message"].as_str().unwrap().contains("Idempotency-Key"));
        assert_eq!(mails(&scene.shop).await, 1);
    }

    async fn the_same_json_is_the_same_request_and_another_query_is_another(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let first = scene.shop.post_once("/mail", "key-1", &welcome("ok@example.net")).await.expect(200);
        let text = r#"{ "user": {"identifier": "ok@example.net"},
            "template_id": "welcome", "brand_id": "tea" }"#;
        let post = async |path: &str| {
            let request = scene.shop.request(reqwest::Method::POST, path).header("idempotency-key", "key-1");
            send(request.header("content-type", "application/json").body(text)).await
        };
        let again = post("/mail").await.expect(200);
        assert_eq!((is_replayed(&again), &again.body), (true, &first.body));
        post("/mail?trace=1").await.expect(422);

        let batch = json!({"brand_id": "tea", "template_id": "welcome", "users": [{"identifier": "ok@example.net"}]});
        let first = scene.shop.post_once("/mails", "key-2", &batch).await.expect(200);
        let text = r#"{"users":[{"identifier":"ok@example.net"}],"template_id":"welcome","brand_id":"tea"}"#;
        let request = scene.shop.request(reqwest::Method::POST, "/mails").header("idempotency-key", "key-2");
        let again = send(request.header("content-type", "application/json").body(text)).await.expect(200);
        assert_eq!((is_replayed(&again), &again.body), (true, &first.body));
    }

    async fn a_malformed_form_is_not_kept_and_its_key_is_free(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        for malformed in [json!([]), json!({"brand_id": 5}), json!({})] {
            let refusal = scene.shop.post_once("/mail", "key-1", &malformed).await.expect(422);
            assert!(!is_replayed(&refusal));
            let refusal = scene.shop.post_once("/mail", "key-1", &malformed).await.expect(422);
            assert!(!is_replayed(&refusal), "{malformed}");
        }
        scene.shop.post_once("/mail", "key-1", &welcome("ok@example.net")).await.expect(200);
    }

    async fn a_refusal_is_kept_like_a_success(backends: Backends) {
        let scene = Scene::open(backends).await;
        let body = welcome("ok@example.net");
        let first = scene.shop.post_once("/mail", "key-1", &body).await.expect(422);
        scene.shop.enrol("ok@example.net").await;
        let second = scene.shop.post_once("/mail", "key-1", &body).await.expect(422);
        assert_eq!((is_replayed(&second), &second.body), (true, &first.body));
        scene.shop.post_once("/mail", "key-2", &body).await.expect(200);
    }

    async fn a_retry_that_is_asked_for_again_gets_its_first_answer(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mail = scene.shop.send_to("reject@example.net").await;
        scene.shop.wait_until(&mail, "failed").await;
        let retry = format!("/api/v1/mails/{mail}/retry");
        let first = scene.shop.post_once(&retry, "key-1", &json!({})).await.expect(200);
        scene.shop.wait_until(&mail, "failed").await;
        let second = scene.shop.post_once(&retry, "key-1", &json!({})).await.expect(200);
        assert!(!is_replayed(&first) && is_replayed(&second));
        assert_eq!(first.body, second.body);
        assert_eq!(scene.shop.mail(&mail).await["attempts"].as_array().unwrap().len(), 2);
    }

    async fn of_many_equal_requests_at_once_one_sends_a_mail(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let body = welcome("ok@example.net");
        let answers = join_all((0..20).map(|_| scene.shop.post_once("/mail", "key-1", &body))).await;
        for answer in &answers {
            match answer.status {
                200 => {}
                409 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
                _ => panic!("{answer:?}"),
            }
        }
        let fresh = answers.iter().filter(|answer| answer.status == 200 && !is_replayed(answer)).count();
        assert_eq!((fresh, mails(&scene.shop).await), (1, 1));
        assert!(is_replayed(&scene.shop.post_once("/mail", "key-1", &body).await.expect(200)));
    }

    async fn a_key_is_1_to_255_visible_ascii_characters(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let long = |length: usize| "k".repeat(length);
        for key in ["", "a b", "a\tb", "clé", &long(256)] {
            let answer = scene.shop.post_once("/mail", key, &welcome("ok@example.net")).await.expect(400);
            assert!(answer.json()["message"].as_str().unwrap().contains("Idempotency-Key"), "{key:?}");
        }
        for key in ["a", "!~#%&'\"<>\\", &long(255)] {
            scene.shop.post_once("/mail", key, &welcome("ok@example.net")).await.expect(200);
        }
        assert_eq!(mails(&scene.shop).await, 3);
    }

    async fn a_key_belongs_to_one_merchant(backends: Backends) {
        let scene = Scene::open(backends).await;
        let other = Shop::open(&scene.daemon, &scene.backends.command_line(), "coffee-co");
        other.fill_shelves().await;
        let mut answers: Vec<Value> = Vec::new();
        for shop in [&scene.shop, &other] {
            shop.enrol("ok@example.net").await;
            let answer = shop.post_once("/mail", "key-1", &welcome("ok@example.net")).await.expect(200);
            assert!(!is_replayed(&answer));
            answers.push(answer.json());
        }
        assert_ne!(answers[0], answers[1]);
    }

    async fn an_answer_to_a_test_request_is_no_answer_to_a_real_one(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let trying = scene.shop.with(scene.shop.new_test_token());
        let single = welcome("ok@example.net");
        let many = json!({"brand_id": "tea", "template_id": "welcome", "users": [{"identifier": "ok@example.net"}]});
        for (path, body) in [("/mail", &single), ("/mails", &many)] {
            let tried = trying.post_once(path, "key-1", body).await.expect(200);
            let earnest = scene.shop.post_once(path, "key-1", body).await.expect(200);
            assert!(!is_replayed(&earnest), "{path}");
            assert_ne!(tried.body, earnest.body);
            assert!(is_replayed(&trying.post_once(path, "key-1", body).await.expect(200)));
            assert!(is_replayed(&scene.shop.post_once(path, "key-1", body).await.expect(200)));
        }
    }

    async fn a_key_helps_nobody_who_may_not(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mail = scene.shop.send_to("reject@example.net").await;
        scene.shop.wait_until(&mail, "failed").await;
        let weak = scene.shop.with(Credential::Bearer(scene.shop.new_token("carts.read")));
        let retry = format!("/api/v1/mails/{mail}/retry");
        weak.post_once(&retry, "key-1", &json!({})).await.expect(403);
        let answer = scene.shop.post_once(&retry, "key-1", &json!({})).await.expect(200);
        assert!(!is_replayed(&answer));
        weak.post_once(&retry, "key-1", &json!({})).await.expect(403);
        let confirm = format!("/api/v1/actions/{}/confirm", Uuid::now_v7());
        weak.post_once(&confirm, "key-2", &json!({})).await.expect(403);
        scene.shop.post_once(&confirm, "key-2", &json!({})).await.expect(404);
        weak.post_once(&confirm, "key-2", &json!({})).await.expect(403);
    }

    async fn a_path_may_be_as_long_as_the_head_of_a_request(backends: Backends) {
        let scene = Scene::open(backends).await;
        // What is hard to compress: Postgres stores the rest of a long path in little room.
        let long: String = (0..200).map(|_| Uuid::new_v4().simple().to_string()).collect();
        let path = format!("/ordersv2/{long}/email/send");
        let body = json!({"template": "ORDERCONFIRMATION"});
        let first = scene.shop.post_once(&path, "key-1", &body).await;
        assert!((400..500).contains(&first.status), "{first:?}");
        let again = scene.shop.post_once(&path, "key-1", &body).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        scene.shop.post_once(&format!("{path}?more"), "key-1", &body).await.expect(422);
    }

    async fn a_key_belongs_to_one_path_and_its_first_body(backends: Backends) {
        let scene = Scene::open(backends).await;
        let store = Store::open(&scene.backends.database()).await.unwrap();
        let holder = |path: &str| KeyHolder {
            merchant: "tea-co".parse().unwrap(),
            path: path.to_owned(),
            key: "key-1".to_owned(),
            request: Uuid::now_v7(),
        };
        let reserve = async |holder: &KeyHolder, body: &str| store.reserve_key(holder.clone(), body.to_owned()).await.unwrap();
        let (first, elsewhere) = (holder("/mail"), holder("/mails"));
        assert!(matches!(reserve(&first, "body").await, Reservation::Granted));
        assert!(matches!(reserve(&elsewhere, "body").await, Reservation::Granted));
        assert!(matches!(reserve(&holder("/mail"), "body").await, Reservation::Running(_)));
        assert!(matches!(reserve(&holder("/mail"), "other").await, Reservation::Reused));

        store.keep_answer(&first, &Kept { status: 200, body: "{}".to_owned() }).await.unwrap();
        assert!(matches!(reserve(&holder("/mail"), "body").await, Reservation::Answered(Kept { status: 200, .. })));
        assert!(matches!(reserve(&holder("/mail"), "other").await, Reservation::Reused));
        store.release_key(&elsewhere).await.unwrap();
        assert!(matches!(reserve(&holder("/mails"), "other").await, Reservation::Granted));
    }
}
