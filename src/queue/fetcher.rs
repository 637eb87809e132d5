//! Fetches as many jobs as a worker has free places and, for mails, permits, and no more, until it is told to stop.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Admit, Group, Lease, QueueError, Room,
    lease_table::{Backoff, FetchedJob, JobEnd, JobSlot, LeaseTable},
};

/// How long an idle worker waits before it fetches without being woken: nobody is woken when a lease expires.
const IDLE: Duration = Duration::from_secs(1);

/// Fetches jobs from the queue and hands them to apalis.
pub(super) struct Fetcher<A: Admit> {
    pub(super) table: Arc<LeaseTable>,
    /// The free places of each group of lanes.
    pub(super) places: [Arc<Semaphore>; Group::ALL.len()],
    pub(super) admission: Arc<A>,
    pub(super) jobs: mpsc::Sender<FetchedJob<A::Permit>>,
    pub(super) ends: mpsc::UnboundedSender<JobEnd>,
    pub(super) stop: CancellationToken,
}

/// What is free now.
struct Free<P> {
    places: [Option<OwnedSemaphorePermit>; Group::ALL.len()],
    permits: P,
    /// There are places for more mails, but no permits.
    lacks_permits: bool,
}

impl<P: ExactSizeIterator> Free<P> {
    fn room(&self) -> Room {
        Group::ALL.iter().fold(Room::default(), |room, group| {
            let places = number(&self.places[*group as usize]);
            room.with(*group, if *group == Group::Mails { places.min(self.permits.len()) } else { places })
        })
    }
}

fn number(places: &Option<OwnedSemaphorePermit>) -> usize {
    places.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
}

/// What the fetcher waits for before it fetches again.
struct Next {
    /// The groups of which nothing was left; the others had no more room.
    is_empty: [bool; Group::ALL.len()],
    lacks_permits: bool,
}

/// The calls that wait on the queue, one for each group. They are kept from one fetch to the next: to give one up may cost
/// a connection.
#[derive(Default)]
struct Waits([Option<BoxFuture<'static, Result<(), QueueError>>>; Group::ALL.len()]);

impl Waits {
    /// Returns when the queue says that there may be something of one of the groups that are waited for.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), QueueError>> {
        for wait in &mut self.0 {
            if let Some(waiting) = wait
                && let Poll::Ready(heard) = waiting.poll_unpin(context)
            {
                *wait = None;
                return Poll::Ready(heard);
            }
        }
        Poll::Pending
    }
}

impl<A: Admit> Fetcher<A> {
    /// Fetches until stopped. Never fails: an outage of the queue is waited for.
    pub(super) async fn run(self) {
        let (mut backoff, mut waits) = (Backoff::default(), Waits::default());
        while !self.stop.is_cancelled() {
            let result = match self.fetch().await {
                Ok(next) => self.wait(&mut waits, &next).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {
                    self.table.queue_answered();
                    backoff = Backoff::default();
                }
                Err(error) => {
                    self.table.queue_failed(&error);
                    self.wait_out(&mut backoff).await;
                }
            }
        }
    }

    fn free(&self) -> Free<A::Permits> {
        let places = self.places.each_ref().map(|places| {
            let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
            // Nobody else takes any, so there are still as many.
            Arc::clone(places).try_acquire_many_owned(free).ok()
        });
        let wanted = number(&places[Group::Mails as usize]);
        let permits = self.admission.admit(wanted);
        let lacks_permits = permits.len() < wanted;
        Free { places, permits, lacks_permits }
    }

    /// Fetches what there is room for, even if that is nothing: then the queue wakes other workers for what waits.
    async fn fetch(&self) -> Result<Next, QueueError> {
        let mut free = self.free();
        let room = free.room();
        // Not cut short when stopped: the leases of what was fetched meanwhile would have to expire. It is released.
        let leases = self.table.queue.fetch(room).await?;
        let mut left = room;
        for lease in &leases {
            left.take(lease.job.lane);
        }
        for lease in leases {
            self.start(lease, &mut free).await;
        }
        let is_empty = Group::ALL.map(|group| left.of(group) > 0);
        Ok(Next { is_empty, lacks_permits: free.lacks_permits })
    }

    async fn start(&self, lease: Lease, free: &mut Free<A::Permits>) {
        let group = Group::of(lease.job.lane);
        if self.table.hold(&lease)
            && let Some(place) = free.places[group as usize].as_mut().and_then(|places| places.split(1))
        {
            let permit = if group == Group::Mails { free.permits.next() } else { None };
            let slot = JobSlot::new(lease.job.id.clone(), place, self.ends.clone());
            // When nobody takes it any more, its slot releases it.
            let _ = self.jobs.send(FetchedJob { job: lease.job, permit, slot }).await;
        }
    }

    /// Waits until there may be something to fetch and room for it.
    async fn wait(&self, waits: &mut Waits, next: &Next) -> Result<(), QueueError> {
        for group in Group::ALL.iter().filter(|group| next.is_empty[**group as usize]) {
            waits.0[*group as usize].get_or_insert_with(|| {
                let (queue, group) = (Arc::clone(&self.table.queue), *group);
                async move { queue.wait(group, IDLE).await }.boxed()
            });
        }
        let is_full = |group: Group| !next.is_empty[group as usize];
        let lacks_permits = is_full(Group::Mails) && next.lacks_permits;
        let lacks_place = is_full(Group::Mails) && !next.lacks_permits;
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            heard = poll_fn(|context| waits.poll(context)) => heard,
            () = self.admission.changed(), if lacks_permits => Ok(()),
            _ = self.places[Group::Mails as usize].acquire(), if lacks_place => Ok(()),
            _ = self.places[Group::Callbacks as usize].acquire(), if is_full(Group::Callbacks) => Ok(()),
            _ = self.places[Group::Batches as usize].acquire(), if is_full(Group::Batches) => Ok(()),
        }
    }

    /// Waits until the queue answers again. Extends the leases that are held before anything is fetched, so that a job that
    /// runs is not fetched as expired.
    async fn wait_out(&self, backoff: &mut Backoff) {
        let answered = async {
            loop {
                backoff.pause().await;
                if self.table.extend(&*self.table.queue).await.is_ok() {
                    break;
                }
            }
        };
        self.stop.run_until_cancelled(answered).await;
    }
}
