//! Carrying statements out: on a connection that reads, or in a transaction on one that writes.

use std::future::Future;

use sqlx::any::AnyRow;

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

fn served(rows: Vec<AnyRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Served).collect()
}

impl Target for &Readers {
    async fn execute(self, statement: Statement) -> Result<Done, DriverError> {
        Ok(Done(vec![statement.into_query().execute(self).await?.rows_affected()]))
    }

    async fn fetch_all(self, statement: Statement) -> Result<Vec<Row>, DriverError> {
        Ok(served(statement.into_query().fetch_all(self).await?))
    }

    async fn fetch_optional(self, statement: Statement) -> Result<Option<Row>, DriverError> {
        Ok(statement.into_query().fetch_optional(self).await?.map(Row::Served))
    }
}

impl Target for &mut Connection {
    async fn execute(self, statement: Statement) -> Result<Done, DriverError> {
        match self {
            Connection::Served(connection) => {
                Ok(Done(vec![statement.into_query().execute(&mut **connection).await?.rows_affected()]))
            }
            Connection::Embedded(connection) => connection.execute(&statement),
        }
    }

    async fn fetch_all(self, statement: Statement) -> Result<Vec<Row>, DriverError> {
        match self {
            Connection::Served(connection) => {
                Ok(served(statement.into_query().fetch_all(&mut **connection).await?))
            }
            Connection::Embedded(connection) => connection.fetch_all(&statement),
        }
    }

    async fn fetch_optional(self, statement: Statement) -> Result<Option<Row>, DriverError> {
        match self {
            Connection::Served(connection) => {
                Ok(statement.into_query().fetch_optional(&mut **connection).await?.map(Row::Served))
            }
            Connection::Embedded(connection) => Ok(connection.fetch_all(&statement)?.into_iter().next()),
        }
    }
}
