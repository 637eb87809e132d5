//! Answers a [`crate::mail::search::Query`]: the newest or the oldest mails first, by the page, with a bounded amount of work for each.
//!
//! One term drives: an index leads to its mails in the order of the answer (`source.rs`), and the other terms are
//! filters on these (`filter.rs`). Where filters may pass over many mails, a page looks at 5,000 entries of the index
//! at most; of several terms that could drive, the one whose entries reach furthest is taken (`driver.rs`). An answer that a window
//! ended says so, with the time that it reached and a cursor to go on from.

mod driver;
mod estimate;
mod filter;
mod prepared;
mod question;
mod source;

use std::collections::HashSet;

use super::look_up::{COLUMNS, MailRecord, read};
use crate::{
    mail::search::MailCount,
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        sql::lines_of_plan,
    },
};
use driver::{Driver, Leg};
use filter::Statement;
pub(super) use prepared::prefix_of;
use prepared::{MOST_COUNTED, Prepared, WINDOW, recorded_at, within};
pub use question::{FoundMails, MailSearch};
use source::Source;

/// The most windows that a count looks at.
const MOST_WINDOWS: usize = 400;
/// How many listed mails are read first, and how many more at most at a time.
const FEW: usize = 256;

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
                Some(_) => self.count(&prepared, &driver, &bounds, MOST_COUNTED).await?,
            });
            found.estimate = self.estimate_beyond(&prepared, &driver, found.count).await?;
        }
        found.mails = mails;
        Ok(found)
    }

    /// About how many mails fit, where a count says that there are more. `None` where several terms are alternatives,
    /// where none of those that were looked at fits, or where the samples do not reach further than the count.
    async fn estimate_beyond(
        &self,
        prepared: &Prepared,
        driver: &Driver,
        count: Option<MailCount>,
    ) -> Result<Option<u64>, StoreError> {
        let (Some(count), [Leg::Range(range)]) =
            (count.filter(|count| count.more && count.count > 0), driver.legs.as_slice())
        else {
            return Ok(None);
        };
        let entries = self.estimate(prepared, range).await?;
        // Of a window it is known how many fit; of all the same share is expected to.
        let fit = if driver.has_filters {
            entries.saturating_mul(count.count) / WINDOW.unsigned_abs()
        } else {
            entries
        };
        Ok(Some(fit).filter(|fit| *fit > count.count))
    }

    /// Counts the mails that fit, up to `most`, over as many windows as that takes, at most 400. The count is exact unless
    /// it says that there may be more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_mails(&self, search: &MailSearch, most: u64) -> Result<MailCount, StoreError> {
        let (mut search, mut count) = (search.clone(), 0);
        for _ in 0..MOST_WINDOWS {
            let prepared = self.prepare(&search).await?;
            if prepared.filter.fits_nothing() {
                return Ok(MailCount { count, more: false });
            }
            let driver = self.choose(&prepared).await?;
            let bounds = prepared.within(driver.horizon);
            let most_here = i64::try_from(most).unwrap_or(i64::MAX - 1);
            let counted = self.count(&prepared, &driver, &bounds, most_here).await?;
            count += counted.count;
            match driver.horizon {
                Some(horizon) if count <= most => search.after = Some(prepared.cursor_before(horizon)),
                _ => {
                    let more = count > most || counted.more;
                    return Ok(MailCount { count: count.min(most), more });
                }
            }
        }
        Ok(MailCount { count, more: true })
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
                let listed = || prepared.listed(self.dialect, &[String::new()], COLUMNS);
                match source {
                    Source::Id(_) => statements.push(listed()),
                    Source::Listing(listing) => {
                        statements.extend([listing.statement(WINDOW + 1), listed()]);
                    }
                    Source::Range(range) => {
                        let bounds = &prepared.bounds;
                        statements.push(range.window(bounds, prepared.oldest_first, WINDOW));
                        statements.push(prepared.page(&range, bounds, has_filters, i64::from(search.limit)));
                        statements.push(prepared.counting(&range, bounds, has_filters, MOST_COUNTED));
                        statements.push(estimate::sampling(
                            &[(0, 1 << 40), (1 << 40, 1 << 46)],
                            &range,
                            bounds,
                        ));
                    }
                }
            }
        }
        let mut plans = Vec::new();
        for statement in statements {
            let explained = statement.before(self.dialect.explain());
            let rows =
                explained.query(self.dialect).fetch_all(&self.readers).await.doing("explain a search")?;
            plans.push(lines_of_plan(self.dialect, &rows)?.join("\n"));
        }
        Ok(plans)
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
            let mut read = self.read_all(&prepared.listed(self.dialect, these, COLUMNS)).await?;
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
        most: i64,
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
                total += self.counted(&prepared.counting(range, bounds, driver.has_filters, most)).await?;
            } else {
                let entries = range.entries(bounds, prepared.oldest_first, most + 1);
                let row = entries.query(self.dialect).fetch_one(&self.readers).await.doing("list mails")?;
                let ids = Columns { table: "mails", row: &row }.optional_text("ids")?.unwrap_or_default();
                listed.extend(ids.split_terminator(',').map(str::to_owned));
            }
        }
        if !listed.is_empty() {
            let ids: Vec<_> =
                listed.into_iter().take(usize::try_from(most + 1).unwrap_or(usize::MAX)).collect();
            if driver.has_filters {
                total += self.counted(&prepared.listed(self.dialect, &ids, "COUNT(*) AS mails")).await?;
            } else {
                total += ids.len() as u64;
            }
        }
        let most = most.unsigned_abs();
        Ok(MailCount { count: total.min(most), more: total > most || driver.horizon.is_some() })
    }

    async fn counted(&self, statement: &Statement) -> Result<u64, StoreError> {
        let row = statement.query(self.dialect).fetch_one(&self.readers).await.doing("count mails")?;
        Columns { table: "mails", row: &row }.count("mails")
    }
}
