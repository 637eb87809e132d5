//! Which mails a route takes, and how much it is preferred to others: what its settings say, ready to be asked for each mail.

use super::settings::{RouteSettings, domain};
use crate::mail::{Lane, MailLane, MerchantId};

/// Which mails a route takes, and how much it is preferred.
#[derive(Clone, Debug)]
pub struct Preference {
    /// Routes with the lowest number go first.
    pub priority: u32,
    /// The share among routes of the same priority; at least 1.
    pub weight: u32,
    merchants: Vec<MerchantId>,
    sender_domains: Vec<String>,
    lanes: Vec<MailLane>,
}

impl Preference {
    /// Takes what it needs from checked settings.
    pub(super) fn of(settings: &RouteSettings) -> Self {
        Self {
            priority: settings.priority,
            weight: settings.weight,
            merchants: settings.merchants.clone(),
            sender_domains: settings.sender_domains.iter().filter_map(|name| domain(name)).collect(),
            lanes: settings.lanes.clone(),
        }
    }

    /// Whether the route takes a mail of this merchant, from this sender's domain (in lower case), of this lane. A domain that is
    /// not known is none of those that are named.
    pub fn takes(&self, merchant: &MerchantId, sender_domain: Option<&str>, lane: Lane) -> bool {
        self.may_take(merchant, lane)
            && (self.sender_domains.is_empty()
                || sender_domain.is_some_and(|name| self.sender_domains.iter().any(|each| each == name)))
    }

    /// Whether it takes mails of this merchant and this lane, if from one of its senders' domains.
    pub fn may_take(&self, merchant: &MerchantId, lane: Lane) -> bool {
        (self.merchants.is_empty() || self.merchants.contains(merchant))
            && (self.lanes.is_empty() || self.lanes.iter().any(|each| Lane::from(*each) == lane))
    }

    /// Whether it takes every mail of this lane.
    pub(super) fn takes_all_of(&self, lane: MailLane) -> bool {
        self.merchants.is_empty()
            && self.sender_domains.is_empty()
            && (self.lanes.is_empty() || self.lanes.contains(&lane))
    }
}
