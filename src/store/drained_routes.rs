//! Routes that operators drained or paused: nothing new goes over them, in any process.

use super::{
    database::Store,
    error::{Doing, StoreError},
    pauses::PauseRecord,
    statement::query,
};
use crate::{
    audit::Action,
    clock,
    mail::{PauseScope, Timestamp},
};

/// Whether operators let mails go over a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteUse {
    /// They do.
    InUse,
    /// It is drained: mails take other routes.
    Drained,
    /// It is paused until then, or until somebody resumes it: mails take other routes or wait.
    Paused(Option<Timestamp>),
}

/// What operators said of the routes.
#[derive(Clone, Debug, Default)]
pub struct RouteUses {
    drained: Vec<String>,
    paused: Vec<(String, Option<Timestamp>)>,
}

impl RouteUses {
    /// Of the names of the drained routes and all that is paused.
    pub fn new(drained: Vec<String>, pauses: &[PauseRecord]) -> Self {
        let of_route = |pause: &PauseRecord| match &pause.scope {
            PauseScope::Route(name) => Some((name.clone(), pause.ends_at)),
            _ => None,
        };
        Self { drained, paused: pauses.iter().filter_map(of_route).collect() }
    }

    /// Whether mails go over the route of this name.
    pub fn of(&self, route: &str) -> RouteUse {
        if self.drained.iter().any(|name| name == route) {
            return RouteUse::Drained;
        }
        let paused = self.paused.iter().find(|(name, _)| name == route);
        paused.map_or(RouteUse::InUse, |(_, until)| RouteUse::Paused(*until))
    }
}

impl Store {
    /// What operators said of the routes.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn route_uses(&self) -> Result<RouteUses, StoreError> {
        Ok(RouteUses::new(self.drained_routes().await?, &self.pauses().await?))
    }

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
