//! Drafting: which mails an action would be for, and keeping that.

use super::look_up::ActionRecord;
use crate::{
    clock,
    mail::{
        ActionId, ActionKind, ActionState, MailId, MerchantId, Timestamp,
        action::SelectionError,
        search::{MailCount, Query},
    },
    store::{
        database::Store,
        error::{Doing, StoreError},
        mails::{MailRecord, MailSearch},
        statement::query,
    },
};
use futures_util::FutureExt;

/// The most mails that are counted.
const MOST_COUNTED: u64 = 100_000;
/// How many mails are shown.
const SAMPLE: u32 = 5;

/// An action that somebody asks for. Which mails it is for does not change any more.
#[derive(Clone, Debug)]
pub struct NewAction {
    /// Whose mails alone it may touch; `None`: those of all merchants, for operators.
    pub merchant: Option<MerchantId>,
    /// What to do.
    pub kind: ActionKind,
    query: String,
    selection: Query,
    by: String,
    at: Timestamp,
    mark: MailId,
}

/// The mails that an action would be for.
#[derive(Clone, Debug)]
pub struct Selected {
    /// How many.
    pub count: MailCount,
    /// The newest of them.
    pub sample: Vec<MailRecord>,
}

impl NewAction {
    /// What `by` asks for now: mails that are recorded later are not touched.
    ///
    /// # Errors
    /// When the query does not say which mails: see [`SelectionError`].
    pub fn new(
        merchant: Option<MerchantId>,
        kind: ActionKind,
        query: &str,
        by: &str,
    ) -> Result<Self, SelectionError> {
        let at = clock::now();
        let selection = kind.selection(query, at)?;
        let (query, by) = (query.trim().to_owned(), by.to_owned());
        Ok(Self { merchant, kind, query, selection, by, at, mark: MailId::new() })
    }

    /// The merchants that its query names.
    pub fn merchants(&self) -> impl Iterator<Item = &MerchantId> {
        self.selection.merchants()
    }

    fn search(&self) -> MailSearch {
        MailSearch {
            query: self.selection.clone(),
            merchant: self.merchant.clone(),
            before: Some(self.mark),
            limit: SAMPLE,
            ..MailSearch::default()
        }
    }
}

const INSERT: &str =
    "INSERT INTO bulk_actions (id, merchant_id, kind, query, mark, state, drafted_by, drafted_at,
        matched, matched_more)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

impl Store {
    /// Looks which mails an action would be for.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn select_for_action(&self, new: &NewAction) -> Result<Selected, StoreError> {
        let search = new.search();
        let sample = self.search_mails(&search).await?;
        let count = match sample.next {
            None => MailCount { count: sample.mails.len() as u64, more: false },
            Some(_) => self.count_mails(&search, MOST_COUNTED).await?,
        };
        Ok(Selected { count, sample: sample.mails })
    }

    /// Some mails that a draft is for.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn sample_of_action(&self, action: &ActionRecord) -> Result<Vec<MailRecord>, StoreError> {
        let Ok(search) = action.search() else { return Ok(Vec::new()) };
        Ok(self.search_mails(&MailSearch { limit: SAMPLE, ..search }).await?.mails)
    }

    /// Keeps an action for its confirmation.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn draft_action(
        &self,
        new: &NewAction,
        matched: MailCount,
    ) -> Result<ActionRecord, StoreError> {
        let record = ActionRecord::drafted(new, ActionId::new(), matched);
        let NewAction { merchant, kind, by, at, mark, .. } = new;
        let insert = query(INSERT)
            .bind(record.id.to_string())
            .bind(merchant.as_ref().map(|merchant| merchant.as_str().to_owned()))
            .bind(kind.as_str())
            .bind(new.query.clone())
            .bind(mark.to_string())
            .bind(ActionState::Draft.as_str())
            .bind(by.clone())
            .bind(at.millis())
            .bind(i64::try_from(matched.count).unwrap_or(i64::MAX))
            .bind(i64::from(matched.more));
        self.writer
            .run(move |on| async move { insert.execute(on).await.doing("draft an action") }.boxed())
            .await?;
        Ok(record)
    }
}

impl ActionRecord {
    fn drafted(new: &NewAction, id: ActionId, matched: MailCount) -> Self {
        Self {
            id,
            merchant: new.merchant.clone(),
            kind: new.kind,
            query: new.query.clone(),
            mark: new.mark,
            state: ActionState::Draft,
            error: None,
            drafted_by: new.by.clone(),
            drafted_at: new.at,
            confirmed_by: None,
            confirmed_at: None,
            stopped_by: None,
            stopped_at: None,
            finished_at: None,
            cursor: None,
            matched,
            done: 0,
            skipped: 0,
        }
    }
}
