//! Reading actions back, and what they came to for each mail.

use crate::{
    mail::{
        ActionId, ActionKind, ActionResult, ActionState, MailId, MerchantId, Timestamp,
        action::SelectionError, search::MailCount,
    },
    store::{
        database::Store,
        error::{Doing, StoreError},
        mails::MailSearch,
        row::Columns,
        statement::query,
    },
};

/// An action as it is recorded.
#[derive(Clone, Debug)]
pub struct ActionRecord {
    /// Its id.
    pub id: ActionId,
    /// Whose mails alone it may touch; `None`: those of all merchants.
    pub merchant: Option<MerchantId>,
    /// What it does.
    pub kind: ActionKind,
    /// Which mails it is for, as it was asked: times count back from `drafted_at`.
    pub query: String,
    /// Mails from this id on are not touched.
    pub mark: MailId,
    /// Where it is on its way.
    pub state: ActionState,
    /// Why it cannot be run.
    pub error: Option<String>,
    /// Who drafted it, as in `operator:ann`.
    pub drafted_by: String,
    /// When.
    pub drafted_at: Timestamp,
    /// Who confirmed it.
    pub confirmed_by: Option<String>,
    /// When.
    pub confirmed_at: Option<Timestamp>,
    /// Who stopped it last.
    pub stopped_by: Option<String>,
    /// When.
    pub stopped_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// The mail that it has come to.
    pub cursor: Option<MailId>,
    /// How many mails it was for when it was drafted.
    pub matched: MailCount,
    /// For how many mails it was done.
    pub done: u64,
    /// How many mails it passed over.
    pub skipped: u64,
}

/// What an action came to for a mail.
#[derive(Clone, Debug)]
pub struct MailResult {
    /// The mail.
    pub mail: MailId,
    /// What it came to.
    pub result: ActionResult,
    /// Why it was passed over.
    pub why: Option<String>,
}

const COLUMNS: &str =
    "id, merchant_id, kind, query, mark, state, error, drafted_by, drafted_at, confirmed_by,
    confirmed_at, stopped_by, stopped_at, finished_at, cursor, matched, matched_more, done, skipped";

impl ActionRecord {
    /// The search for its mails, the oldest first, after those that it has been through.
    ///
    /// # Errors
    /// When its query cannot be read any more.
    pub fn search(&self) -> Result<MailSearch, SelectionError> {
        Ok(MailSearch {
            query: self.kind.selection(&self.query, self.drafted_at)?,
            merchant: self.merchant.clone(),
            after: self.cursor,
            before: Some(self.mark),
            oldest_first: true,
            ..MailSearch::default()
        })
    }
}

impl Store {
    /// Finds an action; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn action(
        &self,
        merchant: Option<&MerchantId>,
        id: ActionId,
    ) -> Result<Option<ActionRecord>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM bulk_actions WHERE id = $1 AND ($2 = '' OR merchant_id = $2)"
        )))
        .bind(id.to_string())
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .fetch_optional(&self.readers)
        .await
        .doing("find an action")?;
        row.map(|row| read(&Columns { table: "bulk_actions", row: &row })).transpose()
    }

    /// Lists actions, newest first, those before `after`; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn actions(
        &self,
        merchant: Option<&MerchantId>,
        after: Option<ActionId>,
        limit: u32,
    ) -> Result<Vec<ActionRecord>, StoreError> {
        let only = if merchant.is_some() { "merchant_id = $1" } else { "$1 = ''" };
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM bulk_actions WHERE {only} AND id < $2 ORDER BY id DESC LIMIT $3"
        )))
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .bind(after.map_or_else(|| "~".to_owned(), |id| id.to_string()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list actions")?;
        rows.iter().map(|row| read(&Columns { table: "bulk_actions", row })).collect()
    }

    /// What an action came to, mail by mail in the order of their ids, after the one with this id.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn action_results(
        &self,
        id: ActionId,
        after: Option<MailId>,
        limit: u32,
    ) -> Result<Vec<MailResult>, StoreError> {
        let rows = query(
            "SELECT mail_id, result, why FROM bulk_action_results WHERE action_id = $1 AND mail_id > $2
             ORDER BY mail_id LIMIT $3",
        )
        .bind(id.to_string())
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list results of an action")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "bulk_action_results", row };
                Ok(MailResult {
                    mail: columns.parsed("mail_id")?,
                    result: columns.parsed("result")?,
                    why: columns.optional_text("why")?,
                })
            })
            .collect()
    }
}

fn read(columns: &Columns<'_>) -> Result<ActionRecord, StoreError> {
    let cursor = columns.text("cursor")?;
    let matched = MailCount { count: columns.count("matched")?, more: columns.integer("matched_more")? == 1 };
    Ok(ActionRecord {
        id: columns.parsed("id")?,
        merchant: columns.optional_parsed("merchant_id")?,
        kind: columns.parsed("kind")?,
        query: columns.text("query")?,
        mark: columns.parsed("mark")?,
        state: columns.parsed("state")?,
        error: columns.optional_text("error")?,
        drafted_by: columns.text("drafted_by")?,
        drafted_at: columns.time("drafted_at")?,
        confirmed_by: columns.optional_text("confirmed_by")?,
        confirmed_at: columns.optional_time("confirmed_at")?,
        stopped_by: columns.optional_text("stopped_by")?,
        stopped_at: columns.optional_time("stopped_at")?,
        finished_at: columns.optional_time("finished_at")?,
        cursor: cursor.parse().ok(),
        matched,
        done: columns.count("done")?,
        skipped: columns.count("skipped")?,
    })
}
