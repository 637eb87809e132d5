//! The section `limits` of the configuration, and which limits it gives a mail.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Deserializer};

use super::{Ask, Rate, Scope};
use crate::mail::{MerchantId, domain_name};

/// The name of the limit for each domain that no other limit names.
const EACH_OTHER: &str = "*";

/// How fast mails may go, beside the rates of routes. A limit that is `None` does not exist.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// All mails of the installation.
    #[serde(deserialize_with = "rate_or_empty")]
    pub mails: Option<Rate>,
    /// The mails of each merchant that has no rate of its own.
    #[serde(deserialize_with = "rate_or_empty")]
    pub per_merchant: Option<Rate>,
    /// The mails to some domains.
    pub domains: Vec<DomainLimit>,
}

/// The limit of the mails to some domains, which share it; or, by the name `*`, of each other domain by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainLimit {
    /// The domains, in any spelling.
    pub names: Vec<String>,
    /// How many mails.
    pub rate: Rate,
}

/// An empty text is no rate.
fn rate_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Which limits a mail has, by the configuration.
#[derive(Clone, Debug, Default)]
pub struct MailLimits {
    all: Option<Rate>,
    per_merchant: Option<Rate>,
    /// The rate and the scope of a domain, by its name as A-labels.
    domains: HashMap<String, (Scope, Rate)>,
    each_other_domain: Option<Rate>,
}

impl MailLimits {
    /// Reads the settings.
    ///
    /// # Errors
    /// Each fault, with its key below `limits` and what is allowed.
    pub fn new(settings: &LimitSettings) -> Result<Self, Vec<(String, String)>> {
        let mut limits = Self { all: settings.mails, per_merchant: settings.per_merchant, ..Self::default() };
        let mut faults = Vec::new();
        for (index, limit) in settings.domains.iter().enumerate() {
            if limit.names.is_empty() {
                let message = "must name at least one domain, or \"*\" for each other domain".to_owned();
                faults.push((format!("domains.{index}.names"), message));
            }
            let mut shared = None;
            for (position, name) in limit.names.iter().enumerate() {
                if let Err(message) = limits.add(name, limit, &mut shared) {
                    faults.push((format!("domains.{index}.names.{position}"), message));
                }
            }
        }
        if faults.is_empty() { Ok(limits) } else { Err(faults) }
    }

    fn add(&mut self, name: &str, limit: &DomainLimit, shared: &mut Option<Scope>) -> Result<(), String> {
        if name == EACH_OTHER {
            if limit.names.len() > 1 {
                return Err("`*` must be alone: it stands for each other domain by itself".to_owned());
            }
            if self.each_other_domain.replace(limit.rate).is_some() {
                return Err("`*` has a limit already".to_owned());
            }
            return Ok(());
        }
        let domain = domain_name(name).map_err(|_| {
            let name: String = name.chars().take(80).collect();
            format!("`{name}` is not a domain name such as \"gmail.com\", nor \"*\" for each other domain")
        })?;
        let scope = shared.get_or_insert_with(|| Scope::Domain(domain.as_str().into())).clone();
        if self.domains.contains_key(&domain) {
            return Err(format!("`{domain}` has a limit already; a domain may be named once"));
        }
        self.domains.insert(domain, (scope, limit.rate));
        Ok(())
    }

    /// The limits that a mail has to keep: the installation's, its route's, its merchant's and its recipient domain's,
    /// where there are such. `own_rate` is the merchant's own, which replaces the one of each merchant. `domain` is in
    /// A-labels and lower case, as in an [`Address`](crate::mail::Address).
    pub fn scopes_of(
        &self,
        merchant: &MerchantId,
        own_rate: Option<Rate>,
        domain: &str,
        route: &Arc<str>,
        route_rate: Option<Rate>,
    ) -> Ask {
        let all = self.all.map(|rate| (Scope::All, rate));
        let route = route_rate.map(|rate| (Scope::Route(Arc::clone(route)), rate));
        let own = own_rate.or(self.per_merchant).map(|rate| (Scope::Merchant(merchant.clone()), rate));
        let domain = match self.domains.get(domain) {
            Some(limit) => Some(limit.clone()),
            None => self.each_other_domain.map(|rate| (Scope::Domain(domain.into()), rate)),
        };
        all.into_iter().chain(route).chain(own).chain(domain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<LimitSettings, String> {
        let empty = "mails = \"\"\nper_merchant = \"\"\ndomains = []";
        let mut table: toml::Table = empty.parse().unwrap();
        table.extend(text.parse::<toml::Table>().unwrap());
        table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    fn spelled(ask: &Ask) -> Vec<String> {
        ask.limits().iter().map(|(scope, rate)| format!("{scope} {rate}")).collect()
    }

    #[test]
    fn a_mail_has_the_limits_of_the_installation_its_route_its_merchant_and_its_domain() {
        let limits = MailLimits::new(
            &settings(
                "mails = \"500/s\"\nper_merchant = \"3000/h burst 100\"
                [[domains]]\nnames = [\"Gmail.COM\", \"googlemail.com\"]\nrate = \"20/s\"
                [[domains]]\nnames = [\"bücher.example\"]\nrate = \"1/m\"
                [[domains]]\nnames = [\"*\"]\nrate = \"5/s\"",
            )
            .unwrap(),
        )
        .unwrap();
        let (tea, route) = ("tea-co".parse().unwrap(), Arc::from("main"));
        let scopes = |own: Option<&str>, domain: &str, rate: Option<&str>| {
            let own = own.map(|rate| rate.parse().unwrap());
            let rate = rate.map(|rate| rate.parse().unwrap());
            spelled(&limits.scopes_of(&tea, own, domain, &route, rate))
        };
        assert_eq!(
            scopes(None, "googlemail.com", Some("200/s")),
            ["all 500/s", "route:main 200/s", "merchant:tea-co 3000/h burst 100", "domain:gmail.com 20/s"]
        );
        assert_eq!(
            scopes(Some("9/s"), "xn--bcher-kva.example", None),
            ["all 500/s", "merchant:tea-co 9/s", "domain:xn--bcher-kva.example 1/m"]
        );
        assert_eq!(scopes(None, "other.example", None)[2], "domain:other.example 5/s");
    }

    #[test]
    fn without_limits_nothing_is_asked_for() {
        let limits = MailLimits::new(&settings("").unwrap()).unwrap();
        assert!(limits.scopes_of(&"m".parse().unwrap(), None, "a.example", &"main".into(), None).is_empty());
    }

    #[test]
    fn a_domain_that_is_named_twice_or_is_none_is_refused_by_its_name() {
        for (domains, expected) in [
            (
                "[[domains]]\nnames = [\"gmail.com\"]\nrate = \"1/s\"\n[[domains]]\nnames = [\"x.example\", \"GMAIL.com\"]\nrate = \"2/s\"",
                "domains.1.names.1: `gmail.com` has a limit already",
            ),
            (
                "[[domains]]\nnames = [\"bücher.example\", \"xn--bcher-kva.example\"]\nrate = \"1/s\"",
                "domains.0.names.1: `xn--bcher-kva.example` has a limit already",
            ),
            (
                "[[domains]]\nnames = [\"*\"]\nrate = \"1/s\"\n[[domains]]\nnames = [\"*\"]\nrate = \"2/s\"",
                "domains.1.names.0: `*` has a limit already",
            ),
            (
                "[[domains]]\nnames = [\"*\", \"a.example\"]\nrate = \"1/s\"",
                "domains.0.names.0: `*` must be alone",
            ),
            ("[[domains]]\nnames = []\nrate = \"1/s\"", "domains.0.names: must name at least one domain"),
            ("[[domains]]\nnames = [\"*.example\"]\nrate = \"1/s\"", "`*.example` is not a domain name"),
            ("[[domains]]\nnames = [\"localhost\"]\nrate = \"1/s\"", "`localhost` is not a domain name"),
        ] {
            let faults = MailLimits::new(&settings(domains).unwrap()).unwrap_err();
            let faults: Vec<_> = faults.iter().map(|(key, message)| format!("{key}: {message}")).collect();
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{faults:?}, not {expected}");
        }
    }

    #[test]
    fn a_rate_that_is_none_is_refused_with_what_is_allowed() {
        for (text, expected) in [
            ("mails = \"fast\"", "`fast` is not a rate; a rate is a whole number"),
            ("per_merchant = \"0/s\"", "`0` is not a count"),
            (
                "[[domains]]\nnames = [\"a.example\"]\nrate = \"5/fortnight\"",
                "`fortnight` is not a unit of time",
            ),
            ("[[domains]]\nnames = [\"a.example\"]\nrate = \"\"", "`` is not a rate"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
