//! Orders as postroom follows them: their e-mail workflows, their e-mail entries, and who asked for what.
//!
//! The order document, as its merchant sent it, is a resource. A workflow has a row here once postroom moved it. The row
//! overrides the document's field and follows its mail: code that moves mails calls [`follow`] in the same transaction.

mod audit;
mod moves;
mod traces;

use futures_util::FutureExt;
use sqlx::AnyConnection;

use super::{
    Doing, KeyHolder, Moved, Store, StoreError, Stored,
    events::{self, MovedMail},
    row::Columns,
};
use crate::{
    clock,
    mail::{Address, MailEvent, MailId, MailState, MerchantId, Timestamp},
    shop::{
        ResourceKind,
        order::{OrderTemplate, Workflow, WorkflowState},
    },
};

pub use audit::{AuditEntry, NewAuditEntry};

pub(super) use audit::audit;
pub(super) use moves::{follow, forget_settled, take_steps};
pub(super) use traces::OrderTraces;

use traces::OrderKey;

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

/// A workflow that postroom moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowRow {
    /// Which.
    pub workflow: Workflow,
    /// Where it is.
    pub state: WorkflowState,
    /// The mail that it follows; `None` when none was needed.
    pub mail: Option<MailId>,
}

/// An e-mail entry of an order.
#[derive(Clone, Debug)]
pub struct OrderEmail {
    /// What was asked for and chosen.
    pub entry: NewOrderEmail,
    /// Where the mail is.
    pub state: MailState,
    /// The id that the relay gave the mail, else its `Message-ID`; `None` until a relay took it.
    pub email_id: Option<String>,
}

/// An e-mail entry to record with its mail.
#[derive(Clone, Debug)]
pub struct NewOrderEmail {
    /// The mail.
    pub mail: MailId,
    /// What was asked for.
    pub template: OrderTemplate,
    /// The name of the definition that was chosen.
    pub definition: String,
    /// Whom it is for.
    pub recipient: Address,
    /// The payment it is about.
    pub payment: Option<String>,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// What becomes of an order, if it is still what the rules saw.
#[derive(Clone, Debug)]
pub struct OrderStep {
    /// Whose order.
    pub merchant: MerchantId,
    /// The merchant's id for it.
    pub order: String,
    /// The document as the rules saw it.
    pub was: String,
    /// When that document was stored.
    pub document_updated_at: Timestamp,
    /// The workflow that moves.
    pub workflow: Option<WorkflowStep>,
    /// The entry for the mail that is recorded.
    pub email: Option<NewOrderEmail>,
}

/// A workflow that moves.
#[derive(Clone, Copy, Debug)]
pub struct WorkflowStep {
    /// The row as the rules saw it.
    pub was: Option<WorkflowRow>,
    /// The row as it shall be.
    pub becomes: WorkflowRow,
}

impl Store {
    /// Finds an order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn order(&self, merchant: &MerchantId, id: &str) -> Result<Option<OrderRecord>, StoreError> {
        let key = OrderKey { merchant: merchant.clone(), order: id.to_owned() };
        let (document, traces) = tokio::try_join!(
            self.resource(merchant, ResourceKind::Orders, id),
            self.order_traces.find(vec![key.clone()])
        )?;
        let OrderTraces { workflows, emails } = traces.get(&key).cloned().unwrap_or_default();
        Ok(document.map(|document| OrderRecord { document, workflows, emails }))
    }

    /// Fails a mail that the queue did not take ([`MailEvent::Undispatched`]), unless a worker has it already. The answer
    /// that was kept for its request goes with it.
    ///
    /// # Errors
    /// When the database cannot commit it; then the mail is sent later.
    pub async fn withdraw_order_mail(
        &self,
        mail: MailId,
        why: &str,
        answered: Option<&KeyHolder>,
    ) -> Result<Moved, StoreError> {
        let Some(next) = MailState::Queued.after(MailEvent::Undispatched) else {
            return Ok(Moved::Refused(MailState::Queued));
        };
        let (dialect, why, answered) = (self.dialect, why.to_owned(), answered.cloned());
        if self
            .writer
            .run_aside(move |on| {
                async move {
                    // One that was ever claimed may be with a relay.
                    let withdrawn = sqlx::query(
                        "UPDATE mails SET state = $4, wake_at = NULL, settled_at = $2, error = $3
                         WHERE id = $1 AND state = 'queued' AND attempt = 0
                         RETURNING merchant_id",
                    )
                    .bind(mail.to_string())
                    .bind(clock::now().millis())
                    .bind(&why)
                    .bind(next.as_str())
                    .fetch_optional(&mut *on)
                    .await
                    .doing("withdraw a mail")?;
                    let Some(row) = withdrawn else { return Ok(false) };
                    follow(dialect, &mut *on, [(mail, next)]).await?;
                    let moved = MovedMail {
                        id: mail,
                        merchant: Columns { table: "mails", row: &row }.parsed("merchant_id")?,
                        state: next,
                        code: None,
                        enhanced_code: None,
                        reply: Some(why),
                        class: None,
                    };
                    events::record_for_mails(dialect, &mut *on, &[moved]).await?;
                    if let Some(holder) = answered {
                        forget_answer(on, &holder).await?;
                    }
                    Ok(true)
                }
                .boxed()
            })
            .await?
        {
            return Ok(Moved::Now(next));
        }
        let state = self.mail(None, mail).await?.map(|mail| mail.state);
        Ok(state.map_or(Moved::Unknown, Moved::Refused))
    }
}

async fn forget_answer(on: &mut AnyConnection, holder: &KeyHolder) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM idempotency WHERE merchant_id = $1 AND path = $2 AND key = $3 AND request = $4")
        .bind(holder.merchant.as_str())
        .bind(&holder.path)
        .bind(&holder.key)
        .bind(holder.request.to_string())
        .execute(on)
        .await
        .map(drop)
        .doing("forget an answer")
}
