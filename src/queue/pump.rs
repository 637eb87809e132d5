//! Claims as many bells as a worker has free places, and no more, until it is told to stop.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Lease, QueueError,
    desk::{Backoff, Desk, End, Ringing, Slot},
};

/// How long an idle worker waits before it asks of its own accord: nobody rings when a lease expires.
const IDLE: Duration = Duration::from_secs(1);

/// Takes bells from the queue and hands them to apalis.
pub(super) struct Pump {
    pub(super) desk: Arc<Desk>,
    pub(super) places: Arc<Semaphore>,
    pub(super) jobs: mpsc::Sender<Ringing>,
    pub(super) ends: mpsc::UnboundedSender<End>,
    pub(super) stop: CancellationToken,
}

impl Pump {
    /// Claims until stopped. Never fails: an outage of the queue is waited for.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        while let Some(places) = self.free_places().await {
            match self.claim_into(places).await {
                Ok(()) => {
                    self.desk.queue_answered();
                    backoff = Backoff::default();
                }
                Err(error) => {
                    self.desk.queue_failed(&error);
                    self.sit_out(&mut backoff).await;
                }
            }
        }
    }

    /// Waits until a place is free and takes all that are; `None` means stop.
    async fn free_places(&self) -> Option<OwnedSemaphorePermit> {
        let first = self.places.clone().acquire_owned();
        let mut free = self.stop.run_until_cancelled(first).await?.ok()?;
        let others = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        if let Ok(others) = self.places.clone().try_acquire_many_owned(others) {
            free.merge(others);
        }
        Some(free)
    }

    async fn claim_into(&self, mut places: OwnedSemaphorePermit) -> Result<(), QueueError> {
        // Not cut short when stopped: what was claimed meanwhile would be lost to its lease. It is given back.
        let leases = self.desk.queue.claim(places.num_permits()).await?;
        if leases.is_empty() {
            drop(places);
            self.stop.run_until_cancelled(self.desk.queue.wait(IDLE)).await.unwrap_or(Ok(()))?;
        } else {
            for lease in leases {
                self.start(lease, &mut places).await;
            }
        }
        Ok(())
    }

    async fn start(&self, lease: Lease, places: &mut OwnedSemaphorePermit) {
        if self.desk.hold(&lease)
            && let Some(place) = places.split(1)
        {
            let slot = Slot::new(lease.bell.id.clone(), place, self.ends.clone());
            // When nobody takes it any more, its slot gives it back.
            let _ = self.jobs.send(Ringing { bell: lease.bell, slot }).await;
        }
    }

    /// Waits until the queue answers again. Asks first for the leases held here, so that they are not claimed as
    /// expired while their jobs run.
    async fn sit_out(&self, backoff: &mut Backoff) {
        let answered = async {
            loop {
                backoff.pause().await;
                if self.desk.extend().await.is_ok() {
                    break;
                }
            }
        };
        self.stop.run_until_cancelled(answered).await;
    }
}
