//! What operators' monitoring reads: judged and scraped by a real Prometheus, and enough for the dashboard and the alerts.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::{Value, json};

use super::support::{Backends, Daemon, Hook, Scene, Shop, eventually, mortal, own_address, tools, within};

fn monitoring(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(file)
}

fn promtool() -> Command {
    mortal(tools().join("prometheus/usr/bin/promtool"))
}

/// The value of one series, where it is there.
fn value_of(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

on_both! {
    async fn waiting_mails_are_counted_by_state_with_the_age_of_the_oldest(backends: Backends) {
        // Without a route, what is recorded waits.
        let mut daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        shop.send_to("ok@example.net").await;
        shop.send_to("ok@example.org").await;
        backends.execute("UPDATE mails SET due_at = due_at - 600000").await;
        // The sampler looks when it starts, and then each fifteen seconds.
        daemon.stop().await;
        daemon.start_again().await;
        let mut metrics = String::new();
        eventually("the sampler has looked", async || {
            metrics = daemon.admin("/metrics").await.body;
            let last = "postroom_dependency_up{dependency=\"queue\"}";
            value_of(&metrics, "postroom_workers_live") == Some(1.0) && value_of(&metrics, last).is_some()
        })
        .await;
        let waiting: f64 = ["queued", "sending", "deferred"]
            .iter()
            .map(|state| value_of(&metrics, &format!("postroom_mails{{lane=\"transactional\",state=\"{state}\"}}")).unwrap())
            .sum();
        assert_eq!(waiting, 2.0, "{metrics}");
        let age = value_of(&metrics, "postroom_oldest_due_seconds{lane=\"transactional\"}").unwrap();
        assert!((590.0..700.0).contains(&age), "{age}");
        for dependency in ["database", "queue"] {
            let series = format!("postroom_dependency_up{{dependency=\"{dependency}\"}}");
            assert_eq!(value_of(&metrics, &series), Some(1.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_down_while_its_relay_is_away() {
    // Nothing listens there.
    let route = toml::toml! { name = "main" host = "127.0.0.1" port = 9 tls = "none" };
    let backends = Backends::sqlite_memory().with("smtp.routes", vec![route]);
    let daemon = Daemon::start(&backends).await;
    let up =
        async || value_of(&daemon.admin("/metrics").await.body, "postroom_route_up{route=\"main\"}").unwrap();
    assert_eq!(up().await, 1.0);
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    shop.send_to("ok@example.net").await;
    eventually("the route is down", async || up().await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_knows_whether_a_worker_lives_in_another_process() {
    let backends = Backends::postgres_redis().await;
    let ingress = Daemon::start_as("ingress", &backends).await;
    let workers = async || {
        let ready = ingress.admin("/readyz").await.expect(200).json();
        ready["dependencies"].as_array().unwrap().iter().find(|it| it["name"] == "workers").unwrap().clone()
    };
    assert_eq!(workers().await["ok"], false);
    let mut worker = Daemon::start_as("worker", &backends).await;
    assert_eq!(workers().await, json!({"name": "workers", "ok": true, "needed": false}));
    worker.stop().await;
    assert_eq!(workers().await["ok"], false);
}

/// A daemon that has done a bit of everything.
async fn busy_scene(backends: Backends) -> (Scene, Hook) {
    let hook = Hook::listen().await;
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let mut route = toml::toml! { name = "main" host = "127.0.0.1" tls = "none" rate = "1000/s" };
    route.insert("port".to_owned(), i64::from(sink.smtp_addr().port()).into());
    let backends = backends.allowing_hooks().with("smtp.routes", vec![route]);
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let scene = Scene { shop, sink, daemon, backends };
    scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["*"]})).await.expect(201);
    let id = scene.shop.send_to("ok@example.net").await;
    scene.shop.wait_until(&id, "sent").await;
    (scene, hook)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_no_fault_in_the_metrics() {
    let (scene, _hook) = busy_scene(Backends::postgres_redis().await).await;
    let metrics = scene.daemon.admin("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{metrics:?}");
    let mut judge = promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    judge.stdin.take().unwrap().write_all(metrics.body.as_bytes()).unwrap();
    let judged = judge.wait_with_output().unwrap();
    let said = [judged.stdout, judged.stderr].concat();
    assert!(judged.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    let labels = ["tea-co", "example.net", "ok@"];
    assert!(labels.iter().all(|label| !metrics.body.contains(label)), "{}", metrics.body);
}

/// The words that begin with `postroom_` in what is asked for.
fn names(expressions: impl Iterator<Item = String>) -> BTreeSet<String> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expressions.flat_map(|expression| {
        let words = expression.split(|letter| !is_of_name(letter)).map(str::to_owned);
        words.filter(|word| word.starts_with("postroom_")).collect::<Vec<_>>()
    });
    words.collect()
}

/// The expressions of every panel.
fn expressions_of(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_the_dashboard_and_the_alerts_is_one_that_a_daemon_has() {
    let (scene, _hook) = busy_scene(Backends::postgres_redis().await).await;
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(monitoring("grafana-dashboard.json")).unwrap()).unwrap();
    let alerts = fs::read_to_string(monitoring("alerts.yml")).unwrap();
    let of_alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned);
    let wanted = names(expressions_of(&dashboard).into_iter().chain(of_alerts));
    assert!(wanted.len() > 25, "{wanted:?}");
    eventually("every metric is there", async || {
        let metrics = scene.daemon.admin("/metrics").await.body;
        let series = metrics.lines().filter(|line| !line.starts_with('#'));
        let known: BTreeSet<String> =
            series.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
        let missing: Vec<_> = wanted.difference(&known).collect();
        if !missing.is_empty() {
            eprintln!("missing: {missing:?}");
        }
        missing.is_empty()
    })
    .await;
}

#[test]
fn promtool_takes_the_alerts_and_each_says_what_to_do() {
    let judged = promtool().args(["check", "rules"]).arg(monitoring("alerts.yml")).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let alerts = fs::read_to_string(monitoring("alerts.yml")).unwrap();
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    for rule in &rules {
        assert!(rule.contains("summary: \"") && rule.contains("what_to_do: \""), "{rule}");
    }
    // The page names every alert, so that a reader finds what woke him.
    let page = fs::read_to_string(monitoring("../docs/alerts.md")).unwrap();
    for rule in rules {
        let name = rule.lines().next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/alerts.md does not name {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_scrapes_both_roles_without_a_warning_and_evaluates_the_rules() {
    let backends = Backends::postgres_redis().await;
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = backends.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let worker = Daemon::start_as("worker", &backends).await;
    let folder = backends.folder();
    let targets = [&ingress, &worker].map(Daemon::admin_address);
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n\
         - job_name: postroom\n  static_configs: [{{targets: ['{}', '{}']}}]\n",
        monitoring("alerts.yml").display(),
        targets[0],
        targets[1],
    );
    fs::write(folder.join("prometheus.yml"), config).unwrap();
    let log = folder.join("prometheus.log");
    let address = format!("{}:9090", own_address());
    let mut prometheus = mortal(tools().join("prometheus/usr/bin/prometheus"))
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address={address}"))
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |path: &str| -> Value {
        let answer = http.get(format!("http://{address}{path}")).send().await;
        match answer {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    };
    within(Duration::from_secs(40), "Prometheus has scraped both", async || {
        let up = ask("/api/v1/query?query=sum(up)").await;
        up["data"]["result"][0]["value"][1] == "2"
    })
    .await;
    let known = ask("/api/v1/targets").await;
    for target in known["data"]["activeTargets"].as_array().unwrap() {
        assert_eq!((&target["health"], &target["lastError"]), (&json!("up"), &json!("")), "{target}");
    }
    within(Duration::from_secs(20), "the rules were evaluated", async || {
        let rules = ask("/api/v1/rules").await;
        let rules = rules["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
    })
    .await;
    prometheus.kill().unwrap();
    prometheus.wait().unwrap();
    let said = fs::read_to_string(log).unwrap();
    let is_warning = |line: &&str| line.contains("level=warn") || line.contains("level=error");
    let warnings: Vec<_> = said.lines().filter(is_warning).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}
