//! How many things a merchant has, about: whether its quota has room for more.
//!
//! Counting a million rows for each new one would be absurd. Each process counts once, adds what it stores itself, and
//! counts again when that comes to the limit, or after an hour. So a limit may be passed by what other processes store
//! within the hour, and nobody is refused who has room.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, LazyLock},
    time::Duration,
};

use moka::{ops::compute::Op, sync::Cache};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    statement::query,
};
use crate::{mail::MerchantId, shop::ResourceKind};

/// A count is believed for so long.
const BELIEVED_FOR: Duration = Duration::from_secs(60 * 60);
/// A merchant that is at its limit is counted again after this at the earliest, should it go on.
const RECOUNT_AFTER: Duration = Duration::from_secs(1);
/// And not before so many times as long as counting took.
const REST_FACTOR: u32 = 10;

/// How many things each merchant may have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredLimits {
    /// Members.
    pub members: u64,
    /// Subscriptions, abandoned carts and orders, of each.
    pub documents: u64,
    /// Brands, templates, partials, coupons, store cards and stores, of each.
    pub definitions: u64,
    /// Versions of templates and partials, which are kept for good.
    pub template_versions: u64,
    /// Suppressions that are stored by request. What recipients and relays say is always taken.
    pub suppressions: u64,
    /// Bytes of attached files.
    pub attachments: u64,
}

impl StoredLimits {
    /// The most of a kind that a merchant may have.
    pub fn most(&self, what: Quota) -> u64 {
        match what {
            Quota::TemplateVersions => self.template_versions,
            Quota::Suppressions => self.suppressions,
            Quota::Documents(ResourceKind::Members) => self.members,
            Quota::Documents(
                ResourceKind::Subscriptions | ResourceKind::AbandonedCarts | ResourceKind::Orders,
            ) => self.documents,
            Quota::Documents(
                ResourceKind::Brands
                | ResourceKind::Templates
                | ResourceKind::Coupons
                | ResourceKind::Storecards
                | ResourceKind::Stores
                | ResourceKind::Partials,
            ) => self.definitions,
        }
    }
}

/// What is counted, and bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Documents of a kind.
    Documents(ResourceKind),
    /// Versions of templates.
    TemplateVersions,
    /// Suppressions.
    Suppressions,
}

#[derive(Clone, Copy)]
struct Count {
    things: u64,
    at: Instant,
    /// Whoever finds no room is believed it until then.
    again_at: Instant,
}

/// The store, the merchant and what is counted.
type Key = (usize, MerchantId, Quota);

/// Who counts: one at a time of those with one key, whoever asks meanwhile waits. Many keys share one of these.
static COUNTING: [tokio::sync::Mutex<()>; 64] = [const { tokio::sync::Mutex::const_new(()) }; 64];

static COUNTS: LazyLock<Cache<Key, Count>> = LazyLock::new(|| Cache::builder().max_capacity(100_000).build());

impl Store {
    /// Takes room for `more` things of a merchant; returns whether there is so much below `most`. A thing that is stored
    /// anew takes room as well; that is put right when the things are counted again.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn reserve_quota(
        &self,
        merchant: &MerchantId,
        what: Quota,
        more: u64,
        most: u64,
    ) -> Result<bool, StoreError> {
        let key = (Arc::as_ptr(&self.group).addr(), merchant.clone(), what);
        if add(&key, more, most) {
            return Ok(true);
        }
        // To count five million rows takes a reader a second: not each of a hundred requests may do it.
        let _counting = COUNTING[lock_of(&key)].lock().await;
        if add(&key, more, most) {
            return Ok(true);
        }
        if COUNTS.get(&key).is_some_and(|count| Instant::now() < count.again_at) {
            return Ok(false);
        }
        let began = Instant::now();
        let things = self.count_up_to(merchant, what, most).await?;
        let at = Instant::now();
        let again_at = at + (began.elapsed() * REST_FACTOR).max(RECOUNT_AFTER);
        COUNTS.insert(key.clone(), Count { things, at, again_at });
        Ok(add(&key, more, most))
    }

    async fn count_up_to(&self, merchant: &MerchantId, what: Quota, most: u64) -> Result<u64, StoreError> {
        let (statement, kind) = match what {
            Quota::Documents(kind) => (
                "SELECT COUNT(*) AS things FROM (SELECT 1 AS one FROM resources WHERE merchant_id = $1 AND kind = $2
                 LIMIT $3) AS counted",
                kind.as_str(),
            ),
            Quota::TemplateVersions => (
                "SELECT COUNT(*) AS things FROM (SELECT 1 AS one FROM template_versions WHERE merchant_id = $1
                    AND $2 = '' LIMIT $3) AS counted",
                "",
            ),
            Quota::Suppressions => (
                "SELECT COUNT(*) AS things FROM (SELECT 1 AS one FROM suppressions WHERE merchant_id = $1
                    AND $2 = '' LIMIT $3) AS counted",
                "",
            ),
        };
        let row = query(statement)
            .bind(merchant.as_str())
            .bind(kind)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_one(&self.readers)
            .await
            .doing("count what a merchant has")?;
        Columns { table: "resources", row: &row }.count("things")
    }
}

fn lock_of(key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % COUNTING.len() as u64) as usize
}

/// Adds to a count that is known and fresh, unless that is more than `most`.
fn add(key: &Key, more: u64, most: u64) -> bool {
    let mut has_room = false;
    COUNTS.entry_by_ref(key).and_compute_with(|entry| match entry {
        Some(entry) if entry.value().at.elapsed() < BELIEVED_FOR && entry.value().things + more <= most => {
            has_room = true;
            let count = entry.into_value();
            Op::Put(Count { things: count.things + more, ..count })
        }
        _ => Op::Nop,
    });
    has_room
}
