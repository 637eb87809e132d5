//! Which mails a command is about: a query, and flags that stand for its terms. `--order 1001` is `order:1001`.

use std::{ffi::OsString, fmt::Display};

use super::context::WrongUsage;
use crate::mail::{MailId, search::Key};

/// The most characters of a wrong value that are repeated.
const MOST_REPEATED: usize = 200;

#[derive(clap::Args)]
pub(super) struct Filter {
    /// Which mails, such as order:1001 or state:failed; a hyphen before a term negates it.
    query: Vec<String>,
    /// Only mails of this merchant.
    #[arg(long)]
    merchant: Option<String>,
    /// Only mails about this order.
    #[arg(long)]
    order: Option<String>,
    /// Only mails about this cart.
    #[arg(long)]
    cart: Option<String>,
    /// Only mails about this subscription.
    #[arg(long)]
    subscription: Option<String>,
    /// Only mails of this batch.
    #[arg(long)]
    batch: Option<String>,
    /// Only mails to this address, or to this domain, such as @example.net.
    #[arg(long)]
    recipient: Option<String>,
    /// Only mails in this state.
    #[arg(long)]
    state: Option<String>,
    /// Only mails whose last reply was of this class.
    #[arg(long)]
    class: Option<String>,
    /// Only mails in this lane.
    #[arg(long)]
    lane: Option<String>,
    /// Only mails recorded at this time or later: 2h, 2026-11-01, 2026-11-01T10:00:00Z.
    #[arg(long)]
    since: Option<String>,
    /// Only mails recorded before this time.
    #[arg(long)]
    until: Option<String>,
}

impl Filter {
    /// The query that the words and the flags make.
    pub(super) fn text(&self) -> String {
        let flags = self.flags();
        let flags = flags.iter().filter_map(|(key, value)| Some(key.spell(value.as_deref()?)));
        let words = self.query.iter().map(|word| word.trim().to_owned());
        words.chain(flags).collect::<Vec<_>>().join(" ")
    }

    /// The id, where nothing but one is given.
    pub(super) fn only_id(&self) -> Option<MailId> {
        match self.query.as_slice() {
            [word] if self.flags().iter().all(|(_, value)| value.is_none()) => word.parse().ok(),
            _ => None,
        }
    }

    fn flags(&self) -> [(Key, &Option<String>); 11] {
        [
            (Key::Merchant, &self.merchant),
            (Key::Order, &self.order),
            (Key::Cart, &self.cart),
            (Key::Subscription, &self.subscription),
            (Key::Batch, &self.batch),
            (Key::To, &self.recipient),
            (Key::State, &self.state),
            (Key::Class, &self.class),
            (Key::Lane, &self.lane),
            (Key::Since, &self.since),
            (Key::Until, &self.until),
        ]
    }
}

/// The words of a command line, of which those that negate a term, as in `mail list -state:sent`, look like no flag to
/// clap. No command about mails has flags of one hyphen and several letters.
pub(super) fn with_negated_terms(words: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_about_mails = false;
    words.map(move |word| {
        is_about_mails |= word == "mail";
        match word.to_str() {
            Some(text)
                if is_about_mails && text.len() > 2 && text.starts_with('-') && !text.starts_with("--") =>
            {
                format!(" {text}").into()
            }
            _ => word,
        }
    })
}

/// Refuses a query, and repeats it where there is one.
pub(super) fn refused(text: &str, why: impl Display) -> WrongUsage {
    match text {
        "" => WrongUsage(why.to_string()),
        text => WrongUsage(format!("{why}: {}", beginning(text))),
    }
}

/// The beginning of what was given. What people paste may be anything, and is not repeated at length.
pub(super) fn beginning(text: &str) -> String {
    let mut beginning: String = text.chars().take(MOST_REPEATED).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_refused_is_repeated_where_there_is_one() {
        assert_eq!(refused("state:lost", "`lost` is no state").to_string(), "`lost` is no state: state:lost");
        assert_eq!(refused("", "an action needs a filter").to_string(), "an action needs a filter");
        assert!(refused(&"a".repeat(10_000), "too long").to_string().ends_with("a…"));
    }
}
