//! Guards of recordings: what must still be as the rules saw it. Those of a group are asked together.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use serde::Serialize;
use sqlx::AnyConnection;

use super::to_json;
use crate::{
    clock,
    mail::MerchantId,
    shop::ResourceKind,
    store::{
        Doing, StoreError,
        dialect::{Dialect, Sql},
        orders::{self, OrderStep},
        row::Columns,
    },
};

/// A document that must not have changed since the rules were asked, and what becomes of it.
#[derive(Debug)]
pub enum Guard {
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

/// Moves what guards watch on, as if one came after the other; tells for each whether it still held.
pub(super) async fn pass(
    dialect: Dialect,
    on: &mut AnyConnection,
    guards: &[Option<&Guard>],
) -> Result<Vec<bool>, StoreError> {
    let (mut replacements, mut steps) = (Vec::new(), Vec::new());
    for (place, guard) in guards.iter().enumerate() {
        match guard {
            Some(Guard::Replace(replacement)) => replacements.push((place, &**replacement)),
            Some(Guard::Order(step)) => steps.push((place, &**step)),
            None => {}
        }
    }
    let mut holds: Vec<_> = guards.iter().map(Option::is_none).collect();
    for wave in waves(replacements.into_iter().map(|(place, it)| (it.key(), (place, it)))) {
        let replaced = replace(dialect, on, wave.iter().map(|(_, replacement)| *replacement)).await?;
        for (place, replacement) in wave {
            holds[place] = replaced.contains(&replacement.key());
        }
    }
    let (places, steps): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    for (place, taken) in places.into_iter().zip(orders::take_steps(dialect, on, &steps).await?) {
        holds[place] = taken;
    }
    Ok(holds)
}

/// Parts what is to be done into waves, in each of which a key stands once: one statement may not write a row twice.
pub(in crate::store) fn waves<K: Eq + Hash, T>(items: impl Iterator<Item = (K, T)>) -> Vec<Vec<T>> {
    let mut next: HashMap<K, usize> = HashMap::new();
    let mut waves: Vec<Vec<T>> = Vec::new();
    for (key, item) in items {
        let wave = next.entry(key).or_default();
        if *wave == waves.len() {
            waves.push(Vec::new());
        }
        waves[*wave].push(item);
        *wave += 1;
    }
    waves
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

/// Replaces documents that are still what they were; tells which those are.
async fn replace<'a>(
    dialect: Dialect,
    on: &mut AnyConnection,
    replacements: impl Iterator<Item = &'a Replacement>,
) -> Result<HashSet<DocumentKey>, StoreError> {
    let row = |it: &'a Replacement| Row {
        merchant: &it.merchant,
        kind_of: it.kind,
        document: &it.id,
        was: &it.was,
        becomes: &it.becomes,
    };
    let rows = sqlx::query(REPLACE.on(dialect))
        .bind(to_json(&replacements.map(row).collect::<Vec<_>>()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once_in_a_wave_and_keeps_its_order() {
        let items = [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 5), ("b", 6)];
        assert_eq!(waves(items.into_iter()), [vec![1, 2, 4], vec![3, 6], vec![5]]);
        assert!(waves(std::iter::empty::<((), ())>()).is_empty());
    }
}
