//! The connections that are reserved for mails before they are known.

use std::{sync::Arc, time::Duration};

use super::in_force::InForce;
use crate::smtp::PoolPermits;

/// Connections, reserved before the mails are known: those of each route.
pub struct ReservedConnections {
    pub(super) held: Vec<RouteReservation>,
    /// What was in force when they were taken.
    pub(super) in_force: Arc<InForce>,
}

/// Those of one route.
pub(super) struct RouteReservation {
    pub(super) connections: PoolPermits,
    /// How many are promised to mails.
    pub(super) promised: usize,
    /// For how long its relay is away.
    pub(super) away: Option<Duration>,
}

impl RouteReservation {
    pub(super) fn has_free_connection(&self) -> bool {
        self.promised < self.connections.len()
    }
}
