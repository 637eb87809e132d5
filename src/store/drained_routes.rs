//! Routes that operators drained: nothing new goes over them, in any process.

use super::{
    database::Store,
    error::{Doing, StoreError},
    statement::query,
};
use crate::{audit::Action, clock};

impl Store {
    /// The names of the drained routes.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn drained_routes(&self) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar("SELECT name FROM drained_routes ORDER BY name")
            .fetch_all(&self.readers)
            .await
            .doing("list drained routes")
    }

    /// Drains a route; returns false when it is drained already.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn drain_route(&self, name: &str) -> Result<bool, StoreError> {
        let insert =
            query("INSERT INTO drained_routes (name, at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(name.to_owned())
                .bind(clock::now().millis());
        Ok(self.change(insert, "drain a route", self.entry(Action::RouteDrained, name, None)).await? > 0)
    }

    /// Lets mails go over a drained route again; returns false when it is not drained.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn undrain_route(&self, name: &str) -> Result<bool, StoreError> {
        let delete = query("DELETE FROM drained_routes WHERE name = $1").bind(name.to_owned());
        Ok(self.change(delete, "undrain a route", self.entry(Action::RouteUndrained, name, None)).await? > 0)
    }
}
