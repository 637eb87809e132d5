//! How fast mails may go to who said that he gets too much: not before a time, then step by step faster.
//!
//! A value without a clock: who asks says what time it is. Used for recipients' domains (a rate reply or a refusal of the whole
//! domain slows that domain, and no other), for senders' domains that a relay refuses, and for a relay that gets too much of us.
//! What nobody slowed down is not kept.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::mail::{Consequence, Judgement, backoff::doubled};

/// The most domains that are kept; the one that is free soonest makes room.
const MOST_DOMAINS: usize = 1_024;
/// The longest name of a domain (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;
/// The pause after the first such reply where it names no time; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
/// After the pause one mail may go in this time; each that is taken halves it.
const FIRST_INTERVAL: Duration = Duration::from_secs(4);
/// Below this there is no need to wait.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// The domains that are slowed down.
#[derive(Debug, Default)]
pub struct DomainPace {
    domains: HashMap<String, Pace>,
}

/// The pace of one that is slowed down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    not_before: Instant,
    interval: Duration,
    times: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { not_before: now, interval: FIRST_INTERVAL, times: 0 }
    }

    /// When the next mail may go.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Takes the turn of a mail: the next one may go an interval later.
    ///
    /// # Errors
    /// When it may not go now: the time from which one may.
    pub(super) fn take_turn(&mut self, now: Instant) -> Result<(), Instant> {
        if self.not_before > now {
            return Err(self.not_before);
        }
        self.not_before = now + self.interval;
        Ok(())
    }

    /// Waits for so long, or where no time is named for a pause that doubles.
    pub(super) fn slow_down(&mut self, wait: Option<Duration>, now: Instant) {
        // Mails that were under way together count once.
        if self.times == 0 || self.not_before <= now + self.interval {
            self.times = self.times.saturating_add(1);
        }
        let pause = wait.unwrap_or(doubled(FIRST_PAUSE, self.times.saturating_sub(1), LONGEST_PAUSE));
        self.not_before = self.not_before.max(now + pause);
        self.interval = FIRST_INTERVAL;
    }

    /// Notes that a mail was taken. Returns whether mails may go as fast as any again.
    pub(super) fn speed_up(&mut self, now: Instant) -> bool {
        // One that left before it was slowed down says nothing about how it is now.
        if self.not_before > now + self.interval {
            return false;
        }
        self.interval /= 2;
        self.not_before = self.not_before.min(now + self.interval);
        self.interval < SHORTEST_INTERVAL
    }
}

impl DomainPace {
    /// Whether no domain is slowed down.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Notes what a reply from, or about, a domain means for it.
    pub fn note(&mut self, domain: &str, judgement: &Judgement, now: Instant) {
        match judgement.then {
            Consequence::Slow | Consequence::Stop => self.slow_down(domain, judgement.wait, now),
            Consequence::Done => self.speed_up(domain, now),
            Consequence::Retry | Consequence::Fail | Consequence::Suppress => {}
        }
    }

    /// When a mail for this domain may go; at once for one that nobody slowed down.
    pub fn not_before(&self, domain: &str, now: Instant) -> Option<Instant> {
        if self.domains.is_empty() {
            return None;
        }
        let pace = self.domains.get(&domain.to_ascii_lowercase())?;
        (pace.not_before > now).then_some(pace.not_before)
    }

    /// Takes the turn of a mail for this domain: the next one may go an interval later.
    ///
    /// # Errors
    /// When it may not go now: the time from which one may.
    pub fn take_turn(&mut self, domain: &str, now: Instant) -> Result<(), Instant> {
        if self.domains.is_empty() {
            return Ok(());
        }
        self.domains.get_mut(&domain.to_ascii_lowercase()).map_or(Ok(()), |pace| pace.take_turn(now))
    }

    fn slow_down(&mut self, domain: &str, wait: Option<Duration>, now: Instant) {
        if domain.len() > LONGEST_NAME {
            return;
        }
        let domain = domain.to_ascii_lowercase();
        if self.domains.len() >= MOST_DOMAINS && !self.domains.contains_key(&domain) {
            self.make_room();
        }
        self.domains.entry(domain).or_insert_with(|| Pace::new(now)).slow_down(wait, now);
    }

    fn speed_up(&mut self, domain: &str, now: Instant) {
        if self.domains.is_empty() {
            return;
        }
        let domain = domain.to_ascii_lowercase();
        if self.domains.get_mut(&domain).is_some_and(|pace| pace.speed_up(now)) {
            self.domains.remove(&domain);
        }
    }

    fn make_room(&mut self) {
        let soonest = self.domains.iter().min_by_key(|(_, pace)| pace.not_before);
        if let Some(domain) = soonest.map(|(domain, _)| domain.clone()) {
            self.domains.remove(&domain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{ReplyClass, ReplyScope};
    use proptest::prelude::*;

    fn slow(wait: Option<u64>) -> Judgement {
        Judgement {
            class: ReplyClass::RateLimited,
            then: Consequence::Slow,
            scope: ReplyScope::RecipientDomain,
            wait: wait.map(Duration::from_secs),
        }
    }

    fn seconds(pace: &DomainPace, now: Instant) -> Option<u64> {
        pace.not_before("Busy.example", now).map(|at| at.duration_since(now).as_secs())
    }

    #[test]
    fn a_domain_that_gets_too_much_is_left_alone_and_no_other_is() {
        let (mut pace, now) = (DomainPace::default(), Instant::now());
        pace.note("busy.example", &slow(None), now);
        assert_eq!(seconds(&pace, now), Some(15));
        assert_eq!(pace.take_turn("BUSY.example", now), Err(now + FIRST_PAUSE));
        assert_eq!(pace.take_turn("other.example", now), Ok(()));
    }

    #[test]
    fn the_time_that_the_reply_names_is_kept() {
        let (mut pace, now) = (DomainPace::default(), Instant::now());
        pace.note("busy.example", &slow(Some(300)), now);
        assert_eq!(seconds(&pace, now), Some(300));
    }

    #[test]
    fn replies_of_one_moment_count_once_and_later_ones_double_the_pause() {
        let (mut pace, mut now) = (DomainPace::default(), Instant::now());
        for expected in [15, 30, 60, 120, 240, 480, 900, 900] {
            (0..5).for_each(|_| pace.note("busy.example", &slow(None), now));
            assert_eq!(seconds(&pace, now), Some(expected));
            now += Duration::from_secs(expected);
        }
    }

    #[test]
    fn a_domain_recovers_step_by_step() {
        let (mut pace, mut now) = (DomainPace::default(), Instant::now());
        pace.note("busy.example", &slow(None), now);
        now += FIRST_PAUSE;
        let mut waits = Vec::new();
        while !pace.is_empty() {
            assert_eq!(pace.take_turn("busy.example", now), Ok(()));
            pace.note("busy.example", &Judgement::ACCEPTED, now);
            let next = pace.not_before("busy.example", now).unwrap_or(now);
            waits.push(next.duration_since(now).as_millis());
            now = next;
        }
        assert_eq!(waits, [2_000, 1_000, 500, 250, 125, 62, 0]);
    }

    proptest! {
        #[test]
        fn however_many_domains_are_slow_only_so_many_are_kept(
            names in prop::collection::vec("[a-z]{1,3}", 1..300), waits in prop::collection::vec(1_u64..90_000, 1..300),
        ) {
            let (mut pace, now) = (DomainPace::default(), Instant::now());
            for (number, wait) in waits.iter().cycle().take(MOST_DOMAINS + 100).enumerate() {
                let name = format!("{}{number}.example", names[number % names.len()]);
                pace.note(&name, &slow(Some(*wait)), now);
                prop_assert!(pace.domains.len() <= MOST_DOMAINS);
                prop_assert!(pace.not_before(&name, now).is_some());
            }
            pace.note(&"x".repeat(256), &slow(None), now);
            prop_assert!(!pace.domains.contains_key(&"x".repeat(256)));
        }
    }
}
