//! Whether a mail of an order was sent so lately that its store wants no other one yet: asked once more in the transaction that
//! records it, so that of several requests at once one is taken.

use std::collections::HashSet;

use serde::Serialize;

use super::step::OrderStep;
use crate::{
    mail::MerchantId,
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
    },
};

#[derive(Serialize)]
struct Asked<'a> {
    n: usize,
    merchant: &'a MerchantId,
    document: &'a str,
    template: &'static str,
    recipient_key: String,
    since: i64,
    test: i64,
}

// Whoever asks about an order after this waits until what is recorded now is committed.
static LOCK: Sql = Sql::new(
    "UPDATE resources SET updated_at = updated_at FROM {rows: merchant text, document text}
     WHERE merchant_id = rows.merchant AND kind = 'orders' AND resources.id = rows.document",
);

static SENT_LATELY: Sql = Sql::new(
    "SELECT n FROM {rows: n bigint, merchant text, document text, template text, recipient_key text, since bigint, test bigint}
     JOIN order_emails ON order_emails.merchant_id = rows.merchant AND order_emails.order_id = rows.document
     JOIN mails ON mails.id = order_emails.mail_id
     WHERE order_emails.template_name = rows.template AND mails.recipient_key = rows.recipient_key
        AND order_emails.created_at > rows.since
        AND mails.test = rows.test
        AND mails.state IN {mail states that went or may go}",
);

/// Takes back steps whose store has a cool-down that is not over. Steps of stores that have none cost nothing.
pub(super) async fn take_back(
    dialect: Dialect,
    on: &mut Connection,
    steps: &[&OrderStep],
    taken: &mut [bool],
) -> Result<(), StoreError> {
    let (mut asked, mut first) = (Vec::new(), HashSet::new());
    for (n, step) in steps.iter().enumerate().filter(|(n, _)| taken[*n]).collect::<Vec<_>>() {
        let Some((since, email)) = step.quiet_since.zip(step.email.as_ref()) else { continue };
        let recipient_key = email.recipient.search_key();
        // Two of one group: the first is taken.
        let like = (&step.merchant, &step.order, email.template, step.is_test, recipient_key.clone());
        if !first.insert(like) {
            taken[n] = false;
            continue;
        }
        let (merchant, document, template) = (&step.merchant, step.order.as_str(), email.template.as_str());
        let (since, test) = (since.millis(), step.is_test.into());
        asked.push(Asked { n, merchant, document, template, recipient_key, since, test });
    }
    if asked.is_empty() {
        return Ok(());
    }
    // In one order, so that two groups never wait for each other.
    asked.sort_by_key(|asked| (asked.merchant, asked.document));
    LOCK.with(dialect, &asked).execute(&mut *on).await.doing("lock orders with a cool-down")?;
    let sent = SENT_LATELY
        .with(dialect, &asked)
        .fetch_all(on)
        .await
        .doing("look for mails that were sent lately")?;
    for row in &sent {
        if let Some(taken) = taken.get_mut(Columns { table: "order_emails", row }.place("n")?) {
            *taken = false;
        }
    }
    Ok(())
}
