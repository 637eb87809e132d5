//! Keeps admission up to date with what operators paused. It is in the database, so that a pause holds in every process, outlives a
//! queue that loses its contents, and a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{Admission, WAKES, paused::Paused};
use crate::{
    mail::{Lane, PauseScope},
    queue::{Queue, QueueError},
    store::{Store, StoreError},
    telemetry::chain,
};

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long the database may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl Admission {
    /// Whether a lane is paused.
    pub fn is_paused(&self, lane: Lane) -> bool {
        self.paused().is_in_force(&PauseScope::Lane(lane))
    }

    pub(super) fn paused(&self) -> Arc<Paused> {
        Arc::clone(&self.paused.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_paused(&self, paused: Paused) {
        *self.paused.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(paused);
    }

    /// Reads what is paused, and returns what changed. Before the first mail, so that none of it goes.
    ///
    /// # Errors
    /// When the database does not tell.
    pub async fn read_pauses(&self, store: &Store) -> Result<Vec<PauseScope>, StoreError> {
        let paused = Paused::of(store.pauses().await?);
        let changes = paused.changes(&self.paused());
        if !changes.is_empty() {
            tracing::info!(paused = paused.names(), "what is paused has changed");
            self.set_paused(paused);
        }
        Ok(changes)
    }

    /// Watches for ever. After a change the mails that wait for it ask again. A database or a queue that is away is asked again;
    /// meanwhile what was known holds.
    pub(super) async fn watch_pauses(&self, store: &Store, queue: &dyn Queue) {
        let (mut to_wake, mut running) = (BTreeMap::new(), BTreeSet::new());
        loop {
            match timeout(READ_TIMEOUT, self.read_pauses(store)).await {
                Ok(Ok(changes)) => to_wake.extend(changes.iter().map(|scope| (scope.to_string(), WAKES))),
                Ok(Err(error)) => tracing::debug!(error = %chain(&error), "what is paused could not be read"),
                Err(_) => tracing::debug!("what is paused could not be read in time"),
            }
            if let Err(error) = self.tell_queue(queue, &mut running, &mut to_wake).await {
                tracing::debug!(error = %chain(&error), "the queue could not be told what is paused");
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Stops and starts lanes, and wakes what waits for a pause. A queue that lost its contents forgot which lanes are paused, so
    /// it is told again and again; `running` are the lanes that it knows to run.
    async fn tell_queue(
        &self,
        queue: &dyn Queue,
        running: &mut BTreeSet<Lane>,
        to_wake: &mut BTreeMap<String, u8>,
    ) -> Result<(), QueueError> {
        for &lane in Lane::ALL {
            if self.is_paused(lane) {
                running.remove(&lane);
                queue.pause(lane).await?;
            } else if !running.contains(&lane) {
                queue.resume(lane).await?;
                running.insert(lane);
            }
        }
        if !to_wake.is_empty() {
            queue.wake(&to_wake.keys().cloned().collect::<Vec<_>>()).await?;
            to_wake.retain(|_, times| {
                *times -= 1;
                *times > 0
            });
            self.changed.notify_one();
        }
        Ok(())
    }
}
