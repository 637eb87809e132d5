//! What a queue in memory holds, and how each call changes it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Domains, FetchBudget, Fetched, Group, LaneStatus, Lease, LineStatus, QueueStatus, QueuedJob, SHARE,
    SetAside, Whereabouts,
    lane_groups::LaneRotation,
    lines::{ASKING, InsertAt, LINES_AT_ONCE, LISTED, LOOK_AGAIN, parts},
    waiting_jobs::{WaitingJob, WaitingJobs},
};
use crate::{
    clock,
    mail::{Lane, MerchantId, Timestamp, WaitReason},
};

/// An empty table keeps its memory for this many jobs.
const KEPT_ROOM: usize = 16_384;

/// Everything in the queue. A job is in `jobs` from when it is enqueued until it is finished; while it waits, its id is
/// also in the main line or in one of `lines`, and while it is leased, in `expiries`.
#[derive(Default)]
pub(super) struct QueueState {
    jobs: HashMap<Arc<str>, Entry>,
    lanes: [LaneState; Lane::ALL.len()],
    lines: HashMap<Arc<str>, LineState>,
    /// The times of the lines that have one.
    due: BTreeSet<(Instant, Arc<str>)>,
    expiries: BTreeMap<(Instant, u64), Arc<str>>,
    last_token: u64,
    rotation: LaneRotation,
}

enum Entry {
    Waiting,
    SetAside(Arc<str>),
    Leased(Box<LeaseState>),
}

struct LeaseState {
    lane: Lane,
    merchant: MerchantId,
    domains: Option<Arc<Domains>>,
    token: u64,
    until: Instant,
    enqueued_again: bool,
}

#[derive(Default)]
struct LaneState {
    jobs: WaitingJobs,
    paused: bool,
    set_aside: u64,
    leased: u64,
}

struct LineState {
    lanes: [WaitingJobs; Lane::ALL.len()],
    until: Option<Instant>,
    at_most: usize,
    reason: WaitReason,
}

impl LineState {
    fn number(&self) -> u64 {
        self.lanes.iter().map(|jobs| jobs.number).sum()
    }
}

/// A line that gives jobs to one fetch.
struct DueLine {
    name: Arc<str>,
    may_take: usize,
    taken: usize,
}

impl QueueState {
    /// Adds a job and tells whether it was new.
    pub(super) fn enqueue(&mut self, job: &QueuedJob) -> bool {
        match self.jobs.get_mut(job.id.as_str()) {
            None => {
                let id: Arc<str> = job.id.as_str().into();
                self.jobs.insert(id.clone(), Entry::Waiting);
                let waiting = WaitingJob { id, domains: job.domains.clone() };
                self.lanes[job.lane as usize].jobs.push(waiting, job.merchant.clone());
                true
            }
            Some(Entry::Waiting | Entry::SetAside(_)) => false,
            Some(Entry::Leased(lease_state)) => {
                lease_state.enqueued_again = true;
                false
            }
        }
    }

    /// How many jobs wait for a worker in each group, in lanes that are not paused.
    pub(super) fn waiting(&self) -> [u64; Group::ALL.len()] {
        let mut waiting = [0; Group::ALL.len()];
        for (lane, lane_state) in
            Lane::ALL.iter().zip(&self.lanes).filter(|(_, lane_state)| !lane_state.paused)
        {
            waiting[Group::of(*lane) as usize] += lane_state.jobs.number;
        }
        waiting
    }

    pub(super) fn set_paused(&mut self, lane: Lane, paused: bool) {
        self.lanes[lane as usize].paused = paused;
    }

    pub(super) fn fetch(&mut self, mut budget: FetchBudget, now: Instant, lease: Duration) -> Fetched {
        self.take_back_expired(now);
        let mut due = self.due_lines(now);
        let mut leases = Vec::new();
        while let Some(lease) = self.next(budget, now + lease, &mut due) {
            budget.take(lease.job.lane);
            leases.push(lease);
        }
        let had_room = budget.of(Group::Mails) > 0;
        self.put_off(due, now, had_room);
        let first = self.due.first().filter(|_| had_room);
        let singles = &self.lanes[Lane::Transactional as usize];
        Fetched {
            leases,
            due_in: first.map(|(at, _)| at.saturating_duration_since(now)),
            leaves_single_mails: !singles.paused && singles.jobs.number > 0,
        }
    }

    /// Whether a line's time has come.
    pub(super) fn has_due_line(&self, now: Instant) -> bool {
        self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    fn due_lines(&self, now: Instant) -> Vec<DueLine> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now).take(LINES_AT_ONCE);
        let line = |(_, name): &(Instant, Arc<str>)| DueLine {
            name: Arc::clone(name),
            may_take: self.lines.get(name).map_or(0, |line| line.at_most),
            taken: 0,
        };
        due.map(line).collect()
    }

    /// Leases the next job: its lane's turn has come, and it is the first of a line whose time has come or else of the main
    /// line.
    fn next(&mut self, budget: FetchBudget, until: Instant, due: &mut [DueLine]) -> Option<Lease> {
        let rotation = self.rotation;
        let (lane, line, (job, merchant, was_first)) = rotation
            .order()
            .filter(|lane| budget.of(Group::of(*lane)) > 0)
            .find_map(|lane| self.pop(lane, due))?;
        self.rotation.took(lane);
        self.last_token += 1;
        let token = self.last_token;
        let lane_state = &mut self.lanes[lane as usize];
        lane_state.leased += 1;
        lane_state.set_aside -= u64::from(line.is_some());
        let WaitingJob { id, domains } = job;
        let job =
            QueuedJob { id: id.to_string(), lane, merchant: merchant.clone(), domains: domains.clone() };
        let lease_state = LeaseState { lane, merchant, domains, token, until, enqueued_again: false };
        self.jobs.insert(id.clone(), Entry::Leased(Box::new(lease_state)));
        self.expiries.insert((until, token), id);
        let was_at_the_front = was_first && line.is_none();
        Some(Lease { job, token, line, was_at_the_front })
    }

    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn pop(
        &mut self,
        lane: Lane,
        due: &mut [DueLine],
    ) -> Option<(Lane, Option<Arc<str>>, (WaitingJob, MerchantId, bool))> {
        if self.lanes[lane as usize].paused {
            return None;
        }
        for line in due.iter_mut().filter(|line| line.taken < line.may_take) {
            let jobs = self.lines.get_mut(&line.name).map(|state| &mut state.lanes[lane as usize]);
            if let Some(job) = jobs.and_then(WaitingJobs::pop) {
                line.taken += 1;
                return Some((lane, Some(Arc::clone(&line.name)), job));
            }
        }
        Some((lane, None, self.lanes[lane as usize].jobs.pop()?))
    }

    /// Gives the lines that were due the time at which they are looked at again.
    fn put_off(&mut self, due: Vec<DueLine>, now: Instant, had_room: bool) {
        for DueLine { name, taken, .. } in due {
            let is_empty = self.lines.get(&name).is_none_or(|line| line.number() == 0);
            if is_empty {
                self.set_time(&name, None);
                self.lines.remove(&name);
            } else if taken > 0 {
                self.set_time(&name, Some(now + ASKING));
            } else if had_room {
                self.set_time(&name, Some(now + LOOK_AGAIN));
            }
        }
    }

    fn set_time(&mut self, name: &Arc<str>, until: Option<Instant>) {
        let Some(line) = self.lines.get_mut(name) else { return };
        if let Some(before) = std::mem::replace(&mut line.until, until) {
            self.due.remove(&(before, Arc::clone(name)));
        }
        if let Some(until) = until {
            self.due.insert((until, Arc::clone(name)));
        }
    }

    pub(super) fn set_aside(&mut self, aside: &SetAside, now: Instant) -> usize {
        let name: Arc<str> = match self.lines.get_key_value(aside.line.name.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None => aside.line.name.as_str().into(),
        };
        let mut moved = 0;
        for (lease, at) in aside.in_order() {
            let Some((id, lease_state)) = self.end(lease) else { continue };
            moved += 1;
            self.jobs.insert(id.clone(), Entry::SetAside(Arc::clone(&name)));
            self.lanes[lease_state.lane as usize].set_aside += 1;
            let LeaseState { lane, merchant, domains, .. } = *lease_state;
            let line = self.lines.entry(Arc::clone(&name)).or_insert_with(|| LineState {
                lanes: Default::default(),
                until: None,
                at_most: 0,
                reason: aside.line.reason,
            });
            let (jobs, job) = (&mut line.lanes[lane as usize], WaitingJob { id, domains });
            match at {
                InsertAt::End => jobs.push(job, merchant),
                InsertAt::FirstOfMerchant => jobs.push_first_of(job, merchant),
                InsertAt::Front => jobs.push_front(job, merchant),
            }
        }
        self.set_line(&name, aside, now);
        moved
    }

    fn set_line(&mut self, name: &Arc<str>, aside: &SetAside, now: Instant) {
        let Some(line) = self.lines.get_mut(name) else { return };
        let until = aside.line.after.map(|after| now + after);
        let is_new = line.at_most == 0;
        let is_earlier = until.is_some_and(|until| line.until.is_none_or(|before| until < before));
        if is_new || is_earlier || aside.is_answer() {
            line.at_most = aside.line.at_most.max(1);
            line.reason = aside.line.reason;
            self.set_time(name, until);
        }
    }

    /// Makes the time of these lines now, and of those that wait for one of them and something else.
    pub(super) fn wake(&mut self, names: &[String], now: Instant) {
        let is_named = |line: &Arc<str>| parts(line).any(|part| names.iter().any(|name| name == part));
        let woken: Vec<Arc<str>> = self.lines.keys().filter(|line| is_named(line)).cloned().collect();
        for line in woken {
            self.set_time(&line, Some(now));
        }
    }

    pub(super) fn wake_all(&mut self, now: Instant) {
        let names: Vec<Arc<str>> = self.lines.keys().cloned().collect();
        for name in names {
            self.set_time(&name, Some(now));
        }
    }

    pub(super) fn whereabouts(&self, id: &str, now: Instant) -> Whereabouts {
        match self.jobs.get(id) {
            None => Whereabouts::Unknown,
            Some(Entry::Waiting) => Whereabouts::Waiting,
            Some(Entry::Leased(_)) => Whereabouts::Leased,
            Some(Entry::SetAside(name)) => Whereabouts::InLine {
                name: Arc::clone(name),
                reason: self.lines.get(name).map_or(WaitReason::Queued, |line| line.reason),
                until: self.lines.get(name).and_then(|line| wall_clock(line.until, now)),
            },
        }
    }

    pub(super) fn status(&self, now: Instant) -> QueueStatus {
        let lane_status = |lane: &Lane| {
            let LaneState { jobs, set_aside, leased, paused } = &self.lanes[*lane as usize];
            LaneStatus {
                lane: *lane,
                waiting: jobs.number + set_aside,
                set_aside: *set_aside,
                leased: *leased,
                paused: *paused,
            }
        };
        let line_status = |(name, line): (&Arc<str>, &LineState)| LineStatus {
            name: name.to_string(),
            reason: line.reason,
            waiting: line.number(),
            until: wall_clock(line.until, now),
        };
        let mut lines: Vec<LineStatus> = self.lines.iter().map(line_status).collect();
        lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.waiting));
        lines.truncate(LISTED);
        QueueStatus { lanes: Lane::ALL.iter().map(lane_status).collect(), lines }
    }

    pub(super) fn crowding(&self, lane: Lane) -> Vec<MerchantId> {
        self.lanes[lane as usize].jobs.with_more_than(SHARE).cloned().collect()
    }

    fn lease_state(&mut self, lease: &Lease) -> Option<&mut LeaseState> {
        match self.jobs.get_mut(lease.job.id.as_str()) {
            Some(Entry::Leased(lease_state)) if lease_state.token == lease.token => Some(lease_state),
            _ => None,
        }
    }

    /// Ends the lease and returns the job, which is then in no line.
    fn end(&mut self, lease: &Lease) -> Option<(Arc<str>, Box<LeaseState>)> {
        self.lease_state(lease)?;
        let (id, entry) = self.jobs.remove_entry(lease.job.id.as_str())?;
        let Entry::Leased(lease_state) = entry else { return None };
        self.expiries.remove(&(lease_state.until, lease_state.token));
        self.lanes[lease_state.lane as usize].leased -= 1;
        Some((id, lease_state))
    }

    pub(super) fn finish(&mut self, lease: &Lease) -> bool {
        let Some((id, lease_state)) = self.end(lease) else { return false };
        if lease_state.enqueued_again {
            self.jobs.insert(id.clone(), Entry::Waiting);
            let job = WaitingJob { id, domains: lease_state.domains };
            self.lanes[lease_state.lane as usize].jobs.push(job, lease_state.merchant);
        } else if self.jobs.is_empty() && self.jobs.capacity() > KEPT_ROOM {
            self.jobs.shrink_to(KEPT_ROOM);
        }
        true
    }

    pub(super) fn release(&mut self, lease: &Lease) -> bool {
        let Some((id, lease_state)) = self.end(lease) else { return false };
        self.jobs.insert(id.clone(), Entry::Waiting);
        let job = WaitingJob { id, domains: lease_state.domains };
        self.lanes[lease_state.lane as usize].jobs.push_front(job, lease_state.merchant);
        true
    }

    pub(super) fn extend(&mut self, lease: &Lease, until: Instant) -> bool {
        let Some(lease_state) = self.lease_state(lease) else { return false };
        let old = (std::mem::replace(&mut lease_state.until, until), lease.token);
        if let Some(id) = self.expiries.remove(&old) {
            self.expiries.insert((until, lease.token), id);
        }
        true
    }

    fn take_back_expired(&mut self, now: Instant) {
        if self.expiries.first_key_value().is_none_or(|((until, _), _)| *until > now) {
            return;
        }
        let unexpired = self.expiries.split_off(&(now, u64::MAX));
        let expired = std::mem::replace(&mut self.expiries, unexpired);
        // The last one first, so that the longest expired is at the front in the end.
        for id in expired.into_values().rev() {
            if let Some(entry) = self.jobs.get_mut(&id)
                && let Entry::Leased(lease_state) = std::mem::replace(entry, Entry::Waiting)
            {
                let lane_state = &mut self.lanes[lease_state.lane as usize];
                lane_state.leased -= 1;
                lane_state
                    .jobs
                    .push_front(WaitingJob { id, domains: lease_state.domains }, lease_state.merchant);
            }
        }
    }
}

fn wall_clock(until: Option<Instant>, now: Instant) -> Option<Timestamp> {
    until.map(|until| clock::now() + until.saturating_duration_since(now))
}
