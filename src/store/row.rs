//! Rows: reading their columns into the crate's types.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::{Row, any::AnyRow};

use super::error::StoreError;
use crate::mail::Timestamp;

/// Columns of a row as the crate's types. An error names the table and the column, never the content.
pub(super) struct Columns<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a AnyRow,
}

impl Columns<'_> {
    fn corrupt(&self, column: &str, why: &dyn std::fmt::Display) -> StoreError {
        StoreError::Corrupt { table: self.table, why: format!("{column}: {why}") }
    }

    pub(super) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn optional_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn integer(&self, column: &str) -> Result<i64, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, &error))
    }

    /// A number that is never below zero.
    pub(super) fn count(&self, column: &str) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.integer(column)?).unwrap_or(0))
    }

    pub(super) fn optional_integer(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.row.try_get(column).map_err(|error| self.corrupt(column, &error))
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.integer(column).map(Timestamp)
    }

    pub(super) fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional_integer(column)?.map(Timestamp))
    }

    pub(super) fn parsed<T: FromStr>(&self, column: &str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| self.corrupt(column, &"is not one of its kind"))
    }

    pub(super) fn optional_parsed<T: FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.optional_text(column)?
            .map(|text| text.parse().map_err(|_| self.corrupt(column, &"is not one of its kind")))
            .transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(column)?)
            .map_err(|error| self.corrupt(column, &error.classify_text()))
    }

    pub(super) fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.optional_text(column)?
            .map(|text| {
                serde_json::from_str(&text).map_err(|error| self.corrupt(column, &error.classify_text()))
            })
            .transpose()
    }
}

/// Says what is wrong with JSON without quoting it.
trait ClassifyText {
    fn classify_text(&self) -> String;
}

impl ClassifyText for serde_json::Error {
    fn classify_text(&self) -> String {
        format!("not the JSON it should be, at line {} column {}", self.line(), self.column())
    }
}
