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

/// kill -9, a locked database, an fsync that fails, a relay that does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_or_doubled_on_sqlite() {
    run_shortly(237, true).await;
}

/// kill -9 of two workers, a Redis that comes back empty, a Postgres that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_promised_is_lost_or_doubled_on_postgres_and_redis() {
    run_shortly(1341, false).await;
}
