//! Look-ups that wait for each other: one task takes all that are waiting and asks for them in one statement.
//!
//! The twin of the group commit. A look-up by key costs a round trip to the database whether it asks for one thing or
//! for a hundred; under load the round trips are shared, and an idle store answers without delay.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    connections::STORE_TIMEOUT, dialect::Dialect, error::StoreError, gather::gather, readers::Readers,
};
use crate::telemetry::METRICS;

/// The most look-ups in one group.
const GROUP: usize = 256;

/// Something that is found by its key; what is not there is not among what was found.
pub(super) trait Lookup: Send + Sync + Sized + 'static {
    /// Names one.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// Finds all that these keys name, each of which is there once.
    fn find(
        dialect: Dialect,
        readers: &Readers,
        keys: &[&Self::Key],
    ) -> impl Future<Output = Result<HashMap<Self::Key, Self>, StoreError>> + Send;
}

/// What a group found, shared by all who were in it.
pub(super) type Found<T> = Arc<HashMap<<T as Lookup>::Key, T>>;

struct Asked<T: Lookup> {
    keys: Vec<T::Key>,
    reply: oneshot::Sender<Result<Found<T>, StoreError>>,
}

/// The task's side that callers hold; the task ends when the last of them is gone.
pub(super) struct GroupRead<T: Lookup> {
    waiting: mpsc::Sender<Asked<T>>,
}

impl<T: Lookup> Clone for GroupRead<T> {
    fn clone(&self) -> Self {
        Self { waiting: self.waiting.clone() }
    }
}

impl<T: Lookup> GroupRead<T> {
    pub(super) fn start(dialect: Dialect, readers: Readers) -> Self {
        let (waiting, receiver) = mpsc::channel(GROUP);
        tokio::spawn(run(dialect, readers, receiver));
        Self { waiting }
    }

    /// Finds what these keys name, among what others asked for at the same moment.
    pub(super) async fn find(&self, keys: Vec<T::Key>) -> Result<Found<T>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.waiting.send(Asked { keys, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

async fn run<T: Lookup>(dialect: Dialect, readers: Readers, mut receiver: mpsc::Receiver<Asked<T>>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while gather(&mut receiver, &mut waiting, GROUP).await {
        let keys: HashSet<&T::Key> = waiting.iter().flat_map(|asked| &asked.keys).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let finding = readers.on_a_live_connection(|| T::find(dialect, &readers, &keys).boxed());
        let began = Instant::now();
        let found = timeout(STORE_TIMEOUT, finding).await.unwrap_or(Err(StoreError::TimedOut));
        METRICS.database_took("look_up", began.elapsed());
        match found {
            Ok(found) => {
                let found = Arc::new(found);
                waiting.drain(..).for_each(|asked| drop(asked.reply.send(Ok(Arc::clone(&found)))));
            }
            Err(error) => {
                let mut error = Some(error);
                for asked in waiting.drain(..) {
                    let error = error.take().unwrap_or(StoreError::Group);
                    drop(asked.reply.send(Err(error)));
                }
            }
        }
    }
}
