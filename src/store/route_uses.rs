//! Whether operators let mails go over a route: it may be drained or paused.

use super::{database::Store, error::StoreError, pauses::PauseRecord};
use crate::mail::{PauseScope, Timestamp};

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
}
