//! All relays that the configuration names. Which of them takes a mail is decided elsewhere.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::Notify;

use super::{
    pace::DomainPace,
    replies::ReplyRules,
    route::{Route, RouteStatus},
    route_error::RouteError,
    settings::RouteSettings,
    shared::Shared,
    tuning::Tuning,
};
use crate::{certificates, mail::MailLane};

/// The relays. A clone is the same.
#[derive(Clone)]
pub struct Routes {
    all: Arc<RwLock<Arc<[Arc<Route>]>>>,
    shared: Arc<Shared>,
}

/// Routes that are set up and not yet in force.
pub struct NewRoutes {
    all: Arc<[Arc<Route>]>,
    rules: ReplyRules,
}

impl Routes {
    /// Sets up every route. Nothing is connected yet. Certificates in the file that `SSL_CERT_FILE` names are trusted
    /// beside the public ones.
    ///
    /// # Errors
    /// The first setting that cannot work, by the name of its route.
    pub fn new(settings: &[RouteSettings]) -> Result<Self, RouteError> {
        Self::tuned(settings, Tuning::default(), ReplyRules::shipped())
    }

    /// The same with other time-outs and limits, and with an operator's rules for replies.
    ///
    /// # Errors
    /// As [`Routes::new`].
    pub fn tuned(settings: &[RouteSettings], tuning: Tuning, rules: ReplyRules) -> Result<Self, RouteError> {
        let shared = Arc::new(Shared::new(tuning, rules));
        let all = set_up(settings, &shared, &[])?;
        Ok(Self { all: Arc::new(RwLock::new(all)), shared })
    }

    /// Sets up the routes of a changed configuration, for [`Routes::replace`]. Nothing is in force yet.
    ///
    /// # Errors
    /// As [`Routes::new`].
    pub fn prepare(&self, settings: &[RouteSettings], rules: ReplyRules) -> Result<NewRoutes, RouteError> {
        Ok(NewRoutes { all: set_up(settings, &self.shared, &self.all())?, rules })
    }

    /// Puts prepared routes in force, and returns those that were replaced or removed and have to go on until their last mail is
    /// sent: as long as they live, they close their connections in order. A route that only takes other mails, or more of them at
    /// once, goes on with its connections.
    pub fn replace(&self, new: NewRoutes) -> Vec<Arc<Route>> {
        let before = std::mem::replace(
            &mut *self.all.write().unwrap_or_else(PoisonError::into_inner),
            Arc::clone(&new.all),
        );
        self.shared.replace_rules(new.rules);
        new.all.iter().for_each(|route| route.begin());
        let after = |route: &Route| new.all.iter().find(|after| after.name() == route.name());
        let over = before.iter().filter(|route| route.retire(after(route).map(Arc::as_ref)));
        let over = over.cloned().collect();
        self.shared.freed.tell();
        over
    }
}

fn set_up(
    settings: &[RouteSettings],
    shared: &Arc<Shared>,
    before: &[Arc<Route>],
) -> Result<Arc<[Arc<Route>]>, RouteError> {
    let system_file = certificates::system_file();
    let mut names = HashSet::new();
    let mut routes = Vec::with_capacity(settings.len());
    for each in settings {
        if !names.insert(each.name.as_str()) {
            return Err(RouteError::Duplicate { route: each.name.clone() });
        }
        let before = before.iter().find(|route| route.name() == each.name).map(Arc::as_ref);
        routes.push(Arc::new(Route::new(each, system_file.as_deref(), shared, before)?));
    }
    Ok(routes.into())
}

impl Routes {
    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// How fast the recipients' domains that get too much may go on, over whichever route.
    pub fn with_recipients<T>(&self, act: impl FnOnce(&mut DomainPace) -> T) -> T {
        self.shared.with_recipients(act)
    }

    /// The lanes of which some mails may have no route, because every route takes only those of some merchants or senders, or
    /// of the other lane.
    pub fn lanes_with_gaps(&self) -> Vec<MailLane> {
        let routes = self.all();
        let is_covered = |lane| routes.iter().any(|route| route.preference().takes_all_of(lane));
        MailLane::ALL.iter().copied().filter(|lane| !is_covered(*lane)).collect()
    }

    /// Notified when a connection of any route comes free: for the worker.
    pub fn freed(&self) -> &Arc<Notify> {
        &self.shared.freed.worker
    }

    /// The same for the mails that wait to be handed over, one at a time.
    pub fn freed_for_hand_over(&self) -> &Notify {
        &self.shared.freed.hand_over
    }

    /// What each route is doing, in the order of the configuration.
    pub fn status(&self) -> Vec<RouteStatus> {
        self.all().iter().map(|route| route.status()).collect()
    }

    /// The routes in force, in the order of the configuration.
    pub fn all(&self) -> Arc<[Arc<Route>]> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says goodbye to idle connections. For an orderly end, after the last mail; dropping the routes closes them as well.
    pub async fn close(&self) {
        futures_util::future::join_all(self.all().iter().map(|route| route.close_idle())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::settings::TlsMode;

    fn settings(name: &str) -> RouteSettings {
        RouteSettings { connections: 1, ..RouteSettings::new(name, "127.0.0.1", 25, TlsMode::None) }
    }

    #[test]
    fn no_two_routes_have_one_name_and_no_route_is_no_fault() {
        assert!(Routes::new(&[]).unwrap().is_empty());
        let fault = Routes::new(&[settings("a"), settings("b"), settings("a")]).err().unwrap();
        assert_eq!(fault.to_string(), "route `a` is configured twice");
    }

    #[test]
    fn selectors_that_leave_mails_without_a_route_are_known() {
        let gaps = |routes: &[RouteSettings]| {
            Routes::new(routes)
                .unwrap()
                .lanes_with_gaps()
                .iter()
                .map(|lane| lane.as_str())
                .collect::<Vec<_>>()
        };
        let of = |lanes: &[MailLane]| RouteSettings { lanes: lanes.to_vec(), ..settings("lanes") };
        let some = RouteSettings { merchants: vec!["acme".parse().unwrap()], ..settings("acme") };
        let senders =
            RouteSettings { sender_domains: vec!["Bücher.example".to_owned()], ..settings("books") };
        assert_eq!(gaps(&[settings("a"), some.clone()]), [""; 0]);
        assert_eq!(gaps(&[some.clone(), senders.clone()]), ["transactional", "bulk"]);
        assert_eq!(gaps(&[some, of(&[MailLane::Bulk])]), ["transactional"]);
        let routes = Routes::new(&[senders]).unwrap();
        let takes = |sender| {
            let merchant = "acme".parse().unwrap();
            routes.all()[0].preference().takes(&merchant, sender, crate::mail::Lane::Bulk)
        };
        assert_eq!(
            [takes(Some("xn--bcher-kva.example")), takes(Some("a.example")), takes(None)],
            [true, false, false]
        );
    }

    #[test]
    fn a_missing_ca_file_is_named_with_its_route() {
        let lost = RouteSettings {
            tls: TlsMode::Starttls,
            ca_file: Some("/nowhere/ca.pem".into()),
            ..settings("main")
        };
        let fault = Routes::new(&[lost]).err().unwrap().to_string();
        assert_eq!(fault, "route `main`: cannot read certificates from `/nowhere/ca.pem`");
    }
}
