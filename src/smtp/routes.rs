//! All relays that the configuration names, in its order: the first one that works is used.

use std::{collections::HashSet, env, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};

use super::{
    replies::ReplyRules,
    route::{Route, RouteStatus},
    settings::{RouteError, RouteSettings},
    tuning::Tuning,
};

/// The relays.
#[derive(Clone)]
pub struct Routes {
    routes: Arc<[Arc<Route>]>,
    freed: Arc<Notify>,
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
        let mut names = HashSet::new();
        let mut routes = Vec::with_capacity(settings.len());
        for each in settings {
            if !names.insert(each.name.as_str()) {
                return Err(RouteError::Duplicate { route: each.name.clone() });
            }
            let route =
                Route::new(each, tuning, system_file.as_deref(), Arc::clone(&freed), Arc::clone(&rules))?;
            routes.push(Arc::new(route));
        }
        Ok(Self { routes: routes.into(), freed })
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The first route that works, else the one that may be tried soonest; `None` without routes.
    pub fn pick(&self) -> Option<Arc<Route>> {
        let now = Instant::now();
        // `min_by_key` takes the first of equals, and a route that works is before one that may be tried at once.
        let pause = |route: &&Arc<Route>| {
            route.breaker().pause(now).map_or((false, Duration::ZERO), |pause| (true, pause))
        };
        self.routes.iter().min_by_key(pause).cloned()
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
        RouteSettings {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 25,
            tls: TlsMode::None,
            username: None,
            password: None,
            connections: 1,
            rate: None,
            auth: None,
            ca_file: None,
            hello_name: None,
            provider_id: None,
        }
    }

    #[test]
    fn no_two_routes_have_one_name_and_no_route_is_no_fault() {
        assert!(Routes::new(&[]).unwrap().is_empty());
        assert!(Routes::new(&[]).unwrap().pick().is_none());
        let fault = Routes::new(&[settings("a"), settings("b"), settings("a")]).err().unwrap();
        assert_eq!(fault.to_string(), "route `a` is configured twice");
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
