//! What follows from an answer of a relay for its route and for the domains: they stop, slow down, or go on.

use tokio::time::Instant;

use super::{attempt_error::AttemptError, route::Route, wire::ServerReply};
use crate::{
    mail::{Consequence, Judgement, ReplyScope},
    telemetry::{METRICS, metrics::RouteStopLabels},
};

/// Whom a mail is from and for, by their domains, and over what kind of connection it went.
pub(super) struct Asked<'a> {
    pub(super) sender: &'a str,
    pub(super) recipient: &'a str,
    /// Nothing was sent over the connection before.
    pub(super) is_fresh: bool,
}

impl Route {
    /// Notes that the relay lost what came right behind a message: nothing comes there for a while.
    pub(super) fn note_failed_group(&self) {
        if self.relay.pool.pooled().grouping.failed(Instant::now()) {
            tracing::info!(
                route = self.name(),
                "the relay does not take the next mail right behind a message: for ten minutes each mail waits for the answer to the one before it"
            );
        }
    }

    /// Notes that the relay lost what came right behind MAIL: each command waits for the answer to the one before it for a while.
    pub(super) fn note_failed_envelope(&self) {
        if self.relay.pool.pooled().grouping.envelope_failed(Instant::now()) {
            tracing::info!(
                route = self.name(),
                "the relay offers PIPELINING and loses commands that come together: for ten minutes it gets one at a time"
            );
        }
    }

    /// Stops or slows down what an answer says must stop or slow down, and lets go on what was taken.
    pub(super) fn note_answer(&self, asked: &Asked<'_>, said: &Result<ServerReply, AttemptError>) {
        let now = Instant::now();
        match said {
            Err(error) if error.stops_the_route() => {
                if self.breaker().refused(error, now) {
                    self.note_stop(error);
                }
                return;
            }
            Err(error) if error.code().is_none() => {
                if asked.is_fresh && error.is_a_fault_of_the_relay() {
                    self.note_nothing(error, now);
                }
                return;
            }
            Err(error) if error.is_a_fault_of_the_relay() => self.note_nothing(error, now),
            // The relay has heard of the mail and said something about it.
            Ok(_) | Err(_) => self.takes_us_again(),
        }
        match said {
            Ok(_) => {
                if self.breaker().took_one(now) {
                    tracing::info!(route = self.name(), "the relay takes mails at any pace again");
                }
            }
            Err(error) if error.is_about_our_rate() => self.note_pace(error, now),
            Err(_) => {}
        }
        self.note_domains(asked, said, now);
    }

    fn note_domains(&self, asked: &Asked<'_>, said: &Result<ServerReply, AttemptError>, now: Instant) {
        let Asked { sender, recipient, .. } = asked;
        let judgement = said.as_ref().map_or_else(|error| error.judgement, |_| Judgement::ACCEPTED);
        let slows = matches!(judgement.then, Consequence::Slow | Consequence::Stop);
        if judgement.then == Consequence::Done || slows && judgement.scope == ReplyScope::RecipientDomain {
            self.with_recipients(|recipients| recipients.note(recipient, &judgement, now));
        }
        let is_news = self.with_senders(|senders| {
            let is_about_sender = judgement.scope == ReplyScope::SenderDomain && !sender.is_empty();
            let is_news = is_about_sender
                && judgement.then == Consequence::Stop
                && senders.not_before(sender, now).is_none();
            if is_about_sender || judgement.then == Consequence::Done {
                senders.note(sender, &judgement, now);
            }
            is_news
        });
        if let (true, Err(error)) = (is_news, said) {
            self.note_stop(error);
        }
    }

    /// Notes that a mail came to nothing, and tells operators once the route is away over it.
    fn note_nothing(&self, error: &AttemptError, now: Instant) {
        if self.breaker().came_to_nothing(error, now) != Some(1) {
            return;
        }
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let (host, port) = self.relay.dialer.host_and_port();
        let reason = self.relay.dialer.words_for_the_log(error);
        tracing::warn!(
            route,
            host,
            port,
            phase,
            code,
            reason,
            "the relay takes connections and no mail: mails go another way or wait"
        );
    }

    /// Slows the route down, and tells operators.
    fn note_pace(&self, error: &AttemptError, now: Instant) {
        if !self.breaker().gets_too_much(error, now) {
            return;
        }
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let wait = error.judgement.wait.map(|wait| wait.as_secs());
        let words = self.relay.dialer.words_for_the_log(error);
        tracing::warn!(route, phase, code, wait, words, "the relay gets too much: the route slows down");
    }

    fn takes_us_again(&self) {
        if self.breaker().reset_stop() {
            tracing::info!(route = self.name(), "the relay takes us again");
        }
    }

    /// Tells operators that something must be mended before mails go on.
    pub(super) fn note_stop(&self, error: &AttemptError) {
        let Judgement { class, scope, .. } = error.judgement;
        let labels =
            RouteStopLabels { route: self.name().to_owned(), class: class.as_str(), scope: scope.as_str() };
        METRICS.route_stops.get_or_create(&labels).inc();
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let (host, port) = self.relay.dialer.host_and_port();
        let words = self.relay.dialer.words_for_the_log(error);
        tracing::error!(route, host, port, phase, code, %class, %scope, words, "the relay refuses us: mails wait until this is mended");
    }

    /// Tells operators that there is no connection, in the relay's own words less our credentials.
    pub(super) fn note_failure(&self, error: &AttemptError, failures: u32) {
        let Some(times) = self.relay.away.failed() else { return };
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let (host, port) = self.relay.dialer.host_and_port();
        let reason = self.relay.dialer.words_for_the_log(error);
        tracing::warn!(route, host, port, phase, code, reason, failures, times, "no connection to the relay");
    }
}
