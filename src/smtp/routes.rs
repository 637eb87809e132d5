//! All relays that the configuration names. Which of them takes a mail is decided elsewhere.

use std::{
    collections::HashSet,
    env,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::{
    pace::DomainPace,
    replies::ReplyRules,
    route::{Route, RouteStatus},
    route_error::RouteError,
    settings::RouteSettings,
    tuning::Tuning,
};
use crate::mail::MailLane;

/// The relays.
#[derive(Clone)]
pub struct Routes {
    routes: Arc<[Arc<Route>]>,
    freed: Arc<Notify>,
    recipients: Arc<Mutex<DomainPace>>,
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
        let rules = Arc::new(rules);
        let system_file = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let freed = Arc::new(Notify::new());
        let recipients = Arc::<Mutex<DomainPace>>::default();
        let mut names = HashSet::new();
        let mut routes = Vec::with_capacity(settings.len());
        for each in settings {
            if !names.insert(each.name.as_str()) {
                return Err(RouteError::Duplicate { route: each.name.clone() });
            }
            let route = Route::new(
                each,
                tuning,
                system_file.as_deref(),
                Arc::clone(&freed),
                Arc::clone(&rules),
                Arc::clone(&recipients),
            )?;
            routes.push(Arc::new(route));
        }
        Ok(Self { routes: routes.into(), freed, recipients })
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// How fast the recipients' domains that get too much may go on, over whichever route.
    pub fn with_recipients<T>(&self, act: impl FnOnce(&mut DomainPace) -> T) -> T {
        act(&mut self.recipients.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The lanes of which some mails may have no route, because every route takes only those of some merchants or senders, or
    /// of the other lane.
    pub fn lanes_with_gaps(&self) -> Vec<MailLane> {
        let is_covered = |lane| self.routes.iter().any(|route| route.preference().takes_all_of(lane));
        MailLane::ALL.iter().copied().filter(|lane| !is_covered(*lane)).collect()
    }

    /// Notified when a connection of any route comes free.
    pub fn freed(&self) -> &Arc<Notify> {
        &self.freed
    }

    /// What each route is doing, in the order of the configuration.
    pub fn status(&self) -> Vec<RouteStatus> {
        self.routes.iter().map(|route| route.status()).collect()
    }

    /// Each route, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// Says goodbye to idle connections. For an orderly end, after the last mail; dropping the routes closes them as well.
    pub async fn close(&self) {
        futures_util::future::join_all(self.routes.iter().map(|route| route.close_idle())).await;
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
            routes.iter().next().unwrap().preference().takes(&merchant, sender, crate::mail::Lane::Bulk)
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
