//! Preconditions of recordings: what must still be as the rules saw it. Those of a group are checked together.

use std::collections::HashSet;

use serde::Serialize;

use crate::{
    clock,
    mail::MerchantId,
    shop::ResourceKind,
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        orders::{self, OrderStep},
        rounds,
        row::Columns,
        sql::Sql,
    },
};

/// A document that must not have changed since the rules were asked, and what becomes of it.
#[derive(Debug)]
pub enum Precondition {
    /// A document is replaced, if it is still what it was.
    Replace(Box<Replacement>),
    /// An order moves on, if it is still what the rules saw.
    Order(Box<OrderStep>),
}

/// A document that is replaced.
#[derive(Debug)]
pub struct Replacement {
    /// Whose document.
    pub merchant: MerchantId,
    /// What kind of thing.
    pub kind: ResourceKind,
    /// The merchant's id for it.
    pub id: String,
    /// The document as the rules saw it.
    pub was: String,
    /// The document as it shall be.
    pub becomes: String,
}

/// Applies preconditions as if one came after the other; returns for each whether it held.
pub(super) async fn apply(
    dialect: Dialect,
    on: &mut Connection,
    preconditions: &[Option<&Precondition>],
) -> Result<Vec<bool>, StoreError> {
    let (mut replacements, mut steps) = (Vec::new(), Vec::new());
    for (place, precondition) in preconditions.iter().enumerate() {
        match precondition {
            Some(Precondition::Replace(replacement)) => replacements.push((place, &**replacement)),
            Some(Precondition::Order(step)) => steps.push((place, &**step)),
            None => {}
        }
    }
    let mut holds: Vec<_> = preconditions.iter().map(Option::is_none).collect();
    for round in
        rounds::with_distinct_keys(replacements.into_iter().map(|(place, it)| (it.key(), (place, it))))
    {
        let replaced = replace(dialect, on, round.iter().map(|(_, replacement)| *replacement)).await?;
        for (place, replacement) in round {
            holds[place] = replaced.contains(&replacement.key());
        }
    }
    let (places, steps): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    for (place, taken) in places.into_iter().zip(orders::take_steps(dialect, on, &steps).await?) {
        holds[place] = taken;
    }
    Ok(holds)
}

/// Names a document.
type DocumentKey = (MerchantId, ResourceKind, String);

impl Replacement {
    fn key(&self) -> DocumentKey {
        (self.merchant.clone(), self.kind, self.id.clone())
    }
}

static REPLACE: Sql = Sql::new(
    "UPDATE resources SET body = rows.becomes, updated_at = $2
     FROM {rows: merchant text, kind_of text, document text, was text, becomes text}
     WHERE resources.merchant_id = rows.merchant AND resources.kind = rows.kind_of AND resources.id = rows.document
        AND resources.body = rows.was
     RETURNING merchant_id, kind, id",
);

#[derive(Serialize)]
struct Row<'a> {
    merchant: &'a MerchantId,
    kind_of: ResourceKind,
    document: &'a str,
    was: &'a str,
    becomes: &'a str,
}

/// Replaces documents that are still what they were; returns which those are.
async fn replace<'a>(
    dialect: Dialect,
    on: &mut Connection,
    replacements: impl Iterator<Item = &'a Replacement>,
) -> Result<HashSet<DocumentKey>, StoreError> {
    let row = |it: &'a Replacement| Row {
        merchant: &it.merchant,
        kind_of: it.kind,
        document: &it.id,
        was: &it.was,
        becomes: &it.becomes,
    };
    let rows = REPLACE
        .with(dialect, &replacements.map(row).collect::<Vec<_>>())
        .bind(clock::now().millis())
        .fetch_all(on)
        .await
        .doing("replace documents")?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "resources", row };
            Ok((columns.parsed("merchant_id")?, columns.parsed("kind")?, columns.text("id")?))
        })
        .collect()
}
