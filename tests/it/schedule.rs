//! When a mail goes: not before its time, not after it is of no use any more, and nobody waits for it meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use postroom::mail::Timestamp;
use serde_json::{Value, json};

use super::support::{Backends, Hook, Scene, addresses, eventually, welcome, welcome_all, within};

/// How soon a change is seen in all processes.
const SEEN: Duration = Duration::from_secs(2);

/// A time so many milliseconds from now, as a caller writes it.
fn in_millis(millis: i64) -> Timestamp {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(i64::try_from(now.as_millis()).unwrap() + millis)
}

/// Enrols the address and asks for a `welcome` to it with these fields beside; returns the mail's id.
async fn send_with(scene: &Scene, address: &str, fields: Value) -> String {
    scene.shop.enrol(address).await;
    let mut body = welcome(address);
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = scene.shop.post("/mail", &body).await.expect(200).json();
    answer["data"][address]["transaction_id"].as_str().unwrap().to_owned()
}

fn abandoned_cart() -> Value {
    json!({"recovery_link": "https://shop.example/r/1", "currency": "EUR", "total": "59.90",
        "customer": {"email": "ok-cart@example.net"}})
}

fn reminder(fields: Value) -> Value {
    let mut body =
        json!({"type": "email", "alert_details": {"subject": "Your cart", "message": "It waits."}});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

on_both! {
    async fn a_mail_goes_at_its_time_and_says_what_it_waits_for(backends: Backends) {
        let scene = Scene::open(backends).await;
        let send_at = in_millis(6_000);
        let mail = send_with(&scene, "ok@example.net", json!({"send_at": send_at})).await;
        let story = scene.shop.mail(&mail).await;
        assert_eq!((&story["state"], &story["attempts"]), (&json!("queued"), &json!([])), "{story:#}");
        assert_eq!(story["waiting"], json!({"reason": "scheduled", "until": send_at}));
        assert_eq!(story["send_at"], json!(send_at));
        let commands = scene.backends.command_line();
        let shown = commands.run(&["mail", "show", &mail, "--json"]).expect(0).json();
        assert_eq!(shown["waiting"], json!({"reason": "scheduled", "until": send_at}));
        scene.shop.wait_until(&mail, "sent").await;
        let caught = scene.sink.find("ok@example.net").unwrap();
        assert!(caught.at >= send_at, "{} {send_at}", caught.at);
        let date = caught.header("Date").unwrap();
        assert_eq!(date, send_at.to_rfc5322());
        let past = send_with(&scene, "ok-2@example.net", json!({"send_at": "2020-01-01T00:00:00+01:00"})).await;
        scene.shop.wait_until(&past, "sent").await;
    }

    async fn a_scheduled_mail_can_be_cancelled_and_its_merchant_is_told(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = Hook::listen().await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.cancelled", "email.sent"]})).await.expect(201);
        let send_at = in_millis(8_000);
        let by_command = send_with(&scene, "ok@example.net", json!({"send_at": send_at})).await;
        let by_request = send_with(&scene, "ok-2@example.net", json!({"send_at": send_at})).await;
        scene.backends.command_line().run(&["mail", "cancel", &by_command]).expect(0);
        scene.shop.post(&format!("/api/v1/mails/{by_request}/cancel"), &json!({})).await.expect(200);
        let mut told_of = BTreeSet::new();
        for mail in [&by_command, &by_request] {
            let story = scene.shop.mail(mail).await;
            assert_eq!((&story["state"], story.get("waiting"), story.get("cancel_reason")), (&json!("cancelled"), None, None));
            let told = hook.next(&scene.shop).await;
            assert_eq!(told["type"], json!("email.cancelled"));
            told_of.insert(told["data"]["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(told_of, BTreeSet::from([by_command, by_request]), "each is told once, in whatever order");
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(hook.is_quiet() && scene.sink.mails().is_empty(), "neither is sent");
    }

    async fn a_scheduled_mail_that_is_cancelled_and_retried_waits_for_its_time_again(backends: Backends) {
        let scene = Scene::open(backends).await;
        let send_at = in_millis(8_000);
        let by_command = send_with(&scene, "ok@example.net", json!({"send_at": send_at})).await;
        let by_request = send_with(&scene, "ok-2@example.net", json!({"send_at": send_at})).await;
        for mail in [&by_command, &by_request] {
            scene.shop.post(&format!("/api/v1/mails/{mail}/cancel"), &json!({})).await.expect(200);
        }
        scene.backends.command_line().run(&["mail", "retry", &by_command]).expect(0);
        scene.shop.post(&format!("/api/v1/mails/{by_request}/retry"), &json!({})).await.expect(200);
        for mail in [&by_command, &by_request] {
            let story = scene.shop.mail(mail).await;
            assert_eq!(story["waiting"], json!({"reason": "scheduled", "until": send_at}), "{story:#}");
        }
        for mail in [&by_command, &by_request] {
            scene.shop.wait_until(mail, "sent").await;
        }
        for address in ["ok@example.net", "ok-2@example.net"] {
            let caught = scene.sink.find(address).unwrap();
            assert!(caught.at >= send_at, "{} {send_at}", caught.at);
            assert_eq!(caught.header("Date").unwrap(), send_at.to_rfc5322());
        }
    }

    async fn a_mail_expires_wherever_it_waits_and_the_dead_letter_can_be_tried_again(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let commands = scene.backends.command_line();
        let mut hook = Hook::listen().await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.expired", "email.failed"]})).await.expect(201);
        commands.run(&["queue", "pause", "--lane", "transactional", "--reason", "so that they wait"]).expect(0);
        tokio::time::sleep(SEEN).await;
        let paused = send_with(&scene, "ok@example.net", json!({"expires_at": in_millis(4_000)})).await;
        let scheduled = json!({"send_at": in_millis(2_000), "expires_at": in_millis(4_500)});
        let scheduled = send_with(&scene, "ok-2@example.net", scheduled).await;
        for _ in [&paused, &scheduled] {
            let told = hook.next(&scene.shop).await;
            assert_eq!((&told["type"], &told["data"]["state"]), (&json!("email.expired"), &json!("expired")));
        }
        for mail in [&paused, &scheduled] {
            let story = scene.shop.mail(mail).await;
            assert_eq!((&story["state"], &story["attempts"]), (&json!("expired"), &json!([])), "{story:#}");
        }
        // Whoever asks for it all the same gets it.
        scene.shop.post(&format!("/api/v1/mails/{paused}/retry"), &json!({})).await.expect(200);
        commands.run(&["queue", "resume", "--lane", "transactional"]).expect(0);
        scene.shop.wait_until(&paused, "sent").await;
        assert_eq!(scene.caught("ok-2@example.net"), 0);
    }

    async fn a_mail_that_would_be_tried_again_too_late_expires_at_once(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let mail = send_with(&scene, "defer@example.net", json!({"expires_at": in_millis(600_000)})).await;
        let story = scene.shop.wait_until(&mail, "expired").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story:#}");
    }

    async fn times_that_make_no_sense_are_refused_by_their_fields_in_each_envelope(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        scene.shop.put("/api/v1/abandoned-carts/c1", &abandoned_cart()).await.expect(201);
        let (soon, later, too_late) = (in_millis(60_000), in_millis(120_000), in_millis(31 * 86_400_000));
        for (fields, field) in [
            (json!({"send_at": too_late}), "send_at"),
            (json!({"send_at": "tomorrow"}), "send_at"),
            (json!({"send_at": 1_795_248_000}), "send_at"),
            (json!({"send_at": "2026-11-21T10:00:00"}), "send_at"),
            (json!({"send_at": "2026-11-21T10:00:60Z"}), "send_at"),
            (json!({"send_at": later, "expires_at": soon}), "expires_at"),
            (json!({"expires_at": "2020-01-01T00:00:00Z"}), "expires_at"),
        ] {
            let with = |mut body: Value| {
                body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
                body
            };
            for (path, body) in [
                ("/mail", with(welcome("ok@example.net"))),
                ("/mails", with(welcome_all(&["ok@example.net".to_owned()]))),
                ("/abandoned-carts/c1/reminder", reminder(fields.clone())),
            ] {
                let answer = scene.shop.post(path, &body).await.expect(422).json();
                let named: Vec<_> = answer["errors"].as_object().unwrap().keys().cloned().collect();
                assert_eq!(named, [field], "{path} {fields}: {answer}");
            }
        }
        assert_eq!(scene.shop.get("/api/v1/mails").await.expect(200).json()["data"], json!([]));
    }

    async fn a_reminder_waits_for_its_time_like_any_mail(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.put("/api/v1/abandoned-carts/c1", &abandoned_cart()).await.expect(201);
        let send_at = in_millis(5_000);
        let answer = scene.shop.post("/abandoned-carts/c1/reminder", &reminder(json!({"send_at": send_at}))).await.expect(200);
        assert_eq!(answer.json()["message"], "Reminder sent successfully");
        let listed = scene.shop.get("/api/v1/mails?cart=c1").await.expect(200).json();
        let mail = listed["data"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(scene.shop.mail(&mail).await["waiting"]["reason"], "scheduled");
        scene.shop.wait_until(&mail, "sent").await;
        assert!(scene.sink.find("ok-cart@example.net").unwrap().at >= send_at);
    }

    async fn a_batch_waits_whole_for_its_time_and_leaves_in_order(backends: Backends) {
        const MAILS: usize = 2_500;
        let scene = Scene::open(backends.with("batches.window", 1_000)).await;
        let users = addresses("ok", MAILS);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        let send_at = in_millis(8_000);
        body["send_at"] = json!(send_at);
        let id = scene.shop.send_batch(&body).await;
        let mut listed = Value::Null;
        eventually("a window of its mails waits", async || {
            listed = scene.shop.get(&format!("/api/v1/mails?batch={id}&limit=1000")).await.expect(200).json();
            listed["data"].as_array().unwrap().len() == 1_000
        })
        .await;
        let waits = scene.shop.batch(&id).await;
        assert_eq!((&waits["state"], &waits["started_at"], &waits["send_at"]), (&json!("queued"), &Value::Null, &json!(send_at)));
        assert_eq!(waits["counts"]["queued"], MAILS);
        let first = listed["data"][0]["id"].as_str().unwrap();
        assert_eq!(scene.shop.mail(first).await["waiting"], json!({"reason": "scheduled", "until": send_at}));
        within(Duration::from_secs(60), "all arrive", async || scene.sink.mails().len() == MAILS).await;
        let mut caught = scene.sink.mails();
        caught.sort_by_key(|mail| mail.at);
        assert!(caught[0].at >= send_at, "{} {send_at}", caught[0].at);
        let number = |recipient: &str| -> i64 {
            recipient.trim_start_matches("ok-").split('@').next().unwrap().parse().unwrap()
        };
        let places = caught.iter().enumerate().map(|(place, mail)| (number(&mail.recipient) - place as i64).abs());
        // As many are under way at once as a worker has places, and two rounds of the scheduler overlap.
        let farthest = places.max().unwrap();
        assert!(farthest < 700, "{farthest} places out of order");
        let done = scene.shop.until_batch(&id, "finished").await;
        assert_eq!(done["counts"]["sent"], MAILS);
        assert!(done["started_at"].as_str().unwrap() >= send_at.to_string().as_str());
    }

    async fn a_scheduled_batch_can_be_paused_and_cancelled_and_none_of_it_is_sent(backends: Backends) {
        let scene = Scene::open(backends).await;
        let users = addresses("ok", 20);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        body["send_at"] = json!(in_millis(6_000));
        let (cancelled, paused) = (scene.shop.send_batch(&body).await, scene.shop.send_batch(&body).await);
        scene.shop.post(&format!("/api/v1/batches/{paused}/pause"), &json!({})).await.expect(200);
        scene.shop.post(&format!("/api/v1/batches/{cancelled}/cancel"), &json!({})).await.expect(200);
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(scene.sink.mails().is_empty());
        let story = scene.shop.batch(&cancelled).await;
        assert_eq!((&story["state"], &story["counts"]["cancelled"]), (&json!("cancelled"), &json!(20)));
        scene.shop.post(&format!("/api/v1/batches/{paused}/resume"), &json!({})).await.expect(200);
        let story = scene.shop.until_batch(&paused, "finished").await;
        assert_eq!(story["counts"]["sent"], 20);
    }
}
