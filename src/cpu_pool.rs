//! Threads for what takes longer than a moment: rendering hostile or large templates, checking and inlining them.
//!
//! The async threads answer requests and deliver; whatever holds one of them holds everybody. So that work is done here,
//! on fewer threads than the machine has cores. Merchants take turns, and each has a line of bounded length: one that
//! sends much work waits for itself.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::mail::MerchantId;

/// Work of one merchant's requests, and as much again of its jobs, that may wait. A job holds a place of the worker
/// while it waits, so few may.
const LONGEST_LINES: [usize; 2] = [32, 8];
/// Work that may wait in all.
const MOST_WAITING: usize = 512;

/// Threads for work that takes longer than a moment.
pub struct CpuPool {
    lines: Arc<Lines>,
}

/// Whose work it is. Each of these has a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// A request of a merchant.
    Request(MerchantId),
    /// A job of a merchant.
    Job(MerchantId),
    /// The signature of a merchant's mail. The mails under way bound how many wait; each takes about a millisecond.
    Signature(MerchantId),
    /// Postroom itself, and the operator at the command line.
    Own,
}

impl Share {
    const fn longest_line(&self) -> Option<usize> {
        match self {
            Self::Request(_) | Self::Own => Some(LONGEST_LINES[0]),
            Self::Job(_) => Some(LONGEST_LINES[1]),
            Self::Signature(_) => None,
        }
    }
}

/// The line is full; later there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much work waits for a thread")]
pub struct Busy;

type Task = Box<dyn FnOnce() + Send>;

struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// The work that waits: a line for each share that has any, and whose turn it is.
#[derive(Default)]
struct Waiting {
    lines: HashMap<Share, VecDeque<Task>>,
    turns: VecDeque<Share>,
    count: usize,
    is_over: bool,
}

impl Waiting {
    fn push(&mut self, share: Share, task: Task) -> Result<(), Busy> {
        if let Some(longest) = share.longest_line()
            && (self.count >= MOST_WAITING
                || self.lines.get(&share).is_some_and(|line| line.len() >= longest))
        {
            return Err(Busy);
        }
        if !self.lines.contains_key(&share) {
            self.turns.push_back(share.clone());
        }
        self.lines.entry(share).or_default().push_back(task);
        self.count += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<Task> {
        let share = self.turns.pop_front()?;
        let line = self.lines.get_mut(&share)?;
        let task = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&share);
        } else {
            self.turns.push_back(share);
        }
        self.count -= usize::from(task.is_some());
        task
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn work(&self) {
        let mut waiting = self.lock();
        loop {
            if let Some(task) = waiting.pop() {
                drop(waiting);
                task();
                waiting = self.lock();
            } else if waiting.is_over {
                return;
            } else {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl CpuPool {
    /// Starts the threads: one for every two cores, at least one. They end with the pool.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let lines = Arc::new(Lines { waiting: Mutex::default(), changed: Condvar::new() });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Self { lines: Arc::clone(&lines) };
        for _ in 0..(cores / 2).max(1) {
            let lines = Arc::clone(&lines);
            std::thread::Builder::new().name("cpu".to_owned()).spawn(move || lines.work())?;
        }
        Ok(pool)
    }

    /// Does `work` on a thread of the pool. Work whose caller has gone meanwhile is left undone.
    ///
    /// # Errors
    /// [`Busy`] when too much work waits already.
    ///
    /// # Panics
    /// When `work` does.
    pub async fn run<T: Send + 'static>(
        &self,
        share: Share,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (done, outcome) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let task = move || {
            if !done.is_closed() {
                drop(done.send(catch_unwind(AssertUnwindSafe(work))));
            }
        };
        self.lines.lock().push(share, Box::new(task))?;
        self.lines.changed.notify_one();
        match outcome.await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_never_done) => Err(Busy),
        }
    }
}

impl Drop for CpuPool {
    fn drop(&mut self) {
        let mut waiting = self.lines.lock();
        *waiting = Waiting { is_over: true, ..Waiting::default() };
        drop(waiting);
        self.lines.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    fn share(merchant: &str) -> Share {
        Share::Request(merchant.parse().unwrap())
    }

    /// A pool of one thread, which is held until the sender is dropped.
    fn held() -> (CpuPool, mpsc::Sender<()>) {
        let lines = Arc::new(Lines { waiting: Mutex::default(), changed: Condvar::new() });
        let (hold, held) = mpsc::channel::<()>();
        lines.lock().push(share("holder"), Box::new(move || assert!(held.recv().is_err()))).unwrap();
        let working = Arc::clone(&lines);
        std::thread::spawn(move || working.work());
        while lines.lock().count > 0 {
            std::thread::yield_now();
        }
        (CpuPool { lines }, hold)
    }

    #[tokio::test]
    async fn merchants_take_turns_however_much_one_has() {
        let (pool, hold) = held();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut runs = Vec::new();
        for name in ["a", "a", "a", "b", "a", "b", "c"] {
            let order = Arc::clone(&order);
            let mut run = Box::pin(pool.run(share(name), move || order.lock().unwrap().push(name)));
            assert!((&mut run).now_or_never().is_none(), "it waits");
            runs.push(run);
        }
        drop(hold);
        assert!(join_all(runs).await.iter().all(Result::is_ok));
        assert_eq!(*order.lock().unwrap(), ["a", "b", "c", "a", "b", "a", "a"]);
    }

    #[tokio::test]
    async fn a_full_line_is_busy_and_stops_nobody_else() {
        let (pool, hold) = held();
        let mut waiting: Vec<_> =
            (0..LONGEST_LINES[0]).map(|_| Box::pin(pool.run(share("a"), || ()))).collect();
        assert!(waiting.iter_mut().all(|run| run.now_or_never().is_none()));
        assert_eq!(pool.run(share("a"), || ()).await, Err(Busy));
        let mut other = Box::pin(pool.run(share("b"), || 5));
        assert!((&mut other).now_or_never().is_none());
        drop(hold);
        assert_eq!(other.await, Ok(5));
    }

    #[tokio::test]
    async fn work_whose_caller_has_gone_is_left_undone() {
        let (pool, hold) = held();
        let (done, outcome) = mpsc::channel();
        assert!(pool.run(share("a"), move || done.send(()).unwrap()).now_or_never().is_none());
        drop(hold);
        assert_eq!(pool.run(share("a"), || 1).await, Ok(1));
        assert!(outcome.recv().is_err(), "the sender went with the work");
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_the_thread_goes_on() {
        let (pool, hold) = held();
        drop(hold);
        let panicked = AssertUnwindSafe(pool.run(share("a"), || panic!("no"))).catch_unwind().await;
        assert!(panicked.is_err());
        assert_eq!(pool.run(share("a"), || 1).await, Ok(1));
    }
}
