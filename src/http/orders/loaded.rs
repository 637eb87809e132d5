//! An order as postroom knows it.

use axum::http::StatusCode;

use super::view::{EmailView, OrderView};
use crate::{
    app::App,
    http::{error::Refusal, stored::document},
    mail::MerchantId,
    shop::order::{Order, WorkflowState},
    store::{LookUps, OrderRecord},
};

/// An order with the rows it was loaded from.
pub(super) struct LoadedOrder {
    pub(super) record: OrderRecord,
    /// The document, with the workflows that postroom moved over its own.
    pub(super) order: Order,
    /// What it is judged by is looked up with it.
    pub(super) look_ups: LookUps,
}

impl LoadedOrder {
    /// Loads it for a request of this kind.
    pub(super) async fn load(
        app: &App,
        merchant: &MerchantId,
        id: &str,
        kind_of_request: &'static str,
    ) -> Result<Self, Refusal> {
        let missing = || Refusal::new(StatusCode::NOT_FOUND, "order_not_found", "Order not found");
        if id.chars().any(char::is_control) {
            return Err(missing());
        }
        let look_ups = app.store.look_ups(merchant, kind_of_request);
        let record = app.store.order(&look_ups, id).await?.ok_or_else(missing)?;
        let mut order: Order = document(&record.document)?;
        for row in &record.workflows {
            order.set_workflow(row.workflow, row.state);
        }
        Ok(Self { record, order, look_ups })
    }

    /// Takes workflows for pending whose mail is another one than in `seen`: a request made at the same moment has got
    /// ahead, however soon its mail was sent.
    pub(super) fn yield_to_rivals(&mut self, seen: &Self) {
        for row in self.record.workflows.iter().filter(|row| row.mail.is_some()) {
            let was = seen.record.workflows.iter().find(|was| was.workflow == row.workflow);
            if was.and_then(|was| was.mail) != row.mail {
                self.order.set_workflow(row.workflow, WorkflowState::Pending);
            }
        }
    }

    pub(super) fn view(&self) -> OrderView {
        OrderView {
            id: self.record.document.id.clone(),
            order: self.order.clone(),
            emails: self.record.emails.iter().map(EmailView::from).collect(),
        }
    }
}
