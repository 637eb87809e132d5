//! One rule: its conditions, and what it makes of a reply for which they hold.

use std::time::Duration;

use regex::bytes::Regex;

use crate::mail::{Consequence, EnhancedCode, Judgement, Phase, ReplyClass, ReplyScope};

/// What a relay said.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The reply code (RFC 5321, section 4.2).
    pub code: u16,
    /// The enhanced status code (RFC 3463), where one was found; the words may begin with it as well.
    pub enhanced: Option<EnhancedCode>,
    /// The words, all lines in one.
    pub text: &'a str,
    /// Where in the dialogue.
    pub phase: Phase,
    /// The route's name.
    pub route: &'a str,
    /// The domains of the mail's sender and recipient, which the words may repeat.
    pub domains: &'a [&'a str],
}

/// A rule that was read and found to make sense.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    /// From 1, in its file.
    pub(super) number: usize,
    pub(super) line: usize,
    pub(super) codes: Vec<CodePattern>,
    pub(super) enhanced: Vec<EnhancedPattern>,
    pub(super) phases: Vec<Phase>,
    pub(super) routes: Vec<String>,
    pub(super) patterns: Vec<String>,
    /// All patterns in one.
    pub(super) text: Option<Regex>,
    pub(super) class: ReplyClass,
    pub(super) then: Option<Consequence>,
    pub(super) scope: Option<ReplyScope>,
    pub(super) wait: Option<Duration>,
}

/// A reply code, or some of its digits: `550`, `45x`, `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodePattern([Option<u8>; 3]);

impl CodePattern {
    /// `None` when it is no pattern of a refusal.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let &[hundreds @ (b'4' | b'5'), tens, ones] = text.as_bytes() else { return None };
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(Some(byte - b'0')),
            b'x' => Some(None),
            _ => None,
        };
        Some(Self([digit(hundreds)?, digit(tens)?, digit(ones)?]))
    }

    fn matches(self, code: u16) -> bool {
        let digits = [code / 100, code / 10 % 10, code % 10];
        self.0
            .iter()
            .zip(digits)
            .all(|(wanted, digit)| wanted.is_none_or(|wanted| u16::from(wanted) == digit))
    }

    /// Whether every code of `other` is one of this.
    fn covers(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(wanted, given)| wanted.is_none() || *wanted == given)
    }
}

/// Enhanced codes: `5.1.1`, `x.1.1`, `x.1`, `x.7.606-649`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EnhancedPattern {
    class: Option<u8>,
    subject: u16,
    details: (u16, u16),
}

impl EnhancedPattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| -> Option<u16> {
            let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { text.parse().ok() } else { None }
        };
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "x" => None,
            "4" => Some(4),
            "5" => Some(5),
            _ => return None,
        };
        let subject = number(parts.next()?)?;
        let details = match parts.next() {
            None => (0, 999),
            Some(range) => {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                (number(first)?, number(last)?)
            }
        };
        (parts.next().is_none() && details.0 <= details.1).then_some(Self { class, subject, details })
    }

    fn matches(self, code: EnhancedCode) -> bool {
        self.class.is_none_or(|class| class == code.class)
            && self.subject == code.subject
            && (self.details.0..=self.details.1).contains(&code.detail)
    }

    fn covers(self, other: Self) -> bool {
        (self.class.is_none() || self.class == other.class)
            && self.subject == other.subject
            && self.details.0 <= other.details.0
            && self.details.1 >= other.details.1
    }
}

impl Rule {
    /// Whether all its conditions hold. `words` are those of the reply, as [`super::words`] and [`super::hosts`] cut them.
    pub(super) fn matches(&self, said: &Said<'_>, enhanced: Option<EnhancedCode>, words: &str) -> bool {
        let holds_enhanced =
            || enhanced.is_some_and(|code| self.enhanced.iter().any(|pattern| pattern.matches(code)));
        (self.codes.is_empty() || self.codes.iter().any(|pattern| pattern.matches(said.code)))
            && (self.enhanced.is_empty() || holds_enhanced())
            && (self.phases.is_empty() || self.phases.contains(&said.phase))
            && (self.routes.is_empty() || self.routes.iter().any(|route| route == said.route))
            && self.text.as_ref().is_none_or(|text| text.is_match(words.as_bytes()))
    }

    /// Whether nothing is left for `later` that this rule does not take.
    pub(super) fn covers(&self, later: &Self) -> bool {
        fn all<T>(mine: &[T], theirs: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
            let is_covered = |their: &T| mine.iter().any(|my| covers(my, their));
            mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(is_covered))
        }
        all(&self.codes, &later.codes, |my, their| my.covers(*their))
            && all(&self.enhanced, &later.enhanced, |my, their| my.covers(*their))
            && all(&self.phases, &later.phases, |my, their| my == their)
            && all(&self.routes, &later.routes, |my, their| my == their)
            && all(&self.patterns, &later.patterns, |my, their| my == their)
    }

    /// What it makes of a reply.
    pub(super) fn judge(&self, said: &Said<'_>) -> Judgement {
        let usual = usual(self.class, said.code, said.phase);
        let judgement = Judgement {
            class: self.class,
            then: self.then.unwrap_or(usual.then),
            scope: self.scope.unwrap_or(usual.scope),
            wait: self.wait,
        };
        mind_the_phase(judgement, said.phase)
    }
}

/// What follows from a class where no rule says it.
pub(super) fn usual(class: ReplyClass, code: u16, phase: Phase) -> Judgement {
    use {Consequence as C, ReplyClass as R, ReplyScope as S};
    let is_final = code >= 500;
    let either = |finally: C, for_now: C| if is_final { finally } else { for_now };
    let is_about_recipient = phase == Phase::RcptTo;
    let (then, scope) = match class {
        R::Accepted => (C::Done, S::Message),
        R::BadAddress => (either(C::Suppress, C::Retry), S::Recipient),
        R::MailboxFull => (either(C::Fail, C::Retry), S::Recipient),
        R::PolicyBlock => {
            (either(C::Fail, C::Slow), if is_about_recipient { S::Recipient } else { S::Message })
        }
        R::SpamContent | R::MessageFault => (either(C::Fail, C::Retry), S::Message),
        R::Reputation => (either(C::Stop, C::Slow), S::Route),
        R::RateLimited => (C::Slow, if is_about_recipient { S::RecipientDomain } else { S::Route }),
        R::Greylist => (C::Retry, S::Recipient),
        R::AuthFailure => (C::Stop, S::SenderDomain),
        R::Config => (C::Stop, S::Route),
        R::DomainWide => (either(C::Fail, C::Slow), S::RecipientDomain),
        R::Temporary => (C::Retry, if is_about_recipient { S::RecipientDomain } else { S::Route }),
        R::Connection => (C::Retry, S::Route),
        R::Unknown => (either(C::Fail, C::Retry), S::Message),
    };
    mind_the_phase(Judgement { class, then, scope, wait: None }, phase)
}

/// A refusal before MAIL is about us and the relay, so it fails no mail.
fn mind_the_phase(judgement: Judgement, phase: Phase) -> Judgement {
    if phase < Phase::MailFrom && judgement.fails_the_mail() {
        return Judgement { then: Consequence::Stop, scope: ReplyScope::Route, ..judgement };
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_match_digit_by_digit() {
        for (pattern, takes, leaves) in [("550", 550, 551), ("45x", 459, 440), ("5xx", 599, 499)] {
            let pattern = CodePattern::parse(pattern).unwrap();
            assert!(pattern.matches(takes) && !pattern.matches(leaves), "{pattern:?}");
        }
        for wrong in ["250", "2xx", "7xx", "xxx", "55", "5500", "", "5 0", "55X", "ü"] {
            assert_eq!(CodePattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn enhanced_codes_match_by_class_subject_and_detail() {
        for (pattern, takes, leaves) in [
            ("5.1.1", "5.1.1", "4.1.1"),
            ("x.1.1", "4.1.1", "5.1.10"),
            ("x.7", "5.7.999", "5.6.1"),
            ("x.7.606-649", "5.7.649", "5.7.650"),
        ] {
            let pattern = EnhancedPattern::parse(pattern).unwrap();
            assert!(pattern.matches(takes.parse().unwrap()) && !pattern.matches(leaves.parse().unwrap()));
        }
        for wrong in ["", "5", "2.1.1", "x.x.1", "5.1.9-2", "5.1.1.1", "5.1.", "x.7.a-b", "x.7000"] {
            assert_eq!(EnhancedPattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_refusal_before_mail_fails_a_mail() {
        for &class in ReplyClass::ALL {
            for &phase in Phase::ALL.iter().filter(|phase| **phase < Phase::MailFrom) {
                assert!(!usual(class, 550, phase).fails_the_mail(), "{class} in {phase}");
            }
        }
    }

    #[test]
    fn a_reply_about_the_route_fails_no_mail() {
        for class in
            [ReplyClass::Config, ReplyClass::AuthFailure, ReplyClass::Reputation, ReplyClass::RateLimited]
        {
            for &phase in Phase::ALL {
                assert!(!usual(class, 550, phase).fails_the_mail(), "{class} in {phase}");
            }
        }
    }
}
