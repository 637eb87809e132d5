//! Pauses: nothing of a paused lane, merchant, route or domain is sent, in any process, until it is resumed or the pause ends;
//! and whoever asks is told why.

use std::time::Duration;

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::{Value, json};

use super::support::{Backends, Daemon, Hook, Scene, Shop, eventually, within};

/// How soon a change is seen in all processes.
const SEEN: Duration = Duration::from_secs(2);

/// Waits until mails wait for a pause, and returns what is said about it.
async fn why_it_waits(shop: &Shop, mail: &str) -> Value {
    let mut waiting = Value::Null;
    eventually("it says that it is paused", async || {
        waiting = shop.mail(mail).await["waiting"].clone();
        waiting["reason"] == "paused"
    })
    .await;
    waiting
}

/// Asserts that it is not sent for a while.
async fn stays(scene: &Scene, mail: &str) {
    tokio::time::sleep(Duration::from_millis(600)).await;
    let story = scene.shop.mail(mail).await;
    assert_eq!((&story["state"], &story["attempts"]), (&json!("queued"), &json!([])), "{story:#}");
}

on_both! {
    async fn paused_mails_wait_until_they_are_resumed_and_those_in_progress_are_finished(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let other = Shop::open(&scene.daemon, &commands, "coffee-co");
        other.fill_shelves().await;
        for (option, name) in [("merchant", "tea-co"), ("route", "main"), ("domain", "example.net"), ("lane", "transactional")] {
            let in_progress = scene.shop.send_to("slow-1000@example.net").await;
            eventually("it is being sent", async || scene.shop.mail(&in_progress).await["state"] == "sending").await;
            let option_word = format!("--{option}");
            commands.run(&["queue", "pause", &option_word, name, "--reason", "a wrong price list"]).expect(0);
            let again = commands.run(&["queue", "pause", &option_word, name, "--reason", "a wrong price list"]).expect(1);
            assert!(again.err.contains(&format!("{option}:{name} is paused already")), "{again:?}");
            tokio::time::sleep(SEEN).await;
            let mail = scene.shop.send_to("ok@example.net").await;
            let told = why_it_waits(&scene.shop, &mail).await;
            assert_eq!(told, json!({"reason": "paused", "scope": option, "name": name}), "{option}");
            stays(&scene, &mail).await;
            scene.shop.wait_until(&in_progress, "sent").await;
            if option == "merchant" {
                other.wait_until(&other.send_to("ok-2@example.net").await, "sent").await;
            }
            let listed = commands.run(&["queue", "list", "--json"]).expect(0).json();
            let row = listed[format!("{option}s")].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
            assert_eq!((&row["paused"], &row["pauses"][0]["reason"]), (&json!(true), &json!("a wrong price list")), "{row}");
            commands.run(&["queue", "resume", &option_word, name]).expect(0);
            let story = scene.shop.wait_until(&mail, "sent").await;
            assert_eq!((story.get("waiting"), story["attempts"].as_array().unwrap().len()), (None, 1));
        }
    }

    async fn a_pause_outlives_a_queue_that_loses_its_contents_and_a_restart(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        for words in [["--merchant", "tea-co"], ["--lane", "callback"]] {
            commands.run(&[&["queue", "pause"], &words[..], &["--reason", "we are moving"]].concat()).expect(0);
        }
        tokio::time::sleep(SEEN).await;
        let mail = scene.shop.send_to("ok@example.net").await;
        why_it_waits(&scene.shop, &mail).await;
        if let Some(server) = &scene.backends.redis {
            let client = redis::Client::open(server.url()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
        }
        tokio::time::sleep(SEEN).await;
        stays(&scene, &mail).await;
        scene.daemon.kill_9();
        scene.daemon.start_again().await;
        tokio::time::sleep(SEEN).await;
        stays(&scene, &mail).await;
        commands.run(&["queue", "resume", "--merchant", "tea-co"]).expect(0);
        scene.shop.wait_until(&mail, "sent").await;
    }

    async fn a_pause_ends_by_itself_and_says_when(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        commands.run(&["queue", "pause", "--domain", "EXAMPLE.net", "--reason", "they ask us to", "--for", "10s"]).expect(0);
        tokio::time::sleep(SEEN).await;
        let mail = scene.shop.send_to("ok@example.net").await;
        let told = why_it_waits(&scene.shop, &mail).await;
        assert_eq!((&told["scope"], &told["name"]), (&json!("domain"), &json!("example.net")));
        assert!(told["until"].is_string(), "{told}");
        let by_command = commands.run(&["mail", "show", &mail, "--json"]).expect(0).json();
        assert_eq!(by_command["waiting"]["reason"], "paused", "{by_command}");
        scene.shop.wait_until(&mail, "sent").await;
        commands.run(&["queue", "resume", "--domain", "example.net"]).expect(1);
    }

    async fn callbacks_wait_while_their_lane_is_paused(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let commands = scene.backends.command_line();
        let mut hook = Hook::listen().await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.sent"]})).await.expect(201);
        commands.run(&["queue", "pause", "--lane", "callback", "--reason", "their shop is down"]).expect(0);
        tokio::time::sleep(SEEN).await;
        scene.shop.wait_until(&scene.shop.send_to("ok@example.net").await, "sent").await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(hook.is_quiet());
        commands.run(&["queue", "resume", "--lane", "callback"]).expect(0);
        assert_eq!(hook.next(&scene.shop).await["type"], "email.sent");
    }

    async fn a_suspended_merchant_is_refused_in_each_envelope_and_its_mails_wait(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        commands.run(&["queue", "pause", "--lane", "transactional", "--reason", "so that a mail waits"]).expect(0);
        tokio::time::sleep(SEEN).await;
        let mail = scene.shop.send_to("ok@example.net").await;
        commands.run(&["merchant", "suspend", "tea-co"]).expect(0);
        commands.run(&["merchant", "suspend", "tea-co"]).expect(1);
        tokio::time::sleep(SEEN).await;
        commands.run(&["queue", "resume", "--lane", "transactional"]).expect(0);
        for (path, pointer) in [
            ("/api/v1/mails", "/detail"),
            ("/abandoned-carts", "/message"),
            ("/ordersv2/x", "/error/message"),
            ("/templates", "/message"),
        ] {
            let answer = scene.shop.get(path).await.expect(403).json();
            assert_eq!(answer.pointer(pointer), Some(&json!("This merchant is suspended.")), "{path}: {answer}");
        }
        tokio::time::sleep(SEEN).await;
        let shown = commands.run(&["mail", "show", &mail, "--json"]).expect(0).json();
        assert_eq!(shown["waiting"], json!({"reason": "paused", "scope": "merchant", "name": "tea-co"}));
        assert_eq!(shown["attempts"], json!([]));
        let listed = commands.run(&["merchant", "list", "--json"]).expect(0).json();
        assert!(listed[0]["suspended_at"].is_string());
        commands.run(&["merchant", "resume", "tea-co"]).expect(0);
        eventually("requests are taken again", async || scene.shop.get("/api/v1/mails").await.status == 200).await;
        scene.shop.wait_until(&mail, "sent").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_in_all_processes() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = Backends::postgres_redis().await.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let _workers = [Daemon::start_as("worker", &backends).await, Daemon::start_as("worker", &backends).await];
    let commands = backends.command_line();
    let shop = Shop::open(&ingress, &commands, "tea-co");
    shop.fill_shelves().await;
    commands.run(&["queue", "pause", "--merchant", "tea-co", "--reason", "a wrong price list"]).expect(0);
    tokio::time::sleep(SEEN).await;
    let addresses: Vec<_> = (0..30).map(|number| format!("ok-{number}@example.net")).collect();
    for address in &addresses {
        shop.send_to(address).await;
    }
    tokio::time::sleep(SEEN).await;
    assert_eq!(sink.count(), 0);
    commands.run(&["queue", "resume", "--merchant", "tea-co"]).expect(0);
    within(Duration::from_secs(20), "all are sent", async || sink.count() == addresses.len() as u64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_sees_what_an_embedded_queue_has_set_aside() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let mut backends = scene.backends;
    let host = scene.daemon.url().trim_start_matches("http://").split(':').next().unwrap().to_owned();
    backends.set("admin.listen", format!("{host}:8026"));
    let commands = backends.command_line();
    commands.run(&["queue", "pause", "--merchant", "tea-co", "--reason", "tried", "--for", "1h"]).expect(0);
    tokio::time::sleep(SEEN).await;
    for number in 0..3 {
        scene.shop.send_to(&format!("ok-{number}@example.net")).await;
    }
    eventually("they are set aside", async || {
        let listed = commands.run(&["queue", "list", "--json"]).expect(0).json();
        let row = listed["merchants"].as_array().unwrap().iter().find(|row| row["name"] == "tea-co").cloned();
        row.is_some_and(|row| {
            row["set_aside"]["waiting"] == 3 && row["due"] == 3 && row["set_aside"]["until"].is_string()
        })
    })
    .await;
    let plain = commands.run(&["queue", "list"]).expect(0).out;
    assert!(plain.lines().any(|line| line.starts_with("merchant\ttea-co\t3\t0\t")), "{plain}");
    assert!(plain.lines().any(|line| line.starts_with("domain\texample.net\t3\t0\t")), "{plain}");
}

#[test]
fn a_pause_names_one_thing_that_there_is_and_a_reason() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    commands.run(&["migrate"]).expect(0);
    for (words, status) in [
        (&["--reason", "x"][..], 2),
        (&["--lane", "bulk"], 2),
        (&["--lane", "slow", "--reason", "x"], 2),
        (&["--lane", "bulk", "--merchant", "tea", "--reason", "x"], 2),
        (&["--domain", "no domain", "--reason", "x"], 2),
        (&["--lane", "bulk", "--reason", ""], 2),
        (&["--lane", "bulk", "--reason", "x\ny"], 2),
        (&["--lane", "bulk", "--reason", "x", "--for", "soon"], 2),
        (&["--lane", "bulk", "--reason", "x", "--for", "0s"], 2),
        (&["--merchant", "nobody", "--reason", "x"], 1),
        (&["--route", "nowhere", "--reason", "x"], 1),
    ] {
        let ended = commands.run(&[&["queue", "pause"], words].concat()).expect(status);
        assert!(!ended.err.is_empty(), "{words:?}");
    }
}
