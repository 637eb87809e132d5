//! How long we wait for a relay, and how many mails a connection carries. The defaults suit production; tests shorten them.

use std::time::Duration;

/// How long each step of the dialogue may take.
///
/// RFC 5321, section 4.5.3.2 asks for 5 minutes in most phases. We wait less before the message is sent: giving up there
/// costs a retry and frees a worker, and relays that need more than a minute to say hello are in trouble. Once the
/// message is on its way we are patient, because giving up after the final dot leaves an unknown outcome.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Name look-up and TCP connect, all addresses together.
    pub connect: Duration,
    /// The first line of the server (RFC: 5 minutes).
    pub greeting: Duration,
    /// Each answer to EHLO, HELO, STARTTLS and AUTH, and the TLS handshake.
    pub hello: Duration,
    /// Each answer to RSET, MAIL and RCPT (RFC: 5 minutes).
    pub command: Duration,
    /// The answer to DATA (RFC: 2 minutes).
    pub data: Duration,
    /// Each block of at most 64 KB of the message (RFC: 3 minutes).
    pub block: Duration,
    /// The answer to the final dot (RFC: 10 minutes; half of that is common practice).
    pub final_reply: Duration,
    /// The answer to QUIT. We only wait at all so that the relay sees an orderly end.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(60),
            hello: Duration::from_secs(60),
            command: Duration::from_secs(60),
            data: Duration::from_secs(120),
            block: Duration::from_secs(180),
            final_reply: Duration::from_secs(300),
            quit: Duration::from_secs(2),
        }
    }
}

impl Timeouts {
    /// Those of a relay that may take so long for an answer before the message is sent, in the proportions of the defaults.
    pub fn of(answer: Duration) -> Self {
        Self {
            greeting: answer,
            hello: answer,
            command: answer,
            data: 2 * answer,
            block: 3 * answer,
            final_reply: 5 * answer,
            ..Self::default()
        }
    }
}

/// Everything about a route's behaviour that an operator need not set.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// The patience in each phase.
    pub timeouts: Timeouts,
    /// An unused connection is closed after this time; many relays hang up after a minute or so.
    pub idle: Duration,
    /// A connection is replaced after this many mails, so that load spreads when a relay has several machines.
    pub mails_per_connection: u32,
    /// The wait before a route that went away is tried again; it doubles with each failure.
    pub first_pause: Duration,
    /// The longest such wait.
    pub longest_pause: Duration,
    /// A relay that took a mail within this time is quick, and so is one that answers a message within it: a mail may wait for a
    /// connection that is at work.
    pub quick: Duration,
    /// So long it does where there are other slots.
    pub patience: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            idle: Duration::from_secs(30),
            mails_per_connection: 1_000,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            quick: Duration::from_millis(250),
            patience: Duration::from_millis(100),
        }
    }
}
