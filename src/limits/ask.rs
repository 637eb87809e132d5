//! What is asked for: which limits a mail has to keep.

use std::{fmt, sync::Arc};

use super::rate::Rate;
use crate::mail::MerchantId;

/// What a limit is for. Two scopes never share an allowance, whatever their names are.
///
/// Spelled `all`, `route:main`, `merchant:tea-co`, `domain:gmail.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All mails of the installation.
    All,
    /// The mails over a route, by its name.
    Route(Arc<str>),
    /// The mails of a merchant.
    Merchant(MerchantId),
    /// The mails to a domain, or to several that share a limit: then the first that the limit names.
    Domain(Arc<str>),
}

impl Scope {
    /// What it is the name of: `all`, `route`, `merchant` or `domain`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Route(_) => "route",
            Self::Merchant(_) => "merchant",
            Self::Domain(_) => "domain",
        }
    }

    /// The name; the installation has none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Route(name) | Self::Domain(name) => Some(name),
            Self::Merchant(merchant) => Some(merchant.as_str()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        self.name().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

/// What one mail asks for: one of each of these allowances, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    limits: Vec<(Scope, Rate)>,
}

impl Ask {
    /// Adds a limit. A scope that is there already gets the other rate.
    pub fn add(&mut self, scope: Scope, rate: Rate) {
        match self.limits.iter_mut().find(|(known, _)| *known == scope) {
            Some((_, known)) => *known = rate,
            None => self.limits.push((scope, rate)),
        }
    }

    /// The limits, each scope once.
    pub fn limits(&self) -> &[(Scope, Rate)] {
        &self.limits
    }

    /// Whether nothing limits this mail. Then it is granted without being counted anywhere.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }
}

impl FromIterator<(Scope, Rate)> for Ask {
    fn from_iter<I: IntoIterator<Item = (Scope, Rate)>>(limits: I) -> Self {
        let mut ask = Self::default();
        limits.into_iter().for_each(|(scope, rate)| ask.add(scope, rate));
        ask
    }
}
