//! The room that is taken for mails before they are known.

use std::{sync::Arc, time::Duration};

use super::in_force::InForce;
use crate::smtp::Permits;

/// Places for connections, taken before the mails are known: those of each route.
pub struct Room {
    pub(super) held: Vec<Held>,
    /// What was in force when they were taken.
    pub(super) in_force: Arc<InForce>,
}

pub(super) struct Held {
    pub(super) connections: Permits,
    /// How many are promised to mails.
    pub(super) promised: usize,
    /// For how long its relay is away.
    pub(super) away: Option<Duration>,
}

impl Held {
    pub(super) fn has_place(&self) -> bool {
        self.promised < self.connections.len()
    }
}
