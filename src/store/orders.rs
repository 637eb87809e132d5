//! Orders as postroom follows them: their e-mail workflows, their e-mail entries, and who asked for what.
//!
//! The order as its merchant told it is a resource. A workflow has a row here once postroom moved it; the row goes over
//! the document's field and follows its mail: whoever moves mails calls [`follow`] in the same transaction.

mod moves;

use sqlx::AnyConnection;
use uuid::Uuid;

use super::{Doing, KeyHolder, Moved, Store, StoreError, Stored, row::Columns};
use crate::{
    clock,
    mail::{Address, MailEvent, MailId, MailState, MerchantId, Timestamp},
    shop::{
        ResourceKind,
        order::{OrderTemplate, Workflow, WorkflowState},
    },
};

pub(super) use moves::{follow, forget_settled, step};

/// An order with all that postroom knows of it.
#[derive(Clone, Debug)]
pub struct OrderRecord {
    /// The order as its merchant told it.
    pub told: Stored,
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
    /// When that was told.
    pub told_at: Timestamp,
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

/// A request for a mail of an order, whatever came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who asked.
    pub actor: String,
    /// The template's name as it was given.
    pub template: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Finds an order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn order(&self, merchant: &MerchantId, id: &str) -> Result<Option<OrderRecord>, StoreError> {
        let Some(told) = self.resource(merchant, ResourceKind::Orders, id).await? else { return Ok(None) };
        let workflows = sqlx::query(
            "SELECT field, state, mail_id FROM order_workflows WHERE merchant_id = $1 AND order_id = $2",
        )
        .bind(merchant.as_str())
        .bind(id)
        .fetch_all(&self.readers)
        .await
        .doing("read an order's workflows")?;
        let emails = sqlx::query(
            "SELECT mail_id, template_name, template_definition_name, order_emails.recipient, payment_id, created_at,
                state, provider_id, message_id
             FROM order_emails JOIN mails ON mails.id = order_emails.mail_id
             WHERE order_emails.merchant_id = $1 AND order_emails.order_id = $2 ORDER BY mail_id",
        )
        .bind(merchant.as_str())
        .bind(id)
        .fetch_all(&self.readers)
        .await
        .doing("read an order's e-mails")?;
        Ok(Some(OrderRecord {
            told,
            workflows: workflows
                .iter()
                .map(|row| read_workflow(&Columns { table: "order_workflows", row }))
                .collect::<Result<_, _>>()?,
            emails: emails
                .iter()
                .map(|row| read_email(&Columns { table: "order_emails", row }))
                .collect::<Result<_, _>>()?,
        }))
    }

    /// Records that somebody asked for a mail of an order.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn audit_order(
        &self,
        merchant: &MerchantId,
        order: &str,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO order_audit (id, merchant_id, order_id, actor, template, reason, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(merchant.as_str())
        .bind(order)
        .bind(&entry.actor)
        .bind(&entry.template)
        .bind(&entry.reason)
        .bind(entry.at.millis())
        .execute(&self.writers)
        .await
        .map(drop)
        .doing("record who asked for a mail of an order")
    }

    /// Lists who asked for mails of an order, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn order_audit(
        &self,
        merchant: &MerchantId,
        order: &str,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT actor, template, reason, at FROM order_audit WHERE merchant_id = $1 AND order_id = $2 ORDER BY id",
        )
        .bind(merchant.as_str())
        .bind(order)
        .fetch_all(&self.readers)
        .await
        .doing("read who asked for mails of an order")?;
        let read = |columns: &Columns<'_>| {
            Ok(AuditEntry {
                actor: columns.text("actor")?,
                template: columns.optional_text("template")?,
                reason: columns.text("reason")?,
                at: columns.time("at")?,
            })
        };
        rows.iter().map(|row| read(&Columns { table: "order_audit", row })).collect()
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
        let mut transaction = self.writers.begin_with(self.dialect.begin()).await.doing("begin")?;
        // One that was ever claimed may be with a relay.
        let done = sqlx::query(
            "UPDATE mails SET state = $4, ring_at = NULL, settled_at = $2, error = $3
             WHERE id = $1 AND state = 'queued' AND attempt = 0",
        )
        .bind(mail.to_string())
        .bind(clock::now().millis())
        .bind(why)
        .bind(next.as_str())
        .execute(&mut *transaction)
        .await
        .doing("withdraw a mail")?;
        if done.rows_affected() == 0 {
            transaction.rollback().await.doing("roll back")?;
            let state = self.mail(None, mail).await?.map(|mail| mail.state);
            return Ok(state.map_or(Moved::Unknown, Moved::Refused));
        }
        follow(self.dialect, &mut transaction, [(mail, next)]).await?;
        if let Some(holder) = answered {
            forget_answer(&mut transaction, holder).await?;
        }
        transaction.commit().await.doing("commit")?;
        Ok(Moved::Now(next))
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

fn read_workflow(columns: &Columns<'_>) -> Result<WorkflowRow, StoreError> {
    Ok(WorkflowRow {
        workflow: columns.parsed("field")?,
        state: columns.parsed("state")?,
        mail: columns.optional_parsed("mail_id")?,
    })
}

fn read_email(columns: &Columns<'_>) -> Result<OrderEmail, StoreError> {
    let state = columns.parsed("state")?;
    let email_id = match state {
        MailState::Sent | MailState::Bounced => {
            Some(columns.optional_text("provider_id")?.map_or_else(|| columns.text("message_id"), Ok)?)
        }
        _ => None,
    };
    Ok(OrderEmail {
        entry: NewOrderEmail {
            mail: columns.parsed("mail_id")?,
            template: columns.parsed("template_name")?,
            definition: columns.text("template_definition_name")?,
            recipient: columns.parsed("recipient")?,
            payment: columns.optional_text("payment_id")?,
            created_at: columns.time("created_at")?,
        },
        state,
        email_id,
    })
}
