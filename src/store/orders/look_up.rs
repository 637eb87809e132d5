//! Finding an order with what postroom knows of it.

use crate::{
    shop::ResourceKind,
    store::{
        database::Store,
        documents::Stored,
        error::StoreError,
        look_ups::LookUps,
        order_traces::{OrderEmail, OrderKey, OrderTraces, WorkflowRow},
    },
};

/// An order with all that postroom knows of it.
#[derive(Clone, Debug)]
pub struct OrderRecord {
    /// The order as its merchant sent it.
    pub document: Stored,
    /// The workflows that postroom moved.
    pub workflows: Vec<WorkflowRow>,
    /// Its e-mail entries, oldest first.
    pub emails: Vec<OrderEmail>,
}

impl Store {
    /// Finds an order of the merchant of `look_ups`.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn order(&self, look_ups: &LookUps, id: &str) -> Result<Option<OrderRecord>, StoreError> {
        let key = OrderKey { merchant: look_ups.merchant().clone(), order: id.to_owned() };
        let (document, traces) = tokio::try_join!(
            look_ups.document(ResourceKind::Orders, id),
            self.order_traces.find(vec![key.clone()])
        )?;
        let OrderTraces { workflows, emails } = traces.get(&key).cloned().unwrap_or_default();
        Ok(document.map(|document| OrderRecord { document, workflows, emails }))
    }
}
