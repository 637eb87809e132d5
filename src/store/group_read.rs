//! Look-ups that wait for each other: one task takes all that are waiting and asks for them in one statement.
//!
//! The twin of the group commit. A look-up by key costs a round trip to the database whether it asks for one document
//! or for a hundred; under load the round trips are shared, and an idle store answers without delay.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::FutureExt;
use serde::Serialize;
use sqlx::AnyPool;
use tokio::sync::{mpsc, oneshot};

use super::{
    Doing, StoreError,
    dialect::{Dialect, Sql},
    mails::to_json,
    on_a_live_connection,
    resources::{self, Stored},
    row::Columns,
};
use crate::{mail::MerchantId, shop::ResourceKind};

/// The most look-ups in one statement.
const GROUP: usize = 256;

/// Names one document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Key {
    pub(super) merchant: MerchantId,
    pub(super) kind: ResourceKind,
    pub(super) id: String,
}

type Found = HashMap<Key, Stored>;

struct Asked {
    keys: Vec<Key>,
    reply: oneshot::Sender<Result<Arc<Found>, StoreError>>,
}

/// The task's side that callers hold; the task ends when the last of them is gone.
#[derive(Clone)]
pub(super) struct GroupRead {
    waiting: mpsc::Sender<Asked>,
}

impl GroupRead {
    pub(super) fn start(dialect: Dialect, readers: AnyPool) -> Self {
        let (waiting, receiver) = mpsc::channel(GROUP);
        tokio::spawn(run(dialect, readers, receiver));
        Self { waiting }
    }

    /// Finds documents, among others that were asked for at the same moment.
    pub(super) async fn find(&self, keys: Vec<Key>) -> Result<Arc<Found>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.waiting.send(Asked { keys, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

async fn run(dialect: Dialect, readers: AnyPool, mut receiver: mpsc::Receiver<Asked>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while receiver.recv_many(&mut waiting, GROUP).await > 0 {
        let keys: HashSet<&Key> = waiting.iter().flat_map(|asked| &asked.keys).collect();
        match find(dialect, &readers, &keys.into_iter().collect::<Vec<_>>()).await {
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

// A template's document is large and its version holds all that a mail needs: it stays in the database.
static FIND: Sql = Sql::new(
    "SELECT resources.merchant_id, resources.kind, resources.id, brand_id, version,
        CASE resources.kind WHEN 'templates' THEN '' ELSE body END AS body, created_at, updated_at
     FROM {rows: merchant text, kind text, id text}
     JOIN resources ON resources.merchant_id = rows.merchant AND resources.kind = rows.kind
        AND resources.id = rows.id",
);

async fn find(dialect: Dialect, readers: &AnyPool, keys: &[&Key]) -> Result<Found, StoreError> {
    let asked = to_json(keys);
    let find = || sqlx::query(FIND.on(dialect)).bind(asked.clone()).fetch_all(readers).boxed();
    let rows = on_a_live_connection(readers, find).await.doing("find what mails need")?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "resources", row };
            let stored = resources::read(&columns)?;
            let (merchant, kind) = (columns.parsed("merchant_id")?, columns.parsed("kind")?);
            Ok((Key { merchant, kind, id: stored.id.clone() }, stored))
        })
        .collect()
}
