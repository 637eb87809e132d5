//! The routes and the limits that mails are admitted by. A reload of the configuration replaces all of it at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{choice::Chooser, way::Way};
use crate::{
    limits::{MailLimits, Rate},
    smtp::Route,
};

/// The routes and the limits.
pub(super) struct InForce {
    /// The routes, in the order of the configuration.
    pub(super) ways: Vec<Arc<Way>>,
    pub(super) chooser: Chooser,
    pub(super) limits: MailLimits,
}

impl InForce {
    pub(super) fn new(
        routes: &[Arc<Route>],
        rates: impl IntoIterator<Item = (String, Rate)>,
        limits: MailLimits,
    ) -> Self {
        let mut rates: HashMap<String, Rate> = rates.into_iter().collect();
        let way = |route: &Arc<Route>| Arc::new(Way::new(Arc::clone(route), rates.remove(route.name())));
        let preferences = routes.iter().map(|route| route.preference());
        Self {
            chooser: Chooser::new(preferences.map(|each| (each.priority, each.weight))),
            ways: routes.iter().map(way).collect(),
            limits,
        }
    }

    /// Notes which routes are drained, and returns those of which that is news.
    pub(super) fn set_drained(&self, drained: &HashSet<String>) -> Vec<&Arc<Way>> {
        self.ways.iter().filter(|way| way.set_drained(drained.contains(&*way.name))).collect()
    }
}
