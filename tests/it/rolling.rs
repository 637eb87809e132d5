//! All processes are restarted in turn while requests come in: none is refused, and no mail is lost, doubled or held. And two
//! versions side by side on one database.

use std::{fs, time::Duration};

use postroom::{
    demo::catcher::{Catcher, CatcherOptions},
    store::Store,
};
use serde_json::{Value, json};

use super::support::{Backends, Daemon, Shop, addresses, binary, own_address, postroom, python, within};

/// How it is done, and how much of it.
struct Plan {
    rate: u32,
    rounds: u32,
    /// Seconds between two restarts.
    pause: f64,
    /// Seconds that requests come in at least.
    seconds: u32,
    changes_schema: bool,
}

impl Plan {
    /// Enough for a test; with `ROLLING_RATE=500` in the environment so many requests a second for a minute, and each
    /// process restarts twice. An optimised binary is wanted for that: see [`binary`].
    fn of(changes_schema: bool) -> Self {
        match std::env::var("ROLLING_RATE").map(|rate| rate.parse().expect("a number")) {
            Ok(rate) => Self { rate, rounds: 2, pause: 4.0, seconds: 60, changes_schema },
            Err(_) => Self { rate: 60, rounds: 1, pause: 1.5, seconds: 0, changes_schema },
        }
    }
}

/// What a later version does to the schema, and its mark.
const LATER: [&str; 2] = [
    "ALTER TABLE mails ADD COLUMN of_a_later_version TEXT",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
     VALUES (9999, 'later', TRUE, 'x', 0)",
];

async fn run(plan: Plan) {
    let sink =
        Catcher::start(CatcherOptions { keep: 200_000, keep_bytes: 1 << 30, ..CatcherOptions::default() })
            .await
            .unwrap();
    let backends = Backends::postgres_redis().await.with_route_to(&sink);
    let mut first = Daemon::start_as("ingress", &backends).await;
    let shop = Shop::open(&first, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let most = plan.rate * (plan.seconds.max(10) + 40);
    let members = addresses("ok", most as usize);
    for some in members.chunks(2_000) {
        shop.enrol_all(some).await;
    }
    let token = shop.new_token("*");
    assert_eq!(first.stop().await, 0);
    let told = json!({
        "address": own_address().to_string(), "binary": binary().to_str().unwrap(), "token": token,
        "config": backends.config(), "folder": backends.folder(), "members": members, "rate": plan.rate,
        "threads": 16, "rounds": plan.rounds, "pause": plan.pause, "seconds": plan.seconds, "patience": 60,
    });
    let ran =
        tokio::task::spawn_blocking(move || python(include_str!("rolling.py"), told.to_string().as_bytes()));
    if plan.changes_schema {
        within(Duration::from_secs(120), "it has begun", async || sink.count() > 50).await;
        for statement in LATER {
            backends.execute(statement).await;
        }
    }
    let asked = backends.folder().join("asked");
    within(Duration::from_secs(600), "all was asked", async || asked.exists() || ran.is_finished()).await;
    let open =
        "SELECT state, COUNT(*) FROM mails WHERE state IN ('queued', 'sending', 'deferred') GROUP BY state";
    within(Duration::from_secs(50), "all are settled", async || backends.tally(open).await.is_empty()).await;
    fs::write(backends.folder().join("done"), "").unwrap();
    let ran: Value = serde_json::from_str(&ran.await.unwrap()).unwrap();
    assert_eq!(ran["bad"], json!({}), "refused or failed");
    let taken = ran["taken"].as_array().unwrap().len();
    assert!(ran["statuses"].as_array().unwrap().iter().all(|status| status == 0), "{}", ran["statuses"]);
    let states = backends.tally("SELECT state, COUNT(*) FROM mails GROUP BY state").await;
    assert_eq!(states, [("sent".to_owned(), i64::try_from(taken).unwrap())].into());
    let mut caught: Vec<_> = sink.mails().iter().map(|mail| mail.recipient.clone()).collect();
    caught.sort();
    let mut expected: Vec<_> =
        ran["taken"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    expected.sort();
    assert_eq!((caught.len(), caught == expected), (taken, true));
    eprintln!("{taken} requests in {} s", ran["took"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_processes_restart_in_turn_and_nobody_notices() {
    run(Plan::of(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_processes_restart_while_a_later_version_changes_the_schema() {
    run(Plan::of(true)).await;
}

on_both! {
    async fn an_older_version_works_on_a_later_schema_unless_that_says_no(backends: Backends) {
        let mut daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        for statement in LATER {
            backends.execute(statement).await;
        }
        daemon.stop().await;
        daemon.start_again().await;
        shop.send_to("ok@example.net").await;
        assert!(daemon.log_text().contains("the schema is of a later version"));
        backends.command_line().run(&["migrate"]).expect(0);
        daemon.stop().await;
        backends.execute("UPDATE _sqlx_migrations SET description = 'later breaking' WHERE version = 9999").await;
        let store = Store::open(&backends.database()).await.unwrap();
        let fault = store.migrate().await.unwrap_err().to_string();
        assert!(fault.contains("a later version of postroom changed the schema (migration 9999)"), "{fault}");
        store.close().await;
        let mut command = postroom();
        let ended = command.arg("--config").arg(backends.config()).arg("serve").output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
    }
}
