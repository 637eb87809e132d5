//! The mails that were caught, kept in memory: the newest ones, while all are counted.
//!
//! Filled by the dialogue, read by the page and by the tests. No lock is held over an await.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{broadcast, watch};

use super::CaughtMail;

/// How many caught mails a slow subscriber may lag behind before it misses some.
const BACKLOG: usize = 4_096;

/// The most greylisted addresses remembered; past that all are forgotten.
const MOST_GREYLISTED: usize = 100_000;

/// What changed in the inbox, for those who wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All mails caught so far, also those that are no longer kept.
    pub caught: u64,
    /// How often the inbox was cleared.
    pub cleared: u64,
}

/// The caught mails.
#[derive(Debug)]
pub(super) struct Inbox {
    kept: Mutex<Kept>,
    greylisted: Mutex<HashSet<String>>,
    tally: watch::Sender<Tally>,
    news: broadcast::Sender<Arc<CaughtMail>>,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    mails: VecDeque<Arc<CaughtMail>>,
    bytes: usize,
    caught: u64,
}

impl Inbox {
    /// Keeps at most `most` mails of together `most_bytes` bytes, but always the newest one.
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            kept: Mutex::default(),
            greylisted: Mutex::default(),
            tally: watch::Sender::new(Tally::default()),
            news: broadcast::Sender::new(BACKLOG),
            most: most.max(1),
            most_bytes,
        }
    }

    /// Gives the mails their numbers, keeps them and tells whoever waits.
    pub(super) fn keep(&self, mails: impl IntoIterator<Item = CaughtMail>) {
        let mut kept = held(&self.kept);
        for mut mail in mails {
            kept.caught += 1;
            mail.number = kept.caught;
            let mail = Arc::new(mail);
            kept.bytes += mail.bytes.len();
            kept.mails.push_back(Arc::clone(&mail));
            // Without a subscriber there is nobody to tell, which is no fault.
            let _ = self.news.send(mail);
        }
        while kept.mails.len() > self.most || (kept.bytes > self.most_bytes && kept.mails.len() > 1) {
            let Some(oldest) = kept.mails.pop_front() else { break };
            kept.bytes -= oldest.bytes.len();
        }
        self.tally.send_modify(|tally| tally.caught = kept.caught);
    }

    /// The kept mails, oldest first.
    pub(super) fn mails(&self) -> Vec<Arc<CaughtMail>> {
        held(&self.kept).mails.iter().cloned().collect()
    }

    /// The kept mails with a number between the two (both excluded), newest first, at most `most` of them.
    pub(super) fn between(&self, after: u64, before: u64, most: usize) -> Vec<Arc<CaughtMail>> {
        let kept = held(&self.kept);
        let from = kept.mails.partition_point(|mail| mail.number <= after);
        let to = kept.mails.partition_point(|mail| mail.number < before).max(from);
        kept.mails.range(from..to).rev().take(most).cloned().collect()
    }

    /// The mail of that number, while it is kept.
    pub(super) fn mail(&self, number: u64) -> Option<Arc<CaughtMail>> {
        let kept = held(&self.kept);
        let place = kept.mails.binary_search_by_key(&number, |mail| mail.number).ok()?;
        kept.mails.get(place).cloned()
    }

    /// The newest kept mail to that recipient, whose case does not matter.
    pub(super) fn find(&self, recipient: &str) -> Option<Arc<CaughtMail>> {
        held(&self.kept)
            .mails
            .iter()
            .rev()
            .find(|mail| mail.recipient.eq_ignore_ascii_case(recipient))
            .cloned()
    }

    /// Forgets the kept mails; what was counted stays counted.
    pub(super) fn clear(&self) {
        let mut kept = held(&self.kept);
        kept.mails.clear();
        kept.bytes = 0;
        self.tally.send_modify(|tally| tally.cleared += 1);
    }

    /// Whether this is the first time that the greylist hears of the address.
    pub(super) fn is_new_to_greylist(&self, recipient: &str) -> bool {
        let mut greylisted = held(&self.greylisted);
        if greylisted.len() >= MOST_GREYLISTED {
            greylisted.clear();
        }
        greylisted.insert(recipient.to_lowercase())
    }

    pub(super) fn tally(&self) -> Tally {
        *self.tally.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Tally> {
        self.tally.subscribe()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<CaughtMail>> {
        self.news.subscribe()
    }

    /// Waits until `mails` were caught, at most that long; says whether they were.
    pub(super) async fn wait_for(&self, mails: u64, at_most: Duration) -> bool {
        let mut tally = self.watch();
        let enough = tokio::time::timeout(at_most, tally.wait_for(|tally| tally.caught >= mails)).await;
        matches!(enough, Ok(Ok(_)))
    }
}

/// Takes the lock even if a holder panicked: every change in this file leaves the value whole.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn mail_about(subject: &str) -> CaughtMail {
        CaughtMail { bytes: format!("Subject: {subject}\r\n\r\n").into(), ..mail("ann@shop.test") }
    }

    fn mail(recipient: &str) -> CaughtMail {
        CaughtMail {
            number: 0,
            at: crate::clock::now(),
            sender: "shop@shop.test".into(),
            recipient: recipient.into(),
            helo: "client.test".into(),
            tls: false,
            authenticated_as: None,
            queue_id: "1".into(),
            answered: true,
            eight_bit: false,
            smtputf8: false,
            connection: 1,
            bytes: bytes::Bytes::from_static(b"0123456789"),
            content: Default::default(),
        }
    }

    fn numbers(mails: &[Arc<CaughtMail>]) -> Vec<u64> {
        mails.iter().map(|mail| mail.number).collect()
    }

    #[test]
    fn the_oldest_mails_make_room_and_stay_counted() {
        for inbox in [Inbox::new(3, usize::MAX), Inbox::new(100, 35)] {
            for name in ["a", "b", "c", "d", "e"] {
                inbox.keep([mail(name)]);
            }
            assert_eq!(numbers(&inbox.mails()), [3, 4, 5]);
            assert_eq!(inbox.tally().caught, 5);
            assert!(inbox.mail(2).is_none() && inbox.find("b").is_none());
            assert_eq!(inbox.mail(4).map(|mail| mail.recipient.clone()), Some("d".into()));
            assert_eq!(numbers(&inbox.between(3, u64::MAX, 9)), [5, 4]);
            assert_eq!(numbers(&inbox.between(0, 5, 1)), [4]);
            assert!(inbox.between(9, 2, 9).is_empty());
        }
    }

    #[test]
    fn a_mail_larger_than_the_inbox_is_kept_alone() {
        let inbox = Inbox::new(3, 5);
        inbox.keep([mail("a"), mail("b")]);
        assert_eq!(numbers(&inbox.mails()), [2]);
    }

    #[test]
    fn clearing_forgets_mails_but_neither_their_count_nor_their_numbers() {
        let inbox = Inbox::new(3, 100);
        inbox.keep([mail("a"), mail("b")]);
        inbox.clear();
        assert!(inbox.mails().is_empty());
        inbox.keep([mail("c")]);
        assert_eq!(numbers(&inbox.mails()), [3]);
        assert_eq!(inbox.tally(), Tally { caught: 3, cleared: 1 });
    }
}
