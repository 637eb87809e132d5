//! What each kind of reply makes of a mail, and what a person may ask for afterwards.

use serde_json::{Value, json};

use super::support::{Backends, Scene};

async fn ask(scene: &Scene, id: &str, what: &str, status: u16) -> Value {
    scene.shop.post(&format!("/api/v1/mails/{id}/{what}"), &json!({})).await.expect(status).json()
}

on_both! {
    async fn a_greylisted_mail_is_put_off_and_sent_later(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "400ms")).await;
        let id = scene.shop.send_to("greylist-once@example.net").await;
        let story = scene.shop.wait_until(&id, "deferred").await;
        assert!(story["due_at"].as_str() > story["recorded_at"].as_str());

        let story = scene.shop.wait_until(&id, "sent").await;
        let attempts = story["attempts"].as_array().unwrap();
        assert_eq!((&attempts[0]["code"], &attempts[0]["enhanced_code"]), (&json!(451), &json!("4.7.1")));
        assert_eq!((&attempts[0]["outcome"], &attempts[0]["phase"]), (&json!("transient"), &json!("rcpt_to")));
        assert_eq!((attempts.len(), &attempts[1]["outcome"]), (2, &json!("accepted")));
        assert_eq!(story["error"], Value::Null);
        assert_eq!(scene.caught("greylist-once@example.net"), 1);
    }

    async fn a_refused_mail_is_failed_at_once_with_the_relays_words(backends: Backends) {
        let scene = Scene::open(backends).await;
        for (recipient, code, enhanced, phase) in [
            ("reject@example.net", 550, "5.1.1", "rcpt_to"),
            ("reject-data@example.net", 554, "5.6.0", "final"),
        ] {
            let id = scene.shop.send_to(recipient).await;
            let story = scene.shop.wait_until(&id, "failed").await;
            let attempts = story["attempts"].as_array().unwrap();
            assert_eq!(attempts.len(), 1);
            assert_eq!((&attempts[0]["code"], &attempts[0]["enhanced_code"]), (&json!(code), &json!(enhanced)));
            assert_eq!((&attempts[0]["outcome"], &attempts[0]["phase"]), (&json!("permanent"), &json!(phase)));
            assert!(story["error"].as_str().unwrap().starts_with(&code.to_string()), "{story}");
        }
    }

    async fn a_connection_that_breaks_before_the_message_puts_the_mail_off(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        for recipient in ["hang-up@example.net", "busy@example.net", "defer@example.net", "defer-data@example.net"] {
            let id = scene.shop.send_to(recipient).await;
            let story = scene.shop.wait_until(&id, "deferred").await;
            assert_eq!(story["attempts"][0]["outcome"], "transient", "{recipient}");
        }
        assert_eq!(scene.sink.count(), 0);
    }

    async fn a_connection_that_breaks_after_the_message_leaves_the_outcome_unknown(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let id = scene.shop.send_to("drop-after-data@example.net").await;
        let story = scene.shop.wait_until(&id, "deferred").await;
        assert_eq!(story["attempts"][0]["outcome"], "unknown");
        assert_eq!(story["attempts"][0]["phase"], "final");
        assert_eq!(scene.caught("drop-after-data@example.net"), 1);
    }

    async fn a_mail_whose_last_answer_never_comes_is_held_after_so_many_times(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "100ms").with("retry.rescues", 2)).await;
        let id = scene.shop.send_to("drop-after-data@example.net").await;
        let story = scene.shop.wait_until(&id, "held").await;
        let attempts = story["attempts"].as_array().unwrap();
        assert!(attempts.iter().all(|attempt| attempt["outcome"] == "unknown"), "{story}");
        assert_eq!((attempts.len(), scene.caught("drop-after-data@example.net")), (3, 3));
        let error = story["error"].as_str().unwrap();
        assert!(error.ends_with("it was sent again 2 times already, the most that `retry.rescues` allows"), "{error}");

        // A person who asks for it begins anew.
        assert_eq!(ask(&scene, &id, "retry", 200).await["state"], "queued");
        let story = scene.shop.wait_until(&id, "held").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 6, "{story}");
    }

    async fn a_mail_that_is_too_old_is_given_up(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "200ms").with("retry.max_age", "1s")).await;
        let id = scene.shop.send_to("defer@example.net").await;
        let story = scene.shop.wait_until(&id, "failed").await;
        let attempts = story["attempts"].as_array().unwrap();
        assert!((2..=4).contains(&attempts.len()), "{story}");
        assert!(attempts.iter().all(|attempt| attempt["outcome"] == "transient"), "{story}");
    }

    async fn a_failed_mail_can_be_tried_again(backends: Backends) {
        let scene = Scene::open(backends).await;
        let id = scene.shop.send_to("reject@example.net").await;
        scene.shop.wait_until(&id, "failed").await;
        assert_eq!(ask(&scene, &id, "retry", 200).await["state"], "queued");
        let story = scene.shop.wait_until(&id, "failed").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 2);
    }

    async fn a_waiting_mail_can_be_taken_back_and_brought_back(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let id = scene.shop.send_to("greylist-once@example.net").await;
        scene.shop.wait_until(&id, "deferred").await;
        let story = ask(&scene, &id, "cancel", 200).await;
        assert_eq!((&story["state"], &story["due_at"]), (&json!("cancelled"), &Value::Null));
        assert_eq!(scene.sink.count(), 0);

        assert_eq!(ask(&scene, &id, "retry", 200).await["state"], "queued");
        let story = scene.shop.wait_until(&id, "sent").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 2);
    }

    async fn a_mail_in_another_state_cannot_be_moved(backends: Backends) {
        let scene = Scene::open(backends).await;
        let sent = scene.shop.send_to("ok@example.net").await;
        scene.shop.wait_until(&sent, "sent").await;
        let sending = scene.shop.send_to("slow-2000@example.net").await;
        scene.shop.wait_until(&sending, "sending").await;
        let failed = scene.shop.send_to("reject@example.net").await;
        scene.shop.wait_until(&failed, "failed").await;
        for (id, what) in [(&sent, "retry"), (&sent, "cancel"), (&sending, "cancel"), (&sending, "retry"), (&failed, "cancel")] {
            let refusal = ask(&scene, id, what, 409).await;
            assert_eq!(refusal["code"], "wrong_state", "{what}");
        }
        ask(&scene, "0192f000-0000-7000-8000-000000000000", "retry", 404).await;
        ask(&scene, "no-id", "cancel", 404).await;
    }

    async fn mails_are_listed_by_state_recipient_and_page(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut ids = Vec::new();
        for recipient in ["ok-1@example.net", "ok-2@example.net", "reject@example.net"] {
            let id = scene.shop.send_to(recipient).await;
            let state = if recipient.starts_with("ok") { "sent" } else { "failed" };
            scene.shop.wait_until(&id, state).await;
            ids.push(id);
        }
        for (query, expected) in [
            ("", &ids[..]),
            ("?state=sent", &ids[..2]),
            ("?state=failed&lane=transactional", &ids[2..]),
            ("?recipient=ok-2@example.net", &ids[1..2]),
            ("?limit=2", &ids[..2]),
            ("?order=none", &[]),
            (&format!("?limit=2&after={}", ids[1]), &ids[2..]),
        ] {
            let page = scene.shop.get(&format!("/api/v1/mails{query}")).await.expect(200).json();
            let found: Vec<_> = page["data"].as_array().unwrap().iter().map(|mail| mail["id"].as_str().unwrap()).collect();
            assert_eq!(found, expected, "{query}");
            assert_eq!(page["has_more"], query == "?limit=2", "{query}");
        }
        for (query, field) in [
            ("state=lost", "state"), ("lane=fast", "lane"), ("limit=0", "limit"), ("limit=1001", "limit"),
            ("after=x", "after"), ("colour=red", "colour"),
            ("limit=abc", "limit"), ("limit=", "limit"), ("oldest_first=x", "oldest_first"), ("q=a&q=b", "q"),
        ] {
            let refusal = scene.shop.get(&format!("/api/v1/mails?{query}")).await.expect(422);
            assert_eq!(refusal.faulty_fields(), [field], "{query}");
        }
    }
}
