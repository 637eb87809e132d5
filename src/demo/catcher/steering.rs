//! What the catcher does with a mail, told by the local part of its recipient.
//!
//! The dialogue asks here once per RCPT; the table for people is [`TABLE`], which the help page shows.

use std::time::Duration;

/// How long `slow` waits when its local part names no number.
const SLOW: Duration = Duration::from_secs(2);

/// The longest wait that a local part can ask for.
const SLOWEST: Duration = Duration::from_secs(600);

/// What the catcher does with a mail to one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Takes the mail.
    Accept,
    /// 451 to the first RCPT of this address, then as [`Conduct::Accept`].
    GreylistOnce,
    /// 451 to every RCPT.
    Defer,
    /// 451 after the final dot.
    DeferData,
    /// 550 to every RCPT.
    Reject,
    /// 554 after the final dot.
    RejectData,
    /// Takes the mail, but waits this long before it says so.
    Slow(Duration),
    /// Closes the connection at RCPT without a word.
    HangUp,
    /// Keeps the mail and closes the connection instead of answering the final dot.
    DropAfterData,
    /// 421 at MAIL (for a sender of that name) or RCPT, and closes.
    Busy,
}

/// Every word with what it does, in the order of the help page.
pub const TABLE: [(&str, Conduct, &str); 10] = [
    ("ok", Conduct::Accept, "Takes the mail, as with every word that is not in this table."),
    (
        "greylist-once",
        Conduct::GreylistOnce,
        "451 4.7.1 to the first RCPT of that address, afterwards it is taken.",
    ),
    ("defer", Conduct::Defer, "451 4.3.0 to every RCPT."),
    ("defer-data", Conduct::DeferData, "451 4.3.0 after the final dot."),
    ("reject", Conduct::Reject, "550 5.1.1 to every RCPT."),
    ("reject-data", Conduct::RejectData, "554 5.6.0 after the final dot."),
    ("slow", Conduct::Slow(SLOW), "Waits 2 seconds before the final reply; slow-500 waits 500 milliseconds."),
    ("hang-up", Conduct::HangUp, "Closes the connection at RCPT without a reply."),
    (
        "drop-after-data",
        Conduct::DropAfterData,
        "Keeps the mail, but closes the connection instead of answering the final dot.",
    ),
    ("busy", Conduct::Busy, "421 4.3.2 at RCPT (as a sender: at MAIL), and closes the connection."),
];

impl Conduct {
    /// Reads the local part of `address`: a word of [`TABLE`], in any case, alone or followed by `+` or `-` and anything.
    pub fn of(address: &str) -> Self {
        let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
        let told = TABLE.iter().filter_map(|(word, conduct, _)| Some((word, conduct.told_by(word, local)?)));
        // `reject-data` is also `reject` and something: the longer word is meant.
        told.max_by_key(|(word, _)| word.len()).map_or(Self::Accept, |(_, conduct)| conduct)
    }

    fn told_by(self, word: &str, local: &str) -> Option<Self> {
        let (head, rest) = local.split_at_checked(word.len())?;
        if !head.eq_ignore_ascii_case(word) || !(rest.is_empty() || rest.starts_with(['+', '-'])) {
            return None;
        }
        match self {
            Self::Slow(_) => Some(Self::Slow(named_wait(rest).unwrap_or(SLOW).min(SLOWEST))),
            conduct => Some(conduct),
        }
    }
}

/// The milliseconds in `-500` or `-500+anything`.
fn named_wait(rest: &str) -> Option<Duration> {
    let number = rest.get(1..)?.split(['+', '-']).next()?;
    number.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_part_steers_alone_or_before_a_plus_or_a_hyphen() {
        let slow = |millis| Conduct::Slow(Duration::from_millis(millis));
        for (address, conduct) in [
            ("ok@shop.test", Conduct::Accept),
            ("anna@shop.test", Conduct::Accept),
            ("rejected@shop.test", Conduct::Accept),
            ("not-reject@shop.test", Conduct::Accept),
            ("reject@shop.test", Conduct::Reject),
            ("REJECT@shop.test", Conduct::Reject),
            ("reject+a@b@shop.test", Conduct::Reject),
            ("reject-17@shop.test", Conduct::Reject),
            ("reject-data@shop.test", Conduct::RejectData),
            ("reject-data-3@shop.test", Conduct::RejectData),
            ("reject-database@shop.test", Conduct::Reject),
            ("defer-9@shop.test", Conduct::Defer),
            ("defer-data+9@shop.test", Conduct::DeferData),
            ("greylist-once+x@shop.test", Conduct::GreylistOnce),
            ("greylist@shop.test", Conduct::Accept),
            ("slow@shop.test", slow(2_000)),
            ("slow-500@shop.test", slow(500)),
            ("slow+500-anna@shop.test", slow(500)),
            ("slow-anna@shop.test", slow(2_000)),
            ("slow-99999999999@shop.test", slow(600_000)),
            ("hang-up@shop.test", Conduct::HangUp),
            ("drop-after-data-1@shop.test", Conduct::DropAfterData),
            ("busy@shop.test", Conduct::Busy),
            ("rejé@shop.test", Conduct::Accept),
        ] {
            assert_eq!(Conduct::of(address), conduct, "{address}");
        }
    }
}
