//! Confirming, stopping and resuming actions.

use serde_json::json;

use super::look_up::ActionRecord;
use crate::{
    audit::Action,
    clock,
    mail::{ActionId, ActionState, ActionWish, MerchantId},
    store::{audit::NewEntry, database::Store, error::StoreError, sql::Sql, statement::query},
};

/// The result of moving an action.
#[derive(Clone, Debug)]
pub enum ActionMoved {
    /// It is so now.
    Now(Box<ActionRecord>),
    /// It cannot, from the state it is in.
    Refused(Box<ActionRecord>),
    /// Somebody else drafted it: only who saw what it will do may confirm it.
    NotYours(String),
    /// There is no such action.
    Unknown,
}

static CONFIRM: Sql = Sql::new(
    "UPDATE bulk_actions SET state = 'running', confirmed_by = $3, confirmed_at = $2, wake_at = $2
     WHERE id = $1 AND drafted_by = $3 AND state IN {action states before confirmed}",
);
static STOP: Sql = Sql::new(
    "UPDATE bulk_actions SET state = 'stopped', stopped_by = $3, stopped_at = $2, wake_at = NULL
     WHERE id = $1 AND state IN {action states before stopped}",
);
// The parameter is the same for all three; who lets an action go on takes over from who stopped it.
static RESUME: Sql = Sql::new(
    "UPDATE bulk_actions SET state = 'running', stopped_by = NULL, stopped_at = NULL, wake_at = $2
     WHERE id = $1 AND $3 <> '' AND state IN {action states before resumed}",
);
static FAIL: Sql = Sql::new(
    "UPDATE bulk_actions SET state = 'failed', error = $3, finished_at = $2, wake_at = NULL
     WHERE id = $1 AND state IN {action states before failed}",
);

impl Store {
    /// Confirms, stops or resumes an action. Only who drafted it may confirm it.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn move_action(
        &self,
        merchant: Option<&MerchantId>,
        id: ActionId,
        wish: ActionWish,
        by: &str,
    ) -> Result<ActionMoved, StoreError> {
        let Some(seen) = self.action(merchant, id).await? else { return Ok(ActionMoved::Unknown) };
        let is_draft = seen.state == ActionState::Draft;
        let (statement, audited) = match wish {
            ActionWish::Confirm if is_draft && seen.drafted_by != by => {
                return Ok(ActionMoved::NotYours(seen.drafted_by));
            }
            ActionWish::Confirm => (&CONFIRM, Action::BulkConfirmed),
            ActionWish::Stop => (&STOP, Action::BulkStopped),
            ActionWish::Resume => (&RESUME, Action::BulkResumed),
        };
        let entry = self.entry(audited, seen.id, seen.merchant.as_ref());
        let entry = entry.map(|entry| entry.of(seen.matched.count).with(json!({"kind": seen.kind})));
        let done = self.write_move(statement, seen.id, by, "move an action", entry).await?;
        let now = self.action(None, seen.id).await?.map_or_else(|| Box::new(seen), Box::new);
        Ok(if done { ActionMoved::Now(now) } else { ActionMoved::Refused(now) })
    }

    /// Gives an action up that cannot be run, and says why.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn fail_action(&self, id: ActionId, error: &str) -> Result<(), StoreError> {
        self.write_move(&FAIL, id, error, "fail an action", None).await.map(drop)
    }

    async fn write_move(
        &self,
        statement: &Sql,
        id: ActionId,
        word: &str,
        doing: &'static str,
        entry: Option<NewEntry>,
    ) -> Result<bool, StoreError> {
        let update = query(statement.on(self.dialect))
            .bind(id.to_string())
            .bind(clock::now().millis())
            .bind(word.to_owned());
        Ok(self.change(update, doing, entry).await? == 1)
    }
}
