//! The crash test: real processes under load, a plan of faults that follows from a seed, and a comparison of what callers
//! were promised with what relay and receiver took.
//!
//! `main.rs` is the command that runs it; `tests/it/crash_test.rs` runs two short ones. docs/reliability.md says what is
//! promised, and what was found.
//!
//! | file | contents |
//! |---|---|
//! | `chance.rs`, `fault.rs`, `plan.rs` | what a seed says: faults and requests, each with its time |
//! | `stage.rs`, `process.rs`, `proxy.rs`, `disk.rs`, `receiver.rs` | what runs, and can be broken |
//! | `load/`, `ledger.rs` | the callers, and what they were told |
//! | `faults.rs` | breaks and heals |
//! | `record.rs`, `verdict.rs`, `report.rs` | what is on record, the comparison, the table |

mod chance;
mod disk;
mod fault;
mod faults;
mod ledger;
mod load;
mod plan;
mod process;
mod proxy;
mod receiver;
mod record;
pub mod report;
mod stage;
mod verdict;

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use disk::SmallDisk;
use ledger::Ledger;
use load::Load;
use plan::{Able, Plan};
use report::Report;
use stage::Stage;
use verdict::{Seen, Verdict};

/// After the load, all has to be settled within this time.
const SETTLED: Duration = Duration::from_secs(150);
/// Then nothing more may come for this long: longer than `worker.silence`.
const AFTERWARDS: Duration = Duration::from_secs(20);

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the plan follows from.
    pub seed: u64,
    /// How long faults and requests come.
    pub length: Duration,
    /// Requests in a second.
    pub rate: u32,
    /// One process on SQLite; else two ingresses and three workers on Postgres and Redis.
    pub embedded: bool,
    /// How long it may take, without another fault, until all that a fault delayed is there.
    pub patience: Duration,
    /// Whether to wait in the end for what must not come.
    pub waits_afterwards: bool,
    /// Whether to print each fault as it comes.
    pub says: bool,
    /// Where to leave the logs of the processes.
    pub logs: Option<std::path::PathBuf>,
}

/// Runs it.
pub async fn run(options: &Options) -> Report {
    let (able, left_out) = what_can_be_done(options.embedded);
    if options.says {
        left_out.iter().for_each(|reason| eprintln!("left out: {reason}"));
    }
    let plan = Plan::new(options.seed, options.length, options.rate, able);
    let stage = Arc::new(Stage::open(able, plan.moves_clocks()).await);
    let documents: Vec<_> =
        plan.steps.iter().enumerate().flat_map(|(number, step)| load::documents(number, step.task)).collect();
    stage.import(&documents).await;

    let supervisor = tokio::spawn(supervise(Arc::clone(&stage)));
    let (ledger, start) = (Arc::new(Ledger::default()), Instant::now());
    let (shops, hook) = (stage.shops.clone(), stage.receiver.url.clone());
    let load = Load::new(shops, hook, Arc::clone(&ledger), plan.moves_clocks(), options.length);
    let callers = tokio::spawn(Arc::new(load).run(plan.steps.clone(), start));
    let happened = faults::carry_out(&stage, &plan.faults, start, options.says).await;
    callers.await.unwrap();
    let unsettled = settle(&stage).await;
    if options.waits_afterwards {
        sleep(AFTERWARDS).await;
    }
    supervisor.abort();

    let (promises, batches) = (ledger.promises().clone(), ledger.batches().clone());
    let seen = Seen {
        promises: &promises,
        batches: &batches,
        caught: stage.relay.mails(),
        webhooks: stage.receiver.webhooks(),
        record: stage.record().await,
        happened: &happened,
    };
    let mut verdict = Verdict::on(&seen, options.patience);
    if let Some(unsettled) = unsettled {
        verdict.complain("never settled", unsettled);
    }
    // A test that hardly sends anything breaks no promise and proves nothing.
    if verdict.promised < plan.steps.len() / 2 {
        verdict
            .complain("too few promises", format!("{} for {} requests", verdict.promised, plan.steps.len()));
    }
    stage.receiver.forged().into_iter().for_each(|body| verdict.complain("forged webhooks", body));
    ledger.oddities().iter().for_each(|oddity| verdict.complain("strange answers", oddity.clone()));
    let ends = stage.processes.iter().flat_map(|process| process.ends());
    let ends: Vec<_> = ends.map(|(_, what)| what).collect();
    if let Some(folder) = &options.logs {
        keep_logs(&stage, folder);
    }
    Report { options: options.clone(), left_out, requests: plan.steps.len(), ends, verdict }
}

fn what_can_be_done(embedded: bool) -> (Able, Vec<&'static str>) {
    let has_fiu = Command::new("fiu-ctrl").arg("-h").output().is_ok() && Path::new("/usr/lib/fiu").exists();
    let able = Able {
        embedded,
        clocks: Path::new(stage::FAKETIME).exists(),
        fsync: has_fiu,
        disks: SmallDisk::can_be_mounted(),
    };
    let mut left_out = Vec::new();
    if !able.clocks {
        left_out.push("turned clocks, because libfaketime is not installed (Debian: faketime)");
    }
    if embedded && !able.fsync {
        left_out.push("failing fsync, because libfiu is not installed (Debian: fiu-utils)");
    }
    if embedded && !able.disks {
        left_out.push("a full disk, because no file system can be mounted here");
    }
    (able, left_out)
}

/// Starts processes again that ended, for as long as it is not aborted.
async fn supervise(stage: Arc<Stage>) {
    loop {
        stage.processes.iter().for_each(process::Process::supervise);
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until nothing is on its way; says what is left if that takes too long.
async fn settle(stage: &Stage) -> Option<String> {
    let since = Instant::now();
    loop {
        let (mails, deliveries, batches) = stage.unsettled().await;
        if (mails, deliveries, batches) == (0, 0, 0) {
            return None;
        }
        if since.elapsed() > SETTLED {
            return Some(format!("{mails} mails, {deliveries} deliveries, {batches} batches"));
        }
        stage.hurry().await;
        sleep(Duration::from_secs(1)).await;
    }
}

fn keep_logs(stage: &Stage, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for process in &stage.processes {
        std::fs::copy(&process.log, folder.join(format!("{}.log", process.name))).unwrap();
    }
}
