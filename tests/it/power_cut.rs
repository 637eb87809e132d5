//! The power of the machine fails while it takes requests: what was promised is on the disk, and goes out once when the
//! power is back. The same without syncing loses mails, so the test can see it.
//!
//! Both databases lie on an ext4 file system in a file. The file is copied while everything that writes is stopped, and
//! mounted as a disk is after a power cut: what the kernel held in memory only is not in it.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::support::{Backends, Cluster, Daemon, Disk, Shop, addresses, times_caught, welcome, welcome_all};

/// How long requests come before the power fails: well below the 30 seconds after which Linux writes by itself.
const LOAD: Duration = Duration::from_secs(4);
/// Callers who ask for one mail after the other, and how many each would ask for.
const CALLERS: usize = 8;
const MAILS: usize = 1_000;
/// One more caller asks for one batch after the other.
const BATCHES: usize = 40;
const RECIPIENTS: usize = 20;
/// Makes syncing do nothing.
const WITHOUT_SYNCING: [&str; 2] = ["env", "LD_PRELOAD=libeatmydata.so"];

const ON_DISK: &str =
    "SELECT id, COUNT(*) FROM mails GROUP BY id UNION ALL SELECT id, COUNT(*) FROM batches GROUP BY id";
const STATES: &str = "SELECT state, COUNT(*) FROM mails GROUP BY state";
const UNSETTLED: [&str; 3] = ["queued", "sending", "deferred"];

/// A machine with postroom and its database on one disk.
struct Machine {
    // The order matters: the server ends before its disk goes.
    cluster: Option<Cluster>,
    disk: Disk,
    backends: Backends,
    sink: Catcher,
}

/// What callers were told is accepted: who gets a mail, and the ids of mails and batches.
#[derive(Default)]
struct Promised {
    recipients: Vec<String>,
    ids: Vec<String>,
}

impl Machine {
    async fn on_sqlite() -> Self {
        let disk = Disk::format();
        let backends = Backends::sqlite_memory().with("database.url", disk.sqlite());
        Self::of(disk, None, backends).await
    }

    async fn on_postgres(settings: &str) -> Self {
        let disk = Disk::format();
        let cluster = Cluster::start_in(&disk.postgres(), settings);
        let database = cluster.new_database().await;
        Self::of(disk, Some(cluster), Backends::on(database).await).await
    }

    async fn of(disk: Disk, cluster: Option<Cluster>, backends: Backends) -> Self {
        let options = CatcherOptions { keep: 1_000_000, ..CatcherOptions::default() };
        let sink = Catcher::start(options).await.unwrap();
        // A process that is gone is noticed soon.
        let backends = backends.with_route_to(&sink).with("worker.silence", "2s").with("queue.lease", "2s");
        Self { cluster, disk, backends, sink }
    }

    /// Takes requests until the power fails, and starts what was on the disk then. Redis comes back empty.
    async fn loses_power(&mut self, wrapper: &[&str]) -> Promised {
        let daemon = Daemon::start_under(wrapper, &self.backends).await;
        let shop = Shop::open(&daemon, &self.backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        for caller in 0..CALLERS {
            shop.enrol_all(&addresses(&format!("caller-{caller}"), MAILS)).await;
        }
        shop.enrol_all(&addresses("batch", RECIPIENTS * BATCHES)).await;
        if self.cluster.is_some() {
            self.backends.execute("CHECKPOINT").await;
        }
        self.disk.sync();

        let promised = Arc::new(Mutex::new(Promised::default()));
        let callers = call(&shop, &promised);
        sleep(LOAD).await;
        daemon.signal("STOP");
        self.cluster.iter_mut().for_each(Cluster::freeze);
        // Answers that were on their way arrive.
        sleep(Duration::from_millis(500)).await;
        callers.iter().for_each(JoinHandle::abort);
        let promised = mem::take(&mut *promised.lock().unwrap());

        let disk = self.disk.after_power_cut();
        drop(daemon);
        let had_cluster = self.cluster.take().map(drop).is_some();
        self.disk = disk;
        if let Some(redis) = &mut self.backends.redis {
            redis.kill_9();
            redis.lose_data();
            redis.start_again().await;
        }
        let database = if had_cluster {
            let cluster = self.cluster.insert(Cluster::start_in(&self.disk.postgres(), ""));
            let url = self.backends.database().url;
            cluster.url(url.rsplit_once('/').unwrap().1)
        } else {
            self.disk.sqlite()
        };
        self.backends.set("database.url", database);
        promised
    }

    /// How many mails and batches that were promised are not on the disk.
    async fn lost(&self, promised: &Promised) -> usize {
        let on_disk = self.backends.tally(ON_DISK).await;
        promised.ids.iter().filter(|&id| !on_disk.contains_key(id)).count()
    }

    /// Every recipient who was promised a mail gets it, and only those get it twice of whom the record says why.
    async fn sends_each_once(&self, promised: &Promised) {
        let daemon = Daemon::start(&self.backends).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let caught = times_caught(&self.sink);
            let missing = promised.recipients.iter().find(|&recipient| !caught.contains_key(recipient));
            let states = self.backends.tally(STATES).await;
            if missing.is_none() && UNSETTLED.iter().all(|&state| !states.contains_key(state)) {
                break;
            }
            if Instant::now() > deadline {
                let attempts = self.backends.attempts_at(missing.map_or("", String::as_str)).await;
                panic!("waited in vain for {missing:?}: {attempts}; all mails are {states:?}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.backends.nobody_got_more_than_is_on_record(&self.sink).await;
        drop(daemon);
    }
}

/// Starts callers who note what they are promised.
fn call(shop: &Shop, promised: &Arc<Mutex<Promised>>) -> Vec<JoinHandle<()>> {
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (shop, promised) = (shop.clone(), promised.clone());
        callers.push(tokio::spawn(async move {
            for address in addresses(&format!("caller-{caller}"), MAILS) {
                let data = accepted(&shop, "/mail", &welcome(&address)).await;
                let id = data[&address]["transaction_id"].as_str().unwrap().to_owned();
                let mut promised = promised.lock().unwrap();
                promised.ids.push(id);
                promised.recipients.push(address);
            }
        }));
    }
    let (shop, promised) = (shop.clone(), promised.clone());
    callers.push(tokio::spawn(async move {
        for users in addresses("batch", RECIPIENTS * BATCHES).chunks(RECIPIENTS) {
            let data = accepted(&shop, "/mails", &welcome_all(users)).await;
            let mut promised = promised.lock().unwrap();
            promised.ids.push(data["batch_id"].as_str().unwrap().to_owned());
            promised.recipients.extend_from_slice(users);
        }
    }));
    callers
}

/// What the answer to a request has as `data`, if there is one; without power there is none.
async fn accepted(shop: &Shop, path: &str, body: &Value) -> Value {
    let answer = shop.request(Method::POST, path).json(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["data"].take()
}

async fn nothing_is_lost(mut machine: Machine) {
    let promised = machine.loses_power(&[]).await;
    assert!(promised.ids.len() > 200, "only {} requests were answered", promised.ids.len());
    assert_eq!(machine.lost(&promised).await, 0, "of {}", promised.ids.len());
    machine.sends_each_once(&promised).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promised_mails_are_on_the_disk_of_sqlite() {
    nothing_is_lost(Machine::on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promised_mails_are_on_the_disk_of_postgres() {
    nothing_is_lost(Machine::on_postgres("").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_that_does_not_sync_is_seen_to_lose_mails() {
    let mut machine = Machine::on_sqlite().await;
    let promised = machine.loses_power(&WITHOUT_SYNCING).await;
    assert_ne!(machine.lost(&promised).await, 0, "of {}", promised.ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_that_does_not_sync_is_seen_to_lose_mails() {
    let mut machine = Machine::on_postgres("-c fsync=off").await;
    let promised = machine.loses_power(&[]).await;
    assert_ne!(machine.lost(&promised).await, 0, "of {}", promised.ids.len());
}
