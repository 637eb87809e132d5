//! Carrying statements out: on a connection that reads, or in a transaction on one that writes.

use std::future::Future;

use super::{
    connection::Connection,
    error::DriverError,
    readers::Readers,
    row::Row,
    statement::{Done, Statement},
};

impl Statement {
    /// Carries it out; says how many rows it changed.
    pub(super) async fn execute(self, on: impl Target) -> Result<Done, DriverError> {
        on.execute(self).await
    }

    /// Carries it out; returns its rows.
    pub(super) async fn fetch_all(self, on: impl Target) -> Result<Vec<Row>, DriverError> {
        on.fetch_all(self).await
    }

    /// The same for a statement that returns one row, or none.
    pub(super) async fn fetch_optional(self, on: impl Target) -> Result<Option<Row>, DriverError> {
        on.fetch_optional(self).await
    }

    /// The same for a statement that returns one row.
    pub(super) async fn fetch_one(self, on: impl Target) -> Result<Row, DriverError> {
        self.fetch_optional(on).await?.ok_or(DriverError::Sqlx(sqlx::Error::RowNotFound))
    }
}

/// What a statement is carried out on.
pub(super) trait Target: Send + Sized {
    fn execute(self, statement: Statement) -> impl Future<Output = Result<Done, DriverError>> + Send;

    fn fetch_all(self, statement: Statement) -> impl Future<Output = Result<Vec<Row>, DriverError>> + Send;

    fn fetch_optional(
        self,
        statement: Statement,
    ) -> impl Future<Output = Result<Option<Row>, DriverError>> + Send;
}

impl Target for &Readers {
    async fn execute(self, statement: Statement) -> Result<Done, DriverError> {
        let mut changed = Vec::new();
        for query in statement.into_queries() {
            changed.push(query.execute(self).await?.rows_affected());
        }
        Ok(Done(changed))
    }

    async fn fetch_all(self, statement: Statement) -> Result<Vec<Row>, DriverError> {
        let mut rows = Vec::new();
        for query in statement.into_queries() {
            rows.extend(query.fetch_all(self).await?.into_iter().map(Row::Served));
        }
        Ok(rows)
    }

    async fn fetch_optional(self, statement: Statement) -> Result<Option<Row>, DriverError> {
        for query in statement.into_queries() {
            if let Some(row) = query.fetch_optional(self).await? {
                return Ok(Some(Row::Served(row)));
            }
        }
        Ok(None)
    }
}

impl Target for &mut Connection {
    async fn execute(self, statement: Statement) -> Result<Done, DriverError> {
        let connection = match self {
            Connection::Served(connection) => connection,
            Connection::Embedded(connection) => return connection.execute(&statement),
        };
        let mut changed = Vec::new();
        for query in statement.into_queries() {
            changed.push(query.execute(&mut **connection).await?.rows_affected());
        }
        Ok(Done(changed))
    }

    async fn fetch_all(self, statement: Statement) -> Result<Vec<Row>, DriverError> {
        let connection = match self {
            Connection::Served(connection) => connection,
            Connection::Embedded(connection) => return connection.fetch_all(&statement),
        };
        let mut rows = Vec::new();
        for query in statement.into_queries() {
            rows.extend(query.fetch_all(&mut **connection).await?.into_iter().map(Row::Served));
        }
        Ok(rows)
    }

    async fn fetch_optional(self, statement: Statement) -> Result<Option<Row>, DriverError> {
        Ok(self.fetch_all(statement).await?.into_iter().next())
    }
}
