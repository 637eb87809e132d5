//! Relays that are away, refuse us, get too much, or take connections and no mail.

use super::*;
use crate::smtp::wire::reply;

fn breaker() -> Breaker {
    Breaker::new(Duration::from_secs(1), Duration::from_secs(60))
}

fn fault() -> AttemptError {
    AttemptError::transient(Phase::Connect, "refused")
}

#[test]
fn the_pause_doubles_from_a_second_to_a_minute() {
    let (breaker, mut now) = (breaker(), Instant::now());
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        breaker.ask(now).unwrap().failed(&fault(), None, now);
        assert_eq!(breaker.pause(now), Some(Duration::from_secs(seconds)));
        assert!(breaker.ask(now + Duration::from_millis(seconds * 1_000 - 1)).is_err());
        assert_eq!(breaker.last_fault().unwrap().text, "refused");
        now += Duration::from_secs(seconds);
    }
    breaker.ask(now).unwrap().succeeded();
    assert_eq!(breaker.state(now), BreakerState::Closed);
    breaker.ask(now).unwrap().failed(&fault(), None, now);
    assert_eq!(breaker.pause(now), Some(Duration::from_secs(1)));
}

#[test]
fn a_relay_that_refuses_us_is_tried_by_one_mail_after_pauses_that_double() {
    let (breaker, mut now) = (breaker(), Instant::now());
    for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
        assert_eq!(breaker.refused(&fault(), now), seconds == 2);
        assert!(!breaker.refused(&fault(), now), "mails refused together count once");
        breaker.trial_ended();
        assert_eq!(breaker.pause(now), Some(Duration::from_secs(seconds)));
        assert_eq!(breaker.begin_trial(now), StopTrial::NotNow);
        assert!(breaker.stopped().is_some());
        now += Duration::from_secs(seconds);
        assert_eq!(breaker.begin_trial(now), StopTrial::Granted);
        assert_eq!(breaker.begin_trial(now), StopTrial::NotNow, "one at a time");
    }
    assert!(breaker.reset_stop());
    assert_eq!((breaker.begin_trial(now), breaker.state(now)), (StopTrial::NotStopped, BreakerState::Closed));
    assert!(breaker.stopped().is_none());
}

#[test]
fn one_mail_at_a_time_tries_again() {
    let (breaker, now) = (breaker(), Instant::now());
    breaker.ask(now).unwrap().failed(&fault(), None, now);
    let later = now + Duration::from_secs(1);
    let trial = breaker.ask(later).unwrap();
    assert!(breaker.ask(later).is_err());
    drop(trial);
    let trial = breaker.ask(later).unwrap();
    trial.succeeded();
    assert!(breaker.ask(later).is_ok());
}

#[test]
fn mails_that_fail_together_count_once() {
    let (breaker, now) = (breaker(), Instant::now());
    let together: Vec<_> = (0..8).map(|_| breaker.ask(now).unwrap()).collect();
    let counted = together.into_iter().filter_map(|permit| permit.failed(&fault(), None, now)).count();
    assert_eq!(counted, 1);
    assert_eq!(breaker.pause(now), Some(Duration::from_secs(1)));
}

fn slow(wait: Option<u64>) -> AttemptError {
    let mut error = AttemptError::replied(Phase::MailFrom, reply(&["450 4.2.1 <bob@example.net>: too much"]));
    error.judgement.wait = wait.map(Duration::from_secs);
    error
}

#[test]
fn a_relay_that_gets_too_much_is_left_alone_and_then_gets_one_mail_at_a_time() {
    let (breaker, mut now) = (breaker(), Instant::now());
    assert_eq!((breaker.most_at_this_pace(9, now), breaker.take_turn(now)), (9, true));
    assert!(breaker.gets_too_much(&slow(None), now) && !breaker.gets_too_much(&slow(None), now));
    assert_eq!(breaker.last_fault().unwrap().text, "the relay gets too much (450)");
    assert_eq!(breaker.pause(now), Some(Duration::from_secs(15)));
    assert_eq!((breaker.most_at_this_pace(9, now), breaker.take_turn(now)), (0, false));
    now += Duration::from_secs(15);
    assert_eq!(breaker.pause(now), Some(Duration::ZERO));
    for left in (0..7).rev() {
        assert_eq!((breaker.most_at_this_pace(9, now), breaker.take_turn(now)), (1, true));
        assert!(!breaker.take_turn(now), "one at a time");
        assert_eq!(breaker.took_one(now), left == 0);
        now += breaker.pause(now).unwrap_or_default();
    }
    assert_eq!((breaker.most_at_this_pace(9, now), breaker.state(now)), (9, BreakerState::Closed));
}

#[test]
fn a_relay_that_asks_for_time_gets_it_up_to_an_hour() {
    let now = Instant::now();
    for (named, kept) in [(600, 600), (86_400, 3_600)] {
        let breaker = breaker();
        breaker.gets_too_much(&slow(Some(named)), now);
        assert_eq!(breaker.pause(now), Some(Duration::from_secs(kept)));
    }
    for (named, kept) in [(None, 1), (Some(300), 300), (Some(86_400), 3_600)] {
        let breaker = breaker();
        breaker.ask(now).unwrap().failed(&fault(), named.map(Duration::from_secs), now);
        assert_eq!(breaker.pause(now), Some(Duration::from_secs(kept)));
    }
}

#[test]
fn a_relay_that_takes_connections_and_no_mail_is_away_after_some_until_it_answers_one() {
    let (breaker, mut now) = (breaker(), Instant::now());
    let nothing = |now| breaker.came_to_nothing(&fault(), now);
    assert_eq!([nothing(now), nothing(now)], [None, None]);
    assert!(!breaker.reset_stop(), "one that answers was never away");
    assert_eq!([nothing(now), nothing(now), nothing(now)], [None, None, Some(1)]);
    for (times, seconds) in [(2, 1), (3, 2), (4, 4)] {
        assert_eq!(nothing(now), None, "mails that come to nothing together count once");
        assert_eq!(
            (breaker.pause(now), breaker.begin_trial(now)),
            (Some(Duration::from_secs(seconds)), StopTrial::NotNow)
        );
        assert!(breaker.stopped().is_none(), "nobody has to mend anything");
        now += Duration::from_secs(seconds);
        assert_eq!(
            (breaker.begin_trial(now), breaker.begin_trial(now)),
            (StopTrial::Granted, StopTrial::NotNow)
        );
        assert_eq!(nothing(now), Some(times));
        breaker.trial_ended();
    }
    assert!(breaker.reset_stop());
    assert_eq!((breaker.pause(now), nothing(now)), (None, None));
}

#[test]
fn a_relay_that_took_no_mail_and_then_refuses_us_is_news_for_operators() {
    let (breaker, now) = (breaker(), Instant::now());
    (0..3).for_each(|_| assert!(breaker.came_to_nothing(&fault(), now).is_none_or(|times| times == 1)));
    assert!(breaker.refused(&fault(), now) && breaker.stopped().is_some());
}
