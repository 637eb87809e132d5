//! The moves of orders: a step that the rules allowed, and what follows when a mail or the merchant's word moves on.

use std::collections::BTreeMap;

use serde::{Serialize, de::IgnoredAny};
use sqlx::AnyConnection;

use super::{NewOrderEmail, OrderStep, WorkflowStep};
use crate::{
    clock,
    mail::{MailId, MailState, MerchantId},
    shop::{
        ResourceKind,
        order::{Workflow, WorkflowState},
    },
    store::{
        Doing, ResourceRow, StoreError,
        dialect::{Dialect, Sql},
        mails::to_json,
    },
};

/// Takes a step; tells whether the order was still what the rules saw. If not, nothing is written.
pub(in crate::store) async fn step(on: &mut AnyConnection, step: &OrderStep) -> Result<bool, StoreError> {
    let is_as_told = sqlx::query(
        "SELECT 1 FROM resources WHERE merchant_id = $1 AND kind = $2 AND id = $3 AND body = $4 AND updated_at = $5",
    )
    .bind(step.merchant.as_str())
    .bind(ResourceKind::Orders.as_str())
    .bind(&step.order)
    .bind(&step.was)
    .bind(step.told_at.millis())
    .fetch_optional(&mut *on)
    .await
    .doing("compare an order")?
    .is_some();
    if !is_as_told {
        return Ok(false);
    }
    if let Some(workflow) = &step.workflow
        && !move_workflow(on, step, workflow).await?
    {
        return Ok(false);
    }
    if let Some(email) = &step.email {
        insert_email(on, step, email).await?;
    }
    Ok(true)
}

/// Of several who want to move a workflow from where they saw it, one gets a row.
async fn move_workflow(
    on: &mut AnyConnection,
    step: &OrderStep,
    WorkflowStep { was, becomes }: &WorkflowStep,
) -> Result<bool, StoreError> {
    let was_mail = was.and_then(|was| was.mail).map(|mail| mail.to_string());
    sqlx::query(
        "INSERT INTO order_workflows (merchant_id, order_id, field, state, mail_id, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (merchant_id, order_id, field) DO UPDATE SET state = excluded.state, mail_id = excluded.mail_id,
            updated_at = excluded.updated_at
         WHERE order_workflows.state = $7 AND COALESCE(order_workflows.mail_id, '') = $8",
    )
    .bind(step.merchant.as_str())
    .bind(&step.order)
    .bind(becomes.workflow.as_str())
    .bind(becomes.state.as_str())
    .bind(becomes.mail.map(|mail| mail.to_string()))
    .bind(clock::now().millis())
    .bind(was.map_or("", |was| was.state.as_str()))
    .bind(was_mail.unwrap_or_default())
    .execute(on)
    .await
    .map(|done| done.rows_affected() == 1)
    .doing("move an order's workflow")
}

async fn insert_email(
    on: &mut AnyConnection,
    step: &OrderStep,
    email: &NewOrderEmail,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO order_emails (mail_id, merchant_id, order_id, template_name, template_definition_name, recipient,
            payment_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(email.mail.to_string())
    .bind(step.merchant.as_str())
    .bind(&step.order)
    .bind(email.template.as_str())
    .bind(&email.definition)
    .bind(email.recipient.to_string())
    .bind(&email.payment)
    .bind(email.created_at.millis())
    .execute(on)
    .await
    .map(drop)
    .doing("record an order's e-mail")
}

static FOLLOW: Sql = Sql::new(
    "UPDATE order_workflows SET state = rows.state, updated_at = $2 FROM {rows: mail text, state text}
     WHERE order_workflows.mail_id = rows.mail AND order_workflows.state <> rows.state",
);

#[derive(Serialize)]
struct MovedRow {
    mail: String,
    state: &'static str,
}

/// Lets workflows follow their mails, which are now in these states. A workflow that follows another mail by now, and
/// mails that no workflow follows, are left alone.
pub(in crate::store) async fn follow(
    dialect: Dialect,
    on: &mut AnyConnection,
    moved: impl IntoIterator<Item = (MailId, MailState)>,
) -> Result<(), StoreError> {
    let rows: Vec<_> = moved
        .into_iter()
        .map(|(mail, state)| MovedRow {
            mail: mail.to_string(),
            state: WorkflowState::following(state).as_str(),
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(FOLLOW.on(dialect))
        .bind(to_json(&rows))
        .bind(clock::now().millis())
        .execute(on)
        .await
        .map(drop)
        .doing("let orders follow their mails")
}

static FORGET: Sql = Sql::new(
    "DELETE FROM order_workflows WHERE merchant_id = $2 AND state <> 'PENDING'
        AND (order_id, field) IN (SELECT id, field FROM {rows: id text, field text})",
);

#[derive(Serialize)]
struct ToldRow<'a> {
    id: &'a str,
    field: &'static str,
}

/// Lets the merchant's later word stand: rows of workflows that are over and that these documents name are dropped.
pub(in crate::store) async fn forget_settled(
    dialect: Dialect,
    on: &mut AnyConnection,
    merchant: &MerchantId,
    told: &[ResourceRow],
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for order in told.iter().filter(|resource| resource.kind == ResourceKind::Orders) {
        let fields: BTreeMap<&str, IgnoredAny> = serde_json::from_str(order.body.get()).unwrap_or_default();
        let named =
            Workflow::ALL.iter().map(|workflow| workflow.as_str()).filter(|it| fields.contains_key(it));
        rows.extend(named.map(|field| ToldRow { id: &order.id, field }));
    }
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(FORGET.on(dialect))
        .bind(to_json(&rows))
        .bind(merchant.as_str())
        .execute(on)
        .await
        .map(drop)
        .doing("forget workflows that are over")
}
