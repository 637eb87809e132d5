//! Answers a [`Query`]: the newest or the oldest mails first, by the page, with a bounded amount of work for each.
//!
//! One term drives: an index leads to its mails in the order of the answer (`source.rs`), and the other terms are
//! filters on these (`filter.rs`). Where filters may pass over many mails, a page looks at [`WINDOW`] entries of the index
//! at most; of several terms that could drive, the one whose entries reach furthest is taken. An answer that a window
//! ended says so, with the time that it reached and a cursor to go on from.

mod filter;
mod source;

use std::collections::HashSet;

use serde::Serialize;
use uuid::Uuid;

use super::look_up::{COLUMNS, MailRecord, read};
use crate::{
    mail::{
        MailId, MerchantId, Timestamp,
        search::{Condition, Query},
    },
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
    },
};
use filter::{Filter, Statement};
use source::{Range, Source};

/// The most entries of an index that one page looks at.
const WINDOW: i64 = 5_000;
/// The most mails that are counted.
const MOST_COUNTED: i64 = 10_000;
/// The versions of templates, newest first, among whose subjects words are looked for.
const VERSIONS: i64 = 1_000;
/// The most versions that words may be found in.
const MOST_VERSIONS: usize = 100;
/// How many listed mails are read first, and how many more at most at a time.
const FEW: usize = 256;

/// Which page of which mails.
#[derive(Clone, Debug, Default)]
pub struct MailSearch {
    /// What they are like.
    pub query: Query,
    /// Of this merchant; `None`: of all, for operators.
    pub merchant: Option<MerchantId>,
    /// The page after this cursor, in the order of the answer.
    pub after: Option<MailId>,
    /// The maximum number of mails.
    pub limit: u32,
    /// Oldest first instead of newest first.
    pub oldest_first: bool,
    /// Whether to count all mails that fit; only with the first page.
    pub count: bool,
}

/// How many mails fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MailCount {
    /// So many at least.
    pub count: u64,
    /// Whether there may be more; else it is exact.
    pub more: bool,
}

/// A page of mails.
#[derive(Clone, Debug, Default)]
pub struct FoundMails {
    /// The mails, in order.
    pub mails: Vec<MailRecord>,
    /// The cursor of the next page, where there may be one.
    pub next: Option<MailId>,
    /// Mails that were recorded beyond this time were not looked at: the page ends here, not the mails.
    pub searched_to: Option<Timestamp>,
    /// How many fit in all.
    pub count: Option<MailCount>,
}

/// A search made ready: the subjects looked up, the merchant settled.
struct Prepared {
    filter: Filter,
    merchant: Option<MerchantId>,
    oldest_first: bool,
    /// Ids as text: later than the first, earlier than the second.
    bounds: (String, String),
}

/// Where the mails of an answer are read from.
enum Leg {
    Range(Range),
    /// All that there are, in the order of the answer.
    Listed(Vec<String>),
}

/// One leg for each alternative of the driving term, and where its window ends.
struct Driver {
    legs: Vec<Leg>,
    horizon: Option<Uuid>,
    has_filters: bool,
}

impl Store {
    /// Finds mails.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn search_mails(&self, search: &MailSearch) -> Result<FoundMails, StoreError> {
        let prepared = self.prepare(search).await?;
        if prepared.filter.fits_nothing() {
            let count = search.count.then_some(MailCount { count: 0, more: false });
            return Ok(FoundMails { count, ..FoundMails::default() });
        }
        let driver = self.choose(&prepared).await?;
        let bounds = prepared.within(driver.horizon);
        let most = search.limit as usize + 1;
        let mut mails = Vec::new();
        for leg in &driver.legs {
            mails.extend(self.page_of(&prepared, leg, &bounds, most, driver.has_filters).await?);
        }
        mails.sort_by_key(|mail: &MailRecord| mail.id);
        mails.dedup_by_key(|mail| mail.id);
        if !search.oldest_first {
            mails.reverse();
        }
        let mut found = FoundMails::default();
        if mails.len() >= most {
            mails.truncate(search.limit as usize);
            found.next = mails.last().map(|mail| mail.id);
        } else if let Some(horizon) = driver.horizon {
            found.next = Some(prepared.cursor_before(horizon));
            found.searched_to = Some(recorded_at(horizon));
        }
        if search.count && search.after.is_none() {
            found.count = Some(match found.next {
                None => MailCount { count: mails.len() as u64, more: false },
                Some(_) => self.count(&prepared, &driver, &bounds).await?,
            });
        }
        found.mails = mails;
        Ok(found)
    }

    /// How the database would carry out each statement that a search may need: the lines of their plans. For those who
    /// check that none reads the whole table.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn plans_of_search(&self, search: &MailSearch) -> Result<Vec<String>, StoreError> {
        let prepared = self.prepare(search).await?;
        let mut statements = Vec::new();
        for sources in prepared.sources() {
            let has_filters = prepared.has_filters(&sources);
            for source in sources {
                match source {
                    Source::Id(_) => {}
                    Source::Listing(listing) => statements.push(listing.statement(WINDOW + 1)),
                    Source::Range(range) => {
                        let bounds = &prepared.bounds;
                        statements.push(range.window(bounds, prepared.oldest_first, WINDOW));
                        statements.push(prepared.page(&range, bounds, has_filters, i64::from(search.limit)));
                        statements.push(prepared.counting(&range, bounds, has_filters));
                    }
                }
            }
        }
        let mut plans = Vec::new();
        for statement in statements {
            let explained = statement.before(self.dialect.explain());
            let rows =
                explained.query(self.dialect).fetch_all(&self.readers).await.doing("explain a search")?;
            let line = |row| Columns { table: "plan", row }.text(self.dialect.plan_column());
            plans.push(rows.iter().map(line).collect::<Result<Vec<_>, _>>()?.join("\n"));
        }
        Ok(plans)
    }

    async fn prepare(&self, search: &MailSearch) -> Result<Prepared, StoreError> {
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
        let time = |time: Timestamp| prefix_of(time);
        let (mut low, mut high) = (
            search.query.since.map_or_else(String::new, time),
            search.query.until.map_or_else(|| "~".to_owned(), time),
        );
        if let Some(after) = search.after.map(|id| id.to_string()) {
            if search.oldest_first { low = low.max(after) } else { high = high.min(after) }
        }
        let oldest_first = search.oldest_first;
        Ok(Prepared { filter, merchant, oldest_first, bounds: (low, high) })
    }

    /// The versions of templates whose subjects have these words, in any case.
    async fn versions_about(
        &self,
        merchant: Option<&MerchantId>,
        words: &str,
    ) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, subject FROM (SELECT id, merchant_id, subject FROM template_versions ORDER BY id DESC LIMIT $2)
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

    /// The driver whose entries are few enough to be looked at all, or else whose window reaches furthest.
    async fn choose(&self, prepared: &Prepared) -> Result<Driver, StoreError> {
        let mut best: Option<Driver> = None;
        for sources in prepared.sources() {
            let Some(driver) = self.driver_of(prepared, sources).await? else { continue };
            if driver.horizon.is_none() {
                return Ok(driver);
            }
            let reaches_further = best.as_ref().is_none_or(|best| {
                if prepared.oldest_first {
                    driver.horizon > best.horizon
                } else {
                    driver.horizon < best.horizon
                }
            });
            if reaches_further {
                best = Some(driver);
            }
        }
        Ok(best.unwrap_or(Driver { legs: Vec::new(), horizon: None, has_filters: false }))
    }

    /// `None`: there are too many entries to bring them into order.
    async fn driver_of(
        &self,
        prepared: &Prepared,
        sources: Vec<Source>,
    ) -> Result<Option<Driver>, StoreError> {
        let has_filters = prepared.has_filters(&sources);
        let mut driver = Driver { legs: Vec::new(), horizon: None, has_filters };
        for source in sources {
            match source {
                Source::Id(id) => driver.legs.push(Leg::Listed(prepared.in_order(vec![id.to_string()]))),
                Source::Listing(listing) => {
                    let listed = listing.statement(WINDOW + 1);
                    let row =
                        listed.query(self.dialect).fetch_one(&self.readers).await.doing("list mails")?;
                    let ids = Columns { table: "mails", row: &row }.optional_text("ids")?.unwrap_or_default();
                    let ids: Vec<_> = ids.split_terminator(',').map(str::to_owned).collect();
                    if ids.len() as i64 > WINDOW {
                        return Ok(None);
                    }
                    driver.legs.push(Leg::Listed(prepared.in_order(ids)));
                }
                Source::Range(range) => {
                    if has_filters {
                        let window = range.window(&prepared.bounds, prepared.oldest_first, WINDOW);
                        let end = window
                            .query(self.dialect)
                            .fetch_optional(&self.readers)
                            .await
                            .doing("find where a window ends")?;
                        let end = end
                            .map(|row| Columns { table: "mails", row: &row }.parsed::<Uuid>("id"))
                            .transpose()?;
                        driver.horizon = prepared.nearer(driver.horizon, end);
                    }
                    driver.legs.push(Leg::Range(range));
                }
            }
        }
        Ok(Some(driver))
    }

    async fn page_of(
        &self,
        prepared: &Prepared,
        leg: &Leg,
        bounds: &(String, String),
        most: usize,
        has_filters: bool,
    ) -> Result<Vec<MailRecord>, StoreError> {
        let ids = match leg {
            Leg::Range(range) => {
                let page = prepared.page(range, bounds, has_filters, most as i64);
                return self.read_all(&page).await;
            }
            Leg::Listed(ids) => within(ids, bounds),
        };
        let mut mails = Vec::new();
        let (mut rest, mut step) = (ids.as_slice(), if has_filters { FEW.max(most) } else { most });
        while mails.len() < most && !rest.is_empty() {
            let (these, others) = rest.split_at(step.min(rest.len()));
            let mut statement = Statement::of_listed(these);
            statement.push(&format!(
                "SELECT {COLUMNS} FROM {{rows: id text}} JOIN mails ON mails.id = rows.id WHERE "
            ));
            prepared.filter.write(&mut statement);
            let mut read = self.read_all(&statement).await?;
            read.sort_by_key(|mail| mail.id);
            if !prepared.oldest_first {
                read.reverse();
            }
            mails.append(&mut read);
            (rest, step) = (others, step * 4);
        }
        mails.truncate(most);
        Ok(mails)
    }

    async fn read_all(&self, statement: &Statement) -> Result<Vec<MailRecord>, StoreError> {
        let rows = statement.query(self.dialect).fetch_all(&self.readers).await.doing("find mails")?;
        rows.iter().map(|row| read(&Columns { table: "mails", row })).collect()
    }

    async fn count(
        &self,
        prepared: &Prepared,
        driver: &Driver,
        bounds: &(String, String),
    ) -> Result<MailCount, StoreError> {
        // A mail that several alternatives lead to is counted once.
        let mut listed = HashSet::new();
        for leg in &driver.legs {
            if let Leg::Listed(ids) = leg {
                listed.extend(within(ids, bounds));
            }
        }
        let mut total = 0_u64;
        let is_one_range = matches!(driver.legs.as_slice(), [Leg::Range(_)]);
        for leg in &driver.legs {
            let Leg::Range(range) = leg else { continue };
            if is_one_range {
                total += self.counted(&prepared.counting(range, bounds, driver.has_filters)).await?;
            } else {
                let entries = range.entries(bounds, prepared.oldest_first, MOST_COUNTED + 1);
                let row = entries.query(self.dialect).fetch_one(&self.readers).await.doing("list mails")?;
                let ids = Columns { table: "mails", row: &row }.optional_text("ids")?.unwrap_or_default();
                listed.extend(ids.split_terminator(',').map(str::to_owned));
            }
        }
        if !listed.is_empty() {
            let ids: Vec<_> = listed.into_iter().take(MOST_COUNTED as usize + 1).collect();
            if driver.has_filters {
                let mut statement = Statement::of_listed(&ids);
                statement.push(
                    "SELECT COUNT(*) AS mails FROM {rows: id text} JOIN mails ON mails.id = rows.id WHERE ",
                );
                prepared.filter.write(&mut statement);
                total += self.counted(&statement).await?;
            } else {
                total += ids.len() as u64;
            }
        }
        let most = MOST_COUNTED as u64;
        Ok(MailCount { count: total.min(most), more: total > most || driver.horizon.is_some() })
    }

    async fn counted(&self, statement: &Statement) -> Result<u64, StoreError> {
        let row = statement.query(self.dialect).fetch_one(&self.readers).await.doing("count mails")?;
        Columns { table: "mails", row: &row }.count("mails")
    }
}

impl Prepared {
    /// What may drive, the most selective first; the alternatives of one term together. Last the time line of the mails.
    fn sources(&self) -> Vec<Vec<Source>> {
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
    fn has_filters(&self, sources: &[Source]) -> bool {
        let answers_alone = sources.iter().all(|source| source.is_exact(self.merchant.is_some()));
        let is_timeline = matches!(sources, [Source::Range(range)] if range.is_timeline());
        let terms = self.filter.terms().len();
        !(answers_alone && terms == usize::from(!is_timeline))
    }

    fn page(&self, range: &Range, bounds: &(String, String), has_filters: bool, most: i64) -> Statement {
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

    fn counting(&self, range: &Range, bounds: &(String, String), has_filters: bool) -> Statement {
        let mut statement = Statement::default();
        statement.push("SELECT COUNT(*) AS mails FROM ");
        let most = if has_filters { WINDOW } else { MOST_COUNTED + 1 };
        self.entries(&mut statement, range, bounds, has_filters, most);
        statement
    }

    /// The first entries between the bounds that fit, in the order of the answer. The subquery keeps the filters away from
    /// the choice of the index: however few mails a database expects to fit, it reads these entries in their order.
    fn entries(
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

    fn in_order(&self, mut ids: Vec<String>) -> Vec<String> {
        let mut ids = within(&std::mem::take(&mut ids), &self.bounds);
        ids.sort_unstable();
        ids.dedup();
        if !self.oldest_first {
            ids.reverse();
        }
        ids
    }

    /// Of two ends of windows the one that is reached first.
    fn nearer(&self, one: Option<Uuid>, other: Option<Uuid>) -> Option<Uuid> {
        match (one, other) {
            (Some(one), Some(other)) if self.oldest_first => Some(one.min(other)),
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }

    /// The bounds, cut where a window ends. The entry at its end is the next page's.
    fn within(&self, horizon: Option<Uuid>) -> (String, String) {
        let (low, high) = self.bounds.clone();
        match horizon.map(|id| id.to_string()) {
            None => (low, high),
            Some(end) if self.oldest_first => (low, end),
            Some(end) => (end, high),
        }
    }

    /// The cursor of a page that begins with this entry.
    fn cursor_before(&self, entry: Uuid) -> MailId {
        let number = entry.as_u128();
        let neighbour = if self.oldest_first { number.saturating_sub(1) } else { number.saturating_add(1) };
        MailId(Uuid::from_u128(neighbour))
    }
}

fn within(ids: &[String], (low, high): &(String, String)) -> Vec<String> {
    ids.iter().filter(|id| *id > low && *id < high).cloned().collect()
}

/// The first characters of every id that is made at this time (UUIDv7, RFC 9562, section 5.7).
fn prefix_of(time: Timestamp) -> String {
    let millis = u64::try_from(time.millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}", millis >> 16, millis & 0xffff)
}

/// When the mail with this id was recorded.
fn recorded_at(id: Uuid) -> Timestamp {
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
