//! The moves of orders: a step that the rules allowed, and what follows when a mail or the merchant's document changes.

use std::collections::{BTreeMap, HashSet};

use serde::{Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    cool_down,
    step::{OrderStep, WorkflowStep},
};
use crate::{
    clock,
    mail::{MailId, MailState, MerchantId},
    shop::order::{Workflow, WorkflowState},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        rounds,
        row::Columns,
        sql::Sql,
    },
};

static UNCHANGED: Sql = Sql::new(
    "SELECT n FROM {rows: n bigint, merchant text, document text, body text, at bigint}
     JOIN resources ON merchant_id = rows.merchant AND kind = 'orders' AND resources.id = rows.document
     WHERE resources.body = rows.body AND updated_at = rows.at",
);

#[derive(Serialize)]
struct SeenRow<'a> {
    n: usize,
    merchant: &'a MerchantId,
    document: &'a str,
    body: &'a str,
    at: i64,
}

/// Takes steps, each as if it came after the one before; returns for each whether its order was still what the rules saw.
/// Of a step that was not taken nothing is written.
pub(in crate::store) async fn take_steps(
    dialect: Dialect,
    on: &mut Connection,
    steps: &[&OrderStep],
) -> Result<Vec<bool>, StoreError> {
    let mut taken = vec![false; steps.len()];
    if steps.is_empty() {
        return Ok(taken);
    }
    let seen = steps.iter().enumerate().map(|(n, step)| SeenRow {
        n,
        merchant: &step.merchant,
        document: &step.order,
        body: &step.was,
        at: step.document_updated_at.millis(),
    });
    let rows = UNCHANGED
        .with(dialect, &seen.collect::<Vec<_>>())
        .fetch_all(&mut *on)
        .await
        .doing("compare orders")?;
    for row in &rows {
        taken[Columns { table: "orders", row }.place("n")?] = true;
    }
    cool_down::take_back(dialect, on, steps, &mut taken).await?;
    move_workflows(dialect, on, steps, &mut taken).await?;
    let standing = steps.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(step, _)| *step);
    insert_emails(dialect, on, standing).await?;
    Ok(taken)
}

// Where nobody moved the workflow yet.
static BEGIN: Sql = Sql::new(
    "INSERT INTO order_workflows (merchant_id, order_id, field, state, mail_id, updated_at)
     SELECT merchant, document, workflow, becomes, mail, $2
     FROM {rows: merchant text, document text, workflow text, becomes text, mail text} WHERE true
     ON CONFLICT (merchant_id, order_id, field) DO NOTHING RETURNING merchant_id, order_id, field",
);

static MOVE: Sql = Sql::new(
    "UPDATE order_workflows SET state = rows.becomes, mail_id = rows.mail, updated_at = $2
     FROM {rows: merchant text, document text, workflow text, becomes text, mail text, was text, was_mail text}
     WHERE order_workflows.merchant_id = rows.merchant AND order_workflows.order_id = rows.document
        AND order_workflows.field = rows.workflow AND order_workflows.state = rows.was
        AND COALESCE(order_workflows.mail_id, '') = rows.was_mail
     RETURNING merchant_id, order_id, field",
);

#[derive(Serialize)]
struct WorkflowMove<'a> {
    merchant: &'a MerchantId,
    document: &'a str,
    workflow: &'static str,
    becomes: &'static str,
    mail: Option<MailId>,
    was: &'static str,
    was_mail: String,
}

/// Names a workflow of an order.
type WorkflowKey<'a> = (&'a MerchantId, &'a str, Workflow);

impl OrderStep {
    fn workflow_key(&self) -> Option<WorkflowKey<'_>> {
        Some((&self.merchant, &self.order, self.workflow.as_ref()?.becomes.workflow))
    }
}

/// Moves the workflows of steps that are still `taken`, and takes back those that somebody else moved: of several who
/// want to move a workflow from where they saw it, one does.
async fn move_workflows(
    dialect: Dialect,
    on: &mut Connection,
    steps: &[&OrderStep],
    taken: &mut [bool],
) -> Result<(), StoreError> {
    let moving = steps.iter().enumerate().filter(|(n, _)| taken[*n]);
    let moving = moving.filter_map(|(n, step)| Some((step.workflow_key()?, (n, *step))));
    for round in rounds::with_distinct_keys(moving) {
        let (mut beginning, mut moving) = (Vec::new(), Vec::new());
        for (_, step) in &round {
            let Some(WorkflowStep { was, becomes }) = &step.workflow else { continue };
            let was_mail = was.and_then(|was| was.mail).map(|mail| mail.to_string());
            let rows = if was.is_none() { &mut beginning } else { &mut moving };
            rows.push(WorkflowMove {
                merchant: &step.merchant,
                document: &step.order,
                workflow: becomes.workflow.as_str(),
                becomes: becomes.state.as_str(),
                mail: becomes.mail,
                was: was.map_or("", |was| was.state.as_str()),
                was_mail: was_mail.unwrap_or_default(),
            });
        }
        let mut moved = HashSet::new();
        for (statement, rows) in [(&BEGIN, beginning), (&MOVE, moving)] {
            moved.extend(write_moves(dialect, on, statement, &rows).await?);
        }
        for (n, step) in round {
            let key = step
                .workflow_key()
                .map(|(merchant, order, workflow)| (merchant.clone(), order.to_owned(), workflow));
            taken[n] = key.is_some_and(|key| moved.contains(&key));
        }
    }
    Ok(())
}

/// Writes moves; returns which workflows moved.
async fn write_moves(
    dialect: Dialect,
    on: &mut Connection,
    statement: &'static Sql,
    rows: &[WorkflowMove<'_>],
) -> Result<Vec<(MerchantId, String, Workflow)>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let rows = statement
        .with(dialect, rows)
        .bind(clock::now().millis())
        .fetch_all(on)
        .await
        .doing("move the workflows of orders")?;
    let key = |row| {
        let columns = Columns { table: "order_workflows", row };
        Ok((columns.parsed("merchant_id")?, columns.text("order_id")?, columns.parsed("field")?))
    };
    rows.iter().map(key).collect()
}

static INSERT_EMAILS: Sql = Sql::new(
    "INSERT INTO order_emails (mail_id, merchant_id, order_id, template_name, template_definition_name, recipient,
        payment_id, created_at)
     SELECT mail, merchant, document, template, definition, recipient, payment, at
     FROM {rows: mail text, merchant text, document text, template text, definition text, recipient text, payment text,
        at bigint}",
);

#[derive(Serialize)]
struct EmailRow<'a> {
    mail: MailId,
    merchant: &'a MerchantId,
    document: &'a str,
    template: &'static str,
    definition: &'a str,
    recipient: String,
    payment: Option<&'a str>,
    at: i64,
}

async fn insert_emails<'a>(
    dialect: Dialect,
    on: &mut Connection,
    steps: impl Iterator<Item = &'a OrderStep>,
) -> Result<(), StoreError> {
    let row = |step: &'a OrderStep| {
        let email = step.email.as_ref()?;
        Some(EmailRow {
            mail: email.mail,
            merchant: &step.merchant,
            document: &step.order,
            template: email.template.as_str(),
            definition: &email.definition,
            recipient: email.recipient.to_string(),
            payment: email.payment.as_deref(),
            at: email.created_at.millis(),
        })
    };
    let rows: Vec<_> = steps.filter_map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    INSERT_EMAILS.with(dialect, &rows).execute(on).await.map(drop).doing("record the e-mails of orders")
}

// $3 is how many moved: as in `traces`.
static FOLLOW: Sql = Sql::new(
    "UPDATE order_workflows SET state = moved.state, updated_at = $2
     FROM (SELECT mail, state FROM {rows: mail text, state text} LIMIT (SELECT CAST($3 AS bigint))) AS moved
     WHERE order_workflows.mail_id = moved.mail AND order_workflows.state <> moved.state",
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
    on: &mut Connection,
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
    FOLLOW
        .with(dialect, &rows)
        .bind(clock::now().millis())
        .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
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
struct NamedField<'a> {
    id: &'a str,
    field: &'static str,
}

/// Lets the merchant's later document win: drops the rows of workflows that are over and that these documents name.
pub(in crate::store) async fn forget_settled(
    dialect: Dialect,
    on: &mut Connection,
    merchant: &MerchantId,
    orders: impl Iterator<Item = (&str, &RawValue)>,
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for (id, document) in orders {
        let fields: BTreeMap<&str, IgnoredAny> = serde_json::from_str(document.get()).unwrap_or_default();
        let named =
            Workflow::ALL.iter().map(|workflow| workflow.as_str()).filter(|it| fields.contains_key(it));
        rows.extend(named.map(|field| NamedField { id, field }));
    }
    if rows.is_empty() {
        return Ok(());
    }
    FORGET
        .with(dialect, &rows)
        .bind(merchant.as_str())
        .execute(on)
        .await
        .map(drop)
        .doing("forget workflows that are over")
}
