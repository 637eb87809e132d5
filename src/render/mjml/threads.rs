//! The threads on which MJML is read. `mrml` cannot be stopped, so its caller goes away after a while and leaves it
//! to its thread. As many threads as there may be, counting those that were left, is all that a merchant can take.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What all elements that a document may have take inside each other, with room.
const STACK: usize = 256 << 20;

/// Why MJML was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    /// It may become HTML one day; nobody waits for it any more.
    #[error("reading this MJML takes longer than {} seconds; make it smaller", .0.as_secs())]
    TooLong(Duration),
    /// The threads are all at work, perhaps on what nobody waits for.
    #[error("no more MJML can be read now; try again later")]
    NoRoom,
    /// Reading it panicked.
    #[error("this MJML cannot be read")]
    Panicked,
}

/// Some threads, and how long work on them is waited for.
pub(super) struct Threads {
    /// How many may be at work.
    most: usize,
    /// How long work may take.
    longest: Duration,
    /// How long work waits for a thread.
    patience: Duration,
    at_work: Mutex<usize>,
    ended: Condvar,
}

/// Permission for one thread, until it ends.
struct ThreadPermit(&'static Threads);

impl Threads {
    pub(super) const fn new(most: usize, longest: Duration, patience: Duration) -> Self {
        Self { most, longest, patience, at_work: Mutex::new(0), ended: Condvar::new() }
    }

    /// Does work on a thread of its own.
    ///
    /// # Errors
    /// When there is none, or the work takes too long or panics.
    pub(super) fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unread> {
        let permit = self.permit()?;
        let (done, outcome) = mpsc::channel();
        let work = move || {
            let made = work();
            drop(permit);
            drop(done.send(made));
        };
        let thread = std::thread::Builder::new().name("mjml".to_owned()).stack_size(STACK);
        thread.spawn(work).map_err(|_| Unread::NoRoom)?;
        outcome.recv_timeout(self.longest).map_err(|error| match error {
            RecvTimeoutError::Timeout => Unread::TooLong(self.longest),
            RecvTimeoutError::Disconnected => Unread::Panicked,
        })
    }

    fn permit(&'static self) -> Result<ThreadPermit, Unread> {
        let is_full = |at_work: &mut usize| *at_work >= self.most;
        let waited = self.ended.wait_timeout_while(self.lock(), self.patience, is_full);
        let (mut at_work, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(Unread::NoRoom);
        }
        *at_work += 1;
        Ok(ThreadPermit(self))
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ThreadPermit {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(longest: Duration, patience: Duration) -> &'static Threads {
        Box::leak(Box::new(Threads::new(2, longest, patience)))
    }

    #[test]
    fn work_without_end_is_left_and_takes_no_more_threads_than_there_may_be() {
        let threads = threads(Duration::from_millis(1), Duration::from_millis(1));
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Arc::new(Mutex::new(held));
        let mut answers = Vec::new();
        for _ in 0..20 {
            let held = std::sync::Arc::clone(&held);
            answers.push(threads.run(move || held.lock().is_ok_and(|held| held.recv().is_ok())));
        }
        assert_eq!(answers[..2], [Err(Unread::TooLong(threads.longest)); 2]);
        assert!(answers[2..].iter().all(|answer| *answer == Err(Unread::NoRoom)), "{answers:?}");
        assert_eq!(*threads.lock(), 2);
        drop(release);
        let at_work = threads.ended.wait_while(threads.lock(), |at_work| *at_work > 0).unwrap();
        assert_eq!(*at_work, 0);
    }

    #[test]
    fn work_is_done_in_its_time_and_a_panic_gives_its_permit_back() {
        let threads = threads(Duration::from_secs(60), Duration::from_secs(60));
        for number in 0..10 {
            assert_eq!(threads.run(move || number), Ok(number));
            assert_eq!(threads.run(|| panic!("no")), Err::<(), _>(Unread::Panicked));
        }
        let said = Unread::TooLong(Duration::from_secs(5)).to_string();
        assert_eq!(said, "reading this MJML takes longer than 5 seconds; make it smaller");
    }
}
