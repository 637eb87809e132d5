//! What a limiter promises.

use super::*;

/// A delivery of a merchant of its own.
fn somebody() -> Waiting {
    let delivery = DeliveryId::new();
    (delivery, delivery.to_string().parse().unwrap())
}

/// A delivery of this merchant.
fn of(merchant: &str) -> Waiting {
    (DeliveryId::new(), merchant.parse().unwrap())
}

fn acquire<'a>(limiter: &'a EndpointLimiter, destination: &str, now: Instant) -> CallbackPermit<'a> {
    match limiter.acquire(destination, somebody(), now) {
        CallbackAdmission::Now(permit) => permit,
        CallbackAdmission::Full => panic!("full"),
        CallbackAdmission::Later(pause) => panic!("paused for {pause:?}"),
    }
}

fn pause(limiter: &EndpointLimiter, destination: &str, now: Instant) -> Option<u64> {
    match limiter.acquire(destination, somebody(), now) {
        CallbackAdmission::Later(pause) => Some(pause.as_secs()),
        _ => None,
    }
}

#[test]
fn a_delivery_that_was_enqueued_twice_takes_nobodys_turn() {
    let (limiter, now) = (EndpointLimiter::new(10, 1), Instant::now());
    let (called, early) = (somebody(), somebody());
    let first = acquire(&limiter, "a", now);
    for who in [&called, &early] {
        assert!(matches!(limiter.acquire("a", who.clone(), now), CallbackAdmission::Full));
    }
    assert_eq!(first.used(false, now), std::slice::from_ref(&called));
    let CallbackAdmission::Now(second) = limiter.acquire("a", early, now) else { panic!("no permit") };
    assert!(matches!(limiter.acquire("a", called.clone(), now), CallbackAdmission::Full));
    assert_eq!(second.used(false, now), [called], "not the one that was in flight");
}

#[test]
fn a_delivery_that_finds_the_limit_reached_is_returned_when_a_permit_is_released() {
    let (limiter, now) = (EndpointLimiter::new(10, 2), Instant::now());
    let (first, second, waiting) = (acquire(&limiter, "a", now), acquire(&limiter, "a", now), somebody());
    assert!(matches!(limiter.acquire("a", waiting.clone(), now), CallbackAdmission::Full));
    assert!(
        matches!(limiter.acquire("a", waiting.clone(), now), CallbackAdmission::Full),
        "asking twice is noted once"
    );
    let other = acquire(&limiter, "b", now);
    assert_eq!(other.used(false, now), []);
    assert_eq!(first.used(false, now), [waiting]);
    assert_eq!(second.unused(), []);
    assert!(limiter.lock().destinations.is_empty());
}

#[test]
fn a_delivery_that_went_to_another_process_keeps_nobody_waiting() {
    let (limiter, now) = (EndpointLimiter::new(10, 2), Instant::now());
    let (first, second) = (acquire(&limiter, "a", now), acquire(&limiter, "a", now));
    let waiting = [somebody(), somebody(), somebody(), somebody()];
    for delivery in &waiting {
        assert!(matches!(limiter.acquire("a", delivery.clone(), now), CallbackAdmission::Full));
    }
    assert_eq!(limiter.take_those_with_room(), [], "all permits are in use");
    assert_eq!(first.used(false, now), waiting[..1]);
    assert_eq!(second.used(false, now), waiting[1..2]);
    // Neither comes back to this process.
    assert_eq!(limiter.take_those_with_room(), waiting[2..]);
    assert_eq!(limiter.take_those_with_room(), []);
}

#[test]
fn one_destination_does_not_take_every_permit() {
    let (limiter, now) = (EndpointLimiter::new(3, 2), Instant::now());
    let _hanging = (acquire(&limiter, "dead", now), acquire(&limiter, "dead", now));
    assert!(matches!(limiter.acquire("dead", somebody(), now), CallbackAdmission::Full));
    let (last, waiting) = (acquire(&limiter, "b", now), somebody());
    assert!(matches!(limiter.acquire("c", waiting.clone(), now), CallbackAdmission::Full));
    assert_eq!(last.used(false, now), [waiting]);
}

#[test]
fn an_unavailable_destination_gets_a_pause_that_doubles_and_one_trial_at_a_time() {
    let (limiter, mut now) = (EndpointLimiter::new(10, 10), Instant::now());
    let together: Vec<_> = (0..5).map(|_| acquire(&limiter, "dead", now)).collect();
    together.into_iter().for_each(|permit| drop(permit.used(true, now)));
    assert_eq!(pause(&limiter, "dead", now), Some(5), "failures at the same time count once");
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        now += LONGEST_PAUSE;
        let trial = acquire(&limiter, "dead", now);
        assert_eq!(pause(&limiter, "dead", now), Some(5), "one at a time");
        trial.used(true, now);
        assert_eq!(pause(&limiter, "dead", now), Some(seconds));
    }
    assert_eq!(pause(&limiter, "alive", now), None);
    now += LONGEST_PAUSE;
    drop(acquire(&limiter, "dead", now));
    acquire(&limiter, "dead", now).used(false, now);
    let _back = (acquire(&limiter, "dead", now), acquire(&limiter, "dead", now));
}

#[test]
fn destinations_that_failed_are_forgotten_in_the_end() {
    let (limiter, mut now) = (EndpointLimiter::new(10, 10), Instant::now());
    for number in 0..500 {
        acquire(&limiter, &format!("shaky {number}"), now).used(true, now);
    }
    let hanging = acquire(&limiter, "hangs", now);
    assert_eq!(limiter.lock().destinations.len(), 501);
    now += FORGOTTEN;
    drop(acquire(&limiter, "alive", now).used(false, now));
    assert_eq!(
        limiter.lock().destinations.keys().collect::<Vec<_>>(),
        ["hangs"],
        "a callback to it is in flight"
    );
    drop(hanging.used(false, now));
    assert!(limiter.lock().destinations.is_empty());
}

#[test]
fn no_more_destinations_are_remembered_than_there_is_room_for() {
    let (limiter, now) = (EndpointLimiter::new(10, 10), Instant::now());
    for number in 0..MOST + 10 {
        acquire(&limiter, &format!("shaky {number}"), now).used(true, now);
    }
    assert!(limiter.lock().destinations.len() <= MOST);
}

#[test]
fn a_success_between_failures_prevents_a_pause() {
    let (limiter, now) = (EndpointLimiter::new(10, 10), Instant::now());
    for is_unavailable in [true, true, false, true, true] {
        acquire(&limiter, "shaky", now).used(is_unavailable, now);
    }
    assert_eq!(pause(&limiter, "shaky", now), None);
}

#[test]
fn one_merchant_does_not_take_every_permit() {
    let (limiter, now) = (EndpointLimiter::new(6, 1), Instant::now());
    let take = |destination: &str, delivery: &Waiting| limiter.acquire(destination, delivery.clone(), now);
    let mut held: Vec<_> = (0..3)
        .map(|number| match take(&format!("slow {number}"), &of("tea")) {
            CallbackAdmission::Now(permit) => permit,
            _ => panic!("no permit for {number}"),
        })
        .collect();
    let [first, second] = [of("tea"), of("tea")];
    assert!(matches!(take("slow 3", &first), CallbackAdmission::Full));
    assert!(matches!(take("slow 4", &second), CallbackAdmission::Full));
    assert!(matches!(take("quick", &of("coffee")), CallbackAdmission::Now(_)), "others have theirs");
    assert_eq!(limiter.take_those_with_room(), []);
    assert_eq!(held.remove(0).used(false, now), std::slice::from_ref(&first));
    let CallbackAdmission::Now(again) = take("slow 3", &first) else { panic!("no permit") };
    assert_eq!(again.unused(), std::slice::from_ref(&second));
    drop(held);
    assert!(limiter.lock().merchants.is_empty(), "nobody is remembered who has nothing in flight");
}
