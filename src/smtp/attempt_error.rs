//! Why a dialogue ended early, and the [`Reply`] that this makes for the mail.

use std::{io, time::Duration};

use super::{
    replies::{ReplyRules, Said},
    wire::{ProtocolError, ServerReply, printable},
};
use crate::mail::{
    AttemptOutcome, Consequence, EnhancedCode, Judgement, Phase, Reply, ReplyClass, ReplyScope,
};

/// The connection can no longer be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the server closed the connection")]
    Closed,
    #[error("connection lost: {0}")]
    Failed(io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("broken dialogue: the server sent {0}")]
    Protocol(#[from] ProtocolError),
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// The end of an attempt that did not succeed.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) phase: Phase,
    /// What it means; by the shipped rules until the route [judges](Self::judge) it.
    pub(super) judgement: Judgement,
    /// What was said before it, where that is known.
    pub(super) transcript: Option<String>,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// The server refused.
    Reply(ServerReply),
    /// The connection broke.
    ConnectionLost(ConnectionError),
    /// We may not offer the mail any more. Nothing of it was sent.
    Withheld,
    /// We saw that it makes no sense to go on.
    Local { outcome: AttemptOutcome, enhanced: Option<EnhancedCode>, text: String },
}

impl AttemptError {
    /// The server refused: a 4xx or 5xx reply.
    pub(super) fn replied(phase: Phase, reply: ServerReply) -> Self {
        Self::new(phase, Cause::Reply(reply))
    }

    pub(super) fn lost(phase: Phase, lost: impl Into<ConnectionError>) -> Self {
        Self::new(phase, Cause::ConnectionLost(lost.into()))
    }

    /// The mail may not be offered any more; nothing of the message was sent.
    pub(super) fn withheld(phase: Phase) -> Self {
        Self::new(phase, Cause::Withheld)
    }

    /// Whether it ended because the mail may not be offered any more.
    pub(super) fn is_withheld(&self) -> bool {
        matches!(self.cause, Cause::Withheld)
    }

    /// We cannot send the mail now.
    pub(super) fn transient(phase: Phase, text: impl Into<String>) -> Self {
        Self::new(
            phase,
            Cause::Local { outcome: AttemptOutcome::Transient, enhanced: None, text: text.into() },
        )
    }

    /// We can never send this mail to this server.
    pub(super) fn permanent(phase: Phase, enhanced: (u16, u16), text: impl Into<String>) -> Self {
        let (subject, detail) = enhanced;
        let enhanced = Some(EnhancedCode { class: 5, subject, detail });
        Self::new(phase, Cause::Local { outcome: AttemptOutcome::Permanent, enhanced, text: text.into() })
    }

    fn new(phase: Phase, cause: Cause) -> Self {
        let mut error = Self { phase, judgement: Judgement::CONNECTION, transcript: None, cause };
        error.judge(&ReplyRules::shipped(), "", &[]);
        error
    }

    /// Says what it means by these rules, over this route, for a mail between these domains.
    pub(super) fn judge(&mut self, rules: &ReplyRules, route: &str, domains: &[&str]) {
        self.judgement = match &self.cause {
            Cause::Reply(reply) => {
                let (code, enhanced, text) = (reply.code, reply.enhanced(), reply.text());
                rules.judge(&Said { code, enhanced, text: &text, phase: self.phase, route, domains })
            }
            Cause::ConnectionLost(_) | Cause::Withheld => Judgement::CONNECTION,
            Cause::Local { outcome: AttemptOutcome::Permanent, .. } => Judgement::MESSAGE_FAULT,
            // What we want and the relay does not offer: encryption, a way to sign in.
            Cause::Local { .. } if matches!(self.phase, Phase::Tls | Phase::Auth) => Judgement {
                class: ReplyClass::Config,
                then: Consequence::Stop,
                scope: ReplyScope::Route,
                wait: None,
            },
            Cause::Local { .. } => Judgement::CONNECTION,
        };
    }

    /// Whether the server had hung up, or was about to, before it saw anything of the message. On a connection that
    /// lay idle this says nothing about the relay, and another connection may be tried at once.
    pub(super) fn is_about_an_old_connection(&self) -> bool {
        let hung_up = match &self.cause {
            Cause::Reply(reply) => reply.is_closing_channel(),
            Cause::ConnectionLost(ConnectionError::TimedOut(_)) | Cause::Withheld | Cause::Local { .. } => {
                false
            }
            Cause::ConnectionLost(_) => true,
        };
        self.is_before_content() && hung_up
    }

    /// Whether the server fell silent before it saw anything of the message, or gave answers that fit no command.
    pub(super) fn is_out_of_step(&self) -> bool {
        let lost_count = matches!(
            &self.cause,
            Cause::ConnectionLost(ConnectionError::TimedOut(_) | ConnectionError::Protocol(_))
        );
        self.is_before_content() && lost_count
    }

    /// Whether the server refused MAIL, and did not hang up.
    pub(super) fn is_refused_at_mail(&self) -> bool {
        self.phase == Phase::MailFrom
            && matches!(&self.cause, Cause::Reply(reply) if !reply.is_closing_channel())
    }

    /// Whether the relay takes no further mail over this connection, and says nothing against the mail.
    pub(super) fn is_about_a_full_connection(&self) -> bool {
        let Judgement { class, then, scope, .. } = self.judgement;
        matches!((class, then, scope), (ReplyClass::RateLimited, Consequence::Retry, ReplyScope::Route))
    }

    /// Whether another connection may be tried at once when this was said on one that had been used before.
    pub(super) fn is_about_a_used_connection(&self) -> bool {
        self.is_about_an_old_connection() || self.is_about_a_full_connection() && self.is_before_content()
    }

    /// Whether the relay gets too much of us, whatever the mail.
    pub(super) fn is_about_our_rate(&self) -> bool {
        matches!((self.judgement.then, self.judgement.scope), (Consequence::Slow, ReplyScope::Route))
    }

    /// Whether it is a fault of the relay that passes, or the connection was lost, before the relay heard of the content.
    pub(super) fn is_a_fault_of_the_relay(&self) -> bool {
        let Judgement { class, then, scope, .. } = self.judgement;
        let is_a_fault = match &self.cause {
            Cause::Reply(_) => {
                matches!((class, then, scope), (ReplyClass::Temporary, Consequence::Retry, ReplyScope::Route))
            }
            Cause::ConnectionLost(_) => true,
            Cause::Withheld | Cause::Local { .. } => false,
        };
        self.is_before_content() && is_a_fault
    }

    fn is_before_content(&self) -> bool {
        matches!(self.phase, Phase::MailFrom | Phase::RcptTo | Phase::Data)
    }

    /// Whether it is about us and not about the mail, whatever its code: we are not signed in, may not relay, need TLS, are
    /// beyond our quota, or the two sides have lost each other.
    pub(super) fn stops_the_route(&self) -> bool {
        self.judgement.stops_the_route()
    }

    /// The relay's own words, where it refused. They may repeat who tried to sign in, and with what.
    pub(super) fn words(&self) -> Option<String> {
        match &self.cause {
            Cause::Reply(reply) => Some(reply.text()),
            Cause::ConnectionLost(_) | Cause::Local { .. } | Cause::Withheld => None,
        }
    }

    /// What happened, in words for merchants. What a relay says before it has heard of the mail, or about us, is not
    /// theirs to read: it is said in our words.
    pub(super) fn text(&self) -> String {
        match &self.cause {
            Cause::Reply(reply) if self.stops_the_route() || !is_about_the_mail(self.phase) => {
                format!("{} ({})", our_words(self.phase), reply.code)
            }
            Cause::Reply(reply) => reply.text(),
            Cause::ConnectionLost(lost) if self.phase == Phase::Final => {
                printable(&format!("{lost}; the final dot was sent, so the relay may have the mail"))
            }
            Cause::ConnectionLost(lost) => printable(&lost.to_string()),
            Cause::Withheld => "not offered".to_owned(),
            Cause::Local { text, .. } => printable(text),
        }
    }

    /// The code, where a server spoke.
    pub(super) fn code(&self) -> Option<u16> {
        match &self.cause {
            Cause::Reply(reply) => Some(reply.code),
            Cause::ConnectionLost(_) | Cause::Withheld | Cause::Local { .. } => None,
        }
    }

    /// What this means for the mail.
    fn outcome(&self) -> AttemptOutcome {
        match &self.cause {
            Cause::Reply(_) if self.judgement.fails_the_mail() => AttemptOutcome::Permanent,
            Cause::Reply(_) => AttemptOutcome::Transient,
            Cause::ConnectionLost(_) if self.phase == Phase::Final => AttemptOutcome::Unknown,
            Cause::ConnectionLost(_) | Cause::Withheld => AttemptOutcome::Transient,
            Cause::Local { outcome, .. } => *outcome,
        }
    }

    /// The reply for an attempt over `route` that took so long.
    pub(super) fn into_reply(self, route: &str, took: Duration) -> Reply {
        let enhanced = match &self.cause {
            Cause::Reply(reply) => reply.enhanced(),
            Cause::ConnectionLost(_) | Cause::Withheld => None,
            Cause::Local { enhanced, .. } => *enhanced,
        };
        Reply {
            route: route.to_owned(),
            phase: self.phase,
            outcome: self.outcome(),
            code: self.code(),
            enhanced,
            text: self.text(),
            provider_id: None,
            took,
            judgement: self.judgement,
            transcript: self.transcript,
        }
    }
}

/// What a relay did that refused us in this phase.
const fn our_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Render | Phase::Route | Phase::Connect => "the relay could not be reached",
        Phase::Greeting => "the relay takes no connections from us",
        Phase::Hello => "the relay refused our greeting",
        Phase::Tls => "the relay refused to encrypt the connection",
        Phase::Auth => "the relay refused our sign-in",
        Phase::MailFrom | Phase::RcptTo | Phase::Data | Phase::Content | Phase::Final => {
            "the relay refused us, not the mail"
        }
    }
}

/// Whether a refusal in this phase is about the mail; before it, it is about us and the relay.
fn is_about_the_mail(phase: Phase) -> bool {
    match phase {
        Phase::Render
        | Phase::Route
        | Phase::Connect
        | Phase::Greeting
        | Phase::Hello
        | Phase::Tls
        | Phase::Auth => false,
        Phase::MailFrom | Phase::RcptTo | Phase::Data | Phase::Content | Phase::Final => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::wire::reply;

    #[test]
    fn a_5xx_is_final_only_when_it_is_about_the_mail() {
        for &phase in Phase::ALL {
            let outcome = |line: &str| AttemptError::replied(phase, reply(&[line])).outcome();
            let final_one = phase >= Phase::MailFrom;
            let expected = if final_one { AttemptOutcome::Permanent } else { AttemptOutcome::Transient };
            assert_eq!(outcome("550 no"), expected, "{phase}");
            assert_eq!(outcome("450 no"), AttemptOutcome::Transient, "{phase}");
            assert_eq!(outcome("421 bye"), AttemptOutcome::Transient, "{phase}");
        }
    }

    #[test]
    fn a_refusal_that_is_about_us_never_fails_the_mail() {
        for &phase in Phase::ALL {
            for code in [503, 530, 534, 535, 538] {
                let error =
                    AttemptError::replied(phase, reply(&[&format!("{code} 5.7.0 ann, hunter2 is wrong")]));
                assert_eq!(error.outcome(), AttemptOutcome::Transient, "{code} in {phase}");
                assert!(!error.text().contains("hunter2"), "{}", error.text());
                assert!(error.text().ends_with(&format!("({code})")), "{}", error.text());
            }
        }
    }

    #[test]
    fn before_the_mail_the_words_are_ours() {
        for &phase in Phase::ALL {
            let text = AttemptError::replied(phase, reply(&["450 4.7.1 you are ann"])).text();
            assert_eq!(text == "4.7.1 you are ann", is_about_the_mail(phase), "{phase}: {text}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_unknown_only_after_the_final_dot() {
        for &phase in Phase::ALL {
            let expected =
                if phase == Phase::Final { AttemptOutcome::Unknown } else { AttemptOutcome::Transient };
            for lost in [
                ConnectionError::Closed,
                ConnectionError::TimedOut(Duration::ZERO),
                ConnectionError::Protocol(ProtocolError::NotAReply),
            ] {
                assert_eq!(AttemptError::lost(phase, lost).outcome(), expected, "{phase}");
            }
        }
    }
}
