//! A route as admission sees it: with its rate, and whether it is drained.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    limits::{Rate, Scope},
    mail::{Lane, MerchantId, WaitReason},
    queue::{Line, QueuedJob},
    smtp::Route,
};

/// Mails that wait for a connection of a route look for one at this interval, and go on at once as long as all find one.
const CONNECTION_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Mails of a relay that is away are not looked at more often than this.
const AWAY_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// A route that mails may take.
pub(super) struct AdmissionRoute {
    pub(super) smtp_route: Arc<Route>,
    pub(super) name: Arc<str>,
    pub(super) scope: Scope,
    pub(super) rate: Option<Rate>,
    is_drained: AtomicBool,
}

impl AdmissionRoute {
    pub(super) fn new(route: Arc<Route>, rate: Option<Rate>) -> Self {
        let name: Arc<str> = Arc::from(route.name());
        let scope = Scope::Route(Arc::clone(&name));
        Self { smtp_route: route, scope, name, rate, is_drained: AtomicBool::new(false) }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Relaxed)
    }

    /// Notes whether it is drained, and returns whether that is news.
    pub(super) fn set_drained(&self, is_drained: bool) -> bool {
        self.is_drained.swap(is_drained, Ordering::Relaxed) != is_drained
    }

    /// Whether it takes such mails.
    pub(super) fn takes(&self, mail: &QueuedJob) -> bool {
        let sender = mail.domains.as_ref().map(|domains| &*domains.sender);
        self.smtp_route.preference().takes(&mail.merchant, sender, mail.lane)
    }

    /// Whether it takes mails of this merchant and this lane, if need be from certain senders only.
    pub(super) fn may_take(&self, merchant: &MerchantId, lane: Lane) -> bool {
        !self.is_drained() && self.smtp_route.preference().may_take(merchant, lane)
    }

    /// The line of mails whose relay is away for this long. One of them tries, and if it succeeds the others follow.
    pub(super) fn line_while_away(&self, pause: Duration) -> Line {
        self.line(WaitReason::RouteAway, pause.max(AWAY_RETRY_INTERVAL), 1)
    }

    /// The line of mails for which it has no connection while other routes, which do not take them, have.
    pub(super) fn line_for_a_connection(&self) -> Line {
        let status = self.smtp_route.status();
        self.line(WaitReason::NoConnection, CONNECTION_RETRY_INTERVAL, status.connections.clamp(8, 100))
    }

    fn line(&self, reason: WaitReason, after: Duration, at_most: usize) -> Line {
        Line { name: self.scope.to_string(), reason, after: Some(after), at_most }
    }
}
