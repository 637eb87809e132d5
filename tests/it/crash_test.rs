//! Two short runs of the crash test, each by the plan of one seed. Longer ones: docs/reliability.md.

use std::time::Duration;

#[path = "../crash_test/mod.rs"]
mod run;

use run::{Options, run};

async fn run_shortly(seed: u64, embedded: bool) {
    let options = Options {
        seed,
        length: Duration::from_secs(25),
        rate: 6,
        embedded,
        patience: Duration::from_secs(60),
        waits_afterwards: false,
        says: false,
        logs: None,
    };
    let report = run(&options).await;
    assert!(report.is_good(), "{report}\n{}", report.json());
    assert!(report.verdict.delivered > 100, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_or_doubled_on_sqlite() {
    run_shortly(1, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_or_doubled_on_postgres_and_redis() {
    run_shortly(1, false).await;
}
