//! Rows: reading their columns into the crate's types.

use std::{str::FromStr, sync::Arc};

use serde::de::DeserializeOwned;
use sqlx::{Row as _, any::AnyRow};

use super::{error::StoreError, value::Value};
use crate::mail::Timestamp;

/// A row that a statement returned.
pub(super) enum Row {
    /// By a driver's pool.
    Served(AnyRow),
    /// By SQLite's connection that writes.
    Embedded(EmbeddedRow),
}

/// A row with the names of its columns.
pub(super) struct EmbeddedRow {
    pub(super) names: Arc<[Box<str>]>,
    pub(super) values: Vec<Value>,
}

impl Row {
    fn text(&self, column: &str) -> Result<Option<String>, String> {
        match self {
            Self::Served(row) => row.try_get(column).map_err(|error| error.to_string()),
            Self::Embedded(row) => match row.value(column)? {
                Value::Text(text) => Ok(text.clone()),
                Value::Integer(_) => Err("is a number".to_owned()),
            },
        }
    }

    fn integer(&self, column: &str) -> Result<Option<i64>, String> {
        match self {
            Self::Served(row) => row.try_get(column).map_err(|error| error.to_string()),
            Self::Embedded(row) => match row.value(column)? {
                Value::Integer(number) => Ok(*number),
                Value::Text(None) => Ok(None),
                Value::Text(Some(_)) => Err("is not a number".to_owned()),
            },
        }
    }
}

impl EmbeddedRow {
    fn value(&self, column: &str) -> Result<&Value, String> {
        let place = self.names.iter().position(|name| **name == *column);
        place.and_then(|place| self.values.get(place)).ok_or_else(|| "is not there".to_owned())
    }
}

/// Columns of a row as the crate's types. An error names the table and the column, never the content.
pub(super) struct Columns<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a Row,
}

impl Columns<'_> {
    fn corrupt(&self, column: &str, why: &dyn std::fmt::Display) -> StoreError {
        StoreError::Corrupt { table: self.table, why: format!("{column}: {why}") }
    }

    pub(super) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.optional_text(column)?.ok_or_else(|| self.corrupt(column, &"is missing"))
    }

    pub(super) fn optional_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.row.text(column).map_err(|why| self.corrupt(column, &why))
    }

    pub(super) fn integer(&self, column: &str) -> Result<i64, StoreError> {
        self.optional_integer(column)?.ok_or_else(|| self.corrupt(column, &"is missing"))
    }

    /// A number that is never below zero.
    pub(super) fn count(&self, column: &str) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.integer(column)?).unwrap_or(0))
    }

    /// The place of what a row is about, among the rows of the statement.
    pub(super) fn place(&self, column: &str) -> Result<usize, StoreError> {
        self.count(column).map(|place| usize::try_from(place).unwrap_or(usize::MAX))
    }

    pub(super) fn optional_integer(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.row.integer(column).map_err(|why| self.corrupt(column, &why))
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
            .map_err(|error| self.corrupt(column, &what_is_wrong(&error)))
    }

    pub(super) fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.optional_text(column)?
            .map(|text| {
                serde_json::from_str(&text).map_err(|error| self.corrupt(column, &what_is_wrong(&error)))
            })
            .transpose()
    }
}

/// Says what is wrong with JSON without quoting it.
pub(super) fn what_is_wrong(error: &serde_json::Error) -> String {
    format!("not the JSON it should be, at line {} column {}", error.line(), error.column())
}
