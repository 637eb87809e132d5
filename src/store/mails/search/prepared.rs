//! A search made ready: its terms, its bounds, and the statements that read one range of an index.

use uuid::Uuid;

use super::{
    filter::{Filter, Statement},
    question::MailSearch,
    source::{Range, Source},
};
use crate::{
    mail::{MailId, MerchantId, Timestamp, search::Condition},
    store::{
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        mails::look_up::COLUMNS,
        row::Columns,
        statement::query,
    },
};

/// The most entries of an index that one page looks at.
pub(super) const WINDOW: i64 = 5_000;
/// The most mails that are counted.
pub(super) const MOST_COUNTED: i64 = 10_000;
/// The versions of templates, newest first, among whose subjects words are looked for.
const VERSIONS: i64 = 1_000;
/// The most versions that words may be found in.
const MOST_VERSIONS: usize = 100;
/// A search made ready: the subjects looked up, the merchant settled.
pub(super) struct Prepared {
    pub(super) filter: Filter,
    pub(super) merchant: Option<MerchantId>,
    /// The batches asked for whose mails are all this merchant's.
    own_batches: Vec<String>,
    pub(super) oldest_first: bool,
    /// Ids as text: later than the first, earlier than the second.
    pub(super) bounds: (String, String),
}

impl Store {
    pub(super) async fn prepare(&self, search: &MailSearch) -> Result<Prepared, StoreError> {
        let named = search.query.terms.iter().filter(|term| !term.is_negated).find_map(|term| {
            match term.any_of.as_slice() {
                [Condition::Merchant(id)] => Some(id.clone()),
                _ => None,
            }
        });
        let merchant = search.merchant.clone().or(named);
        let mut terms = search.query.terms.clone();
        // The merchant is a driver's key and a filter, not a term that drives.
        terms.retain(|term| term.is_negated || !matches!(term.any_of.as_slice(), [Condition::Merchant(id)] if Some(id) == merchant.as_ref()));
        let mut filter = Filter::new(terms, merchant.clone());
        for words in filter.subjects() {
            let versions = self.versions_about(merchant.as_ref(), &words).await?;
            filter.resolve(words, versions);
        }
        let own_batches = match &merchant {
            Some(merchant) => self.own_batches(merchant, &filter).await?,
            None => Vec::new(),
        };
        let time = |time: Timestamp| prefix_of(time);
        let (mut low, mut high) = (
            search.query.since.map_or_else(String::new, time),
            search.query.until.map_or_else(|| "~".to_owned(), time),
        );
        if let Some(after) = search.after.map(|id| id.to_string()) {
            if search.oldest_first { low = low.max(after) } else { high = high.min(after) }
        }
        if let Some(before) = search.before.map(|id| id.to_string()) {
            high = high.min(before);
        }
        let oldest_first = search.oldest_first;
        Ok(Prepared { filter, merchant, own_batches, oldest_first, bounds: (low, high) })
    }

    /// The batches of a filter that are this merchant's. Of one that is forgotten its mails are asked whose they are.
    async fn own_batches(&self, merchant: &MerchantId, filter: &Filter) -> Result<Vec<String>, StoreError> {
        let mut own = Vec::new();
        for condition in filter.terms().iter().flat_map(|term| &term.any_of) {
            let Condition::Batch(id) = condition else { continue };
            let found = query("SELECT id FROM batches WHERE id = $1 AND merchant_id = $2")
                .bind(id.to_string())
                .bind(merchant.as_str().to_owned());
            let found = found.fetch_optional(&self.readers).await.doing("look whose a batch is")?;
            own.extend(found.map(|_| id.to_string()));
        }
        Ok(own)
    }

    /// The versions of templates whose subjects have these words, in any case.
    async fn versions_about(
        &self,
        merchant: Option<&MerchantId>,
        words: &str,
    ) -> Result<Vec<String>, StoreError> {
        let rows = query(
            "SELECT id, subject FROM (SELECT id, merchant_id, subject FROM template_versions WHERE kind = 'templates' ORDER BY id DESC LIMIT $2)
                AS versions
             WHERE $1 = '' OR merchant_id IS NULL OR merchant_id = $1",
        )
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default().to_owned())
        .bind(VERSIONS)
        .fetch_all(&self.readers)
        .await
        .doing("look for subjects")?;
        let words = words.to_lowercase();
        let mut versions = Vec::new();
        for row in &rows {
            let columns = Columns { table: "template_versions", row };
            if versions.len() < MOST_VERSIONS && columns.text("subject")?.to_lowercase().contains(&words) {
                versions.push(columns.text("id")?);
            }
        }
        Ok(versions)
    }
}

impl Prepared {
    /// What may drive, the most selective first; the alternatives of one term together. Last the time line of the mails.
    pub(super) fn sources(&self) -> Vec<Vec<Source>> {
        let mut drivers: Vec<_> = self
            .filter
            .terms()
            .iter()
            .filter(|term| !term.is_negated)
            .filter_map(|term| {
                let sources: Option<Vec<_>> = term
                    .any_of
                    .iter()
                    .map(|condition| Source::of(condition, self.merchant.as_ref()))
                    .collect();
                let rank = term.any_of.iter().map(Source::rank).max()?;
                Some((rank, sources?))
            })
            .collect();
        drivers.sort_by_key(|(rank, _)| *rank);
        let timeline = Source::Range(Range::timeline(self.merchant.as_ref()));
        drivers.into_iter().map(|(_, sources)| sources).chain([vec![timeline]]).collect()
    }

    /// Whether entries of this driver may not fit.
    pub(super) fn has_filters(&self, sources: &[Source]) -> bool {
        let is_for_a_merchant = |source: &Source| {
            let is_own_batch = source.batch().is_some_and(|id| self.own_batches.iter().any(|own| own == id));
            self.merchant.is_some() && !is_own_batch
        };
        let answers_alone = sources.iter().all(|source| source.is_exact(is_for_a_merchant(source)));
        let is_timeline = matches!(sources, [Source::Range(range)] if range.is_timeline());
        let terms = self.filter.terms().len();
        !(answers_alone && terms == usize::from(!is_timeline))
    }

    pub(super) fn page(
        &self,
        range: &Range,
        bounds: &(String, String),
        has_filters: bool,
        most: i64,
    ) -> Statement {
        let mut statement = Statement::default();
        let table = if has_filters { "mails".to_owned() } else { range.table() };
        statement.push(&format!("SELECT {COLUMNS} FROM {table} WHERE "));
        if has_filters {
            statement.push("id IN (SELECT id FROM ");
            self.entries(&mut statement, range, bounds, true, WINDOW);
            statement.limit(most);
            statement.push(")");
        } else {
            range.write(&mut statement, bounds);
            statement.push(&range.order(self.oldest_first));
            statement.limit(most);
        }
        statement
    }

    /// These columns of those of the listed mails that fit.
    pub(super) fn listed(&self, dialect: Dialect, ids: &[String], columns: &str) -> Statement {
        let mut statement = Statement::of_listed(dialect, ids);
        statement.push(&format!(
            "SELECT {columns} FROM {{rows: id text}} JOIN mails ON mails.id = rows.id WHERE "
        ));
        self.filter.write(&mut statement);
        statement
    }

    pub(super) fn counting(
        &self,
        range: &Range,
        bounds: &(String, String),
        has_filters: bool,
        most: i64,
    ) -> Statement {
        let mut statement = Statement::default();
        statement.push("SELECT COUNT(*) AS mails FROM ");
        let most = if has_filters { WINDOW } else { most + 1 };
        self.entries(&mut statement, range, bounds, has_filters, most);
        statement
    }

    /// The first entries between the bounds that fit, in the order of the answer. The subquery keeps the filters away from
    /// the choice of the index: however few mails a database expects to fit, it reads these entries in their order.
    pub(super) fn entries(
        &self,
        statement: &mut Statement,
        range: &Range,
        bounds: &(String, String),
        has_filters: bool,
        most: i64,
    ) {
        let columns = if has_filters { self.filter.columns() } else { "id".to_owned() };
        statement.push(&format!("(SELECT {columns} FROM {} WHERE ", range.table()));
        range.write(statement, bounds);
        statement.push(&range.order(self.oldest_first));
        statement.limit(most);
        statement.push(") AS mails");
        if has_filters {
            statement.push(" WHERE ");
            self.filter.write(statement);
        }
    }

    pub(super) fn in_order(&self, mut ids: Vec<String>) -> Vec<String> {
        let mut ids = within(&std::mem::take(&mut ids), &self.bounds);
        ids.sort_unstable();
        ids.dedup();
        if !self.oldest_first {
            ids.reverse();
        }
        ids
    }

    /// Of two ends of windows the one that is reached first.
    pub(super) fn nearer(&self, one: Option<Uuid>, other: Option<Uuid>) -> Option<Uuid> {
        match (one, other) {
            (Some(one), Some(other)) if self.oldest_first => Some(one.min(other)),
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }

    /// The bounds, cut where a window ends. The entry at its end is the next page's.
    pub(super) fn within(&self, horizon: Option<Uuid>) -> (String, String) {
        let (low, high) = self.bounds.clone();
        match horizon.map(|id| id.to_string()) {
            None => (low, high),
            Some(end) if self.oldest_first => (low, end),
            Some(end) => (end, high),
        }
    }

    /// The cursor of a page that begins with this entry.
    pub(super) fn cursor_before(&self, entry: Uuid) -> MailId {
        let number = entry.as_u128();
        let neighbour = if self.oldest_first { number.saturating_sub(1) } else { number.saturating_add(1) };
        MailId(Uuid::from_u128(neighbour))
    }
}

pub(super) fn within(ids: &[String], (low, high): &(String, String)) -> Vec<String> {
    ids.iter().filter(|id| *id > low && *id < high).cloned().collect()
}

/// The first characters of every id that is made at this time (UUIDv7, RFC 9562, section 5.7).
pub(in crate::store::mails) fn prefix_of(time: Timestamp) -> String {
    let millis = u64::try_from(time.millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}", millis >> 16, millis & 0xffff)
}

/// When the mail with this id was recorded.
pub(super) fn recorded_at(id: Uuid) -> Timestamp {
    Timestamp(i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_with_the_time_at_which_it_was_made() {
        let id = MailId::new();
        let now = recorded_at(id.0);
        assert!(id.to_string().starts_with(&prefix_of(now)), "{id} {}", prefix_of(now));
        assert!(prefix_of(now) < prefix_of(Timestamp(now.millis() + 1)));
        assert_eq!(prefix_of(Timestamp(-1)), "00000000-0000");
    }
}
