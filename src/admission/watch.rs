//! Keeps admission up to date with what may change while mails wait: the limits of the configuration at a start, and the rates
//! that merchants have of their own.

use std::time::Duration;

use tokio::time::sleep;

use super::Admission;
use crate::queue::Queue;

/// Between two looks at the merchants' rates, and two tries to reach a queue that is away.
const PAUSE: Duration = Duration::from_secs(5);

impl Admission {
    /// Watches for ever. What waits asks again once at the beginning: the limits may have been changed meanwhile.
    pub async fn watch(&self, queue: &dyn Queue) {
        while let Err(error) = queue.wake_all().await {
            tracing::debug!(%error, "the queue could not be told to ask again for what waits");
            sleep(PAUSE).await;
        }
        std::future::pending::<()>().await;
    }
}
