//! What a relay said to one attempt.

use std::{fmt, str::FromStr, time::Duration};

use super::{reply_class::Judgement, state::closed_set};

closed_set! {
    /// How far an attempt came. Where it ended decides what its failure means.
    Phase {
        /// Before any route: the template could not be rendered.
        Render = "render",
        /// Before any connection: no route, or none that may be used now.
        Route = "route",
        /// Name look-up and TCP connect.
        Connect = "connect",
        /// The server's first line.
        Greeting = "greeting",
        /// EHLO or HELO.
        Hello = "hello",
        /// STARTTLS or implicit TLS.
        Tls = "tls",
        /// AUTH.
        Auth = "auth",
        /// MAIL FROM.
        MailFrom = "mail_from",
        /// RCPT TO.
        RcptTo = "rcpt_to",
        /// DATA, up to its 354.
        Data = "data",
        /// The message, up to its final dot.
        Content = "content",
        /// The final dot is sent; the relay's answer decides.
        Final = "final",
    }
}

closed_set! {
    /// What one attempt came to.
    AttemptOutcome {
        /// The relay took the mail (2xx to the final dot).
        Accepted = "accepted",
        /// Not now: 4xx, no connection, a time-out before the final dot.
        Transient = "transient",
        /// Never: 5xx to the sender, the recipient or the message.
        Permanent = "permanent",
        /// The final dot was sent and no answer came: the relay may have the mail.
        Unknown = "unknown",
    }
}

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What it is about, for example 7 for security or policy.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl FromStr for EnhancedCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut number = |longest: usize| -> Result<u16, ()> {
            let digits = parts.next().ok_or(())?;
            if digits.is_empty() || digits.len() > longest || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(());
            }
            digits.parse().map_err(|_| ())
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        match (class, parts.next()) {
            (2 | 4 | 5, None) => Ok(Self { class: class as u8, subject, detail }),
            _ => Err(()),
        }
    }
}

/// What one attempt to hand a mail to a route came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The route that was tried; empty when there was none.
    pub route: String,
    /// How far the attempt came.
    pub phase: Phase,
    /// What it came to.
    pub outcome: AttemptOutcome,
    /// The reply code (RFC 5321, section 4.2), where a server spoke.
    pub code: Option<u16>,
    /// The enhanced status code (RFC 3463), where the server gave one.
    pub enhanced: Option<EnhancedCode>,
    /// The server's words, or ours where it said nothing; at most 1,024 bytes, without control characters.
    pub text: String,
    /// The id that the relay gave the mail in its final reply.
    pub provider_id: Option<String>,
    /// From the choice of the route to the last word.
    pub took: Duration,
    /// What it means.
    pub judgement: Judgement,
    /// What was said on the wire, for operators, where the attempt failed: no credentials, no content, at most 8 KB.
    pub transcript: Option<String>,
}

impl Reply {
    /// A failure that no server spoke of: no connection, a time-out, a broken dialogue.
    pub fn silent(route: &str, phase: Phase, text: impl Into<String>, took: Duration) -> Self {
        let outcome = if phase == Phase::Final { AttemptOutcome::Unknown } else { AttemptOutcome::Transient };
        let text = text.into();
        Self {
            route: route.to_owned(),
            phase,
            outcome,
            code: None,
            enhanced: None,
            text,
            provider_id: None,
            took,
            judgement: Judgement::CONNECTION,
            transcript: None,
        }
    }

    /// Whether a relay itself said no to this mail, and not to us.
    pub fn is_a_refusal(&self) -> bool {
        self.code.is_some_and(|code| code >= 400) && !self.judgement.stops_the_route()
    }
}

impl fmt::Display for Reply {
    /// One line for people: the codes where a server spoke, and the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code} ")?;
        }
        match self.enhanced {
            Some(enhanced) if !self.text.starts_with(&enhanced.to_string()) => {
                write!(f, "{enhanced} {}", self.text)
            }
            _ => f.write_str(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_parse_as_rfc_3463_writes_them() {
        assert_eq!("5.7.26".parse(), Ok(EnhancedCode { class: 5, subject: 7, detail: 26 }));
        for wrong in ["", "5", "5.7", "3.1.1", "5.7.1.1", "5..1", "5.7.1000", "a.b.c", "55.7.1"] {
            assert_eq!(wrong.parse::<EnhancedCode>(), Err(()), "{wrong}");
        }
    }
}
