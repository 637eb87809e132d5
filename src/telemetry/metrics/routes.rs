//! Routes that a reload removes.

use super::{Metrics, RouteNameLabels, RouteStateLabels};

impl Metrics {
    /// Shows nothing any more of how a route is that is no longer there. What was counted over it stays.
    pub fn forget_route(&self, route: &str) {
        for state in ["busy", "idle"] {
            self.route_connections.remove(&RouteStateLabels { route: route.to_owned(), state });
        }
        let labels = RouteNameLabels { route: route.to_owned() };
        for gauges in [&self.route_drained, &self.route_up, &self.route_connections_limit] {
            gauges.remove(&labels);
        }
        self.route_rate_used.remove(&labels);
    }
}
