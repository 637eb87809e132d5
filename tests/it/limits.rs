//! Mails keep their rates, whoever waits says why, and nobody else waits with them.

use std::time::{Duration, Instant};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use toml::Table;

use super::support::{Backends, Daemon, Scene, Shop, addresses, eventually, within};

/// One route with this rate.
fn route(sink: &Catcher, rate: &str) -> Table {
    let mut route = toml::toml! { name = "main" host = "127.0.0.1" tls = "none" connections = 64 };
    route.insert("port".to_owned(), i64::from(sink.smtp_addr().port()).into());
    if !rate.is_empty() {
        route.insert("rate".to_owned(), rate.into());
    }
    route
}

async fn open(backends: Backends, rate: &str) -> Scene {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = backends.with("smtp.routes", vec![route(&sink, rate)]);
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    Scene { shop, sink, daemon, backends }
}

/// When mails arrived, in milliseconds, in order.
fn arrivals(sink: &Catcher) -> Vec<i64> {
    let mut at: Vec<i64> = sink.mails().iter().map(|mail| mail.at.millis()).collect();
    at.sort_unstable();
    at
}

/// The most that arrived within any second.
fn most_in_a_second(at: &[i64]) -> usize {
    let within = |from: usize| at[from..].iter().take_while(|time| **time - at[from] < 1_000).count();
    (0..at.len()).map(within).max().unwrap_or(0)
}

on_both! {
    async fn a_route_keeps_its_rate_over_all_processes_and_loses_nothing_of_it(backends: Backends) {
        let scene = open(backends, "50/s").await;
        // A second process, where the queue is shared.
        let _other = match scene.backends.redis {
            Some(_) => Some(Daemon::start_as("worker", &scene.backends).await),
            None => None,
        };
        let users = addresses("ok", 150);
        scene.shop.enrol_all(&users).await;
        let started = Instant::now();
        scene.shop.send_all(&users).await;
        within(Duration::from_secs(30), "all arrive", async || scene.sink.mails().len() == 150).await;
        let took = started.elapsed();
        let at = arrivals(&scene.sink);
        // The catcher shares a busy machine with everybody else, and notes some late and together.
        assert!(most_in_a_second(&at) <= 75, "{} in a second", most_in_a_second(&at));
        assert!(took > Duration::from_millis(2_500), "{took:?}");
        // On a machine with nothing else to do it is a little more than three seconds.
        assert!(took < Duration::from_secs(15), "{took:?}");
    }

    async fn a_mail_that_waits_for_its_rate_says_so_and_holds_no_claim(backends: Backends) {
        let mut scene = open(backends, "1/h").await;
        let mut ids = Vec::new();
        for user in addresses("ok", 3) {
            ids.push(scene.shop.send_to(&user).await);
        }
        let mut waiting = Vec::new();
        eventually("one is sent, and the others are not", async || {
            waiting.clear();
            for id in &ids {
                if scene.shop.mail(id).await["state"] != "sent" {
                    waiting.push(id);
                }
            }
            waiting.len() == 2
        })
        .await;
        for id in &waiting {
            eventually("it says why", async || {
                let told = scene.shop.mail(id).await["waiting"].clone();
                (&told["reason"], &told["scope"], &told["name"]) == (&"rate".into(), &"route".into(), &"main".into())
                    && told["until"].is_string()
            })
            .await;
        }
        let shown = scene.backends.command_line().run(&["mail", "show", waiting[0], "--json"]).json();
        let expected = if scene.backends.redis.is_some() { "rate" } else { "queued" };
        assert_eq!(shown["waiting"]["reason"], expected);
        assert_eq!(scene.daemon.stop().await, 0);
        let states = scene.backends.tally("SELECT state, COUNT(*) FROM mails GROUP BY state").await;
        assert_eq!((states["sent"], states["queued"], states.len()), (1, 2, 2));
        let attempts = scene.backends.tally("SELECT 'all', COUNT(*) FROM attempts").await;
        assert_eq!(attempts["all"], 1);
    }

    async fn a_batch_is_forecast_by_the_limits_in_force_before_any_of_it_was_sent(backends: Backends) {
        let backends = backends.with("limits.per_merchant", "20/s");
        let scene = open(backends, "1/s").await;
        let users = addresses("ok", 300);
        scene.shop.enrol_all(&users).await;
        let asked = Instant::now();
        let id = scene.shop.send_all(&users).await;
        let batch = scene.shop.batch(&id).await;
        let end: jiff::Timestamp = batch["forecast_end"].as_str().expect("a forecast").parse().unwrap();
        let seconds = end.duration_since(jiff::Timestamp::now()).as_secs_f64() + asked.elapsed().as_secs_f64();
        assert!((250.0..=310.0).contains(&seconds), "{seconds} s: {batch}");
        assert_eq!(batch["limited_by"], serde_json::json!({"scope": "route", "name": "main", "per_second": 1.0}));
        assert_eq!(batch["forecast"], serde_json::json!({"ends_at": batch["forecast_end"], "limited_by": batch["limited_by"]}));
    }

    async fn others_pass_those_that_wait_and_a_transactional_mail_goes_next(backends: Backends) {
        let limit = toml::toml! { names = ["slow.example"] rate = "2/s" };
        let backends = backends.with("limits.domains", vec![limit]);
        let scene = open(backends, "").await;
        let users: Vec<String> = (0..60).map(|number| format!("ok{number}@slow.example")).collect();
        scene.shop.enrol_all(&users).await;
        scene.shop.enrol("urgent@slow.example").await;
        scene.shop.enrol("ok@quick.example").await;
        scene.shop.send_all(&users).await;
        eventually("some are sent", async || scene.sink.mails().len() >= 3).await;
        let started = Instant::now();
        let id = scene.shop.send_to("ok@quick.example").await;
        scene.shop.wait_until(&id, "sent").await;
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let id = scene.shop.send_to("urgent@slow.example").await;
        scene.shop.wait_until(&id, "sent").await;
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(scene.sink.mails().len() < 40, "the others wait");
    }

    async fn the_scheduler_leaves_alone_what_is_set_aside_and_an_emptied_redis_loses_none_of_it(backends: Backends) {
        let scene = open(backends, "1/h").await;
        let users = addresses("ok", 20);
        scene.shop.enrol_all(&users).await;
        scene.shop.send_all(&users).await;
        let wait = async |number: usize| {
            let metrics = scene.daemon.admin("/metrics").await.body;
            metrics.contains(&format!("postroom_queue_waiting{{lane=\"bulk\"}} {number}\n"))
        };
        eventually("one is sent, and the others wait", async || {
            scene.sink.mails().len() == 1 && wait(19).await
        })
        .await;
        scene.backends.execute("UPDATE mails SET wake_at = 0 WHERE wake_at IS NOT NULL").await;
        let soon = "SELECT 'soon', COUNT(*) FROM mails WHERE wake_at < recorded_at + 1800000";
        eventually("they are due much later", async || scene.backends.tally(soon).await["soon"] == 0).await;
        if let Some(server) = &scene.backends.redis {
            let client = redis::Client::open(server.url()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
            eventually("all are enqueued again", async || wait(19).await).await;
        }
    }
}
