//! The group commit: one task takes all that is waiting, writes it in one transaction, answers all.
//!
//! Each lane has a task of its own, and on Postgres a connection too: while a batch goes out its groups are large, and who
//! waits for a single mail does not wait for them. On SQLite, which has one writer, the groups of the lanes take turns.
//!
//! A commit costs a disk flush whether it carries one row or five hundred. While one transaction is on its way to the
//! disk the next callers gather, so under load the flushes are shared, and an idle store answers without delay.
//! When a group fails, its members are tried one by one, so one bad row spoils only itself. A caller that gives up before
//! the commit takes its change out of the group. A group that takes longer than its callers wait is followed by smaller ones.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    connections::{STORE_TIMEOUT, TRUSTED},
    dialect::Dialect,
    error::StoreError,
    gather::gather,
    group::{Group, Grouped},
    kept_plans::KeptPlans,
    pending_write,
    readers::Readers,
    writer::Writer,
};
use crate::mail::MailLane;

/// The most changes in one transaction.
const GROUP: usize = 512;
/// A group that takes longer than its callers wait is followed by groups of this part of its size.
const SMALLER: usize = 4;
/// A change on its way to its group.
type Joining = Box<dyn FnOnce(&mut Group) + Send>;

pub(super) struct GroupCommit {
    /// One for each lane.
    committers: Vec<Committer>,
    writer: Writer,
}

/// A task that commits groups, and those who wait for it.
struct Committer {
    waiting: Mutex<Option<mpsc::Sender<Joining>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl GroupCommit {
    pub(super) fn start(dialect: Dialect, readers: &Readers, writer: Writer) -> Self {
        let plans = Arc::new(KeptPlans::watch(dialect, readers, &writer));
        let committer = |_| Committer::start(dialect, &writer, Arc::clone(&plans));
        Self { committers: MailLane::ALL.iter().map(committer).collect(), writer }
    }

    /// Puts a change into the next group and waits until it is committed. Dropped before the commit begins, it takes the
    /// change back.
    pub(super) async fn commit<K: Grouped>(&self, request: K) -> Result<K::Answer, StoreError> {
        let of_lane = self.committers.get(request.lane() as usize);
        let sender =
            of_lane.and_then(|committer| lock(&committer.waiting).clone()).ok_or(StoreError::Closed)?;
        let (responder, answer) = pending_write::new(K::KIND);
        let joining: Joining = Box::new(move |group| group.add(request, responder));
        sender.send(joining).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        self.writer.answer_of_a_group(answer).await
    }

    /// Takes no more changes and waits until the waiting ones are written.
    pub(super) async fn close(&self) {
        self.committers.iter().for_each(|committer| drop(lock(&committer.waiting).take()));
        for committer in &self.committers {
            let task = lock(&committer.task).take();
            if let Some(task) = task {
                let _ = task.await;
            }
        }
    }
}

impl Committer {
    fn start(dialect: Dialect, writer: &Writer, plans: Arc<KeptPlans>) -> Self {
        let (sender, receiver) = mpsc::channel(4 * GROUP);
        let task = tokio::spawn(run(dialect, writer.keeping_its_connection(), plans, receiver));
        Self { waiting: Mutex::new(Some(sender)), task: Mutex::new(Some(task)) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn run(dialect: Dialect, writer: Writer, plans: Arc<KeptPlans>, mut receiver: mpsc::Receiver<Joining>) {
    let mut waiting = Vec::with_capacity(GROUP);
    let mut most = GROUP;
    while next(&writer, &mut receiver, &mut waiting, most).await {
        let began = Instant::now();
        let mut group = Group::default();
        waiting.drain(..).for_each(|join| join(&mut group));
        let its_writer = writer.beginning_with(plans.begin());
        let committing = writer.run_group(async move { group.commit(dialect, &its_writer).await });
        // Its callers are told that nobody knows what became of it, and the next group has its turn.
        if AssertUnwindSafe(committing).catch_unwind().await.is_err() {
            tracing::error!("a group commit panicked");
        }
        most = size_after(most, began.elapsed());
    }
    writer.release_kept_connection();
}

/// How many changes the next group may have. What was too much for the callers' time comes again, and must not be too much again
/// for ever.
fn size_after(most: usize, took: Duration) -> usize {
    if took >= STORE_TIMEOUT { (most / SMALLER).max(1) } else { (most * 2).min(GROUP) }
}

/// Gathers the next group; false when none will come. The connection that is kept for it goes back when nobody asks for long.
async fn next(
    writer: &Writer,
    asking: &mut mpsc::Receiver<Joining>,
    group: &mut Vec<Joining>,
    most: usize,
) -> bool {
    match timeout(TRUSTED, gather(asking, group, most)).await {
        Ok(is_one) => is_one,
        Err(_) if group.is_empty() => {
            writer.release_kept_connection();
            gather(asking, group, most).await
        }
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_was_too_large_comes_in_smaller_ones_that_grow_again() {
        let sizes =
            |first, took| std::iter::successors(Some(first), move |most| Some(size_after(*most, took)));
        assert_eq!(sizes(GROUP, STORE_TIMEOUT).take(7).collect::<Vec<_>>(), [512, 128, 32, 8, 2, 1, 1]);
        assert_eq!(sizes(1, STORE_TIMEOUT / 2).nth(9), Some(GROUP));
        assert_eq!(sizes(GROUP, Duration::ZERO).nth(1), Some(GROUP));
    }
}
