//! Members by the thousand: who is one of a brand, and their documents.
//!
//! Merchant and kind come with each id rather than once for all: with constants in their place Postgres, before it has
//! counted a table, and SQLite, always, read all members of the merchant for each thousand. `CROSS JOIN` keeps SQLite
//! to the order as it is written.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::{
    mail::MerchantId,
    shop::ResourceKind,
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        row::Row,
        sql::Sql,
    },
};

static OF_BRAND: Sql = Sql::new(
    "SELECT resources.id FROM {rows: merchant text, kind text, id text} CROSS JOIN resources
     WHERE resources.merchant_id = rows.merchant AND resources.kind = rows.kind AND resources.id = rows.id
        AND resources.brand_id = $2",
);

static BODIES: Sql = Sql::new(
    "SELECT resources.id, body FROM {rows: merchant text, kind text, id text} CROSS JOIN resources
     WHERE resources.merchant_id = rows.merchant AND resources.kind = rows.kind AND resources.id = rows.id",
);

#[derive(Serialize)]
struct Asked<'a> {
    merchant: &'a MerchantId,
    kind: ResourceKind,
    id: &'a str,
}

impl Store {
    /// Which of these are members of a brand.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn members_among(
        &self,
        merchant: &MerchantId,
        brand: &str,
        ids: &[&str],
    ) -> Result<HashSet<String>, StoreError> {
        let rows = OF_BRAND
            .with(self.dialect, &asked(merchant, ids))
            .bind(brand)
            .fetch_all(&self.readers)
            .await
            .doing("look for members")?;
        rows.iter().map(id).collect()
    }

    /// The documents of members, by their ids.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn members(
        &self,
        merchant: &MerchantId,
        ids: &[&str],
    ) -> Result<HashMap<String, String>, StoreError> {
        let rows = BODIES
            .with(self.dialect, &asked(merchant, ids))
            .fetch_all(&self.readers)
            .await
            .doing("read members")?;
        rows.iter().map(|row| Ok((id(row)?, Columns { table: "resources", row }.text("body")?))).collect()
    }
}

fn asked<'a>(merchant: &'a MerchantId, ids: &[&'a str]) -> Vec<Asked<'a>> {
    ids.iter().map(|id| Asked { merchant, kind: ResourceKind::Members, id }).collect()
}

fn id(row: &Row) -> Result<String, StoreError> {
    Columns { table: "resources", row }.text("id")
}
