//! SQLite's connection that writes. It carries statements out at once, on the thread that asks: see `writer`.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{CachedStatement, OpenFlags, types::ValueRef};

use super::{
    dialect::{Access, Dialect},
    error::{DriverError, is_locked},
    opened_file::{OpenConnection, WhileOpen},
    row::{EmbeddedRow, Row},
    statement::{Done, Statement},
    value::Value,
};

/// How many statements stay prepared: more than there are that write.
const PREPARED: usize = 256;
/// How long others may keep the file locked while it is opened, and how often it is tried.
const LOCKED: Duration = Duration::from_secs(10);
const TRIED: Duration = Duration::from_millis(10);

/// A connection to the file.
pub(super) struct Embedded {
    // Dropped first.
    _open: WhileOpen,
    connection: rusqlite::Connection,
}

impl Embedded {
    /// Opens the file; waits for others to unlock it, and lets the thread wait. Is counted while it is open.
    pub(super) fn open(file: &Path, access: Access, count: &OpenConnection) -> Result<Self, DriverError> {
        let access = match access {
            Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let connection =
            rusqlite::Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        begin_session(&connection)?;
        // The flush comes after the commit: see `flusher`.
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        Ok(Self { _open: count.open(), connection })
    }

    /// Carries out statements without values and without rows.
    pub(super) fn run(&mut self, statements: &str) -> Result<(), DriverError> {
        Ok(self.connection.execute_batch(statements)?)
    }

    pub(super) fn execute(&mut self, statement: &Statement) -> Result<Done, DriverError> {
        let mut prepared = self.connection.prepare_cached(statement.text())?;
        let mut changed = Vec::with_capacity(statement.sets().len());
        for values in statement.sets() {
            bind(&mut prepared, statement, values)?;
            let mut rows = prepared.raw_query();
            while rows.next()?.is_some() {}
            changed.push(self.connection.changes());
        }
        Ok(Done(changed))
    }

    pub(super) fn fetch_all(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        let mut prepared = self.connection.prepare_cached(statement.text())?;
        let names: Arc<[Box<str>]> = prepared.column_names().into_iter().map(Box::from).collect();
        let mut fetched = Vec::new();
        for values in statement.sets() {
            bind(&mut prepared, statement, values)?;
            let mut rows = prepared.raw_query();
            while let Some(row) = rows.next()? {
                let values = (0..names.len()).map(|column| read(row, column)).collect::<Result<_, _>>()?;
                fetched.push(Row::Embedded(EmbeddedRow { names: Arc::clone(&names), values }));
            }
        }
        Ok(fetched)
    }
}

/// Tells a connection what each is told first. SQLite refuses a part of that at once while others have the file locked,
/// whatever its `busy_timeout`: it does not wait for the lock that a new file's change to a write-ahead log needs, since two
/// who hold a lesser one would wait for each other.
fn begin_session(connection: &rusqlite::Connection) -> Result<(), DriverError> {
    let began = Instant::now();
    loop {
        match connection.execute_batch(Dialect::Sqlite.session()).map_err(DriverError::from) {
            Err(error) if is_locked(&error) && began.elapsed() < LOCKED => wait(),
            done => return done,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "SQLite keeps its thread waiting for a lock as well")]
fn wait() {
    thread::sleep(TRIED);
}

/// Puts values in the places of marks.
fn bind(
    prepared: &mut CachedStatement<'_>,
    statement: &Statement,
    values: &[Value],
) -> Result<(), rusqlite::Error> {
    for (number, value) in (1..).zip(values) {
        let place = match statement.is_for_each() {
            true => Some(number),
            // SQLite numbers such marks as they come in the text; one may be missing there.
            false => prepared.parameter_index(&format!("${number}"))?,
        };
        match (place, value) {
            (None, _) => {}
            (Some(place), Value::Integer(number)) => prepared.raw_bind_parameter(place, number)?,
            (Some(place), Value::Text(text)) => prepared.raw_bind_parameter(place, text)?,
        }
    }
    Ok(())
}

fn read(row: &rusqlite::Row<'_>, column: usize) -> Result<Value, rusqlite::Error> {
    let value = row.get_ref(column)?;
    match value {
        ValueRef::Null => Ok(Value::Text(None)),
        ValueRef::Integer(number) => Ok(Value::Integer(Some(number))),
        ValueRef::Text(_) => Ok(Value::Text(Some(value.as_str()?.to_owned()))),
        ValueRef::Real(_) | ValueRef::Blob(_) => {
            let name = row.as_ref().column_name(column)?.to_owned();
            Err(rusqlite::Error::InvalidColumnType(column, name, value.data_type()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn many_open_a_new_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for file in 0..50 {
            let file = folder.path().join(format!("{file}.db"));
            let together = Barrier::new(8);
            let open = || {
                together.wait();
                Embedded::open(&file, Access::Create, &OpenConnection::default()).map(drop)
            };
            let opened: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(opened.iter().all(Result::is_ok), "{opened:?}");
        }
    }
}
