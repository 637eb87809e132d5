//! Tells the others that this worker is alive: in the database, where they would take its claims, and in the queue, where
//! they would take its leases.
//!
//! Both go on in a thread with a runtime and connections of its own. Whatever keeps the threads of the jobs busy, be it a
//! template or a bug, does not make the others believe that this worker is dead.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use anyhow::Context;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    queue::{self, Leases, Queue, QueueSettings},
    store::{DatabaseSettings, Store},
    telemetry::{Outage, chain},
    worker::Worker,
};

/// A heartbeat that fails is tried again after this, unless the next is due sooner.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Heartbeats that fail come twice a second.
static UNHEARD: Outage = Outage::new();

/// What the thread needs.
pub struct Heartbeat {
    /// Who lives.
    pub worker: Arc<Worker>,
    /// Where claims are.
    pub database: DatabaseSettings,
    /// Where leases are.
    pub queue: Arc<dyn Queue>,
    /// How the queue is reached.
    pub queue_settings: QueueSettings,
    /// The leases that are held.
    pub leases: Leases,
    /// The longest silence before the others take this worker for dead.
    pub silence: Duration,
    /// Told when the worker is heard again after it was not.
    pub heard_again: mpsc::UnboundedSender<()>,
}

impl Heartbeat {
    /// Starts the thread and returns after the first heartbeat was heard. It ends when `stop` is cancelled.
    ///
    /// # Errors
    /// When the database does not take the first heartbeat, or the thread cannot be started.
    pub async fn start(self, stop: CancellationToken) -> anyhow::Result<Beating> {
        let (begun, first) = tokio::sync::oneshot::channel();
        let (ending, ended) = tokio::sync::oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let _ending: tokio::sync::oneshot::Sender<()> = ending;
            match runtime {
                Ok(runtime) => runtime.block_on(self.run(begun, stop)),
                Err(error) => drop(begun.send(Err(error.into()))),
            }
        };
        thread::Builder::new().name("heartbeat".to_owned()).spawn(run).context("start the heartbeat")?;
        first.await.context("the heartbeat ended")??;
        Ok(Beating(ended))
    }

    async fn run(self, begun: tokio::sync::oneshot::Sender<anyhow::Result<()>>, stop: CancellationToken) {
        let opened = async {
            let settings = DatabaseSettings { connections: 1, ..self.database.clone() };
            let store = Store::open(&settings).await?;
            let queue = queue::connect_again(&self.queue, &self.queue_settings).await?;
            self.beat_once(&store, "").await?;
            anyhow::Ok((store, queue))
        };
        let (store, queue) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return drop(begun.send(Err(error))),
        };
        let _ = begun.send(Ok(()));
        let alive = async { tokio::join!(self.beat(&store), self.leases.keep(&*queue)) };
        stop.run_until_cancelled(alive).await;
        store.close().await;
    }

    async fn beat(&self, store: &Store) {
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let pause = self.silence / 6;
        loop {
            let was_heard = self.worker.is_heard();
            match self.beat_once(store, host.trim()).await {
                Ok(()) => {
                    if !was_heard {
                        let _ = self.heard_again.send(());
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(error) => {
                    if let Some(times) = UNHEARD.failed() {
                        tracing::warn!(error = %chain(&*error), times, "a heartbeat was not heard");
                    }
                    tokio::time::sleep(pause.min(RETRY_AFTER)).await;
                }
            }
        }
    }

    async fn beat_once(&self, store: &Store, host: &str) -> anyhow::Result<()> {
        let (at, began) = (clock::now(), Instant::now());
        store.beat(self.worker.id, host, std::process::id()).await?;
        self.worker.note_heartbeat(at, began);
        let live = store.live_workers(self.silence).await?;
        self.worker.live_workers.store(live, Ordering::Relaxed);
        Ok(())
    }
}

/// A thread that says that this worker lives.
pub struct Beating(tokio::sync::oneshot::Receiver<()>);

impl Beating {
    /// Returns when the thread has ended.
    pub async fn ended(self) {
        let _ = self.0.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Timestamp;

    fn beat(workers: &[crate::store::WorkerRecord], of: &Worker) -> Timestamp {
        workers.iter().find(|worker| worker.id == of.id).unwrap().heartbeat_at
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "blocked threads are what this is about")]
    fn a_worker_is_heard_and_keeps_its_leases_while_every_thread_of_its_runtime_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("postroom.db").display());
        let database = DatabaseSettings { url, migrate: true, connections: 1 };
        let lease = Duration::from_millis(400);
        let queue_settings = QueueSettings {
            url: "memory:".to_owned(),
            ca_file: std::path::PathBuf::new(),
            prefix: "postroom".to_owned(),
            lease,
            enqueue_timeout: lease,
        };
        let (silence, stop) = (Duration::from_secs(2), CancellationToken::new());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (worker, queue, store, beating) = runtime.block_on(async {
            let store = Store::open(&database).await.unwrap();
            store.migrate().await.unwrap();
            let queue = queue::connect(&queue_settings).await.unwrap();
            let worker = Arc::new(Worker::new(silence, Arc::default()).0);
            let leases = Leases::new(Arc::clone(&queue), "test");
            let job = queue::QueuedJob::new("held", crate::mail::Lane::Bulk, "tea-co".parse().unwrap());
            queue.enqueue(&[job]).await.unwrap();
            for held in queue.fetch(queue::FetchBudget::for_any(1)).await.unwrap().leases {
                leases.hold(&held);
            }
            let heartbeat = Heartbeat {
                worker: Arc::clone(&worker),
                database: database.clone(),
                queue: Arc::clone(&queue),
                queue_settings: queue_settings.clone(),
                leases,
                silence,
                heard_again: mpsc::unbounded_channel().0,
            };
            let other = crate::mail::WorkerId::new();
            store.beat(other, "", 1).await.unwrap();
            let beating = heartbeat.start(stop.clone()).await.unwrap();
            assert_eq!(worker.live_workers.load(Ordering::Relaxed), 2);
            store.sign_off(other).await.unwrap();
            assert_eq!(store.live_workers(silence).await.unwrap(), 1);
            (worker, queue, store, beating)
        });
        let first: Timestamp = beat(&runtime.block_on(store.workers()).unwrap(), &worker);
        for _ in 0..2 {
            runtime.spawn(async move { thread::sleep(2 * silence) });
        }
        let busy_until = Instant::now() + silence * 3 / 2;
        while Instant::now() < busy_until {
            assert!(worker.is_heard());
            thread::sleep(Duration::from_millis(50));
        }
        // This thread drives it, not those of the runtime.
        let left =
            runtime.block_on(async { queue.fetch(queue::FetchBudget::for_any(1)).await.unwrap().leases });
        assert!(left.is_empty(), "the lease did not expire");
        runtime.shutdown_background();
        let other = tokio::runtime::Runtime::new().unwrap();
        let store = other.block_on(Store::open(&database)).unwrap();
        assert!(beat(&other.block_on(store.workers()).unwrap(), &worker) > first);
        // Before the folder is gone.
        stop.cancel();
        other.block_on(beating.ended());
    }
}
