//! What can be paused: nothing of it is sent until it is resumed or the pause ends.

use std::fmt;

use super::{domain_name, id::MerchantId, lane::Lane};

/// The longest name of a route, in bytes.
const LONGEST_ROUTE: usize = 255;

/// A lane, merchant, route or recipients' domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PauseScope {
    /// All jobs of a lane.
    Lane(Lane),
    /// All mails of a merchant.
    Merchant(MerchantId),
    /// All mails over a route.
    Route(String),
    /// All mails to a domain, in the form of [`domain_name`].
    Domain(String),
}

/// The words name nothing that can be paused.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no lane, merchant, route or domain")]
pub struct PauseScopeError(String);

impl PauseScope {
    /// Reads what [`kind`](Self::kind) and [`name`](Self::name) say.
    ///
    /// # Errors
    /// When the name is none of its kind, or there is no such kind.
    pub fn parse(kind: &str, name: &str) -> Result<Self, PauseScopeError> {
        let scope = match kind {
            "lane" => name.parse().ok().map(Self::Lane),
            "merchant" => name.parse().ok().map(Self::Merchant),
            "route" => (1..=LONGEST_ROUTE).contains(&name.len()).then(|| Self::Route(name.to_owned())),
            "domain" => domain_name(name).ok().map(Self::Domain),
            _ => None,
        };
        scope.ok_or_else(|| PauseScopeError(format!("{kind}:{name}")))
    }

    /// `lane`, `merchant`, `route` or `domain`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Lane(_) => "lane",
            Self::Merchant(_) => "merchant",
            Self::Route(_) => "route",
            Self::Domain(_) => "domain",
        }
    }

    /// Which of them.
    pub fn name(&self) -> &str {
        match self {
            Self::Lane(lane) => lane.as_str(),
            Self::Merchant(merchant) => merchant.as_str(),
            Self::Route(name) | Self::Domain(name) => name,
        }
    }
}

impl fmt::Display for PauseScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_back_and_a_domain_is_one_however_it_is_written() {
        for (kind, name, written) in [
            ("lane", "bulk", "lane:bulk"),
            ("merchant", "tea-co", "merchant:tea-co"),
            ("route", "main", "route:main"),
            ("domain", "BÜCHER.example", "domain:xn--bcher-kva.example"),
        ] {
            let scope = PauseScope::parse(kind, name).unwrap();
            assert_eq!(scope.to_string(), written);
            assert_eq!(PauseScope::parse(scope.kind(), scope.name()).unwrap(), scope);
        }
        for (kind, name) in [("lane", "slow"), ("merchant", "no spaces"), ("route", ""), ("all", "all")] {
            assert!(PauseScope::parse(kind, name).is_err(), "{kind}:{name}");
        }
    }
}
