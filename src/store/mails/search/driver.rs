//! Which term drives a search: the one with the fewest entries, or whose window reaches furthest.

use uuid::Uuid;

use super::{
    prepared::{Prepared, WINDOW},
    source::{Range, Source},
};
use crate::store::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
};

/// Where the mails of an answer are read from.
pub(super) enum Leg {
    Range(Range),
    /// All that there are, in the order of the answer.
    Listed(Vec<String>),
}

/// One leg for each alternative of the driving term, and where its window ends.
pub(super) struct Driver {
    pub(super) legs: Vec<Leg>,
    pub(super) horizon: Option<Uuid>,
    pub(super) has_filters: bool,
}

impl Store {
    /// The driver whose entries are few enough to be looked at all, or else whose window reaches furthest.
    pub(super) async fn choose(&self, prepared: &Prepared) -> Result<Driver, StoreError> {
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
}
