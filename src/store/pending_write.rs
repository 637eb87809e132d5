//! Who still waits for a write, and since when it is too late to give up.
//!
//! A caller may stop waiting at any moment: its time ran out, or its client hung up. Until the transaction is about to
//! commit, that withdraws the write, and the caller may promise that it never happens. After that nobody can tell until
//! the database has answered. One atomic step decides between the two, so a request that was told "no" is not recorded.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::error::StoreError;

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
pub(super) struct PendingWrite(AtomicU8);

impl PendingWrite {
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
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
            COMMITTING => Some(WAITING),
            ABANDONED => Some(WITHDRAWN),
            _ => None,
        });
    }

    /// The database has said that the write is committed.
    pub(super) fn committed(&self) {
        self.0.store(COMMITTED, Ordering::Release);
    }

    fn withdraw(&self) {
        // In one step: the commit may be put off between two.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
            WAITING => Some(WITHDRAWN),
            COMMITTING => Some(ABANDONED),
            _ => None,
        });
    }

    fn moves(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The committer's side of one write.
pub(super) struct Responder<T> {
    pub(super) write: Arc<PendingWrite>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T> Responder<T> {
    pub(super) fn respond(self, answer: Result<T, StoreError>) {
        let _ = self.reply.send(answer); // one who left is told by its row
    }
}

/// The caller's side: completes with the answer; dropped before, it withdraws the write if that is still possible.
pub(super) struct PendingAnswer<T> {
    write: Arc<PendingWrite>,
    answer: oneshot::Receiver<Result<T, StoreError>>,
}

/// Whether a request answers for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteKind {
    /// One does, and is told how far the write is.
    Promised,
    /// None does.
    Background,
}

/// The two sides of one write.
pub(super) fn new<T>(kind: WriteKind) -> (Responder<T>, PendingAnswer<T>) {
    let write = Arc::new(PendingWrite::default());
    let (reply, answer) = oneshot::channel();
    if kind == WriteKind::Promised {
        let _ = REQUEST.try_with(|watch| watch.watch(&write));
    }
    (Responder { write: Arc::clone(&write), reply }, PendingAnswer { write, answer })
}

impl<T> PendingAnswer<T> {
    /// The same, no longer than this; who waits longer gives up. `asking` is what has to be done before anybody answers.
    pub(super) async fn within(
        mut self,
        limit: Duration,
        asking: impl Future<Output = ()>,
    ) -> Result<T, StoreError> {
        let answered = async {
            asking.await;
            (&mut self).await
        };
        match timeout(limit, answered).await {
            Ok(answer) => answer,
            Err(_) => {
                self.write.withdraw();
                Err(match self.write.is_withdrawn() {
                    true => StoreError::TimedOut,
                    false => StoreError::OutcomeUnknown { source: None },
                })
            }
        }
    }
}

impl<T> Future for PendingAnswer<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

impl<T> Drop for PendingAnswer<T> {
    fn drop(&mut self) {
        self.write.withdraw();
    }
}

tokio::task_local! {
    static REQUEST: WriteWatch;
}

/// Watches the writes of one request, so that it can be told the truth when its time is over.
#[derive(Clone, Debug, Default)]
pub struct WriteWatch {
    writes: Arc<Mutex<Writes>>,
}

/// The writes of a request so far.
#[derive(Debug, Default)]
struct Writes {
    /// Of those that are over one is committed.
    is_committed: bool,
    /// Those whose end was not known when they were last looked at.
    open: Vec<Arc<PendingWrite>>,
}

/// How far the writes of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProgress {
    /// Nothing is committed, and nothing will be once the request is dropped.
    Nothing,
    /// The commit of one is under way, or its answer did not come.
    Committing,
    /// The rows of one are committed, and of none that is not known.
    Committed,
}

impl WriteWatch {
    /// Watches what `request` writes.
    pub async fn scope<F: Future>(&self, request: F) -> F::Output {
        REQUEST.scope(self.clone(), request).await
    }

    /// How far the writes are that answer for the request. One that may be committed is not forgotten over a later one.
    pub fn progress(&self) -> WriteProgress {
        let mut writes = self.writes();
        writes.look();
        if writes.open.iter().any(|write| matches!(write.0.load(Ordering::Acquire), COMMITTING | ABANDONED)) {
            WriteProgress::Committing
        } else if writes.is_committed {
            WriteProgress::Committed
        } else {
            WriteProgress::Nothing
        }
    }

    fn watch(&self, write: &Arc<PendingWrite>) {
        let mut writes = self.writes();
        writes.look();
        writes.open.push(Arc::clone(write));
    }

    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writes {
    /// Strikes out those that are over.
    fn look(&mut self) {
        let is_committed = &mut self.is_committed;
        self.open.retain(|write| match write.0.load(Ordering::Acquire) {
            COMMITTED => {
                *is_committed = true;
                false
            }
            state => state != WITHDRAWN,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_that_waits_too_long_prevents_a_commit_that_has_not_begun() {
        let nobody_answers = std::future::pending::<()>;
        let (responder, answer) = new::<()>(WriteKind::Promised);
        let given_up = answer.within(Duration::from_millis(10), nobody_answers()).await;
        assert!(matches!(given_up, Err(StoreError::TimedOut)), "{given_up:?}");
        assert!(!responder.write.begin_commit());
        let (responder, answer) = new::<()>(WriteKind::Promised);
        assert!(responder.write.begin_commit());
        let given_up = answer.within(Duration::from_millis(10), async {}).await;
        assert!(matches!(given_up, Err(StoreError::OutcomeUnknown { source: None })), "{given_up:?}");
    }

    #[tokio::test]
    async fn a_caller_that_leaves_before_the_commit_prevents_it() {
        let watch = WriteWatch::default();
        let (responder, answer) = watch.scope(async { new::<()>(WriteKind::Promised) }).await;
        assert_eq!(watch.progress(), WriteProgress::Nothing);
        drop(answer);
        assert!(responder.write.is_withdrawn() && !responder.write.begin_commit());
        assert_eq!(watch.progress(), WriteProgress::Nothing);
    }

    #[tokio::test]
    async fn a_caller_that_leaves_during_the_commit_cannot_know() {
        let watch = WriteWatch::default();
        let (responder, answer) = watch.scope(async { new::<()>(WriteKind::Promised) }).await;
        assert!(responder.write.begin_commit());
        assert_eq!(watch.progress(), WriteProgress::Committing);
        drop(answer);
        assert_eq!(watch.progress(), WriteProgress::Committing);
        responder.write.put_off_commit();
        assert!(responder.write.is_withdrawn(), "it must not be written later");
    }

    #[tokio::test]
    async fn a_committed_write_is_known_before_its_answer_is_read() {
        let watch = WriteWatch::default();
        let (responder, answer) = watch.scope(async { new::<u8>(WriteKind::Promised) }).await;
        assert!(responder.write.begin_commit());
        responder.write.put_off_commit();
        assert!(responder.write.begin_commit());
        responder.write.committed();
        assert_eq!(watch.progress(), WriteProgress::Committed);
        responder.respond(Ok(7));
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_write_that_may_be_committed_is_not_forgotten_over_a_later_one() {
        let watch = WriteWatch::default();
        let ((first, left), (_second, waiting)) =
            watch.scope(async { (new::<()>(WriteKind::Promised), new::<()>(WriteKind::Promised)) }).await;
        assert!(first.write.begin_commit());
        drop((left, waiting));
        assert_eq!(watch.progress(), WriteProgress::Committing);
        first.write.committed();
        assert_eq!(watch.progress(), WriteProgress::Committed);
    }

    #[tokio::test]
    async fn a_background_write_is_not_watched() {
        let watch = WriteWatch::default();
        let (responder, _answer) = watch.scope(async { new::<()>(WriteKind::Background) }).await;
        assert!(responder.write.begin_commit());
        assert_eq!(watch.progress(), WriteProgress::Nothing);
    }
}
