//! What operators paused, and merchants that are suspended: nothing of it is sent, in any process.

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    statement::query,
};
use crate::{
    audit::Action,
    clock,
    mail::{PauseScope, Timestamp},
};

/// A pause that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseRecord {
    /// What is paused.
    pub scope: PauseScope,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who paused it.
    pub actor: String,
    /// Since when.
    pub at: Timestamp,
    /// When it ends by itself.
    pub ends_at: Option<Timestamp>,
    /// Whether it is a merchant that is suspended: that ends when the merchant is resumed.
    pub is_suspension: bool,
}

impl Store {
    /// The pauses that are in force.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn pauses(&self) -> Result<Vec<PauseRecord>, StoreError> {
        let rows = query(
            "SELECT scope, name, reason, actor, at, ends_at, 0 AS is_suspension FROM pauses
             WHERE ends_at IS NULL OR ends_at > $1
             UNION ALL
             SELECT 'merchant', id, 'the merchant is suspended', '', suspended_at, NULL, 1 FROM merchants
             WHERE suspended_at IS NOT NULL
             ORDER BY scope, name, is_suspension",
        )
        .bind(clock::now().millis())
        .fetch_all(&self.readers)
        .await
        .doing("list pauses")?;
        rows.iter().map(|row| read(&Columns { table: "pauses", row })).collect()
    }

    /// Pauses a scope; one that is paused already gets this reason and this end. Returns false when it is paused with them
    /// already.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn pause(
        &self,
        scope: &PauseScope,
        reason: &str,
        ends_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let actor = self.author.as_ref().map(|author| author.actor.to_string()).unwrap_or_default();
        let merchant = match scope {
            PauseScope::Merchant(merchant) => Some(merchant),
            _ => None,
        };
        let entry = self
            .entry(Action::QueuePaused, scope, merchant)
            .map(|entry| entry.with(serde_json::json!({"reason": reason, "until": ends_at})));
        let upsert = query(
            "INSERT INTO pauses (scope, name, reason, actor, at, ends_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (scope, name) DO UPDATE SET reason = excluded.reason, actor = excluded.actor,
                at = excluded.at, ends_at = excluded.ends_at
             WHERE pauses.reason <> excluded.reason OR pauses.ends_at IS DISTINCT FROM excluded.ends_at",
        )
        .bind(scope.kind())
        .bind(scope.name().to_owned())
        .bind(reason.to_owned())
        .bind(actor)
        .bind(clock::now().millis())
        .bind(ends_at.map(Timestamp::millis));
        Ok(self.change(upsert, "pause something", entry).await? > 0)
    }

    /// Ends a pause; returns false when there is none.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn resume(&self, scope: &PauseScope) -> Result<bool, StoreError> {
        let merchant = match scope {
            PauseScope::Merchant(merchant) => Some(merchant),
            _ => None,
        };
        let entry = self.entry(Action::QueueResumed, scope, merchant);
        let delete =
            query("DELETE FROM pauses WHERE scope = $1 AND name = $2 AND (ends_at IS NULL OR ends_at > $3)")
                .bind(scope.kind())
                .bind(scope.name().to_owned())
                .bind(clock::now().millis());
        Ok(self.change(delete, "resume something", entry).await? > 0)
    }

    /// Forgets pauses that ended by themselves; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_ended_pauses(&self) -> Result<u64, StoreError> {
        let delete = query("DELETE FROM pauses WHERE ends_at <= $1").bind(clock::now().millis());
        self.writer.in_background().execute(delete, "forget pauses that ended").await
    }
}

fn read(columns: &Columns<'_>) -> Result<PauseRecord, StoreError> {
    let (kind, name) = (columns.text("scope")?, columns.text("name")?);
    let scope = PauseScope::parse(&kind, &name)
        .map_err(|error| StoreError::Corrupt { table: "pauses", why: error.to_string() })?;
    Ok(PauseRecord {
        scope,
        reason: columns.text("reason")?,
        actor: columns.text("actor")?,
        at: columns.time("at")?,
        ends_at: columns.optional_time("ends_at")?,
        is_suspension: columns.integer("is_suspension")? == 1,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        audit::Author,
        mail::Lane,
        store::{AuditFilter, webhooks_fixture as fixture},
    };

    #[tokio::test]
    async fn a_pause_replaces_another_and_changes_nothing_where_it_is_equal() {
        let (store, _folder) = fixture::open().await;
        let acting = store.acting_for(Author::at_the_command_line("ann", "pts/1"));
        let (lane, end) = (PauseScope::Lane(Lane::Bulk), Some(clock::now() + Duration::from_secs(3_600)));
        for (reason, ends_at, is_changed) in [
            ("a wrong list", None, true),
            ("a wrong list", None, false),
            ("another list", None, true),
            ("another list", end, true),
            ("another list", end, false),
            ("another list", None, true),
        ] {
            assert_eq!(
                acting.pause(&lane, reason, ends_at).await.unwrap(),
                is_changed,
                "{reason} {ends_at:?}"
            );
        }
        assert!(acting.pause(&PauseScope::Lane(Lane::Batch), "another list", None).await.unwrap());
        let entries = store.audit(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
        assert_eq!(entries.len(), 5, "one for each change");
    }
}
