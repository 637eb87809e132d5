//! The URLs that merchants registered.

use futures_util::FutureExt;
use secrecy::{ExposeSecret, SecretString};

use super::secrets::EndpointSecrets;

use crate::{
    audit::Action,
    clock,
    mail::{EndpointId, MerchantId, Timestamp},
    store::{
        audit,
        connection::Connection,
        database::Store,
        error::{Doing, StoreError},
        events,
        row::Columns,
        statement::query,
        steps::{STEP, in_steps},
    },
    webhook::Topics,
};

/// The most endpoints of one merchant.
pub const MOST_ENDPOINTS: i64 = 100;

/// A URL that a merchant registered.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Where callbacks go, as it was given.
    pub url: String,
    /// What it listens to.
    pub topics: Topics,
    /// The merchant's words for it.
    pub description: String,
    /// Whether it gets anything.
    pub enabled: bool,
    /// Sign its callbacks.
    pub secrets: EndpointSecrets,
    /// The first failure since the last success.
    pub failing_since: Option<Timestamp>,
    /// Why postroom disabled it itself: `gone` or `failing`.
    pub disabled_reason: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// An endpoint to register.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Where callbacks go.
    pub url: String,
    /// What it listens to.
    pub topics: Topics,
    /// The merchant's words for it.
    pub description: String,
    /// Whether it gets anything.
    pub enabled: bool,
    /// Signs its callbacks.
    pub secret: SecretString,
}

/// What becomes of an endpoint; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// Where callbacks go.
    pub url: Option<String>,
    /// What it listens to.
    pub topics: Option<Topics>,
    /// The merchant's words for it.
    pub description: Option<String>,
    /// Whether it gets anything. Enabling forgets earlier failures.
    pub enabled: Option<bool>,
}

/// The result of registering an endpoint.
#[derive(Debug)]
pub enum Registered {
    /// Here it is.
    Now(Box<Endpoint>),
    /// The merchant has [`MOST_ENDPOINTS`] already.
    TooMany,
}

pub(super) const COLUMNS: &str =
    "id, url, events, description, enabled, secret, previous_secret, previous_secret_until,
    failing_since, disabled_reason, created_at";

impl Store {
    /// Registers an endpoint.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn register_endpoint(
        &self,
        merchant: &MerchantId,
        endpoint: &NewEndpoint,
    ) -> Result<Registered, StoreError> {
        let id = EndpointId::new();
        let entry = self.entry(Action::WebhookRegistered, id, Some(merchant));
        let insert = query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO endpoints (id, merchant_id, url, events, description, enabled, secret, created_at)
             SELECT $1, id, $3, $4, $5, $6, $7, $8 FROM merchants
             WHERE id = $2 AND (SELECT COUNT(*) FROM endpoints WHERE merchant_id = $2) < $9 RETURNING {COLUMNS}"
        )))
        .bind(id.to_string())
        .bind(merchant.to_string())
        .bind(endpoint.url.clone())
        .bind(endpoint.topics.to_json())
        .bind(endpoint.description.clone())
        .bind(i64::from(endpoint.enabled))
        .bind(endpoint.secret.expose_secret().to_owned())
        .bind(clock::now().millis())
        .bind(MOST_ENDPOINTS);
        let row = self.change_one(insert, "register an endpoint", entry).await?;
        match row {
            Some(row) => {
                read(&Columns { table: "endpoints", row: &row }).map(|new| Registered::Now(Box::new(new)))
            }
            None => Ok(Registered::TooMany),
        }
    }

    /// The endpoints of a merchant, oldest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn endpoints(&self, merchant: &MerchantId) -> Result<Vec<Endpoint>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM endpoints WHERE merchant_id = $1 ORDER BY id"
        )))
        .bind(merchant.as_str())
        .fetch_all(&self.readers)
        .await
        .doing("list endpoints")?;
        rows.iter().map(|row| read(&Columns { table: "endpoints", row })).collect()
    }

    /// Finds an endpoint.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn endpoint(
        &self,
        merchant: &MerchantId,
        id: EndpointId,
    ) -> Result<Option<Endpoint>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM endpoints WHERE merchant_id = $1 AND id = $2"
        )))
        .bind(merchant.as_str())
        .bind(id.to_string())
        .fetch_optional(&self.readers)
        .await
        .doing("find an endpoint")?;
        row.map(|row| read(&Columns { table: "endpoints", row: &row })).transpose()
    }

    /// Changes an endpoint; `None`: there is no such endpoint. Another URL begins anew: it has not failed, and what waited for
    /// the one before is due.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn change_endpoint(
        &self,
        merchant: &MerchantId,
        id: EndpointId,
        change: &EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        let entry = self.entry(Action::WebhookChanged, id, Some(merchant));
        let entry = entry.map(|entry| entry.with(change.details()));
        let before = match &change.url {
            Some(_) => self.endpoint(merchant, id).await?,
            None => None,
        };
        let row = self
            .change_one(
                query(sqlx::AssertSqlSafe(format!(
                    "UPDATE endpoints SET url = COALESCE($3, url), events = COALESCE($4, events),
                description = COALESCE($5, description), enabled = COALESCE($6, enabled),
                failing_since = CASE WHEN $6 = 1 OR $3 <> url THEN NULL ELSE failing_since END,
                disabled_reason = CASE WHEN $6 = 1 THEN NULL ELSE disabled_reason END,
                disabled_at = CASE WHEN $6 = 1 THEN NULL ELSE disabled_at END,
                notified_at = CASE WHEN $6 = 1 THEN NULL ELSE notified_at END
             WHERE merchant_id = $1 AND id = $2 RETURNING {COLUMNS}"
                )))
                .bind(merchant.to_string())
                .bind(id.to_string())
                .bind(change.url.clone())
                .bind(change.topics.as_ref().map(Topics::to_json))
                .bind(change.description.clone())
                .bind(change.enabled.map(i64::from)),
                "change an endpoint",
                entry,
            )
            .await?;
        let after = row.map(|row| read(&Columns { table: "endpoints", row: &row })).transpose()?;
        let is_moved =
            |after: &Endpoint| after.enabled && before.is_some_and(|before| before.url != after.url);
        if after.as_ref().is_some_and(is_moved)
            && let Err(error) = self.bring_deliveries_forward(id).await
        {
            // The change is on record; they come at the times that they have.
            tracing::warn!(endpoint = %id, %error, "what waits for a webhook could not be brought forward");
        }
        Ok(after)
    }

    /// Forgets an endpoint with all its deliveries; returns whether there was one.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn delete_endpoint(&self, merchant: &MerchantId, id: EndpointId) -> Result<bool, StoreError> {
        let execute = |statement: &'static str, doing, entry| {
            let query = query(statement).bind(merchant.to_string()).bind(id.to_string());
            self.change(query, doing, entry)
        };
        // It gets no more deliveries while those that it has are deleted.
        let disable = "UPDATE endpoints SET enabled = 0 WHERE merchant_id = $1 AND id = $2";
        if execute(disable, "find an endpoint to delete", None).await? == 0 {
            return Ok(false);
        }
        in_steps(STEP, || async {
            let delete = query(
                "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE endpoint_id = $1 LIMIT $2)",
            );
            let delete = delete.bind(id.to_string()).bind(STEP);
            self.writer.execute(delete, "delete the deliveries of an endpoint").await
        })
        .await?;
        let delete = "DELETE FROM endpoints WHERE merchant_id = $1 AND id = $2";
        let entry = self.entry(Action::WebhookRemoved, id, Some(merchant));
        Ok(execute(delete, "delete an endpoint", entry).await? > 0)
    }

    /// Gives an endpoint another secret; each that it had signs too, until a day after it was replaced. `None`: there is no
    /// such endpoint.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn refresh_secret(
        &self,
        merchant: &MerchantId,
        id: EndpointId,
        secret: &SecretString,
    ) -> Result<Option<Endpoint>, StoreError> {
        let entry = self.entry(Action::WebhookSecretRefreshed, id, Some(merchant));
        let (merchant, secret, now) = (merchant.clone(), secret.clone(), clock::now());
        self.writer
            .run(move |on| {
                async move {
                    // Changes nothing, but is alone with the row from now on.
                    let find = format!(
                        "UPDATE endpoints SET secret = secret WHERE merchant_id = $1 AND id = $2 RETURNING {COLUMNS}"
                    );
                    let row = query(sqlx::AssertSqlSafe(find))
                        .bind(merchant.to_string())
                        .bind(id.to_string())
                        .fetch_optional(&mut *on)
                        .await
                        .doing("find a secret to refresh")?;
                    let Some(row) = row else { return Ok(None) };
                    let mut endpoint = read(&Columns { table: "endpoints", row: &row })?;
                    endpoint.secrets.replace(secret, now);
                    write_secrets(on, id, &endpoint.secrets).await?;
                    audit::record(on, entry.as_ref()).await?;
                    Ok(Some(endpoint))
                }
                .boxed()
            })
            .await
    }
}

pub(super) async fn write_secrets(
    on: &mut Connection,
    id: EndpointId,
    secrets: &EndpointSecrets,
) -> Result<(), StoreError> {
    let (replaced, until) = secrets.replaced();
    query("UPDATE endpoints SET secret = $2, previous_secret = $3, previous_secret_until = $4 WHERE id = $1")
        .bind(id.to_string())
        .bind(secrets.current().expose_secret().to_owned())
        .bind(replaced)
        .bind(until)
        .execute(on)
        .await
        .map(drop)
        .doing("write secrets")
}

impl EndpointChange {
    /// What is changed, for the audit: a URL may hold a secret.
    fn details(&self) -> serde_json::Value {
        let fields = [
            ("url", self.url.is_some()),
            ("events", self.topics.is_some()),
            ("description", self.description.is_some()),
            ("enabled", self.enabled.is_some()),
        ];
        let changed: Vec<_> =
            fields.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field).collect();
        serde_json::json!({"fields": changed, "enabled": self.enabled})
    }
}

pub(super) fn read(columns: &Columns<'_>) -> Result<Endpoint, StoreError> {
    Ok(Endpoint {
        id: columns.parsed("id")?,
        url: columns.text("url")?,
        topics: events::topics(columns)?,
        description: columns.text("description")?,
        enabled: columns.integer("enabled")? == 1,
        secrets: EndpointSecrets::read(columns)?,
        failing_since: columns.optional_time("failing_since")?,
        disabled_reason: columns.optional_text("disabled_reason")?,
        created_at: columns.time("created_at")?,
    })
}
