//! How much of something may happen in a while: governor in one process. What is limited is a [`Scope`]; two scopes never
//! share an allowance, whatever their names are. And how much may be under way at once.

mod in_flight;
mod limit;

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use governor::{
    Quota,
    clock::{Clock, DefaultClock},
};
use serde::{Deserialize, Deserializer};

pub use in_flight::{Full, Held, InFlight};
pub use limit::Limit;

use crate::mail::MerchantId;

/// How many limits are kept before those that are whole again are looked for.
const FEW: usize = 1_024;

/// A rate as people write it: `"50/s"`, `"1000/m"`, `"3000/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Duration,
}

impl Rate {
    /// Parses a count and a unit of time.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let per = match unit.trim() {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        Some(Self { count: count.trim().parse().ok()?, per: Duration::from_secs(per) })
    }

    fn quota(self) -> Quota {
        let each = self.per / self.count.get();
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(self.count));
        // A burst of one second's worth: an hourly rate shall not be spent in its first second.
        let burst = f64::from(self.count.get()) / self.per.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by a u32 above")]
        quota.allow_burst(NonZeroU32::new(burst.ceil() as u32).unwrap_or(NonZeroU32::MIN))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            3_600 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "a rate is a count over 0 and one of s, m, h, d, as in \"50/s\" or \"3000/h\"",
            )
        })
    }
}

/// What a limit is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The requests of a merchant.
    Requests(MerchantId),
    /// The mails over a route, by its name.
    Route(String),
}

/// One limit for each scope.
pub struct Limits<C: Clock = DefaultClock> {
    clock: C,
    kept: RwLock<Kept<C>>,
}

struct Kept<C: Clock> {
    limits: HashMap<Scope, Arc<Limit<C>>>,
    sweep_at: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(clock: C) -> Self {
        Self { clock, kept: RwLock::new(Kept { limits: HashMap::new(), sweep_at: FEW }) }
    }

    /// Takes one from the scope's allowance.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, scope: &Scope, rate: Rate) -> Result<(), Duration> {
        self.of(scope, rate).take()
    }

    /// The scope's limit. It is made with `rate` when it is first asked for, and kept at least until its whole allowance
    /// is there again: an allowance that is forgotten earlier could be spent twice.
    pub fn of(&self, scope: &Scope, rate: Rate) -> Arc<Limit<C>> {
        if let Some(limit) = self.kept.read().unwrap_or_else(PoisonError::into_inner).limits.get(scope) {
            return Arc::clone(limit);
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.limits.len() >= kept.sweep_at {
            kept.limits.retain(|_, limit| Arc::strong_count(limit) > 1 || !limit.is_whole());
            kept.sweep_at = FEW.max(2 * kept.limits.len());
        }
        let limit = kept.limits.entry(scope.clone());
        Arc::clone(limit.or_insert_with(|| Arc::new(Limit::new(rate.quota(), self.clock.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn requests(merchant: &str) -> Scope {
        Scope::Requests(merchant.parse().unwrap())
    }

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(Rate::parse("50/s").map(|rate| rate.to_string()).as_deref(), Some("50/s"));
        assert_eq!(Rate::parse("3000/h").map(|rate| rate.per), Some(Duration::from_secs(3_600)));
        assert_eq!(["0/s", "50", "50/", "/s", "-1/s", "5/year"].map(Rate::parse), [None; 6]);
    }

    #[test]
    fn one_scope_does_not_spend_anothers_allowance_although_their_names_are_the_same() {
        let limits = Limits::default();
        let (merchant, route) = (requests("main"), Scope::Route("main".to_owned()));
        for scope in [&merchant, &route, &requests("other")] {
            assert!(limits.take(scope, rate("2/m")).is_ok(), "{scope:?}");
            assert!(limits.take(scope, rate("2/m")).is_err(), "{scope:?}");
        }
    }

    #[test]
    fn an_idle_while_shorter_than_its_period_does_not_reset_an_allowance() {
        let clock = FakeRelativeClock::default();
        let limits = Limits::with_clock(clock.clone());
        let (scope, ten_a_day) = (requests("tea-co"), rate("10/d"));
        limits.take(&scope, ten_a_day).unwrap();
        for hour in [1, 2] {
            clock.advance(Duration::from_secs(3_600));
            for other in 0..3 * FEW {
                let _ = limits.take(&requests(&format!("other-{hour}-{other}")), rate("50/s"));
            }
            assert!(limits.take(&scope, ten_a_day).is_err(), "after {hour} h; one comes each 2.4 h");
        }
        clock.advance(Duration::from_secs(1_440));
        assert!(limits.take(&scope, ten_a_day).is_ok());
    }

    #[test]
    fn limits_whose_allowance_is_whole_again_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let limits = Limits::with_clock(clock.clone());
        for number in 0..10 * FEW {
            limits.take(&requests(&format!("m{number}")), rate("50/s")).unwrap();
            clock.advance(Duration::from_millis(1));
        }
        let kept = limits.kept.read().unwrap().limits.len();
        assert!(kept <= 2 * FEW, "{kept}");
    }
}
