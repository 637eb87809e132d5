//! A suppression as it is stored.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    mail::{Address, MerchantId, SuppressionReason, SuppressionScope, Timestamp},
    store::{error::StoreError, row::Columns},
};

/// An address to suppress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSuppression {
    /// Which; compared in lower case, its domain as A-labels.
    pub address: Address,
    /// Why.
    pub reason: SuppressionReason,
    /// Which mails it does not get.
    pub scope: SuppressionScope,
    /// Something for people.
    pub note: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Since when, where that is known; else since now.
    pub created_at: Option<Timestamp>,
}

/// A suppression that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionRecord {
    /// UUIDv7.
    pub id: String,
    /// Whose mails it keeps back.
    pub merchant: MerchantId,
    /// Which address, in lower case.
    pub address: String,
    /// Why.
    pub reason: SuppressionReason,
    /// Which mails the address does not get.
    pub scope: SuppressionScope,
    /// Something for people.
    pub note: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Since when.
    pub created_at: Timestamp,
}

pub(super) const COLUMNS: &str = "id, merchant_id, address_key, scope, reason, note, expires_at, created_at";

/// A suppression as the statements read it that insert.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    id: String,
    pub(super) address_key: String,
    pub(super) scope: SuppressionScope,
    reason: SuppressionReason,
    note: Option<&'a str>,
    expires_at: Option<i64>,
    created_at: Option<i64>,
}

impl<'a> Row<'a> {
    pub(super) fn of(new: &'a NewSuppression) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            address_key: new.address.search_key(),
            scope: new.scope,
            reason: new.reason,
            note: new.note.as_deref(),
            expires_at: new.expires_at.map(Timestamp::millis),
            created_at: new.created_at.map(Timestamp::millis),
        }
    }
}

pub(super) fn read(columns: &Columns<'_>) -> Result<SuppressionRecord, StoreError> {
    Ok(SuppressionRecord {
        id: columns.text("id")?,
        merchant: columns.parsed("merchant_id")?,
        address: Address::of_search_key(&columns.text("address_key")?),
        reason: columns.parsed("reason")?,
        scope: columns.parsed("scope")?,
        note: columns.optional_text("note")?,
        expires_at: columns.optional_time("expires_at")?,
        created_at: columns.time("created_at")?,
    })
}
