//! Runs the crash test. See docs/reliability.md.
//!
//! ```text
//! cargo build --release && cargo run --release --example crash_test -- --minutes 3 --seed 1 [--embedded] [--json]
//! ```

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a crash test that cannot go on ends")]

#[path = "mod.rs"]
mod crash_test;
#[expect(dead_code, unused_imports, unused_macros, reason = "the tests of tests/it use the rest of it")]
#[path = "../it/support/mod.rs"]
mod support;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

/// Breaks everything around postroom by the plan of a seed, and compares what was promised with what was delivered.
#[derive(Parser)]
struct Words {
    /// The plan of faults and requests follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults and requests come.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Requests in a second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// One process on SQLite, in place of two ingresses and three workers on Postgres and Redis.
    #[arg(long)]
    embedded: bool,
    /// How many seconds a recovery may take.
    #[arg(long, default_value_t = 30)]
    recovery: u64,
    /// Prints one JSON object in place of the table.
    #[arg(long)]
    json: bool,
    /// Leaves the logs of the processes in this folder.
    #[arg(long)]
    logs: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let words = Words::parse();
    let options = crash_test::Options {
        seed: words.seed,
        length: Duration::from_secs_f64(words.minutes * 60.0),
        rate: words.rate,
        embedded: words.embedded,
        patience: Duration::from_secs(words.recovery),
        waits_afterwards: true,
        says: !words.json,
        logs: words.logs,
    };
    let report = crash_test::run(&options).await;
    if words.json {
        println!("{}", report.json())
    } else {
        print!("{report}")
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
