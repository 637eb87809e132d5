//! Which mails a list shows: the newest ones, but of many with one sender and subject only the first few.
//!
//! So a batch does not push everything else from the page. What is left out is a link away.

use std::sync::Arc;

use super::{CaughtMail, inbox::Inbox};

/// How many mails a list shows at once.
const ROWS: usize = 200;
/// Mails that are looked at for a list.
const MOST: usize = 5_000;
/// So many mails in a row with one sender and subject are folded.
const FOLDED: usize = 10;
/// How many of these are shown.
const SHOWN: usize = 3;

/// What a list shows, newest first.
pub(super) struct List {
    pub(super) entries: Vec<Entry>,
}

/// A line of a list.
pub(super) enum Entry {
    /// A mail.
    Mail(Arc<CaughtMail>),
    /// So many mails, alike and between two numbers (both excluded).
    Folded { mails: usize, after: u64, before: u64 },
    /// There are older mails than that number, but none that interest after the other.
    Older { after: Option<u64>, before: u64 },
}

impl List {
    /// The newest mails.
    pub(super) fn newest(inbox: &Inbox) -> Self {
        Self::of(inbox, None, None)
    }

    /// The newest mails with a number between the two (both excluded). Where both are given, nothing is folded: this
    /// is how what was folded is asked for.
    pub(super) fn of(inbox: &Inbox, after: Option<u64>, before: Option<u64>) -> Self {
        let mails = inbox.between(after.unwrap_or(0), before.unwrap_or(u64::MAX), MOST);
        let fold_from = if after.is_some() && before.is_some() { usize::MAX } else { FOLDED };
        let (mut entries, mut looked_at) = (Vec::new(), 0);
        for alike in mails.chunk_by(|a, b| a.from() == b.from() && a.subject() == b.subject()) {
            let room = ROWS - entries.len();
            let is_folded = alike.len() >= fold_from;
            let shown = &alike[..alike.len().min(if is_folded { SHOWN } else { room }).min(room)];
            entries.extend(shown.iter().cloned().map(Entry::Mail));
            looked_at += if is_folded { alike.len() } else { shown.len() };
            if let (true, Some(last), Some(oldest)) = (is_folded, shown.last(), alike.last()) {
                let (after, before) = (oldest.number - 1, last.number);
                entries.push(Entry::Folded { mails: alike.len() - shown.len(), after, before });
            }
            if entries.len() >= ROWS {
                break;
            }
        }
        // What came after a mail is asked for by a page that has all the others.
        let wants_older = before.is_some() || after.is_none();
        let last = looked_at.checked_sub(1).and_then(|place| mails.get(place));
        if let (true, true, Some(last)) = (wants_older, looked_at == MOST || looked_at < mails.len(), last) {
            entries.push(Entry::Older { after, before: last.number });
        }
        Self { entries }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::inbox::tests::mail_about, *};

    fn inbox(subjects: &[(&str, usize)]) -> Inbox {
        let inbox = Inbox::new(10_000, usize::MAX);
        for (subject, times) in subjects {
            inbox.keep((0..*times).map(|_| mail_about(subject)));
        }
        inbox
    }

    fn told(list: &List) -> Vec<String> {
        let tell = |entry: &Entry| match entry {
            Entry::Mail(mail) => format!("{} {}", mail.number, mail.subject()),
            Entry::Folded { mails, after, before } => format!("{mails} in {after}..{before}"),
            Entry::Older { after, before } => format!("older {after:?} {before}"),
        };
        list.entries.iter().map(tell).collect()
    }

    #[test]
    fn of_a_batch_three_mails_are_shown_and_the_others_are_a_link_away() {
        let inbox = inbox(&[("one", 2), ("batch", 500), ("two", 1)]);
        let list = told(&List::newest(&inbox));
        assert_eq!(
            list,
            ["503 two", "502 batch", "501 batch", "500 batch", "497 in 2..500", "2 one", "1 one"]
        );
        let unfolded = List::of(&inbox, Some(2), Some(500));
        assert_eq!(told(&unfolded)[..2], ["499 batch", "498 batch"]);
        assert_eq!(told(&unfolded)[199..], ["300 batch", "older Some(2) 300"]);
        let last = List::of(&inbox, Some(2), Some(100));
        assert_eq!(last.entries.len(), 97, "and no link at the end");
    }

    #[test]
    fn few_mails_with_one_subject_are_all_shown_and_a_long_list_is_paged() {
        let few = inbox(&[("same", 9)]);
        assert_eq!(List::newest(&few).entries.len(), 9);
        let subjects: Vec<_> = (0..250).map(|number| number.to_string()).collect();
        let many: Vec<_> = subjects.iter().map(|subject| (subject.as_str(), 1)).collect();
        let many = inbox(&many);
        assert_eq!(told(&List::newest(&many))[199..], ["51 50", "older None 51"]);
        assert_eq!(List::of(&many, None, Some(51)).entries.len(), 50);
        assert_eq!(List::of(&many, Some(1), None).entries.len(), 200, "news: the page has what is older");
    }
}
