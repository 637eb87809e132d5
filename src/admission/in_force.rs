//! The routes and the limits that mails are admitted by. A reload of the configuration replaces all of it at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{admission_route::AdmissionRoute, choice::Chooser};
use crate::{
    limits::{MailLimits, Rate},
    smtp::Route,
};

/// The routes and the limits.
pub(super) struct InForce {
    /// The routes, in the order of the configuration.
    pub(super) routes: Vec<Arc<AdmissionRoute>>,
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
        let route =
            |route: &Arc<Route>| Arc::new(AdmissionRoute::new(Arc::clone(route), rates.remove(route.name())));
        let preferences = routes.iter().map(|route| route.preference());
        Self {
            chooser: Chooser::new(preferences.map(|each| (each.priority, each.weight))),
            routes: routes.iter().map(route).collect(),
            limits,
        }
    }

    /// Notes which routes are drained, and returns those of which that is news.
    pub(super) fn set_drained(&self, drained: &HashSet<String>) -> Vec<&Arc<AdmissionRoute>> {
        self.routes.iter().filter(|route| route.set_drained(drained.contains(&*route.name))).collect()
    }
}
