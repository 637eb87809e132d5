//! Keeps admission up to date with the routes that operators drained. They are in the database, because another process cannot
//! reach the embedded queue.

use std::{collections::HashSet, sync::PoisonError, time::Duration};

use tokio::time::{sleep, timeout};

use super::{Admission, lines::WITHOUT_ROUTE};
use crate::{
    queue::Queue,
    store::{Store, StoreError},
    telemetry::{METRICS, chain, metrics::RouteNameLabels},
};

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long the database may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl Admission {
    /// Reads which routes are drained, and returns whether that changed. Before the first mail, so that none goes over one.
    ///
    /// # Errors
    /// When the database does not tell.
    pub async fn read_drains(&self, store: &Store) -> Result<bool, StoreError> {
        let drained: HashSet<String> = store.drained_routes().await?.into_iter().collect();
        // Kept while the routes are looked at: a reload meanwhile would begin with what was known before.
        let mut known = self.drained.write().unwrap_or_else(PoisonError::into_inner);
        *known = drained;
        let in_force = self.in_force();
        for route in &in_force.routes {
            METRICS
                .route_drained
                .get_or_create(&RouteNameLabels { route: route.name.to_string() })
                .set(i64::from(known.contains(&*route.name)));
        }
        let news = in_force.set_drained(&known);
        for route in &news {
            let is_drained = route.is_drained();
            tracing::info!(route = &*route.name, is_drained, "a route was drained, or may be used again");
        }
        Ok(!news.is_empty())
    }

    /// Watches for ever. After a change the mails that wait for routes ask again. A database or a queue that is away is asked again;
    /// meanwhile what was known holds.
    pub(super) async fn watch_drains(&self, store: &Store, queue: &dyn Queue) {
        let mut must_wake = false;
        loop {
            sleep(POLL_INTERVAL).await;
            match timeout(READ_TIMEOUT, self.read_drains(store)).await {
                Ok(Ok(is_news)) => must_wake |= is_news,
                Ok(Err(error)) => tracing::debug!(
                    error = %chain(&error),
                    "the drained routes could not be read"
                ),
                Err(_) => tracing::debug!("the drained routes could not be read in time"),
            }
            if must_wake {
                self.changed.notify_one();
                let mut lines: Vec<_> =
                    self.in_force().routes.iter().map(|route| route.scope.to_string()).collect();
                lines.push(WITHOUT_ROUTE.to_owned());
                match queue.wake(&lines).await {
                    Ok(()) => must_wake = false,
                    Err(error) => tracing::debug!(
                        error = %chain(&error),
                        "the queue could not be told that routes changed"
                    ),
                }
            }
        }
    }
}
