//! The queue as an apalis backend: a channel of jobs that the fetcher fills, and one of work that is handed over.
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

use super::{
    hand_over::{HandedOver, ToRun},
    lease_table::FetchedJob,
};

/// The source of an apalis worker's tasks.
pub(super) struct QueueBackend<P> {
    jobs: mpsc::Receiver<FetchedJob<P>>,
    handed_over: mpsc::UnboundedReceiver<HandedOver>,
}

impl<P> QueueBackend<P> {
    pub(super) fn new(
        jobs: mpsc::Receiver<FetchedJob<P>>,
        handed_over: mpsc::UnboundedReceiver<HandedOver>,
    ) -> Self {
        Self { jobs, handed_over }
    }
}

impl<P: Send + 'static> Backend for QueueBackend<P> {
    type Task = Task<ToRun<P>>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<ToRun<P>>, Infallible>>> {
        // Both hold places of the worker, so neither can keep the other waiting.
        if let Poll::Ready(Some(work)) = self.handed_over.poll_recv(context) {
            return Poll::Ready(Some(Ok(task(ToRun::HandedOver(work)))));
        }
        self.jobs.poll_recv(context).map(|job| job.map(|fetched| Ok(task(ToRun::Fetched(fetched)))))
    }

    /// Releases what was fetched, and drops what was handed over, where it was not started.
    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.jobs.close();
        while self.jobs.try_recv().is_ok() {}
        self.handed_over.close();
        while self.handed_over.try_recv().is_ok() {}
        Poll::Ready(Ok(()))
    }
}

impl<P: Send + 'static> BackendConfig for QueueBackend<P> {
    type Args = ToRun<P>;
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

fn task<P>(to_run: ToRun<P>) -> Task<ToRun<P>> {
    TaskBuilder::new(to_run).build()
}
