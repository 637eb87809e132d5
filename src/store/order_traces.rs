//! What postroom knows of orders besides their documents: the workflows that it moved and the e-mail entries.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    dialect::Dialect,
    error::{Doing, StoreError},
    group_read::Lookup,
    readers::Readers,
    row::Columns,
    sql::Sql,
};
use crate::{
    mail::{Address, MailId, MailState, MerchantId, Timestamp},
    shop::order::{OrderTemplate, Workflow, WorkflowState},
};

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
    /// Whether the mail is only tried out.
    pub is_test: bool,
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

/// The traces that requests left on one order; an order without any has none.
#[derive(Clone, Debug, Default)]
pub(super) struct OrderTraces {
    pub(super) workflows: Vec<WorkflowRow>,
    /// Oldest first.
    pub(super) emails: Vec<OrderEmail>,
}

/// Names one order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct OrderKey {
    pub(super) merchant: MerchantId,
    #[serde(rename = "document")]
    pub(super) order: String,
}

// $2 is how many are asked for: Postgres takes an unfolded array for 100 rows, and would rather read a whole table of
// some thousands than look so many up; it takes a number that it does not see for a tenth of that. SQLite would make its
// plan anew for each number that it sees. What is about a workflow has no template.
static FIND: Sql = Sql::new(
    "WITH asked AS (
        SELECT merchant, document FROM {rows: merchant text, document text} LIMIT (SELECT CAST($2 AS bigint)))
     SELECT merchant_id, order_id, mail_id, state, field, NULL AS template_name, NULL AS template_definition_name,
        NULL AS recipient, NULL AS payment_id, updated_at AS created_at, NULL AS provider_id, NULL AS message_id, 0 AS test
     FROM asked JOIN order_workflows ON merchant_id = asked.merchant AND order_id = asked.document
     UNION ALL
     SELECT order_emails.merchant_id, order_emails.order_id, mail_id, state, NULL, template_name, template_definition_name,
        order_emails.recipient, payment_id, created_at, provider_id, message_id, test
     FROM asked JOIN order_emails ON order_emails.merchant_id = asked.merchant AND order_emails.order_id = asked.document
     JOIN mails ON mails.id = order_emails.mail_id",
);

impl Lookup for OrderTraces {
    type Key = OrderKey;

    async fn find(
        dialect: Dialect,
        readers: &Readers,
        keys: &[&OrderKey],
    ) -> Result<HashMap<OrderKey, Self>, StoreError> {
        let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let rows = FIND.with(dialect, keys).bind(count);
        let rows = rows.fetch_all(readers).await.doing("read the workflows and e-mails of orders")?;
        let mut found: HashMap<OrderKey, Self> = HashMap::new();
        for row in &rows {
            let columns = Columns { table: "orders", row };
            let key = OrderKey { merchant: columns.parsed("merchant_id")?, order: columns.text("order_id")? };
            let traces = found.entry(key).or_default();
            match columns.optional_parsed("field")? {
                Some(workflow) => traces.workflows.push(read_workflow(workflow, &columns)?),
                None => traces.emails.push(read_email(&columns)?),
            }
        }
        found.values_mut().for_each(|traces| traces.emails.sort_by_key(|email| email.entry.mail));
        Ok(found)
    }
}

fn read_workflow(workflow: Workflow, columns: &Columns<'_>) -> Result<WorkflowRow, StoreError> {
    Ok(WorkflowRow { workflow, state: columns.parsed("state")?, mail: columns.optional_parsed("mail_id")? })
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
        is_test: columns.integer("test")? != 0,
        email_id,
    })
}
