//! A statement with marks (see `dialect`), and the rows that go with it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::AssertSqlSafe;

use super::{
    cells,
    dialect::Dialect,
    error::StoreError,
    row::{Columns, Row},
    statement::{Statement, query},
};

/// A statement with marks, written out once for each dialect.
pub(super) struct Sql {
    text: Cow<'static, str>,
    written: [OnceLock<Arc<str>>; 2],
    columns: OnceLock<Vec<String>>,
}

impl Sql {
    pub(super) const fn new(text: &'static str) -> Self {
        Self::of(Cow::Borrowed(text))
    }

    /// A statement that is made once, for a table.
    pub(super) const fn made(text: String) -> Self {
        Self::of(Cow::Owned(text))
    }

    const fn of(text: Cow<'static, str>) -> Self {
        Self { text, written: [OnceLock::new(), OnceLock::new()], columns: OnceLock::new() }
    }

    pub(super) fn on(&self, dialect: Dialect) -> AssertSqlSafe<Arc<str>> {
        let text = self.written[dialect as usize].get_or_init(|| dialect.written(&self.text).into());
        AssertSqlSafe(Arc::clone(text))
    }

    /// The statement about these rows, its `$1`. A column that they do not have is `NULL`.
    pub(super) fn with<T: Serialize>(&self, dialect: Dialect, rows: &[T]) -> Statement {
        let columns = || Dialect::columns(&self.text).map(|(name, _)| name.to_owned()).collect();
        let columns = self.columns.get_or_init(columns);
        if dialect.is_for_each(&self.text) {
            let rows = rows.iter().map(|row| cells::cells(columns, row)).collect();
            return Statement::for_each(self.on(dialect), rows);
        }
        query(self.on(dialect)).bind(to_json(dialect, columns, rows))
    }
}

/// The JSON that `{rows}` with these columns unfolds.
pub(super) fn to_json<T: Serialize>(dialect: Dialect, columns: &[impl AsRef<str>], rows: &[T]) -> String {
    let objects = json_of(rows);
    match dialect {
        Dialect::Postgres => objects,
        Dialect::Sqlite => json_of(&cells(columns, &objects)),
    }
}

/// The same rows as lists. By its place SQLite finds a cell faster than by its name.
fn cells<'a>(columns: &[impl AsRef<str>], objects: &'a str) -> Vec<Vec<Option<&'a RawValue>>> {
    #[expect(
        clippy::expect_used,
        reason = "it was just written, and names of columns have nothing to escape"
    )]
    let rows: Vec<BTreeMap<&str, &RawValue>> = serde_json::from_str(objects).expect("rows are readable");
    let cells = |row: &BTreeMap<&str, &'a RawValue>| {
        columns.iter().map(|column| row.get(column.as_ref()).copied()).collect()
    };
    rows.iter().map(cells).collect()
}

fn json_of<T: Serialize>(rows: &[T]) -> String {
    #[expect(
        clippy::expect_used,
        reason = "rows are plain structs with string keys: writing them cannot fail"
    )]
    serde_json::to_string(rows).expect("rows are writable as JSON")
}

/// The lines of a plan that was asked for with [`Dialect::explain`].
pub(super) fn lines_of_plan(dialect: Dialect, plan: &[Row]) -> Result<Vec<String>, StoreError> {
    plan.iter().map(|row| Columns { table: "plan", row }.text(dialect.plan_column())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static SQL: Sql = Sql::new("SELECT id FROM {rows: id text, at bigint} WHERE at > $2 {skip_locked}");

    #[test]
    fn a_statement_is_written_for_each_dialect() {
        assert_eq!(
            &*SQL.on(Dialect::Postgres).0,
            "SELECT id FROM json_to_recordset(CAST($1 AS json)) AS rows (id text, at bigint) WHERE at > $2 \
             FOR UPDATE SKIP LOCKED"
        );
        assert_eq!(
            &*SQL.on(Dialect::Sqlite).0,
            "SELECT id FROM (WITH unfolded AS MATERIALIZED (SELECT value FROM jsonb_each($1)) \
             SELECT value ->> 0 AS id, CAST(value ->> 1 AS INTEGER) AS at FROM unfolded) AS rows WHERE at > $2 "
        );
    }

    #[test]
    fn a_statement_for_each_row_has_its_cells_in_places_on_sqlite() {
        let sql = Sql::new(
            "UPDATE t SET at = rows.at FROM {each: id text, at bigint} WHERE t.id = rows.id AND rows.at > 1",
        );
        assert_eq!(&*sql.on(Dialect::Sqlite).0, "UPDATE t SET at = ?2  WHERE t.id = ?1 AND ?2 > 1");
        assert_eq!(
            &*sql.on(Dialect::Postgres).0,
            "UPDATE t SET at = rows.at FROM json_to_recordset(CAST($1 AS json)) AS rows (id text, at bigint) \
             WHERE t.id = rows.id AND rows.at > 1"
        );
        let all = Sql::new(
            "WITH r AS {materialized} (SELECT rows.*, rows.at + 1 AS next FROM {each: id text, at bigint}) SELECT next FROM r",
        );
        assert_eq!(
            &*all.on(Dialect::Sqlite).0,
            "WITH r AS  (SELECT ?1 AS id, ?2 AS at, ?2 + 1 AS next ) SELECT next FROM r"
        );
    }

    #[test]
    fn rows_are_objects_on_postgres_and_lists_of_cells_on_sqlite() {
        let rows: Vec<serde_json::Value> = serde_json::from_str(
            r#"[{"at":7,"more":{"deep":[1]},"id":"a\"b"},{"id":null},{"id":{"x":"é"}}]"#,
        )
        .unwrap();
        let json = |dialect| to_json(dialect, &["id", "at"], &rows);
        assert_eq!(json(Dialect::Postgres), serde_json::to_string(&rows).unwrap());
        assert_eq!(json(Dialect::Sqlite), r#"[["a\"b",7],[null,null],[{"x":"é"},null]]"#);
    }

    #[test]
    fn a_cell_may_be_as_deep_as_a_shop_likes() {
        #[derive(Serialize)]
        struct Row {
            tags: Box<RawValue>,
        }
        let deep = "[".repeat(500) + &"]".repeat(500);
        let rows = [Row { tags: RawValue::from_string(deep.clone()).unwrap() }];
        assert_eq!(to_json(Dialect::Sqlite, &["tags"], &rows), format!("[[{deep}]]"));
    }
}
