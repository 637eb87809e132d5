//! Operators' sessions in the dashboard, and links that sign somebody in once. Of a secret only its hash is stored.
//!
//! An operator who is removed, also if another is created with the name, has no session any more.

use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use super::{
    audit,
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    statement::query,
    steps::{STEP, in_steps},
};
use crate::{
    audit::Action,
    clock,
    mail::{MerchantId, Timestamp},
    shop::OperatorRole,
};

/// The most sessions of one operator; the oldest end when there are more.
const MOST_SESSIONS: i64 = 50;
/// What was seen longer ago than this is noted again.
const SEEN: Duration = Duration::from_secs(60);

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// What it is called: UUIDv7. It is no secret.
    pub id: String,
    /// Who signed in.
    pub operator: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
    /// The address that signed in.
    pub address: Option<String>,
}

/// A session that has not ended, and what its operator may see.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session.
    pub session: SessionRecord,
    /// What the operator may do.
    pub role: OperatorRole,
    /// Whose things alone the operator sees; none: everything.
    pub merchant: Option<MerchantId>,
}

/// A session to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The hash of its secret.
    pub hash: String,
    /// Who signed in.
    pub operator: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The address that signed in.
    pub address: Option<String>,
}

const COLUMNS: &str =
    "sessions.id, sessions.operator, sessions.created_at, sessions.expires_at, sessions.last_seen_at,
    sessions.address";

impl Store {
    /// Begins a session, and forgets those of the operator that have ended or are too many. Who signs in acts here.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn begin_session(&self, new: NewSession) -> Result<(), StoreError> {
        let now = clock::now().millis();
        let entry = self.entry(Action::OperatorSignedIn, &new.operator, None);
        self.writer
            .run(move |on| {
                async move {
                    audit::record(on, entry.as_ref()).await?;
                    query(
                        "INSERT INTO sessions (id, hash, operator, created_at, expires_at, last_seen_at, address)
                         VALUES ($1, $2, $3, $4, $5, $4, $6)",
                    )
                    .bind(Uuid::now_v7().to_string())
                    .bind(new.hash)
                    .bind(new.operator.clone())
                    .bind(now)
                    .bind(new.expires_at.millis())
                    .bind(new.address)
                    .execute(&mut *on)
                    .await
                    .doing("begin a session")?;
                    query(
                        "DELETE FROM sessions WHERE operator = $1 AND (expires_at <= $2 OR id NOT IN
                            (SELECT id FROM sessions WHERE operator = $1 ORDER BY id DESC LIMIT $3))",
                    )
                    .bind(new.operator)
                    .bind(now)
                    .bind(MOST_SESSIONS)
                    .execute(on)
                    .await
                    .map(drop)
                    .doing("forget old sessions")
                }
                .boxed()
            })
            .await
    }

    /// Finds the session with this hash, unless it has ended or its operator is gone.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn session(&self, hash: &str) -> Result<Option<SignedIn>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, operators.role, operators.merchant_id FROM sessions
             JOIN operators ON operators.name = sessions.operator AND operators.created_at <= sessions.created_at
             WHERE sessions.hash = $1 AND sessions.expires_at > $2"
        )))
        .bind(hash)
        .bind(clock::now().millis())
        .fetch_optional(&self.readers)
        .await
        .doing("find a session")?;
        row.map(|row| {
            let columns = Columns { table: "sessions", row: &row };
            Ok(SignedIn {
                session: read(&columns)?,
                role: columns.parsed("role")?,
                merchant: columns.optional_parsed("merchant_id")?,
            })
        })
        .transpose()
    }

    /// Lists the sessions that have not ended, the newest first, at most a thousand; only those of an operator, where one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn sessions(&self, operator: Option<&str>) -> Result<Vec<SessionRecord>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM sessions
             JOIN operators ON operators.name = sessions.operator AND operators.created_at <= sessions.created_at
             WHERE ($1 = '' OR sessions.operator = $1) AND sessions.expires_at > $2
             ORDER BY sessions.id DESC LIMIT {STEP}"
        )))
        .bind(operator.unwrap_or_default())
        .bind(clock::now().millis())
        .fetch_all(&self.readers)
        .await
        .doing("list sessions")?;
        rows.iter().map(|row| read(&Columns { table: "sessions", row })).collect()
    }

    /// Notes that a session is used, once a minute.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn see_session(&self, session: &SessionRecord) -> Result<(), StoreError> {
        let now = clock::now();
        if now.since(session.last_seen_at) < SEEN {
            return Ok(());
        }
        let update = query("UPDATE sessions SET last_seen_at = $2 WHERE id = $1")
            .bind(session.id.clone())
            .bind(now.millis());
        self.writer.in_background().execute(update, "note that a session is used").await.map(drop)
    }

    /// Lets a session last until then; returns whether there is such a session.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn extend_session(&self, id: &str, expires_at: Timestamp) -> Result<bool, StoreError> {
        let update = query("UPDATE sessions SET expires_at = $2 WHERE id = $1 AND expires_at > $3")
            .bind(id.to_owned())
            .bind(expires_at.millis())
            .bind(clock::now().millis());
        Ok(self.writer.execute(update, "extend a session").await? > 0)
    }

    /// Ends a session, of this operator where one is given; returns whether there was one.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn end_session(&self, operator: Option<&str>, id: &str) -> Result<bool, StoreError> {
        let delete = query("DELETE FROM sessions WHERE id = $1 AND ($2 = '' OR operator = $2)")
            .bind(id.to_owned())
            .bind(operator.unwrap_or_default().to_owned());
        let entry = self.entry(Action::SessionEnded, id, None);
        Ok(self.change(delete, "end a session", entry).await? > 0)
    }

    /// Keeps the hash of a link that signs an operator in once.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn create_sign_in_link(
        &self,
        hash: &str,
        operator: &str,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let insert = query("INSERT INTO sign_in_links (hash, operator, expires_at) VALUES ($1, $2, $3)")
            .bind(hash.to_owned())
            .bind(operator.to_owned())
            .bind(expires_at.millis());
        self.writer.execute(insert, "keep a link to sign in").await.map(drop)
    }

    /// Uses a link up; returns whom it signs in.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn use_sign_in_link(&self, hash: &str) -> Result<Option<String>, StoreError> {
        let delete = query(
            "DELETE FROM sign_in_links WHERE hash = $1 AND expires_at > $2
                AND EXISTS (SELECT 1 FROM operators WHERE name = sign_in_links.operator)
             RETURNING operator",
        )
        .bind(hash.to_owned())
        .bind(clock::now().millis());
        let row = self.writer.fetch_optional(delete, "use a link to sign in").await?;
        row.map(|row| Columns { table: "sign_in_links", row: &row }.text("operator")).transpose()
    }

    /// Forgets sessions and links that have ended; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_ended_sessions(&self) -> Result<u64, StoreError> {
        let now = clock::now().millis();
        let mut forgotten = 0;
        for statement in [
            "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE expires_at <= $1 LIMIT $2)",
            "DELETE FROM sign_in_links WHERE hash IN (SELECT hash FROM sign_in_links WHERE expires_at <= $1 LIMIT $2)",
        ] {
            forgotten += in_steps(STEP, || async {
                let delete = query(statement).bind(now).bind(STEP);
                self.writer.in_background().execute(delete, "forget sessions that ended").await
            })
            .await?;
        }
        Ok(forgotten)
    }
}

fn read(columns: &Columns<'_>) -> Result<SessionRecord, StoreError> {
    Ok(SessionRecord {
        id: columns.text("id")?,
        operator: columns.text("operator")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.time("expires_at")?,
        last_seen_at: columns.time("last_seen_at")?,
        address: columns.optional_text("address")?,
    })
}
