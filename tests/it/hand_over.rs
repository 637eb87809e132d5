//! A mail that can go at once is handed to the worker of the process that recorded it, without the queue. Otherwise it is a
//! mail like any other: it waits for what others wait for, and a crash, a stop or a stall leave of it what they leave of a
//! queued one.

use std::{collections::HashMap, time::Duration};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::{Value, json};

use super::{
    drain::{half_a_request, open},
    hung_store::one_of_each_family,
    support::{Backends, Daemon, Relay, Scene, Shop, addresses, eventually, template, welcome, within},
};

/// How soon a pause is seen.
const SEEN: Duration = Duration::from_secs(2);
/// A relay counts as quick for less than this after a mail, and lets others ahead of its connections.
const NO_LONGER_QUICK: Duration = Duration::from_millis(400);

/// How many mails a process handed over since it started.
async fn handed_over(daemon: &Daemon) -> u64 {
    let metrics = daemon.admin("/metrics").await.body;
    let value = metrics.lines().find_map(|line| line.strip_prefix("postroom_mails_handed_over_total "));
    value.expect("it is counted").parse().unwrap()
}

/// Gets a connection opened by a mail that is queued. Afterwards it lies idle.
async fn open_a_connection(shop: &Shop) {
    shop.wait_until(&shop.send_to("ok-first@example.net").await, "sent").await;
    tokio::time::sleep(NO_LONGER_QUICK).await;
}

async fn stays_queued(shop: &Shop, mail: &str) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let story = shop.mail(mail).await;
    assert_eq!((&story["state"], &story["attempts"]), (&json!("queued"), &json!([])), "{story:#}");
}

/// The rows behind the daemon's back: how many mails are in each state, with so many attempts begun.
async fn states(backends: &Backends) -> HashMap<String, i64> {
    backends.tally("SELECT state || ' ' || attempt, COUNT(*) FROM mails GROUP BY state, attempt").await
}

on_both! {
    async fn a_mail_that_can_go_at_once_is_never_queued_and_a_repeated_request_sends_it_once(backends: Backends) {
        let scene = Scene::open(backends).await;
        open_a_connection(&scene.shop).await;
        assert_eq!(handed_over(&scene.daemon).await, 0, "there was no connection yet");
        scene.shop.enrol("ok@example.net").await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let answer = scene.shop.post_once("/mail", "once", &welcome("ok@example.net")).await.expect(200);
            ids.push(answer.json()["data"]["ok@example.net"]["transaction_id"].as_str().unwrap().to_owned());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        let story = scene.shop.wait_until(&ids[0], "sent").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story:#}");
        assert_eq!((handed_over(&scene.daemon).await, scene.caught("ok@example.net")), (1, 1));
    }

    async fn mails_of_all_families_go_past_the_queue(backends: Backends) {
        let scene = Scene::open(backends).await;
        open_a_connection(&scene.shop).await;
        let requests = one_of_each_family(&scene.shop, "ok").await;
        for ((path, body), nth) in requests.iter().zip(1..) {
            let answer = scene.shop.post(path, body).await;
            assert!(answer.status < 300, "{path}: {answer:?}");
            eventually("it is sent", async || scene.sink.count() == nth + 1).await;
            assert_eq!(handed_over(&scene.daemon).await, nth, "{path}");
        }
        let order = async || scene.shop.get("/ordersv2/ok").await.expect(200).json();
        eventually("the order follows its mail", async || order().await["emails"][0]["status"] == "sent").await;
    }

    async fn a_paused_mail_and_no_other_waits(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let other = Shop::open(&scene.daemon, &commands, "coffee-co");
        other.fill_shelves().await;
        open_a_connection(&scene.shop).await;
        commands.run(&["queue", "pause", "--merchant", "tea-co", "--reason", "a wrong price list"]).expect(0);
        tokio::time::sleep(SEEN).await;
        let of_the_paused = scene.shop.send_to("ok-1@example.net").await;
        let of_another = other.send_to("ok-2@example.net").await;
        other.wait_until(&of_another, "sent").await;
        stays_queued(&scene.shop, &of_the_paused).await;
        assert_eq!(handed_over(&scene.daemon).await, 1);
        commands.run(&["queue", "pause", "--lane", "transactional", "--reason", "we are moving"]).expect(0);
        tokio::time::sleep(SEEN).await;
        let in_the_lane = other.send_to("ok-3@example.net").await;
        stays_queued(&other, &in_the_lane).await;
        commands.run(&["queue", "resume", "--lane", "transactional"]).expect(0);
        commands.run(&["queue", "resume", "--merchant", "tea-co"]).expect(0);
        scene.shop.wait_until(&of_the_paused, "sent").await;
        other.wait_until(&in_the_lane, "sent").await;
        assert_eq!(handed_over(&scene.daemon).await, 1);
    }

    async fn a_limit_that_is_reached_makes_it_wait(backends: Backends) {
        let scene = Scene::open(backends.with("limits.per_merchant", "2/h burst 2")).await;
        open_a_connection(&scene.shop).await;
        scene.shop.wait_until(&scene.shop.send_to("ok-second@example.net").await, "sent").await;
        // A request does not wait for Redis, which counts for all processes.
        let is_known_here = scene.backends.redis.is_none();
        assert_eq!(handed_over(&scene.daemon).await, u64::from(is_known_here));
        let third = scene.shop.send_to("ok-third@example.net").await;
        eventually("it waits for its rate", async || scene.shop.mail(&third).await["waiting"]["reason"] == "rate").await;
        stays_queued(&scene.shop, &third).await;
        assert_eq!(handed_over(&scene.daemon).await, u64::from(is_known_here));
    }

    async fn a_mail_waits_behind_others_for_the_only_slot_or_connection(backends: Backends) {
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let mut backends = backends.with_route_to(&sink).with("worker.concurrency", 1);
        let mut daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        for of in ["worker", "relay"] {
            open_a_connection(&shop).await;
            let first = shop.send_to("slow-1500@example.net").await;
            eventually("it is under way", async || shop.mail(&first).await["state"] == "sending").await;
            let next = shop.send_to(&format!("ok-{of}@example.net")).await;
            stays_queued(&shop, &next).await;
            assert_eq!(handed_over(&daemon).await, 1, "the {of} has one");
            shop.wait_until(&next, "sent").await;
            assert_eq!(shop.mail(&first).await["state"], "sent", "it came first");
            assert_eq!(daemon.stop().await, 0);
            let mut route = toml::toml! { name = "main" host = "127.0.0.1" tls = "none" connections = 1 };
            route.insert("port".to_owned(), i64::from(sink.smtp_addr().port()).into());
            backends.set("smtp.routes", vec![route]);
            backends.set("worker.concurrency", 64);
            daemon.start_again().await;
        }
    }

    async fn single_mails_pass_those_of_a_batch(backends: Backends) {
        let scene = Scene::open(backends).await;
        open_a_connection(&scene.shop).await;
        let members = addresses("ok", 4_000);
        scene.shop.enrol_all(&members).await;
        let batch = scene.shop.send_all(&members).await;
        eventually("many are on their way", async || scene.sink.count() > 100).await;
        let mut singles = Vec::new();
        for single in 0..10 {
            singles.push(scene.shop.send_to(&format!("ok-single-{single}@example.net")).await);
        }
        scene.shop.wait_until(&singles[9], "sent").await;
        assert_eq!(scene.shop.batch(&batch).await["state"], "processing", "it waits meanwhile");
        // One that finds no connection for 20 ms is queued, and passes them there.
        let singles = handed_over(&scene.daemon).await;
        assert!((3..=10).contains(&singles), "{singles}");
    }

    async fn a_stop_waits_for_it_and_queues_what_is_recorded_afterwards(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        open_a_connection(&scene.shop).await;
        scene.shop.enrol("ok-late@example.net").await;
        let asking = half_a_request(&scene, "ok-late@example.net");
        let under_way = scene.shop.send_to("slow-1500@example.net").await;
        eventually("it is under way", async || scene.shop.mail(&under_way).await["state"] == "sending").await;
        assert_eq!(handed_over(&scene.daemon).await, 1);
        scene.daemon.signal("TERM");
        eventually("it stops", async || scene.daemon.log_text().contains("\"stopping\"")).await;
        let answer = tokio::task::spawn_blocking(asking).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(scene.daemon.end().await, 0);
        let expected = [("queued 0".to_owned(), 1), ("sent 1".to_owned(), 2)];
        assert_eq!(states(&scene.backends).await, expected.into());
    }

    async fn callers_who_hang_up_at_any_moment_lose_nothing_that_was_recorded(backends: Backends) {
        let scene = Scene::open(backends).await;
        open_a_connection(&scene.shop).await;
        scene.shop.enrol("ok@example.net").await;
        let body = welcome("ok@example.net");
        for micros in (0..60).map(|step| step * 150) {
            let asking = scene.shop.post("/mail", &body);
            drop(tokio::time::timeout(Duration::from_micros(micros), asking).await);
        }
        let recorded = async || states(&scene.backends).await;
        within(Duration::from_secs(20), "all that were recorded are sent", async || {
            let states = recorded().await;
            states.len() == 1 && states.contains_key("sent 1")
        })
        .await;
        let sent = usize::try_from(recorded().await["sent 1"]).unwrap();
        assert_eq!(scene.caught("ok@example.net") + 1, sent);
    }

    async fn a_kill_at_any_point_leaves_of_it_what_it_leaves_of_a_queued_mail(backends: Backends) {
        let mut relays = Vec::new();
        for phase in ["MAIL", "RCPT", "DATA", "."] {
            for policy in ["resend", "hold"] {
                let name = format!("{}-{policy}", phase.to_lowercase().replace('.', "end"));
                relays.push((name, Relay::start(phase).await));
            }
        }
        relays.iter().for_each(|(_, relay)| relay.mend());
        let (_backends, mut daemon, shops) = open(backends.with("worker.silence", "3s"), &relays).await;
        for shop in &shops {
            let mut template = template();
            template["on_crash"] = json!(shop.merchant.split_once('-').unwrap().1);
            shop.put("/api/v1/templates/welcome", &template).await.expect(200);
            open_a_connection(shop).await;
        }
        let mut mails = Vec::new();
        for ((_, relay), shop) in relays.iter().zip(&shops) {
            relay.hang();
            mails.push([shop.send_to("ok-handed-over@example.net").await, String::new()]);
        }
        eventually("each relay hangs", async || relays.iter().all(|(_, relay)| relay.reached() == 1)).await;
        assert_eq!(handed_over(&daemon).await, relays.len() as u64);
        for (mails, shop) in mails.iter_mut().zip(&shops) {
            mails[1] = shop.send_to("ok-queued@example.net").await; // no connection is open for it
        }
        eventually("each hangs twice", async || relays.iter().all(|(_, relay)| relay.reached() == 2)).await;
        assert_eq!(handed_over(&daemon).await, relays.len() as u64);
        daemon.kill_9();
        relays.iter().for_each(|(_, relay)| relay.mend());
        daemon.start_again().await;
        for ([handed_over, queued], shop) in mails.iter().zip(&shops) {
            let state = if shop.merchant.ends_with("resend") { "sent" } else { "held" };
            let known = |story: Value| {
                let attempts = story["attempts"].as_array().unwrap().iter();
                let attempts: Vec<_> =
                    attempts.map(|each| json!([each["number"], each["outcome"], each["phase"], each["reply"]])).collect();
                json!([story["state"], story["error"], attempts])
            };
            let of_handed_over = known(shop.wait_until(handed_over, state).await);
            let of_queued = known(shop.wait_until(queued, state).await);
            assert_eq!(of_handed_over, of_queued, "{}", shop.merchant);
            let outcomes = of_queued[2].as_array().unwrap().len();
            assert_eq!(outcomes, if state == "sent" { 2 } else { 1 }, "{of_queued:#}");
        }
    }

    async fn a_process_that_was_suspended_does_not_send_what_was_taken_from_it(backends: Backends) {
        let relay = Relay::start("DATA").await;
        relay.mend();
        let relays = [("tea-co".to_owned(), relay)];
        let (backends, daemon, shops) = open(backends.with("worker.silence", "2s"), &relays).await;
        let (relay, shop) = (&relays[0].1, &shops[0]);
        open_a_connection(shop).await;
        relay.hang();
        shop.send_to("ok@example.net").await;
        eventually("it is about to be offered", async || relay.reached() == 1).await;
        assert_eq!(handed_over(&daemon).await, 1);
        daemon.signal("STOP");
        relay.mend();
        let all_are_sent = async || {
            let states = states(&backends).await;
            states.iter().filter(|(state, _)| state.starts_with("sent")).map(|(_, mails)| mails).sum::<i64>() == 2
        };
        let other = match backends.redis {
            Some(_) => {
                let other = Daemon::start_as("worker", &backends).await;
                within(Duration::from_secs(40), "another worker sent it", all_are_sent).await;
                Some(other)
            }
            None => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                None
            }
        };
        daemon.signal("CONT");
        eventually("the process is heard again", async || {
            let log = daemon.log_text();
            log.contains("this worker is heard again") || log.contains("given back")
        })
        .await;
        eventually("all are sent", all_are_sent).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(relay.taken(), 2, "each came once");
        drop(other);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_worker_queues_all() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = Backends::postgres_redis().await.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let _worker = Daemon::start_as("worker", &backends).await;
    let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    open_a_connection(&shop).await;
    shop.wait_until(&shop.send_to("ok@example.net").await, "sent").await;
    assert_eq!(handed_over(&ingress).await, 0);
}
