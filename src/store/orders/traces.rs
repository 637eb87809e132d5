//! What postroom knows of orders besides their documents: the workflows that it moved and the e-mail entries.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{AnyPool, any::AnyRow};

use super::record::{NewOrderEmail, OrderEmail, WorkflowRow};
use crate::{
    mail::{MailState, MerchantId},
    store::{
        dialect::{Dialect, Sql},
        error::{Doing, StoreError},
        group_read::Lookup,
        row::{Columns, to_json},
    },
};

/// The traces that requests left on one order; an order without any has none.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct OrderTraces {
    pub(super) workflows: Vec<WorkflowRow>,
    /// Oldest first.
    pub(super) emails: Vec<OrderEmail>,
}

/// Names one order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(in crate::store) struct OrderKey {
    pub(super) merchant: MerchantId,
    #[serde(rename = "document")]
    pub(super) order: String,
}

// $2 is how many are asked for: Postgres takes an unfolded array for 100 rows, and would rather read a whole table of
// some thousands than look so many up; it takes a number that it does not see for a tenth of that. SQLite would make its
// plan anew for each number that it sees.
static WORKFLOWS: Sql = Sql::new(
    "SELECT merchant_id, order_id, field, state, mail_id
     FROM (SELECT merchant, document FROM {rows: merchant text, document text} LIMIT (SELECT CAST($2 AS bigint))) AS asked
     JOIN order_workflows ON merchant_id = asked.merchant AND order_id = asked.document",
);

static EMAILS: Sql = Sql::new(
    "SELECT order_emails.merchant_id, order_emails.order_id, mail_id, template_name, template_definition_name,
        order_emails.recipient, payment_id, created_at, state, provider_id, message_id
     FROM (SELECT merchant, document FROM {rows: merchant text, document text} LIMIT (SELECT CAST($2 AS bigint))) AS asked
     JOIN order_emails ON order_emails.merchant_id = asked.merchant AND order_emails.order_id = asked.document
     JOIN mails ON mails.id = order_emails.mail_id ORDER BY mail_id",
);

impl Lookup for OrderTraces {
    type Key = OrderKey;

    async fn find(
        dialect: Dialect,
        readers: &AnyPool,
        keys: &[&OrderKey],
    ) -> Result<HashMap<OrderKey, Self>, StoreError> {
        let (orders, count) = (to_json(keys), i64::try_from(keys.len()).unwrap_or(i64::MAX));
        let ask = |statement: &'static Sql, doing| {
            let query = sqlx::query(statement.on(dialect)).bind(orders.clone()).bind(count);
            async move { query.fetch_all(readers).await.doing(doing) }
        };
        let (workflows, emails) = tokio::try_join!(
            ask(&WORKFLOWS, "read the workflows of orders"),
            ask(&EMAILS, "read the e-mails of orders")
        )?;
        let mut traces: HashMap<OrderKey, Self> = HashMap::new();
        for columns in columns("order_workflows", &workflows) {
            traces.entry(key_of(&columns)?).or_default().workflows.push(read_workflow(&columns)?);
        }
        for columns in columns("order_emails", &emails) {
            traces.entry(key_of(&columns)?).or_default().emails.push(read_email(&columns)?);
        }
        Ok(traces)
    }
}

fn columns<'a>(table: &'static str, rows: &'a [AnyRow]) -> impl Iterator<Item = Columns<'a>> {
    rows.iter().map(move |row| Columns { table, row })
}

fn key_of(columns: &Columns<'_>) -> Result<OrderKey, StoreError> {
    Ok(OrderKey { merchant: columns.parsed("merchant_id")?, order: columns.text("order_id")? })
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
