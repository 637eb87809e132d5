//! Keeps admission up to date with what may change while mails wait: the limits of the configuration at a start, and the rates
//! that merchants have of their own.

use std::{collections::HashMap, time::Duration};

use tokio::time::sleep;

use super::Admission;
use crate::{
    limits::Rate,
    mail::MerchantId,
    queue::{Queue, QueueError},
    store::Store,
};

/// Between two looks at the merchants' rates.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the database may take to tell them.
const PATIENCE: Duration = Duration::from_secs(10);

impl Admission {
    /// Watches for ever. What waits asks again once at the beginning, for the limits may have been changed meanwhile, and
    /// then whenever its merchant's rate changed, or something of a slow rate was given back. A database or a queue that is away is asked again.
    pub async fn watch(&self, store: &Store, queue: &dyn Queue) {
        tokio::join!(
            self.watch_rates(store, queue),
            self.watch_drains(store, queue),
            self.watch_pauses(store, queue)
        );
    }

    async fn watch_rates(&self, store: &Store, queue: &dyn Queue) {
        let (mut has_begun, mut to_wake) = (false, Vec::new());
        loop {
            match tokio::time::timeout(PATIENCE, store.mails_rates()).await {
                Ok(Ok(rates)) => to_wake.extend(self.set_own_rates(read(rates))),
                Ok(Err(error)) => tracing::debug!(%error, "the rates of merchants could not be read"),
                Err(_) => tracing::debug!("the rates of merchants could not be read in time"),
            }
            to_wake.extend(self.desk.closed.take_lines_to_wake());
            match wake(queue, has_begun, &to_wake).await {
                Ok(()) => {
                    has_begun = true;
                    to_wake.clear();
                }
                Err(error) => tracing::debug!(%error, "the queue could not be told that rates changed"),
            }
            to_wake.sort_unstable();
            to_wake.dedup();
            sleep(PAUSE).await;
        }
    }
}

async fn wake(queue: &dyn Queue, has_begun: bool, lines: &[String]) -> Result<(), QueueError> {
    match (has_begun, lines) {
        (false, _) => queue.wake_all().await,
        (true, []) => Ok(()),
        (true, lines) => queue.wake(lines).await,
    }
}

/// A rate that cannot be read is none: it was checked before it was stored.
fn read(rates: Vec<(MerchantId, String)>) -> HashMap<MerchantId, Rate> {
    rates.into_iter().filter_map(|(merchant, rate)| Some((merchant, rate.parse().ok()?))).collect()
}
