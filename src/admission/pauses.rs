//! Keeps admission up to date with what operators paused. It is in the database, so that a pause holds in every process, outlives a
//! queue that loses its contents, and a restart.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::Admission;
use crate::{
    clock,
    mail::{Lane, PauseScope, Timestamp, WaitReason},
    queue::{Line, Queue, QueueError, QueuedJob},
    store::{PauseRecord, Store, StoreError},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many mails are fetched first when a pause ends.
const AFTER_A_PAUSE: usize = 100;

/// What is paused, and until when; `None`: until it is resumed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paused(HashMap<PauseScope, Option<Timestamp>>);

impl Paused {
    pub(super) fn of(pauses: Vec<PauseRecord>) -> Self {
        let mut paused = HashMap::with_capacity(pauses.len());
        for pause in pauses {
            // A merchant may be paused and suspended: what ends later counts.
            paused
                .entry(pause.scope)
                .and_modify(|until: &mut Option<Timestamp>| {
                    *until = until.zip(pause.ends_at).map(|(one, other)| one.max(other));
                })
                .or_insert(pause.ends_at);
        }
        Self(paused)
    }

    fn is_in_force(&self, scope: &PauseScope) -> bool {
        self.0.get(scope).is_some_and(|until| until.is_none_or(|until| until > clock::now()))
    }

    /// The line of a mail that is paused, whatever its route is.
    pub(super) fn line_of_mail(&self, mail: &QueuedJob) -> Option<Line> {
        if self.0.is_empty() {
            return None;
        }
        let domain = mail.domains.as_ref().map(|domains| PauseScope::Domain(domains.recipient.to_string()));
        let scopes = [PauseScope::Lane(mail.lane), PauseScope::Merchant(mail.merchant.clone())];
        scopes.iter().chain(&domain).find_map(|scope| self.line_of(scope))
    }

    /// The line of mails over a route that is paused.
    pub(super) fn line_of_route(&self, name: &str) -> Option<Line> {
        if self.0.is_empty() { None } else { self.line_of(&PauseScope::Route(name.to_owned())) }
    }

    fn line_of(&self, scope: &PauseScope) -> Option<Line> {
        let until = self.0.get(scope).filter(|_| self.is_in_force(scope))?;
        Some(Line {
            name: scope.to_string(),
            reason: WaitReason::Paused,
            after: until.map(|until| until.since(clock::now())),
            at_most: AFTER_A_PAUSE,
        })
    }

    /// The scopes that are not paused as they were before.
    fn changes(&self, before: &Self) -> Vec<PauseScope> {
        let scopes: BTreeSet<_> = self.0.keys().chain(before.0.keys()).collect();
        scopes.into_iter().filter(|scope| self.0.get(scope) != before.0.get(scope)).cloned().collect()
    }
}

impl Admission {
    /// Whether a lane is paused.
    pub fn is_paused(&self, lane: Lane) -> bool {
        self.paused().is_in_force(&PauseScope::Lane(lane))
    }

    pub(super) fn paused(&self) -> Arc<Paused> {
        Arc::clone(&self.paused.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_paused(&self, paused: Paused) {
        *self.paused.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(paused);
    }

    /// Reads what is paused, and returns what changed. Before the first mail, so that none of it goes.
    ///
    /// # Errors
    /// When the database does not tell.
    pub async fn read_pauses(&self, store: &Store) -> Result<Vec<PauseScope>, StoreError> {
        let paused = Paused::of(store.pauses().await?);
        let changes = paused.changes(&self.paused());
        if !changes.is_empty() {
            let names: Vec<_> = paused.0.keys().map(PauseScope::to_string).collect();
            tracing::info!(paused = names.join(" "), "what is paused has changed");
            self.set_paused(paused);
        }
        Ok(changes)
    }

    /// Watches for ever. After a change the mails that wait for it ask again. A database or a queue that is away is asked again;
    /// meanwhile what was known holds.
    pub(super) async fn watch_pauses(&self, store: &Store, queue: &dyn Queue) {
        let (mut to_wake, mut running) = (BTreeSet::new(), BTreeSet::new());
        loop {
            match timeout(PATIENCE, self.read_pauses(store)).await {
                Ok(Ok(changes)) => to_wake.extend(changes.iter().map(PauseScope::to_string)),
                Ok(Err(error)) => tracing::debug!(%error, "what is paused could not be read"),
                Err(_) => tracing::debug!("what is paused could not be read in time"),
            }
            if let Err(error) = self.tell_queue(queue, &mut running, &mut to_wake).await {
                tracing::debug!(%error, "the queue could not be told what is paused");
            }
            sleep(PAUSE).await;
        }
    }

    /// Stops and starts lanes, and wakes what waits for a pause. A queue that lost its contents forgot which lanes are paused, so
    /// it is told again and again; `running` are the lanes that it knows to run.
    async fn tell_queue(
        &self,
        queue: &dyn Queue,
        running: &mut BTreeSet<Lane>,
        to_wake: &mut BTreeSet<String>,
    ) -> Result<(), QueueError> {
        for &lane in Lane::ALL {
            if self.is_paused(lane) {
                running.remove(&lane);
                queue.pause(lane).await?;
            } else if !running.contains(&lane) {
                queue.resume(lane).await?;
                running.insert(lane);
            }
        }
        if !to_wake.is_empty() {
            queue.wake(&to_wake.iter().cloned().collect::<Vec<_>>()).await?;
            to_wake.clear();
            self.changed.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(scope: &str, ends_in: Option<i64>) -> PauseRecord {
        let (kind, name) = scope.split_once(':').unwrap();
        let now = clock::now();
        PauseRecord {
            scope: PauseScope::parse(kind, name).unwrap(),
            reason: "tried".to_owned(),
            actor: "cli:ann".to_owned(),
            at: now,
            ends_at: ends_in.map(|seconds| Timestamp(now.millis() + seconds * 1_000)),
            is_suspension: false,
        }
    }

    #[test]
    fn of_two_pauses_of_one_scope_the_longer_counts_and_one_that_is_over_does_not() {
        let paused = Paused::of(vec![
            pause("merchant:tea", Some(5)),
            pause("merchant:tea", None),
            pause("route:main", Some(5)),
            pause("route:main", Some(60)),
            pause("domain:gmail.com", Some(-1)),
        ]);
        let job = QueuedJob::new("send_mail:1".to_owned(), Lane::Bulk, "tea".parse().unwrap());
        let line = paused.line_of_mail(&job).unwrap();
        assert_eq!((line.name.as_str(), line.after), ("merchant:tea", None));
        assert!(paused.line_of_route("main").unwrap().after.unwrap() > Duration::from_secs(50));
        let other = QueuedJob::new("send_mail:2".to_owned(), Lane::Bulk, "oak".parse().unwrap());
        assert_eq!(paused.line_of_mail(&other.with_domains("oak.example", "gmail.com")), None);
    }

    #[test]
    fn a_change_names_what_was_paused_resumed_or_got_another_end() {
        let mut all = vec![pause("lane:bulk", None), pause("route:main", Some(60)), pause("route:new", None)];
        let after = Paused::of(all.clone());
        all.truncate(2);
        all[1].ends_at = None;
        all.push(pause("route:old", None));
        let changes = after.changes(&Paused::of(all));
        let names: Vec<_> = changes.iter().map(PauseScope::to_string).collect();
        assert_eq!(names, ["route:main", "route:new", "route:old"]);
    }
}
