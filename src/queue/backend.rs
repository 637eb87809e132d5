//! The queue as an apalis backend: a channel of jobs that the fetcher fills.
//!
//! Nothing here can fail, so apalis never ends a worker because of the queue. The end of a job is reported by its
//! slot, not by an apalis layer: a job may also end without its layers being called.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::{Task, builder::TaskBuilder, task_id::TaskId},
    worker::context::WorkerContext,
};
use tokio::sync::mpsc;
use tower::layer::util::Identity;

use super::lease_table::FetchedJob;

/// The source of an apalis worker's tasks.
pub(super) struct QueueBackend<P> {
    jobs: mpsc::Receiver<FetchedJob<P>>,
}

impl<P> QueueBackend<P> {
    pub(super) fn new(jobs: mpsc::Receiver<FetchedJob<P>>) -> Self {
        Self { jobs }
    }
}

impl<P: Send + 'static> Backend for QueueBackend<P> {
    type Task = Task<FetchedJob<P>>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<FetchedJob<P>>, Infallible>>> {
        self.jobs.poll_recv(context).map(|job| job.map(|fetched| Ok(task(fetched))))
    }

    /// Releases what was fetched and not started.
    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.jobs.close();
        while self.jobs.try_recv().is_ok() {}
        Poll::Ready(Ok(()))
    }
}

impl<P: Send + 'static> BackendConfig for QueueBackend<P> {
    type Args = FetchedJob<P>;
    type Id = TaskId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

fn task<P>(fetched: FetchedJob<P>) -> Task<FetchedJob<P>> {
    TaskBuilder::new(fetched).build()
}
