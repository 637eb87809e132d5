//! A statement with what is bound to it. It is carried out in `target`.

use sqlx::{Any, SqlSafeStr, SqlStr, any::AnyArguments, query::Query};

use super::value::Value;

/// A statement with marks like `$1`, and what stands in their places.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    text: SqlStr,
    bound: Bound,
}

/// What stands in the places of marks.
#[derive(Clone, Debug)]
enum Bound {
    Once(Vec<Value>),
    /// SQLite: the statement is carried out for each of these.
    ForEach(Vec<Vec<Value>>),
}

/// How many rows a statement changed, each time that it was carried out.
#[derive(Clone, Debug)]
pub(super) struct Done(pub(super) Vec<u64>);

impl Done {
    pub(super) fn rows_affected(&self) -> u64 {
        self.0.iter().sum()
    }

    /// For each row of a statement that is carried out for each, whether that changed anything.
    pub(super) fn changes(&self) -> impl Iterator<Item = bool> {
        self.0.iter().map(|changed| *changed > 0)
    }
}

/// A statement to which nothing is bound yet.
pub(super) fn query(text: impl SqlSafeStr) -> Statement {
    Statement { text: text.into_sql_str(), bound: Bound::Once(Vec::new()) }
}

impl Statement {
    /// The same statement for each of these rows, whose values stand in the places `?1`, `?2` and so on.
    pub(super) fn for_each(text: impl SqlSafeStr, rows: Vec<Vec<Value>>) -> Self {
        Self { text: text.into_sql_str(), bound: Bound::ForEach(rows) }
    }

    /// Binds the next value: the first stands for `$1`. A statement for each row has all that it needs.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        match &mut self.bound {
            Bound::Once(values) => values.push(value.into()),
            Bound::ForEach(_) => debug_assert!(false, "a statement for each row has no other values"),
        }
        self
    }

    pub(super) fn text(&self) -> &str {
        self.text.as_str()
    }

    /// The sets of values that it is carried out with, one after the other.
    pub(super) fn sets(&self) -> &[Vec<Value>] {
        match &self.bound {
            Bound::Once(values) => std::slice::from_ref(values),
            Bound::ForEach(rows) => rows,
        }
    }

    /// Whether its marks are `?1` and so on.
    pub(super) fn is_for_each(&self) -> bool {
        matches!(self.bound, Bound::ForEach(_))
    }

    /// As the driver takes it, each time that it is carried out.
    pub(super) fn into_queries(self) -> impl Iterator<Item = Query<'static, Any, AnyArguments>> {
        let sets = match self.bound {
            Bound::Once(values) => vec![values],
            Bound::ForEach(rows) => rows,
        };
        sets.into_iter().map(move |values| {
            values.into_iter().fold(sqlx::query(self.text.clone()), |query, value| match value {
                Value::Integer(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            })
        })
    }
}
