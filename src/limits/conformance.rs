//! What a limiter promises, in one process and in Redis, on a clock that the test turns.

use std::{
    ops::AsyncFn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Answer, Ask, Limiter, Rate, Scope, redis::InRedis};
use crate::queue::redis_server::RedisServer;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// The clock at the beginning, as large as a real one: about the year 2026 in microseconds.
const START: u64 = 1_764_000_000 * SECOND + 123_457;

/// A limiter, the same as another process would see it, and their clock.
pub(super) struct Bed {
    limiter: Limiter,
    elsewhere: Limiter,
    clock: Arc<AtomicU64>,
    server: Option<RedisServer>,
}

impl Bed {
    fn local() -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let limiter = Limiter::new(None, Arc::default(), Some(Arc::clone(&clock)));
        Self { elsewhere: limiter.clone(), limiter, clock, server: None }
    }

    async fn in_redis() -> Self {
        let (server, clock) = (RedisServer::start(false).await, Arc::new(AtomicU64::new(START)));
        let since = (START - DAY).to_string();
        server.ask(&["SET", "{postroom}:rate:since", &since]).await;
        let limiter = || {
            let redis = InRedis::new(&server.url(), "".as_ref(), "postroom").unwrap();
            Limiter::new(Some(redis), Arc::default(), Some(Arc::clone(&clock)))
        };
        Self { limiter: limiter(), elsewhere: limiter(), clock, server: Some(server) }
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn turn_to(&self, moment: u64) {
        self.clock.store(moment, Ordering::Relaxed);
    }

    fn turn(&self, by: u64) {
        self.clock.fetch_add(by, Ordering::Relaxed);
    }

    /// Asks for several mails, and uses what is granted: how many, and what the first that is denied waits for.
    async fn use_up(&self, ask: &Ask, most: usize) -> (usize, Option<(String, u64)>) {
        let answers = self.limiter.take(&vec![ask.clone(); most]).await;
        let denied = answers.iter().find_map(denied);
        let granted = answers.into_iter().filter_map(|answer| match answer {
            Answer::Granted(tokens) => {
                tokens.spend();
                Some(())
            }
            Answer::Denied { .. } => None,
        });
        (granted.count(), denied)
    }
}

fn denied(answer: &Answer) -> Option<(String, u64)> {
    match answer {
        Answer::Granted(_) => None,
        Answer::Denied { scope, wait } => Some((scope.to_string(), u64::try_from(wait.as_micros()).unwrap())),
    }
}

/// As in `["all 5/s", "route:main 7/s burst 3"]`.
pub(super) fn ask<const N: usize>(limits: [&str; N]) -> Ask {
    let limit = |text: &str| {
        let (scope, rate) = text.split_once(' ').unwrap();
        let scope = match scope.split_once(':') {
            Some(("route", name)) => Scope::Route(name.into()),
            Some(("merchant", name)) => Scope::Merchant(name.parse().unwrap()),
            Some(("domain", name)) => Scope::Domain(name.into()),
            _ => Scope::All,
        };
        (scope, rate.parse::<Rate>().unwrap())
    };
    limits.into_iter().map(limit).collect()
}

/// Runs a test on both.
async fn on_both(test: impl AsyncFn(&Bed)) {
    test(&Bed::local()).await;
    test(&Bed::in_redis().await).await;
}

/// Takes whenever there is one, for so long, and checks each window: never more than the rate and a burst, and in all
/// nearly as many as there may be.
async fn keeps(bed: &Bed, rate: &str, time: u64) {
    let (ask, parsed) = (ask([&format!("route:{} {rate}", bed.now())]), rate.parse::<Rate>().unwrap());
    let (start, mut used) = (bed.now(), Vec::new());
    while bed.now() < start + time {
        let most = if used.is_empty() { parsed.burst() as usize + 1 } else { 2 };
        let (granted, denied) = bed.use_up(&ask, most).await;
        used.extend(std::iter::repeat_n(bed.now(), granted));
        bed.turn(denied.map_or(1, |(_, wait)| wait).max(1));
    }
    let (count, unit) = parsed.quota();
    let allowed =
        |window: u64| u128::from(window) * u128::from(count) / unit.as_micros() + u128::from(parsed.burst());
    for (first, from) in used.iter().enumerate() {
        for (number, to) in used[first..].iter().enumerate() {
            assert!((number as u128) < allowed(to - from), "{rate}: {} in {} us", number + 1, to - from);
        }
    }
    let ideal = u128::from(time) * u128::from(count) / unit.as_micros();
    assert!(used.len() as u128 * 1_000 >= ideal * 999, "{rate}: {} of {ideal}", used.len());
}

#[tokio::test]
async fn no_window_sees_more_than_the_rate_and_a_burst_and_nothing_is_wasted() {
    on_both(async |bed| {
        keeps(bed, "7/s", 60 * SECOND).await;
        keeps(bed, "200/s", 2 * SECOND).await;
        keeps(bed, "3000/h", HOUR / 8).await;
        keeps(bed, "3000/h burst 100", HOUR / 8).await;
        keeps(bed, "10/d", 30 * DAY).await;
        keeps(bed, "10/d burst 10", 30 * DAY).await;
        keeps(bed, "30000/s", SECOND / 50).await;
    })
    .await;
}

#[tokio::test]
async fn an_allowance_gives_its_burst_at_once_and_then_one_after_each_pause() {
    on_both(async |bed| {
        for (limit, burst, each) in [
            ("route:a 7/s", 1, 142_858),
            ("route:b 200/s", 10, 5_000),
            ("route:c 3000/h burst 100", 100, 1_200_000),
            ("route:d 10/d", 1, 8_640_000_000),
        ] {
            let ask = ask([limit]);
            let scope = limit.split(' ').next().unwrap().to_owned();
            assert_eq!(bed.use_up(&ask, 300).await, (burst, Some((scope.clone(), each))), "{limit}");
            bed.turn(each - 1);
            assert_eq!(bed.use_up(&ask, 9).await, (0, Some((scope.clone(), 1))), "{limit}");
            bed.turn(1);
            assert_eq!(bed.use_up(&ask, 9).await, (1, Some((scope, each))), "{limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_mail_takes_from_all_its_scopes_or_from_none_and_is_told_which_it_waits_for_longest() {
    on_both(async |bed| {
        let all =
            ask(["all 10/s burst 5", "route:main 10/s burst 3", "merchant:tea 1/s", "domain:x.example 1/m"]);
        let other = ask(["all 10/s burst 5", "route:main 10/s burst 3"]);
        assert_eq!(bed.use_up(&all, 3).await, (1, Some(("domain:x.example".to_owned(), 60 * SECOND))));
        // What the two others did not take is there: 5 and 3, less one.
        assert_eq!(bed.use_up(&other, 9).await, (2, Some(("route:main".to_owned(), SECOND / 10))));
        assert_eq!(bed.use_up(&ask(["all 10/s burst 5"]), 9).await.0, 2);
        assert_eq!(bed.use_up(&ask(["domain:all 10/s burst 5"]), 9).await.0, 5, "a name is not a scope");
    })
    .await;
}

#[tokio::test]
async fn many_are_decided_about_in_their_order() {
    on_both(async |bed| {
        let (slow, free, none) =
            (ask(["domain:slow.example 1/m"]), ask(["domain:free.example 200/s"]), Ask::default());
        let asks = [&slow, &slow, &none, &free, &slow].map(Clone::clone);
        let answers = bed.limiter.take(&asks).await;
        let granted: Vec<_> = answers.iter().map(|answer| denied(answer).is_none()).collect();
        assert_eq!(granted, [true, false, true, true, false]);
        assert_eq!(denied(&answers[4]).unwrap().0, "domain:slow.example");
        let both = ask(["domain:free.example 200/s", "domain:slow.example 1/m"]);
        let answers = bed.limiter.take(&[free.clone(), both]).await;
        assert_eq!(denied(&answers[1]), Some(("domain:slow.example".to_owned(), 60 * SECOND)));
        let many = ask(["all 1000000/s burst 100000"]);
        assert_eq!(bed.use_up(&many, 1_300).await, (1_300, None));
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_is_raised_lowered_or_removed_is_what_the_next_mail_sees() {
    on_both(async |bed| {
        // Raised: nobody waits longer than the new rate says.
        assert_eq!(bed.use_up(&ask(["all 1/h burst 5"]), 9).await.0, 5);
        assert_eq!(bed.use_up(&ask(["all 10/s"]), 1).await, (0, Some(("all".to_owned(), SECOND / 10))));
        bed.turn(SECOND / 10);
        assert_eq!(bed.use_up(&ask(["all 10/s"]), 9).await.0, 1);
        // Lowered: at most a burst of the new rate, then its pauses.
        bed.turn(DAY);
        assert_eq!(bed.use_up(&ask(["all 200/s"]), 9).await.0, 9);
        let (granted, denied) = bed.use_up(&ask(["all 1/m burst 2"]), 9).await;
        assert!(granted <= 2 && denied.clone().unwrap().1 <= 60 * SECOND, "{granted} {denied:?}");
        assert_eq!(bed.use_up(&ask(["all 1/m burst 2"]), 9).await.0, 0);
        // Another burst.
        bed.turn(DAY);
        assert_eq!(bed.use_up(&ask(["all 1/m burst 7"]), 9).await.0, 7);
        assert_eq!(
            bed.use_up(&ask(["all 1/m burst 3"]), 9).await,
            (0, Some(("all".to_owned(), 60 * SECOND)))
        );
        // Removed: the other scopes alone decide; and what was spent is not there again when it comes back.
        assert_eq!(bed.use_up(&ask(["route:main 200/s"]), 9).await.0, 9);
        assert_eq!(bed.use_up(&Ask::default(), 9).await.0, 9);
        assert_eq!(bed.use_up(&ask(["all 1/m burst 3"]), 9).await.0, 0);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_back_stops_nothing_for_longer_than_a_pause_and_grants_nothing_more() {
    on_both(async |bed| {
        for (limit, each) in
            [("route:a 7/s", 142_858), ("route:b 200/s", 5_000), ("route:c 10/d", 8_640_000_000)]
        {
            bed.turn(2 * SECOND);
            let ask = ask([limit]);
            assert!(bed.use_up(&ask, 100).await.0 > 0);
            for jump in [SECOND, HOUR, 20 * DAY] {
                bed.turn_to(bed.now() - jump);
                let (granted, denied) = bed.use_up(&ask, 100).await;
                assert_eq!((granted, denied.map(|(_, wait)| wait)), (0, Some(each)), "{limit} {jump}");
                bed.turn(each);
                assert_eq!(bed.use_up(&ask, 100).await.0, 1, "{limit} {jump}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_forward_gives_a_burst_at_most() {
    on_both(async |bed| {
        let ask = ask(["route:a 200/s"]);
        assert_eq!(bed.use_up(&ask, 100).await.0, 10);
        for jump in [SECOND, 400 * DAY] {
            bed.turn(jump);
            assert_eq!(bed.use_up(&ask, 100).await.0, 10);
        }
    })
    .await;
}

#[tokio::test]
async fn unused_tokens_can_be_taken_again_at_once() {
    on_both(async |bed| {
        let ask = ask(["all 10/h burst 3", "merchant:tea 10/d burst 2"]);
        for _ in 0..5 {
            let answers = bed.limiter.take(&vec![ask.clone(); 3]).await;
            assert_eq!(answers.iter().filter_map(denied).next().unwrap().0, "merchant:tea");
            drop(answers);
        }
        assert_eq!(bed.use_up(&ask, 3).await.0, 2);
    })
    .await;
}

#[tokio::test]
async fn tokens_that_are_given_back_never_let_more_than_the_rate_be_used() {
    on_both(async |bed| {
        let (each, burst) = (100_000, 4);
        for seed in 0..20_u64 {
            let mut random = Random(seed);
            let ask = ask([&format!("route:{seed} 10/s burst 4")]);
            let (mut held, mut used) = (Vec::new(), Vec::new());
            for _ in 0..60 {
                bed.turn(random.below(3 * each / 2));
                let answers = bed.limiter.take(&vec![ask.clone(); random.below(5) as usize]).await;
                held.extend(answers.into_iter().filter_map(|answer| match answer {
                    Answer::Granted(tokens) => Some((bed.now(), tokens)),
                    Answer::Denied { .. } => None,
                }));
                for _ in 0..random.below(4) {
                    if held.is_empty() {
                        break;
                    }
                    let (at, tokens) = held.swap_remove(random.below(held.len() as u64) as usize);
                    if random.below(2) == 0 {
                        tokens.spend();
                        used.push(at);
                    }
                }
            }
            // When they were taken counts: not how long somebody keeps them.
            for (at, tokens) in held.drain(..) {
                tokens.spend();
                used.push(at);
            }
            used.sort_unstable();
            for (first, from) in used.iter().enumerate() {
                for (number, to) in used[first..].iter().enumerate() {
                    let allowed = (to - from) / each + burst;
                    assert!((number as u64) < allowed, "seed {seed}: {} in {} us", number + 1, to - from);
                }
            }
        }
    })
    .await;
}

/// Numbers that look drawn, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

#[tokio::test]
async fn two_processes_on_one_redis_share_every_allowance() {
    let bed = Bed::in_redis().await;
    let ask = ask(["all 1/m burst 10", "domain:x.example 1/h burst 6"]);
    let mut granted = 0;
    for turn in 0..10 {
        let limiter = if turn % 2 == 0 { &bed.limiter } else { &bed.elsewhere };
        for answer in limiter.take(std::slice::from_ref(&ask)).await {
            if let Answer::Granted(tokens) = answer {
                tokens.spend();
                granted += 1;
            }
        }
    }
    assert_eq!(granted, 6);
}

#[tokio::test]
async fn an_allowance_that_is_whole_leaves_no_key_in_redis() {
    let bed = Bed::in_redis().await;
    let server = bed.server.as_ref().unwrap();
    assert_eq!(bed.use_up(&ask(["all 200/s", "route:main 100/s", "domain:slow.example 1/h"]), 9).await.0, 1);
    let keys = async || -> Vec<String> { redis::from_redis_value(server.ask(&["KEYS", "*"]).await).unwrap() };
    crate::queue::redis_server::eventually(async || keys().await.len() == 2).await;
    let mut keys = keys().await;
    keys.sort();
    assert_eq!(keys, ["{postroom}:rate:domain:slow.example", "{postroom}:rate:since"]);
    let ask: Vec<Ask> = (0..500).map(|number| ask([&format!("domain:d{number}.example 200/s")])).collect();
    assert_eq!(bed.limiter.take(&ask).await.iter().filter_map(denied).count(), 0);
}

#[tokio::test]
async fn a_redis_that_is_emptied_gives_one_burst_more_at_most_and_stops_nothing() {
    let bed = Bed::in_redis().await;
    let server = bed.server.as_ref().unwrap();
    let (fast, slow) = (ask(["route:fast 200/s"]), ask(["route:slow 10/d"]));
    assert_eq!(bed.use_up(&fast, 100).await.0, 10);
    assert_eq!(bed.use_up(&slow, 100).await.0, 1);
    server.ask(&["FLUSHALL"]).await;
    // Not even the burst: everything is taken for spent, though for no longer than a second.
    assert_eq!(bed.use_up(&fast, 100).await, (0, Some(("route:fast".to_owned(), 5_000))));
    assert_eq!(bed.use_up(&slow, 100).await, (0, Some(("route:slow".to_owned(), SECOND))));
    bed.turn(SECOND);
    assert_eq!((bed.use_up(&fast, 100).await.0, bed.use_up(&slow, 100).await.0), (10, 1));
}

#[tokio::test]
async fn scopes_that_are_whole_again_are_forgotten() {
    let bed = Bed::local();
    for number in 0..10_000 {
        assert_eq!(bed.use_up(&ask([&format!("domain:d{number}.example 50/s")]), 1).await.0, 1);
        bed.turn(1_000);
    }
    assert!(bed.limiter.kept() < 2_500, "{}", bed.limiter.kept());
}

#[tokio::test]
async fn tokens_are_good_for_the_shortest_burst_and_are_then_asked_for_anew() {
    on_both(async |bed| {
        let ask = ask(["all 10/d", "route:main 1000/s"]);
        let taken = bed.limiter.take(std::slice::from_ref(&ask)).await.pop().unwrap();
        let Answer::Granted(tokens) = taken else { panic!("denied") };
        assert!(tokens.are_good());
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(!tokens.are_good());
        bed.turn(60_000);
        assert!(denied(&bed.limiter.renew(tokens).await).is_none(), "the day's one was given back");
    })
    .await;
}
