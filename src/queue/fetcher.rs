//! Fetches as many jobs as a worker has free places and, for mails, room for them on their way out, and no more, until it is
//! told to stop. Mails that may not go yet are set aside. While a fetch leaves no single mail behind, fresh ones may be handed over
//! past the queue.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Admit, Decision, FetchBudget, Group, Lease, Line, QueueError, SetAside,
    hand_over::{HandOver, MailPlaces},
    lease_table::{Backoff, FetchedJob, JobEnd, JobSlot, LeaseTable},
};
use crate::mail::WaitReason;

/// How long an idle worker waits before it fetches without being woken: nobody is woken when a lease expires.
const IDLE: Duration = Duration::from_secs(1);

/// While no mail waits in the queue, a fetch takes this part of the places that are free and leaves the rest to mails
/// that are handed over.
const FETCH_DIVISOR: usize = 4;

/// The most mails that are to be fetched from one line at a time.
const MOST_OF_A_LINE: usize = 500;

/// Fetches jobs from the queue and hands them to apalis.
pub(super) struct Fetcher<A: Admit> {
    pub(super) table: Arc<LeaseTable>,
    /// The free places of each group of lanes.
    pub(super) places: [Arc<Semaphore>; Group::ALL.len()],
    /// Those for mails, for who hands mails over.
    pub(super) mail_places: MailPlaces,
    pub(super) admission: Arc<A>,
    /// Open while no single mail waits in the queue.
    pub(super) hand_over: HandOver,
    pub(super) jobs: mpsc::Sender<FetchedJob<A::Permit>>,
    pub(super) ends: mpsc::UnboundedSender<JobEnd>,
    pub(super) stop: CancellationToken,
}

/// What is free now.
struct Free<R> {
    places: [Option<OwnedSemaphorePermit>; Group::ALL.len()],
    /// How many mails may leave, and what is kept for them.
    mails: usize,
    reservation: R,
    /// There are places for more mails, but they may not leave.
    lacks_mail_room: bool,
}

impl<R> Free<R> {
    fn budget(&self) -> FetchBudget {
        Group::ALL.iter().fold(FetchBudget::default(), |budget, group| {
            let places = number(&self.places[*group as usize]);
            budget.with(*group, if *group == Group::Mails { places.min(self.mails) } else { places })
        })
    }
}

/// The lines that mails came from, and how many from each.
fn lines_of(mails: &[Lease]) -> Vec<(String, usize)> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for name in mails.iter().filter_map(Lease::line) {
        match lines.iter_mut().find(|(each, _)| each == name) {
            Some((_, taken)) => *taken += 1,
            None => lines.push((name.to_owned(), 1)),
        }
    }
    lines
}

/// Takes this part of the places that are free now.
fn take(places: &Arc<Semaphore>, part: usize) -> Option<OwnedSemaphorePermit> {
    loop {
        let free = places.available_permits().div_ceil(part);
        match Arc::clone(places).try_acquire_many_owned(u32::try_from(free).unwrap_or(u32::MAX)) {
            Ok(taken) => return Some(taken),
            Err(TryAcquireError::NoPermits) => {} // some were taken this moment, by mails that are handed over
            Err(TryAcquireError::Closed) => return None,
        }
    }
}

fn number(places: &Option<OwnedSemaphorePermit>) -> usize {
    places.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
}

/// What the fetcher waits for before it fetches again.
struct Next {
    /// The groups of which nothing was left; the others had no more room.
    is_empty: [bool; Group::ALL.len()],
    lacks_mail_room: bool,
    /// Single mails wait.
    leaves_single_mails: bool,
    /// When mails that are set aside may go.
    due: Option<Instant>,
    /// As many mails were fetched as there was room for, and some were set aside: there is room for others.
    has_room_again: bool,
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
        let (mut backoff, mut waits, mut asides) = (Backoff::default(), Waits::default(), Vec::new());
        let mut part = 1;
        while !self.stop.is_cancelled() {
            if !self.admission.may_begin() {
                self.hand_over.close();
                let changed = timeout(IDLE, self.admission.changed());
                let _ = self.stop.run_until_cancelled(changed).await;
                continue;
            }
            let result = match self.fetch(&mut asides, part).await {
                Ok(next) => {
                    match next.leaves_single_mails {
                        true => self.hand_over.jam(),
                        false => self.hand_over.open(&self.mail_places),
                    }
                    part = if next.is_empty[Group::Mails as usize] { FETCH_DIVISOR } else { 1 };
                    self.wait(&mut waits, &next).await
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {
                    self.table.queue_answered();
                    backoff = Backoff::default();
                }
                Err(error) => {
                    part = 1;
                    self.hand_over.close();
                    self.table.queue_failed(&error);
                    self.wait_out(&mut backoff).await;
                }
            }
        }
    }

    fn free(&self, part: usize) -> Free<A::Reservation> {
        let places = Group::ALL
            .map(|group| take(&self.places[group as usize], if group == Group::Mails { part } else { 1 }));
        let wanted = number(&places[Group::Mails as usize]);
        let (mails, reservation) = self.admission.reserve(wanted);
        Free { places, mails, reservation, lacks_mail_room: mails < wanted }
    }

    /// Fetches what there is room for, even if that is nothing: then the queue wakes other workers for what waits.
    /// `asides` are mails that an outage of the queue kept from being set aside, then and now; `part` is the part of the places
    /// for mails that may be taken.
    async fn fetch(&self, asides: &mut Vec<SetAside>, part: usize) -> Result<Next, QueueError> {
        self.set_aside(asides).await?;
        let mut free = self.free(part);
        let budget = free.budget();
        // Not cut short when stopped: the leases of what was fetched meanwhile would have to expire. It is released.
        let fetched = self.table.queue.fetch(budget).await?;
        let mut due = fetched.due_in.map(|due_in| Instant::now() + due_in);
        let mut left = budget;
        let mut mails = Vec::new();
        for lease in fetched.leases {
            left.take(lease.job.lane);
            if !self.table.hold(&lease) {
                continue; // it runs
            }
            match Group::of(lease.job.lane) {
                Group::Mails => mails.push(lease),
                Group::Callbacks | Group::Batches => self.start(lease, None, &mut free.places).await,
            }
        }
        let Free { mut places, reservation, lacks_mail_room, .. } = free;
        let is_empty = Group::ALL.map(|group| left.of(group) > 0);
        let leaves_single_mails = fetched.leaves_single_mails;
        let mut has_room_again = false;
        if !mails.is_empty() {
            *asides = self.admit(reservation, mails, &mut places).await;
            let are_aside = asides.iter().any(|aside| !aside.leases.is_empty());
            has_room_again = are_aside && !is_empty[Group::Mails as usize];
            let first = self.set_aside(asides).await?;
            due = [due, first].into_iter().flatten().min();
        }
        Ok(Next { is_empty, lacks_mail_room, leaves_single_mails, due, has_room_again })
    }

    /// Starts the mails that may go, releases those of a worker that may not send, and returns the others.
    async fn admit(
        &self,
        reservation: A::Reservation,
        mails: Vec<Lease>,
        places: &mut [Option<OwnedSemaphorePermit>; Group::ALL.len()],
    ) -> Vec<SetAside> {
        let mut asides: Vec<SetAside> = Vec::new();
        let came_from = lines_of(&mails);
        let decisions = self.admission.decide(reservation, &mails).await;
        let decided_at = Instant::now();
        for (lease, decision) in mails.into_iter().zip(decisions) {
            match decision {
                Decision::Now(permit) => self.start(lease, Some(permit), places).await,
                Decision::Later(line) => {
                    let line = line.cut();
                    match asides.iter_mut().find(|aside| aside.line.name == line.name) {
                        Some(aside) => aside.leases.push(lease),
                        None => asides.push(SetAside { line, leases: vec![lease] }),
                    }
                }
                Decision::NotHere => drop(self.slot(&lease, places)),
            }
        }
        // A line of which all may go goes on at once, with more.
        for (name, taken) in came_from {
            if !asides.iter().any(|aside| aside.line.name == name) {
                let (reason, after) = (WaitReason::Queued, Some(Duration::ZERO));
                let line = Line { name, reason, after, at_most: (2 * taken).min(MOST_OF_A_LINE) };
                asides.push(SetAside { line, leases: Vec::new() });
            }
        }
        let took = decided_at.elapsed();
        for after in asides.iter_mut().filter_map(|aside| aside.line.after.as_mut()) {
            *after = after.saturating_sub(took);
        }
        asides
    }

    /// Sets mails aside, and returns when the first of them may go.
    async fn set_aside(&self, asides: &mut Vec<SetAside>) -> Result<Option<Instant>, QueueError> {
        if asides.is_empty() {
            return Ok(None);
        }
        // A little later than the queue's own time, never earlier: then what is due is fetched at once.
        let told_at = Instant::now();
        self.table.queue.set_aside(asides).await?;
        let first = asides.iter().filter_map(|aside| aside.line.after).min();
        for aside in asides.drain(..) {
            self.table.let_go(&aside.leases);
        }
        Ok(first.map(|after| told_at + told_at.elapsed() / 2 + after + Duration::from_millis(1)))
    }

    fn slot(
        &self,
        lease: &Lease,
        places: &mut [Option<OwnedSemaphorePermit>; Group::ALL.len()],
    ) -> Option<JobSlot> {
        let place = places[Group::of(lease.job.lane) as usize].as_mut().and_then(|places| places.split(1))?;
        Some(JobSlot::new(lease.job.id.clone(), place, self.ends.clone()))
    }

    async fn start(
        &self,
        lease: Lease,
        permit: Option<A::Permit>,
        places: &mut [Option<OwnedSemaphorePermit>; Group::ALL.len()],
    ) {
        if let Some(slot) = self.slot(&lease, places) {
            // When nobody takes it any more, its slot releases it.
            let _ = self.jobs.send(FetchedJob { job: lease.job, permit, slot }).await;
        }
    }

    /// Waits until there may be something to fetch and room for it.
    async fn wait(&self, waits: &mut Waits, next: &Next) -> Result<(), QueueError> {
        if next.has_room_again {
            return Ok(());
        }
        for group in Group::ALL.iter().filter(|group| next.is_empty[**group as usize]) {
            waits.0[*group as usize].get_or_insert_with(|| {
                let (queue, group) = (Arc::clone(&self.table.queue), *group);
                async move { queue.wait(group, IDLE).await }.boxed()
            });
        }
        let is_full = |group: Group| !next.is_empty[group as usize];
        let lacks_mail_room = is_full(Group::Mails) && next.lacks_mail_room;
        let lacks_place = is_full(Group::Mails) && !next.lacks_mail_room;
        let due = next.due.filter(|_| !is_full(Group::Mails));
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            heard = poll_fn(|context| waits.poll(context)) => heard,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Ok(()),
            () = self.admission.changed(), if lacks_mail_room => Ok(()),
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
