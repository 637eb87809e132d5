//! Opens the queue that the settings name: in the memory of this process, or in Redis.

use std::sync::Arc;

use super::{MemoryQueue, Queue, QueueError, QueueSettings, RedisQueue};

/// Checks the settings as far as that is possible without the queue.
///
/// # Errors
/// [`QueueError::Url`] when they name no queue.
pub fn check(settings: &QueueSettings) -> Result<(), QueueError> {
    match settings.url.as_str() {
        "memory:" => Ok(()),
        _ => RedisQueue::new(settings).map(drop),
    }
}

/// Opens the queue that the settings name. A Redis server need not be there yet: until it is, calls fail.
///
/// # Errors
/// When the URL names no queue.
pub async fn connect(settings: &QueueSettings) -> Result<Arc<dyn Queue>, QueueError> {
    Ok(match settings.url.as_str() {
        "memory:" => Arc::new(MemoryQueue::new(settings.lease)),
        _ => Arc::new(RedisQueue::new(settings)?),
    })
}

/// Reaches the same queue over a connection of its own, for a runtime of its own: a connection does nothing while the
/// runtime in which it was opened is busy.
///
/// # Errors
/// When the URL names no queue.
pub async fn connect_again(
    queue: &Arc<dyn Queue>,
    settings: &QueueSettings,
) -> Result<Arc<dyn Queue>, QueueError> {
    match settings.url.as_str() {
        "memory:" => Ok(Arc::clone(queue)),
        _ => connect(settings).await,
    }
}
