//! About how many mails fit, where there are too many to count.
//!
//! Time is cut into equal cells from the first mail that may fit to the last. In each cell the first entries of the index
//! are read: where they reach its end the cell is counted, else they say how dense it is. All in one statement that reads
//! at most 2,400 entries.

use uuid::Uuid;

use super::{
    filter::Statement,
    prepared::{Prepared, prefix_of, recorded_at},
    source::Range,
};
use crate::{
    mail::Timestamp,
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
    },
};

/// Into how many cells time is cut.
const CELLS: i64 = 24;
/// How many entries of a cell are read.
const SAMPLE: i64 = 100;

impl Store {
    /// About how many entries this range of an index has; within a few percent where mails come evenly.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn estimate(&self, prepared: &Prepared, range: &Range) -> Result<u64, StoreError> {
        let ends = tokio::try_join!(self.end_of(prepared, range, true), self.end_of(prepared, range, false))?;
        let (Some(oldest), Some(newest)) = ends else { return Ok(0) };
        let cells = cells_between(oldest, newest);
        let statement = sampling(&cells, range, &prepared.bounds);
        let rows = statement.query(self.dialect).fetch_all(&self.readers).await.doing("estimate mails")?;
        let mut about = 0;
        for row in &rows {
            let columns = Columns { table: "mails", row };
            let cell = cells[usize::try_from(columns.integer("cell")?).unwrap_or(0).min(cells.len() - 1)];
            let last = columns.optional_text("last")?.and_then(|id| Uuid::parse_str(&id).ok());
            about += mails_in(cell, columns.count("mails")?, last.map(recorded_at));
        }
        Ok(rounded(about))
    }

    async fn end_of(
        &self,
        prepared: &Prepared,
        range: &Range,
        is_oldest: bool,
    ) -> Result<Option<Timestamp>, StoreError> {
        let end = range.window(&prepared.bounds, is_oldest, 0);
        let row =
            end.query(self.dialect).fetch_optional(&self.readers).await.doing("find the ends of mails")?;
        let id = row.map(|row| Columns { table: "mails", row: &row }.parsed::<Uuid>("id")).transpose()?;
        Ok(id.map(recorded_at))
    }
}

/// A part of time in milliseconds, its end excluded.
type Cell = (i64, i64);

/// At least a millisecond each.
fn cells_between(oldest: Timestamp, newest: Timestamp) -> Vec<Cell> {
    let (begin, end) = (oldest.millis(), newest.millis().max(oldest.millis()) + 1);
    let edge = |number: i64| begin + (end - begin) * number / CELLS;
    (0..CELLS).map(|number| (edge(number), edge(number + 1))).filter(|(from, to)| from < to).collect()
}

/// How many entries each cell has, at most the sample, and the last of them.
pub(super) fn sampling(cells: &[Cell], range: &Range, (low, high): &(String, String)) -> Statement {
    let mut statement = Statement::default();
    for (number, (from, to)) in cells.iter().enumerate() {
        let bounds =
            (prefix_of(Timestamp(*from)).max(low.clone()), prefix_of(Timestamp(*to)).min(high.clone()));
        let all = if number == 0 { "" } else { " UNION ALL " };
        statement.push(&format!("{all}SELECT {number} AS cell, COUNT(*) AS mails, MAX(id) AS last FROM "));
        range.first(&mut statement, &bounds, true, SAMPLE);
    }
    statement
}

/// About how many mails a cell has of which so many were read, up to this time.
fn mails_in((from, to): Cell, read: u64, last: Option<Timestamp>) -> u64 {
    match last {
        Some(last) if read >= SAMPLE.unsigned_abs() => {
            let reached = (last.millis() + 1 - from).clamp(1, to - from).unsigned_abs();
            read.saturating_mul((to - from).unsigned_abs()) / reached
        }
        _ => read,
    }
}

/// To two digits: it promises no more.
fn rounded(number: u64) -> u64 {
    let step = 10_u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(1));
    (number + step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_whose_sample_ends_early_is_as_dense_all_through() {
        assert_eq!(mails_in((0, 1_000), 100, Some(Timestamp(99))), 1_000);
        assert_eq!(mails_in((0, 1_000), 7, Some(Timestamp(3))), 7, "all are read");
        assert_eq!(mails_in((0, 1_000), 0, None), 0);
        assert_eq!(mails_in((0, 1), 100, Some(Timestamp(0))), 100);
    }

    #[test]
    fn time_is_cut_without_a_gap_and_never_into_nothing() {
        let cells = cells_between(Timestamp(10), Timestamp(100_000));
        assert_eq!(cells.len(), 24);
        assert_eq!((cells[0].0, cells[23].1), (10, 100_001));
        assert!(cells.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert_eq!(cells_between(Timestamp(5), Timestamp(5)), [(5, 6)]);
        assert_eq!(cells_between(Timestamp(5), Timestamp(7)).len(), 3);
    }

    #[test]
    fn an_estimate_has_two_digits() {
        let numbers = [0, 7, 99, 104, 10_449, 12_500, 1_249_999];
        assert_eq!(numbers.map(rounded), [0, 7, 99, 100, 10_000, 13_000, 1_200_000]);
    }
}
