//! A connection that writes.

use sqlx::{Any, pool::PoolConnection};

use super::{embedded::Embedded, error::DriverError};

/// A connection on which a transaction is under way.
pub(super) enum Connection {
    /// To a server, out of its driver's pool.
    Served(PoolConnection<Any>),
    /// To the file of SQLite.
    Embedded(Embedded),
}

impl Connection {
    /// Carries out statements without values and without rows.
    pub(super) async fn run(&mut self, statements: &str) -> Result<(), DriverError> {
        match self {
            Self::Served(connection) => {
                sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut **connection).await?;
                Ok(())
            }
            Self::Embedded(connection) => connection.run(statements),
        }
    }
}
