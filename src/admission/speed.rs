//! How fast mails may go at most, for forecasts.

use super::{Admission, in_force::InForce};
use crate::{
    limits::{Rate, Scope},
    mail::{Lane, MerchantId},
};

/// The most mails a second that limits let through, and the limit that decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Speed {
    /// Mails a second.
    pub per_second: f64,
    /// Whose limit is the lowest; of several routes that share a lane's mails, the first.
    pub scope: Scope,
}

impl Admission {
    /// How fast mails of this merchant and this lane may go at most; `None` when nothing limits them but what relays
    /// take. Limits of recipients' domains are left out: they hold for some of the mails only.
    pub fn fastest(&self, merchant: &MerchantId, own_rate: Option<Rate>, lane: Lane) -> Option<Speed> {
        let in_force = self.in_force();
        let asked = in_force.limits.scopes_of(merchant, own_rate, "", &"".into(), None);
        let general = asked.limits().iter().filter(|(scope, _)| !matches!(scope, Scope::Domain(_)));
        let general =
            general.map(|(scope, rate)| Speed { per_second: per_second(*rate), scope: scope.clone() });
        general
            .chain(fastest_of_routes(&in_force, merchant, lane))
            .min_by(|a, b| a.per_second.total_cmp(&b.per_second))
    }
}

/// All routes that take such mails together; `None` when one of them has no rate.
fn fastest_of_routes(in_force: &InForce, merchant: &MerchantId, lane: Lane) -> Option<Speed> {
    let routes = in_force.routes.iter().filter(|route| route.may_take(merchant, lane));
    routes
        .map(|route| Some(Speed { per_second: per_second(route.rate?), scope: route.scope.clone() }))
        .reduce(|all, one| {
            let (all, one) = (all?, one?);
            Some(Speed { per_second: all.per_second + one.per_second, ..all })
        })
        .flatten()
}

fn per_second(rate: Rate) -> f64 {
    1.0 / rate.each().as_secs_f64()
}
