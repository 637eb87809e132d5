//! What a seed says: which faults come when, and what is asked for when.
//!
//! Nothing here depends on a clock or on the run. A fault that cannot be carried out on this machine is left out by
//! [`Able`], which is printed, so a plan is the same wherever the same faults are possible.

use std::time::Duration;

use super::{
    chance::Chance,
    fault::{Break, Fault, Hit, Link, Phase},
};

/// What can be done to this pair of stores on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Able {
    /// One process on SQLite; else two ingresses, three workers, Postgres and Redis.
    pub embedded: bool,
    /// libfaketime is installed.
    pub clocks: bool,
    /// libfiu is installed.
    pub fsync: bool,
    /// Small file systems can be mounted.
    pub disks: bool,
}

impl Able {
    /// The roles of the processes.
    pub fn roles(self) -> &'static [&'static str] {
        if self.embedded { &["all"] } else { &["ingress", "ingress", "worker", "worker", "worker"] }
    }
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFault {
    /// After the start of the load.
    pub at: Duration,
    /// Until it is healed.
    pub lasts: Duration,
    /// What goes wrong.
    pub fault: Fault,
}

/// Something that callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// `POST /mail` to an address that begins with this word of the catcher.
    Mail {
        /// The word.
        word: &'static str,
        /// Of the template that holds mails with an unknown outcome.
        holds: bool,
    },
    /// A reminder of a cart.
    Reminder,
    /// A cart link.
    CartLink,
    /// The confirmation of an order.
    Order,
    /// A mail for some seconds from now.
    Scheduled,
    /// A mail for later that is cancelled before.
    Cancelled,
    /// A mail for later whose recipient is suppressed before.
    Suppressed,
    /// A batch.
    Batch(BatchEnd),
    /// Mails for later that one bulk action cancels.
    BulkCancel,
}

/// What somebody does to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// Nothing.
    Runs,
    /// Pauses it, and resumes it some seconds later.
    Pauses,
    /// Cancels it half-way.
    Cancels,
}

/// A task with its time and its caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// After the start of the load.
    pub at: Duration,
    /// What is done.
    pub task: Task,
    /// Asks again under the same `Idempotency-Key` until there is an answer; else asks once, without a key.
    pub persists: bool,
    /// Which ingress is asked first.
    pub ingress: usize,
}

/// All that a seed says.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The faults, by time.
    pub faults: Vec<PlannedFault>,
    /// The tasks, by time.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed for a run of this length, with so many tasks a second.
    pub fn new(seed: u64, length: Duration, rate: u32, able: Able) -> Self {
        Self {
            faults: faults(&mut Chance::new(seed, 1), length, able),
            steps: steps(&mut Chance::new(seed, 2), length, rate, able),
        }
    }

    /// Whether some fault moves a clock, so that nothing can be said of when mails go.
    pub fn moves_clocks(&self) -> bool {
        self.faults.iter().any(|planned| planned.fault.moves_clocks())
    }
}

fn faults(chance: &mut Chance, length: Duration, able: Able) -> Vec<PlannedFault> {
    let mut planned = Vec::new();
    let mut deck: Vec<Fault> = Vec::new();
    let mut at = chance.between(Duration::from_secs(3), Duration::from_secs(6));
    loop {
        if deck.is_empty() {
            deck = all_faults(chance, able);
            chance.shuffle(&mut deck);
        }
        let Some(fault) = deck.pop() else { break };
        let lasts = fault.lasts(chance);
        if at + lasts > length {
            break;
        }
        planned.push(PlannedFault { at, lasts, fault });
        at += lasts + chance.between(Duration::from_secs(2), Duration::from_secs(7));
    }
    planned
}

/// Each kind of fault, the more dangerous ones several times, with what it hits.
fn all_faults(chance: &mut Chance, able: Able) -> Vec<Fault> {
    let processes = able.roles().len();
    let mut faults = Vec::new();
    for _ in 0..4 {
        faults.push(Fault::Kill(some(chance, processes)));
    }
    faults.push(Fault::Terminate(one(chance, 0, processes)));
    faults.push(Fault::Terminate(some(chance, processes)));
    faults.push(Fault::Freeze(one(chance, 0, processes)));
    faults.push(Fault::DatabaseIsLocked);
    for how in [Break::Cut, Break::Stall, Break::Deafen, Break::Halve] {
        faults.push(Fault::Breaks(Link::Relay, how, some(chance, processes)));
    }
    for phase in
        [Phase::Connect, Phase::Hello, Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Content, Phase::Final]
    {
        if chance.percent(60) {
            faults.push(Fault::Breaks(Link::Relay, Break::HangUp(phase), all(processes)));
        }
    }
    if !able.embedded {
        faults.push(Fault::Kill(one(chance, 2, processes)));
        faults.push(Fault::Freeze(one(chance, 2, processes)));
        faults.extend([Fault::RedisRestarts, Fault::RedisForgets, Fault::RedisIsFlushed, Fault::RedisHangs]);
        faults.extend([Fault::PostgresStops, Fault::PostgresCrashes, Fault::PostgresHangs]);
        for link in [Link::Database, Link::Queue] {
            for how in [Break::Cut, Break::Stall, Break::Deafen, Break::Halve] {
                faults.push(Fault::Breaks(link, how, some(chance, processes)));
            }
        }
    }
    if able.clocks {
        faults.push(Fault::ClockTurns);
        if !able.embedded {
            faults.push(Fault::ClockIsOff(one(chance, 2, processes)));
        }
    }
    if able.embedded && able.disks {
        faults.push(Fault::DiskIsFull);
    }
    if able.embedded && able.fsync {
        faults.push(Fault::FsyncFails);
    }
    faults
}

fn one(chance: &mut Chance, from: usize, processes: usize) -> Hit {
    Hit(vec![from + chance.below(processes - from)])
}

fn all(processes: usize) -> Hit {
    Hit((0..processes).collect())
}

/// One process as a rule, else some, else all.
fn some(chance: &mut Chance, processes: usize) -> Hit {
    let mut places: Vec<_> = (0..processes).collect();
    chance.shuffle(&mut places);
    let count = match chance.below(10) {
        0..6 => 1,
        6..9 => 1 + chance.below(processes),
        _ => processes,
    };
    places.truncate(count);
    places.sort_unstable();
    Hit(places)
}

fn steps(chance: &mut Chance, length: Duration, rate: u32, able: Able) -> Vec<Step> {
    let ingresses = able.roles().iter().filter(|role| **role != "worker").count();
    let count = u32::try_from(length.as_millis()).unwrap() * rate / 1_000;
    let step = |number| Step {
        at: length * number / count,
        task: task(chance),
        persists: chance.percent(65),
        ingress: chance.below(ingresses),
    };
    (0..count).map(step).collect()
}

fn task(chance: &mut Chance) -> Task {
    match chance.below(1_000) {
        0..450 => {
            let word =
                chance.one_of(&["ok", "ok", "ok", "ok", "slow-200", "slow-900", "greylist-once", "reject"]);
            // One that the relay refuses may be held as well, if a fault hides the refusal.
            Task::Mail { word, holds: chance.percent(20) && word != "reject" }
        }
        450..570 => Task::Reminder,
        570..690 => Task::CartLink,
        690..810 => Task::Order,
        810..870 => Task::Scheduled,
        870..930 => Task::Cancelled,
        930..960 => Task::Suppressed,
        960..980 => Task::BulkCancel,
        _ => {
            Task::Batch(chance.one_of(&[BatchEnd::Runs, BatchEnd::Runs, BatchEnd::Pauses, BatchEnd::Cancels]))
        }
    }
}
