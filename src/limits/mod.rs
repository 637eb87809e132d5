//! How much of something may happen in a while: governor in one process.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use moka::sync::Cache;
use serde::{Deserialize, Deserializer};

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

/// One limit for each name, such as a merchant or a route.
pub struct Limits {
    limiters: Cache<String, Arc<DefaultDirectRateLimiter>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            limiters: Cache::builder().max_capacity(10_000).time_to_idle(Duration::from_secs(3_600)).build(),
        }
    }
}

impl Limits {
    /// Takes one from `name`'s allowance.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, name: &str, rate: Rate) -> Result<(), Duration> {
        let limiter = self.limiter(name, rate);
        limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(governor::clock::DefaultClock::default().now()))
    }

    /// Waits until `name`'s allowance has one and takes it.
    pub async fn wait(&self, name: &str, rate: Rate) {
        while let Err(wait) = self.take(name, rate) {
            tokio::time::sleep(wait).await;
        }
    }

    fn limiter(&self, name: &str, rate: Rate) -> Arc<DefaultDirectRateLimiter> {
        if let Some(limiter) = self.limiters.get(name) {
            return limiter;
        }
        self.limiters.get_with_by_ref(name, || Arc::new(RateLimiter::direct(rate.quota())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(Rate::parse("50/s").map(|rate| rate.to_string()).as_deref(), Some("50/s"));
        assert_eq!(Rate::parse("3000/h").map(|rate| rate.per), Some(Duration::from_secs(3_600)));
        assert_eq!(["0/s", "50", "50/", "/s", "-1/s", "5/year"].map(Rate::parse), [None; 6]);
    }

    #[test]
    fn one_name_does_not_spend_anothers_allowance() {
        let limits = Limits::default();
        let rate = Rate::parse("2/s").unwrap();
        assert!(limits.take("a", rate).is_ok() && limits.take("a", rate).is_ok());
        assert!(limits.take("a", rate).is_err());
        assert!(limits.take("b", rate).is_ok());
    }
}
