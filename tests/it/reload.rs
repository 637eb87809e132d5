//! The configuration is read again while mails are sent: `postroom reload` and SIGHUP.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use toml::Table;

use super::support::{Backends, Daemon, Scene, Shop, addresses, eventually, times_caught, within};

async fn catcher() -> Catcher {
    Catcher::start(CatcherOptions::default()).await.unwrap()
}

/// A route, with more of its settings.
fn route(name: &str, address: SocketAddr, more: &str) -> Table {
    let port = address.port();
    let text = format!("name = \"{name}\"\nhost = \"127.0.0.1\"\ntls = \"none\"\nport = {port}\n{more}");
    toml::from_str(&text).unwrap()
}

async fn open(backends: Backends, sink: Catcher, more: &str) -> Scene {
    let backends = backends.with("smtp.routes", vec![route("main", sink.smtp_addr(), more)]);
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    Scene { shop, sink, daemon, backends }
}

/// What the only process says that comes of a reload.
fn reload(backends: &Backends, status: i32) -> Value {
    let said = backends.command_line().run(&["reload", "--wait", "--json"]).expect(status).json();
    assert_eq!(said["processes"].as_array().unwrap().len(), 1, "{said}");
    said["processes"][0]["report"].clone()
}

async fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.admin("/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().unwrap()
}

on_both! {
    async fn a_limit_changes_under_load_and_nothing_is_lost(backends: Backends) {
        let mut scene = open(backends, catcher().await, "rate = \"1/s\"").await;
        let users = addresses("ok", 80);
        scene.shop.enrol_all(&users).await;
        let batch = scene.shop.send_all(&users).await;
        eventually("the first arrive", async || scene.sink.count() >= 2).await;
        let faster = route("main", scene.sink.smtp_addr(), "rate = \"200/s\"\nweight = 2");
        scene.backends.set("smtp.routes", vec![faster]);
        scene.backends.set("limits.per_merchant", "100/s");
        assert!(scene.sink.count() < 40);
        let report = reload(&scene.backends, 0);
        assert_eq!(report["result"], "changed");
        let changes = report["changes"].as_array().unwrap();
        let keys: Vec<_> = changes.iter().map(|change| change["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["limits.per_merchant", "smtp.routes.main.rate", "smtp.routes.main.weight"]);
        assert_eq!((&changes[1]["before"], &changes[1]["after"]), (&json!("\"1/s\""), &json!("\"200/s\"")));
        within(Duration::from_secs(12), "all arrive", async || scene.sink.count() == 80).await;
        scene.shop.until_batch(&batch, "finished").await;
        let caught = times_caught(&scene.sink);
        assert!(users.iter().all(|user| caught[user] == 1));
        assert_eq!(reload(&scene.backends, 0)["result"], "unchanged");
        eventually("the audit names what was changed, once", async || {
            let words = ["audit", "list", "--action", "config.reloaded", "--json"];
            let audit = scene.backends.command_line().run(&words).expect(0).json();
            let entries = audit.as_array().unwrap();
            let is_noted = |entry: &Value| entry["details"]["settings"] == json!(keys) && entry["count"] == 3;
            entries.len() == 1 && is_noted(&entries[0]) && !audit.to_string().contains("200/s")
        })
        .await;
        assert!(metric(&scene.daemon, "postroom_config_reloads_total{result=\"changed\"}").await >= 1.0);
        let at = metric(&scene.daemon, "postroom_config_last_reload_success_timestamp_seconds").await;
        assert!(at > 1_600_000_000.0, "{at}");
    }

    async fn a_mail_on_its_way_finishes_on_the_old_route_and_the_next_takes_the_new_one(backends: Backends) {
        let mut scene = open(backends, catcher().await, "").await;
        let new = catcher().await;
        let slow = scene.shop.send_to("slow-8000@example.net").await;
        eventually("it is on its way", async || scene.shop.mail(&slow).await["state"] == "sending").await;
        scene.backends.set("smtp.routes", vec![route("other", new.smtp_addr(), "")]);
        let report = reload(&scene.backends, 0);
        let changes = report["changes"].to_string();
        assert!(changes.contains("smtp.routes.main") && changes.contains("smtp.routes.other"), "{report}");
        let quick = scene.shop.send_to("ok-2@example.net").await;
        scene.shop.wait_until(&quick, "sent").await;
        assert_eq!((new.count(), scene.sink.count()), (1, 0));
        let story = scene.shop.wait_until(&slow, "sent").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story:#}");
        assert_eq!((new.count(), scene.sink.count()), (1, 1));
        // The route is gone for operators too.
        let said = scene.daemon.admin("/metrics").await.body;
        assert!(said.contains("route_connections_limit{route=\"other\"}"), "{said}");
        assert!(!said.contains("route_connections_limit{route=\"main\"}"), "{said}");
        // Without any route mails wait, and go when there is one again.
        scene.backends.set("smtp.routes", Vec::<Table>::new());
        reload(&scene.backends, 0);
        let waiting = scene.shop.send_to("ok-3@example.net").await;
        eventually("it waits", async || scene.shop.mail(&waiting).await["waiting"]["reason"] == "no_route").await;
        scene.backends.set("smtp.routes", vec![route("main", scene.sink.smtp_addr(), "")]);
        reload(&scene.backends, 0);
        scene.shop.wait_until(&waiting, "sent").await;
    }

    async fn a_wrong_file_is_refused_whole_and_the_one_before_stays(backends: Backends) {
        let mut scene = open(backends, catcher().await, "").await;
        let right = route("main", scene.sink.smtp_addr(), "");
        scene.backends.set("limits.mails", "1/h");
        let mut wrong = right.clone();
        wrong.insert("port".to_owned(), 0.into());
        wrong.insert("tls".to_owned(), "starttls".into());
        wrong.insert("ca_file".to_owned(), "/nowhere/ca.pem".into());
        scene.backends.set("smtp.routes", vec![wrong]);
        scene.backends.set("smtp.replies_file", "/nowhere/replies.toml");
        let key = toml::toml! { domain = "tea.example" selector = "s" key_file = "/nowhere/key.pem" };
        scene.backends.set("dkim", vec![key]);
        let checked = scene.backends.command_line().run(&["check", "--offline"]).expect(2);
        let report = reload(&scene.backends, 2);
        assert_eq!(report["result"], "refused");
        let faults = report["faults"].to_string();
        let named = ["smtp.routes[0].port", "smtp.routes[0].ca_file", "smtp.replies_file", "dkim[0].key_file"];
        for key in named {
            assert!(faults.contains(key) && checked.err.contains(key), "no {key}: {faults}\n{}", checked.err);
        }
        assert_eq!(metric(&scene.daemon, "postroom_config_reloads_total{result=\"refused\"}").await, 1.0);
        scene.daemon.admin("/readyz").await.expect(200);
        // Nothing of it is in force: neither the route nor the limit, whose own setting is right.
        for number in 0..3 {
            let mail = scene.shop.send_to(&format!("ok-{number}@example.net")).await;
            scene.shop.wait_until(&mail, "sent").await;
        }
        fs::write(scene.backends.config(), "not = [toml").unwrap();
        assert_eq!(reload(&scene.backends, 2)["result"], "refused");
        fs::remove_file(scene.backends.config()).unwrap();
        assert_eq!(reload(&scene.backends, 2)["result"], "refused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_the_logs_filter_change_and_what_cannot_change_is_named() {
    let mut scene = open(Backends::sqlite_memory(), catcher().await, "").await;
    let folder = scene.backends.folder().to_str().unwrap().to_owned();
    let made = ["one", "two"].map(|selector| {
        let words = ["dkim", "generate", "tea.example", "--algorithm", "ed25519", "--selector", selector];
        let words = [&words[..], &["--out", &folder, "--json"]].concat();
        scene.backends.command_line().run(&words).expect(0).json()
    });
    let key_of = |made: &Value| toml::Value::String(made["key_file"].as_str().unwrap().to_owned());
    let mut signatures = Vec::new();
    for (number, selector) in ["one", "two"].into_iter().enumerate() {
        let mut key = toml::toml! { domain = "tea.example" };
        key.insert("selector".to_owned(), selector.into());
        key.insert("key_file".to_owned(), key_of(&made[number]));
        scene.backends.set("dkim", vec![key]);
        reload(&scene.backends, 0);
        let mail = scene.shop.send_to(&format!("ok-{number}@example.net")).await;
        scene.shop.wait_until(&mail, "sent").await;
        let raw = String::from_utf8_lossy(&scene.sink.mails()[number].bytes).into_owned();
        signatures.push(raw.replace("\r\n", "").contains(&format!("s={selector};")));
    }
    assert_eq!(signatures, [true, true]);
    // The same file with another key in it.
    fs::copy(made[0]["key_file"].as_str().unwrap(), made[1]["key_file"].as_str().unwrap()).unwrap();
    let report = reload(&scene.backends, 0);
    assert_eq!(
        report["changes"],
        json!([{"key": "dkim.tea.example/two.key_file", "change": "file_changed"}])
    );

    let details = |daemon: &Daemon| daemon.log().iter().filter(|line| line["level"] == "DEBUG").count();
    assert_eq!(details(&scene.daemon), 0);
    scene.backends.set("log.filter", "debug");
    scene.backends.set("worker.drain", "7s");
    let report = reload(&scene.backends, 0);
    assert_eq!(report["needs_restart"][0]["key"], "worker.drain");
    assert_eq!(report["changes"][0]["key"], "log.filter");
    scene.shop.get("/nowhere").await.expect(404);
    eventually("it logs more", async || details(&scene.daemon) > 0).await;
    let said = scene.backends.command_line().run(&["reload", "--wait"]).expect(0).out;
    assert!(said.contains("nothing has changed") && said.contains("(needs a restart)"), "{said}");
}

/// A certificate that a relay on this machine shows, and itself as PEM.
fn certificate() -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let shown = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (Arc::new(shown), made.cert.pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relays_certificate_is_trusted_once_its_authority_is_in_the_same_file() {
    let ((_, before), (shown, after)) = (certificate(), certificate());
    let relay =
        Catcher::start(CatcherOptions { tls: Some(shown), ..CatcherOptions::default() }).await.unwrap();
    let backends = Backends::sqlite_memory().with("retry.first", "1s").with("retry.longest", "1s");
    let authorities = backends.folder().join("authorities.pem");
    fs::write(&authorities, before).unwrap();
    let more = format!("ca_file = {authorities:?}");
    let mut route = route("main", relay.smtp_addr(), &more);
    route.insert("tls".to_owned(), "starttls".into());
    let backends = backends.with("smtp.routes", vec![route]);
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let mail = shop.send_to("ok@example.net").await;
    let story = shop.wait_until(&mail, "deferred").await;
    assert_eq!(story["attempts"][0]["phase"], "tls", "{story:#}");

    fs::write(&authorities, after).unwrap();
    let report = reload(&backends, 0);
    let changes = json!([{"key": "smtp.routes.main.ca_file", "change": "file_changed"}]);
    assert_eq!(report["changes"], changes);
    shop.wait_until(&mail, "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_with_the_file_is_asked_or_the_one_that_is_named_and_one_that_hangs_is_an_error() {
    let mut backends = Backends::postgres_redis().await;
    let ingress = Daemon::start_as("ingress", &backends).await;
    let worker = Daemon::start_as("worker", &backends).await;
    backends.set("limits.mails", "50/s");
    let commands = backends.command_line();
    let said = commands.run(&["reload", "--wait", "--json"]).expect(0).json();
    let all = said["processes"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{said}");
    assert!(all.iter().all(|each| each["report"]["result"] == "changed"), "{said}");
    let pid = worker.pid().to_string();
    let said = commands.run(&["reload", "--pid", &pid, "--wait"]).expect(0).out;
    assert!(said.starts_with(&format!("worker (process {pid}): nothing has changed")), "{said}");
    let asked = commands.run(&["reload", "--json"]).expect(0).json();
    assert_eq!(asked["asked"].as_array().unwrap().len(), 2);
    commands.run(&["reload", "--pid", "1", "--wait"]).expect(1);
    worker.signal("STOP");
    let hangs = commands.run(&["reload", "--pid", &pid, "--wait"]).expect(1);
    assert!(hangs.err.contains(&pid), "{hangs:?}");
    let one_hangs = commands.run(&["reload", "--wait"]).expect(1);
    assert!(one_hangs.out.contains(&format!("process {pid}: it does not answer")), "{one_hangs:?}");
    assert!(one_hangs.out.contains("nothing has changed"), "{one_hangs:?}");
    commands.run(&["reload"]).expect(1);
    worker.signal("CONT");
    Backends::sqlite_memory().command_line().run(&["reload", "--wait"]).expect(1);
    drop(ingress);
}
