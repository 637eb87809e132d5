//! The queue as an apalis backend: a channel of bells that the pump fills.
//!
//! Nothing here can fail, so apalis never ends a worker because of the queue. What became of a bell is reported by
//! its slot, not by an apalis layer, for a job may also end without its layers being asked.

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

use super::desk::Ringing;

/// The source of an apalis worker's tasks.
pub(super) struct Belfry<P> {
    bells: mpsc::Receiver<Ringing<P>>,
}

impl<P> Belfry<P> {
    pub(super) fn new(bells: mpsc::Receiver<Ringing<P>>) -> Self {
        Self { bells }
    }
}

impl<P: Send + 'static> Backend for Belfry<P> {
    type Task = Task<Ringing<P>>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Ringing<P>>, Infallible>>> {
        self.bells.poll_recv(context).map(|bell| bell.map(|ringing| Ok(task(ringing))))
    }

    /// Gives back what was claimed and not started.
    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.bells.close();
        while self.bells.try_recv().is_ok() {}
        Poll::Ready(Ok(()))
    }
}

impl<P: Send + 'static> BackendConfig for Belfry<P> {
    type Args = Ringing<P>;
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

fn task<P>(ringing: Ringing<P>) -> Task<Ringing<P>> {
    let id = TaskId::from_string(ringing.bell.id.as_str());
    TaskBuilder::new(ringing).task_id(id).build()
}
