//! What is paused, and which line a mail waits in because of it.

use std::collections::{BTreeSet, HashMap};

use crate::{
    clock,
    mail::{PauseScope, Timestamp, WaitReason},
    queue::{Line, QueuedJob},
    store::PauseRecord,
};

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

    pub(super) fn is_in_force(&self, scope: &PauseScope) -> bool {
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

    /// What is paused, in words.
    pub(super) fn names(&self) -> String {
        self.0.keys().map(PauseScope::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The scopes that are not paused as they were before.
    pub(super) fn changes(&self, before: &Self) -> Vec<PauseScope> {
        let scopes: BTreeSet<_> = self.0.keys().chain(before.0.keys()).collect();
        scopes.into_iter().filter(|scope| self.0.get(scope) != before.0.get(scope)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mail::Lane;

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
