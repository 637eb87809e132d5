//! Who still waits for a write, and since when it is too late to give up.
//!
//! A caller may stop waiting at any moment: its time ran out, or its client hung up. Until the transaction is about to
//! commit, that withdraws the write, and the caller may promise that it never happens. After that nobody can tell until
//! the database has answered. One atomic step decides between the two, so a request that was told "no" is not recorded.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::StoreError;

/// The caller waits, and the commit has not begun.
const WAITING: u8 = 0;
/// The commit has begun.
const COMMITTING: u8 = 1;
/// The caller left before the commit began: the write must not happen.
const WITHDRAWN: u8 = 2;
/// The caller left while the commit was under way.
const ABANDONED: u8 = 3;
/// The write is committed.
const COMMITTED: u8 = 4;

/// What caller and committer share about one write.
#[derive(Debug, Default)]
pub(super) struct Stake(AtomicU8);

impl Stake {
    /// Whether the caller left in time to prevent the write.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.0.load(Ordering::Acquire) == WITHDRAWN
    }

    /// Begins the commit, unless the caller has left.
    pub(super) fn begin_commit(&self) -> bool {
        self.moves(WAITING, COMMITTING)
    }

    /// Takes the beginning of a commit back that did not happen. Of one whose caller left meanwhile it must not happen
    /// later either.
    pub(super) fn put_off_commit(&self) {
        if !self.moves(COMMITTING, WAITING) {
            self.moves(ABANDONED, WITHDRAWN);
        }
    }

    /// The database has said that the write is committed.
    pub(super) fn committed(&self) {
        self.0.store(COMMITTED, Ordering::Release);
    }

    fn withdraw(&self) {
        if !self.moves(WAITING, WITHDRAWN) {
            self.moves(COMMITTING, ABANDONED);
        }
    }

    fn moves(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The committer's side of one write.
pub(super) struct Caller<T> {
    pub(super) stake: Arc<Stake>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T> Caller<T> {
    pub(super) fn answer(self, answer: Result<T, StoreError>) {
        let _ = self.reply.send(answer); // one who left is told by its row
    }
}

/// The caller's side: completes with the answer; dropped before, it withdraws the write if that is still possible.
pub(super) struct Answer<T> {
    stake: Arc<Stake>,
    answer: oneshot::Receiver<Result<T, StoreError>>,
}

/// The two sides of one write. With `is_promise`, the request under way is told how far it is.
pub(super) fn write<T>(is_promise: bool) -> (Caller<T>, Answer<T>) {
    let stake = Arc::new(Stake::default());
    let (reply, answer) = oneshot::channel();
    if is_promise {
        let _ = REQUEST.try_with(|watch| watch.watch(&stake));
    }
    (Caller { stake: Arc::clone(&stake), reply }, Answer { stake, answer })
}

impl<T> Future for Answer<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.stake.withdraw();
    }
}

tokio::task_local! {
    static REQUEST: WriteWatch;
}

/// Watches the writes of one request, so that it can be told the truth when its time is over.
#[derive(Clone, Debug, Default)]
pub struct WriteWatch {
    last: Arc<Mutex<Option<Arc<Stake>>>>,
}

/// How far the last write of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProgress {
    /// Nothing is committed, and nothing will be once the request is dropped.
    Nothing,
    /// The commit is under way, or its answer did not come.
    Committing,
    /// The rows are committed.
    Committed,
}

impl WriteWatch {
    /// Watches what `request` writes.
    pub async fn scope<F: Future>(&self, request: F) -> F::Output {
        REQUEST.scope(self.clone(), request).await
    }

    /// How far the last write is that answers for the request.
    pub fn progress(&self) -> WriteProgress {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref().map(|stake| stake.0.load(Ordering::Acquire)) {
            None | Some(WAITING | WITHDRAWN) => WriteProgress::Nothing,
            Some(COMMITTED) => WriteProgress::Committed,
            Some(_) => WriteProgress::Committing,
        }
    }

    fn watch(&self, stake: &Arc<Stake>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(stake));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_leaves_before_the_commit_prevents_it() {
        let watch = WriteWatch::default();
        let (caller, answer) = watch.scope(async { write::<()>(true) }).await;
        assert_eq!(watch.progress(), WriteProgress::Nothing);
        drop(answer);
        assert!(caller.stake.is_withdrawn() && !caller.stake.begin_commit());
        assert_eq!(watch.progress(), WriteProgress::Nothing);
    }

    #[tokio::test]
    async fn who_leaves_during_the_commit_cannot_know() {
        let watch = WriteWatch::default();
        let (caller, answer) = watch.scope(async { write::<()>(true) }).await;
        assert!(caller.stake.begin_commit());
        assert_eq!(watch.progress(), WriteProgress::Committing);
        drop(answer);
        assert_eq!(watch.progress(), WriteProgress::Committing);
        caller.stake.put_off_commit();
        assert!(caller.stake.is_withdrawn(), "it must not be written later");
    }

    #[tokio::test]
    async fn a_committed_write_is_known_before_its_answer_is_read() {
        let watch = WriteWatch::default();
        let (caller, answer) = watch.scope(async { write::<u8>(true) }).await;
        assert!(caller.stake.begin_commit());
        caller.stake.put_off_commit();
        assert!(caller.stake.begin_commit());
        caller.stake.committed();
        assert_eq!(watch.progress(), WriteProgress::Committed);
        caller.answer(Ok(7));
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_is_no_promise_is_not_watched() {
        let watch = WriteWatch::default();
        let (caller, _answer) = watch.scope(async { write::<()>(false) }).await;
        assert!(caller.stake.begin_commit());
        assert_eq!(watch.progress(), WriteProgress::Nothing);
    }
}
