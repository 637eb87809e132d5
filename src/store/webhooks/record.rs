//! Records callbacks that are not events: tests of an endpoint, and batch webhooks.

use futures_util::FutureExt;
use serde::Serialize;

use crate::{
    clock,
    mail::{DeliveryId, EndpointId, MerchantId},
    store::{
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, NewEvent},
        sql::Sql,
    },
    webhook::{
        EventKind,
        event::{self, TestSubject},
    },
};

/// A callback with a URL and a body of its own, signed with the merchant's secret.
#[derive(Clone, Debug, Serialize)]
pub struct NewCallback {
    /// Whose secret signs it.
    pub merchant: MerchantId,
    /// Where it goes.
    pub url: String,
    /// The JSON body.
    pub body: String,
    /// What makes it one: a second one with the same key is not recorded. As in `batch:0192…`.
    pub unique_key: String,
}

/// The result of testing an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tested {
    /// A test is recorded; this is its delivery.
    Now(DeliveryId),
    /// The endpoint is disabled.
    Disabled,
    /// There is no such endpoint.
    Unknown,
}

static INSERT: Sql = Sql::new(
    "INSERT INTO deliveries (id, merchant_id, url, body, unique_key, state, created_at, due_at, wake_at)
     SELECT id, merchant, url, body, unique_key, 'queued', $2, $2, $2
     FROM {rows: id text, merchant text, url text, body text, unique_key text} WHERE true ON CONFLICT (merchant_id, unique_key) DO NOTHING",
);

/// Records callbacks in the caller's transaction, each at most once by its key; returns how many were new.
pub(in crate::store) async fn record_callbacks(
    dialect: Dialect,
    on: &mut Connection,
    callbacks: &[NewCallback],
) -> Result<u64, StoreError> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: DeliveryId,
        #[serde(flatten)]
        callback: &'a NewCallback,
    }
    if callbacks.is_empty() {
        return Ok(0);
    }
    let rows: Vec<_> = callbacks.iter().map(|callback| Row { id: DeliveryId::new(), callback }).collect();
    INSERT
        .with(dialect, &rows)
        .bind(clock::now().millis())
        .execute(on)
        .await
        .map(|done| done.rows_affected())
        .doing("record callbacks")
}

#[cfg(test)]
impl Store {
    /// Records a callback in a transaction of its own; returns whether it is the first with its key.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn record_callback(&self, callback: &NewCallback) -> Result<bool, StoreError> {
        let (dialect, callback) = (self.dialect, callback.clone());
        self.writer
            .run(move |on| async move { record_callbacks(dialect, on, &[callback]).await }.boxed())
            .await
            .map(|new| new == 1)
    }
}

impl Store {
    /// Records a `webhook.test` for one endpoint, whatever it listens to.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn record_test(&self, merchant: &MerchantId, id: EndpointId) -> Result<Tested, StoreError> {
        match self.endpoint(merchant, id).await? {
            Some(endpoint) if endpoint.enabled => {}
            Some(_) => return Ok(Tested::Disabled),
            None => return Ok(Tested::Unknown),
        }
        let kind = EventKind::WebhookTest;
        let body = event::body(kind, clock::now(), &TestSubject::default());
        let event = NewEvent { merchant: merchant.clone(), kind, body, mail: None, trace_parent: None };
        let dialect = self.dialect;
        self.writer
            .run(move |on| async move { events::record_for(dialect, on, event, id).await }.boxed())
            .await
            .map(Tested::Now)
    }
}
