//! Keeps admission up to date with what may change while mails wait: the limits of the configuration, the rates that
//! merchants have of their own, the routes that are drained, and what is paused.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use tokio::time::timeout;

use super::Admission;
use crate::{
    limits::Rate,
    mail::MerchantId,
    queue::{Queue, QueueError},
    store::Store,
    telemetry::chain,
};

/// Between two looks at the merchants' rates.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Between two times that all that waits is woken.
const BETWEEN_WAKES: Duration = Duration::from_secs(1);
/// How long the database may take to tell them.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl Admission {
    /// Watches for ever. What waits asks again once at the beginning, for the limits may have been changed meanwhile,
    /// after each [`Admission::replace`], and whenever its merchant's rate changed, or something of a slow rate was given back. A database or a queue that is away is asked again.
    pub async fn watch(&self, store: &Store, queue: &dyn Queue) {
        tokio::join!(
            self.watch_rates(store, queue),
            self.watch_drains(store, queue),
            self.watch_pauses(store, queue)
        );
    }

    async fn watch_rates(&self, store: &Store, queue: &dyn Queue) {
        let mut to_wake = Vec::new();
        loop {
            match timeout(READ_TIMEOUT, store.mails_rates()).await {
                Ok(Ok(rates)) => to_wake.extend(self.set_own_rates(read(rates))),
                Ok(Err(error)) => tracing::debug!(
                    error = %chain(&error),
                    "the rates of merchants could not be read"
                ),
                Err(_) => tracing::debug!("the rates of merchants could not be read in time"),
            }
            to_wake.extend(self.rates.exhausted.take_lines_to_wake());
            let times = self.all_to_wake.load(Ordering::Relaxed);
            if times > 0 {
                self.rates.exhausted.note_all_available();
            }
            let mut pause = if times > 1 { BETWEEN_WAKES } else { POLL_INTERVAL };
            match wake(queue, times > 0, &to_wake).await {
                Ok(()) => {
                    // A reload meanwhile began to count anew.
                    let (all, order) = (&self.all_to_wake, Ordering::Relaxed);
                    let _ = all.compare_exchange(times, times.saturating_sub(1), order, order);
                    to_wake.clear();
                }
                Err(error) => {
                    pause = POLL_INTERVAL;
                    tracing::debug!(error = %chain(&error), "the queue could not be told that rates changed");
                }
            }
            to_wake.sort_unstable();
            to_wake.dedup();
            let _ = timeout(pause, self.wake_soon.notified()).await;
        }
    }
}

async fn wake(queue: &dyn Queue, are_all: bool, lines: &[String]) -> Result<(), QueueError> {
    match (are_all, lines) {
        (true, _) => queue.wake_all().await,
        (false, []) => Ok(()),
        (false, lines) => queue.wake(lines).await,
    }
}

/// A rate that cannot be read is none: it was checked before it was stored.
fn read(rates: Vec<(MerchantId, String)>) -> HashMap<MerchantId, Rate> {
    rates.into_iter().filter_map(|(merchant, rate)| Some((merchant, rate.parse().ok()?))).collect()
}
