//! What is said of an installation, by what is known of it.

use super::*;
use crate::mail::{Lane, Timestamp};

fn route(name: &str, stopped: Option<&str>) -> RouteStatus {
    let fault = |text: &str| RouteFault { at: Timestamp(0), phase: Phase::MailFrom, text: text.to_owned() };
    RouteStatus {
        name: name.to_owned(),
        connections: 4,
        open: 0,
        idle: 0,
        busy: 0,
        breaker: BreakerState::Closed,
        stopped: stopped.map(fault),
        last_error: None,
    }
}

fn pause(scope: PauseScope) -> PauseRecord {
    let (actor, reason) = ("operator:ann".to_owned(), "blocklisted".to_owned());
    PauseRecord { scope, reason, actor, at: Timestamp(0), ends_at: None, is_suspension: false }
}

fn facts() -> Facts {
    Facts {
        routes: vec![route("main", None)],
        sends: true,
        works: true,
        workers: Some(1),
        waiting: Some(MailCount { count: 1_204, more: false }),
        oldest: Some(Some(Duration::from_secs(2))),
        last_hour: Some((3_214, 1)),
        ..Facts::default()
    }
}

fn told(facts: &Facts) -> Vec<String> {
    alarms(facts, None).into_iter().map(|alarm| format!("{} {}", alarm.tone(), alarm.text)).collect()
}

#[test]
fn all_is_well_when_nothing_is_wrong() {
    let text = "good All is well: 3,214 mails sent in the last hour; 1,204 mails wait, the oldest for 2 s.";
    assert_eq!(told(&facts()), [text]);
    let idle = Facts { waiting: Some(MailCount::default()), oldest: Some(None), ..facts() };
    assert_eq!(told(&idle), ["good All is well: 3,214 mails sent in the last hour; none waits."]);
}

#[test]
fn an_alarm_that_stops_everything_comes_before_a_pause_that_somebody_chose() {
    let wrong = Facts {
        routes: vec![route("main", Some("530 authentication required")), route("spare", None)],
        drained: vec!["spare".to_owned()],
        pauses: vec![pause(PauseScope::Lane(Lane::Bulk))],
        held: MailCount { count: 3, more: false },
        last_hour: Some((10, 400)),
        ..facts()
    };
    assert_eq!(
        told(&wrong),
        [
            "bad The relay of route main refuses us: 530 authentication required, since 1 Jan 00:00:00 UTC; \
             1,204 mails wait, the oldest for 2 s. The transcripts of the mails that it refused say more.",
            "warn The route spare is drained: nothing new goes over it.",
            "warn The lane bulk is paused by operator:ann: blocklisted.",
            "warn 3 held: a crash left open whether a relay has them. Somebody has to decide.",
            "warn 400 mails failed in the last hour, 10 were sent.",
        ]
    );
}

fn cause(class: ReplyClass, mails: usize, reply: &str) -> Cause {
    Cause {
        mails,
        class,
        reply: reply.to_owned(),
        merchant: Some("tea".parse().unwrap()),
        template: Some("welcome".to_owned()),
        route: Some("main".to_owned()),
    }
}

#[test]
fn a_cause_is_said_of_what_fails_and_of_what_is_late() {
    let wrong = Facts {
        last_hour: Some((10, 400)),
        causes: vec![
            cause(ReplyClass::PolicyBlock, 180, "554 5.7.1 refused."),
            cause(ReplyClass::MessageFault, 20, "an unknown placeholder"),
        ],
        behind: vec![LaneBehind {
            lane: Lane::Bulk,
            due_for: Duration::from_secs(1_200),
            waits_for: Some("1,100 wait for the rate of route main".to_owned()),
        }],
        ..facts()
    };
    assert_eq!(
        told(&wrong),
        [
            "warn The template welcome of tea makes mails that fail: 20 mails in the last hour; \
             an unknown placeholder.",
            "warn 400 mails failed in the last hour, 10 were sent. Most of the newest over main: 554 5.7.1 refused \
             (policy_block). The receiver's rules forbid this mail. Ask the receiver, or change the content.",
            "warn The lane bulk is behind: its oldest mail is due for 20 min. On their way in all: 1,204 mails. \
             1,100 wait for the rate of route main.",
        ]
    );
    let chosen = Facts { pauses: vec![pause(PauseScope::Lane(Lane::Bulk))], causes: Vec::new(), ..wrong };
    assert_eq!(told(&chosen).len(), 2, "a lane that is paused is behind by choice");
}

#[test]
fn an_answer_that_is_missing_is_never_good_news() {
    let unanswered = vec!["how many mails wait", "which mails are held"];
    let silent = Facts { waiting: None, oldest: None, unanswered, ..facts() };
    let text = "bad The database does not answer how many mails wait, which mails are held: this page does not \
                show everything.";
    assert_eq!(told(&silent), [text]);
}

#[test]
fn a_route_that_is_paused_is_not_used_and_who_sends_nothing_knows_no_relay() {
    let drained_or_paused = Facts {
        routes: vec![route("main", None), route("spare", None)],
        drained: vec!["main".to_owned()],
        pauses: vec![pause(PauseScope::Route("spare".to_owned()))],
        ..facts()
    };
    let said = told(&drained_or_paused);
    assert!(said[0].starts_with("bad Every route is drained or paused; 1,204 mails wait"), "{said:?}");
    let of_an_ingress =
        Facts { routes: vec![route("main", Some("530"))], sends: false, works: false, ..facts() };
    assert!(told(&of_an_ingress)[0].starts_with("good "));
}

#[test]
fn a_relay_that_wants_another_sign_in_is_told_by_its_code() {
    let at_sign_in = route("main", Some("the relay refused us, not the mail (530)"));
    assert!(advice(&at_sign_in.stopped.unwrap()).contains("password"));
    let mut at_greeting =
        route("main", Some("the relay takes no connections from us (554)")).stopped.unwrap();
    at_greeting.phase = Phase::Greeting;
    assert!(advice(&at_greeting).contains("block"));
}

#[test]
fn an_operator_of_one_merchant_hears_of_no_other_and_of_no_route() {
    let (own, other): (MerchantId, MerchantId) = ("tea".parse().unwrap(), "ink".parse().unwrap());
    let facts = Facts {
        routes: vec![route("main", Some("530")), route("secret", None)],
        drained: vec!["secret".to_owned()],
        pauses: vec![
            pause(PauseScope::Merchant(own.clone())),
            pause(PauseScope::Merchant(other)),
            pause(PauseScope::Route("secret".to_owned())),
        ],
        ..facts()
    };
    let said: Vec<_> = alarms(&facts, Some(&own)).into_iter().map(|alarm| alarm.text).collect();
    assert_eq!(said, ["The merchant tea is paused by operator:ann: blocklisted."]);
}

#[test]
fn a_database_a_queue_or_workers_that_are_away_come_first() {
    let wrong = Facts {
        database: Some("it does not answer".to_owned()),
        queue: Some("redis is away".to_owned()),
        workers: Some(0),
        ..facts()
    };
    let told = told(&wrong);
    assert_eq!(told.len(), 3);
    assert!(told[0].starts_with("bad The database takes no writes") && told[2].contains("No worker"));
}
