//! Callers that leave, that hold a key, or whose answer is kept.

use std::collections::HashMap;

use super::*;

on_both! {
    async fn a_caller_that_leaves_at_any_await_takes_nothing_of_others_with_it(backends: Backends) {
        let store = open(&backends).await;
        let (mut recorded, mut stored) = (Vec::new(), Vec::new());
        for polls in 1..40 {
            let mail = new_mail();
            let (left, stays) = (mail.id, new_mail());
            let stayed = stays.id;
            let id = format!("left-{polls}");
            let tea = merchant();
            let alone = |mail| Recording { mails: vec![mail], ..Recording::default() };
            let (_, _, _, answered, put) = tokio::join!(
                leave_after(polls, store.record(alone(mail))),
                leave_after(polls, store.put_resource(&tea, subscription(&id, "{}"))),
                leave_after(polls, store.reserve_key(holder(&id), "f".to_owned())),
                store.record(alone(stays)),
                store.put_resource(&tea, subscription(&format!("stays-{polls}"), "{}")),
            );
            assert_eq!(answered.unwrap(), Recorded::Committed);
            assert!(put.unwrap());
            recorded.push((left, stayed));
            stored.push(format!("stays-{polls}"));
        }
        // Another connection sees what was answered.
        let other = Store::open(&backends.database()).await.unwrap();
        for (_, stayed) in &recorded {
            assert!(other.mail(None, *stayed).await.unwrap().is_some());
        }
        for id in &stored {
            assert!(other.resource(&merchant(), ResourceKind::Subscriptions, id).await.unwrap().is_some());
        }
        if backends.database().url.starts_with("postgres") {
            let open = "SELECT 'open', COUNT(*) FROM pg_stat_activity
                WHERE state LIKE 'idle in transaction%' AND datname = current_database()";
            assert_eq!(backends.tally(open).await["open"], 0);
        }
        store.close().await;
    }

    async fn a_caller_that_left_before_the_commit_recorded_nothing(backends: Backends) {
        let store = open(&backends).await;
        let mut prevented = 0;
        for _ in 0..50 {
            let mail = new_mail();
            let id = mail.id;
            let watch = WriteWatch::default();
            let record = store.record(Recording { mails: vec![mail], ..Recording::default() });
            drop(watch.scope(leave_after(1, record)).await);
            // On a busy machine the group may have come first.
            let is_prevented = watch.progress() == WriteProgress::Nothing;
            let witness = Recording { mails: vec![new_mail()], ..Recording::default() };
            assert_eq!(store.record(witness).await.unwrap(), Recorded::Committed);
            assert!(!is_prevented || store.mail(None, id).await.unwrap().is_none());
            prevented += usize::from(is_prevented);
        }
        assert!(prevented > 0, "nobody left in time");
    }

    async fn a_mail_over_which_something_breaks_again_and_again_is_held_without_an_attempt(backends: Backends) {
        let store = open(&backends).await;
        let mail = new_mail();
        let id = mail.id;
        store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
        let worker = WorkerId::new();
        for (number, is_broken) in [true, true, false, true].into_iter().enumerate() {
            claim(&store, id, worker).await;
            let back = GivenBack { mail: id, pause: Duration::ZERO, is_broken };
            assert_eq!(store.give_back_mails(worker, &[back], 2).await.unwrap(), 1);
            let expected = if number == 3 { MailState::Held } else { MailState::Queued };
            assert_eq!(state(&store, id).await, expected, "{number}");
        }
        let held = store.mail(None, id).await.unwrap().unwrap();
        assert_eq!(held.attempt, 0);
        assert!(held.error.unwrap().contains("retry.rescues"));
    }

    async fn a_request_that_lost_its_key_to_another_records_nothing(backends: Backends) {
        let store = open(&backends).await;
        let (first, second) = (holder("k"), holder("k"));
        let granted = store.reserve_key(first.clone(), "f".to_owned()).await.unwrap();
        assert!(matches!(granted, Reservation::Granted));
        backends.execute("UPDATE idempotency SET locked_until = 0").await;
        let granted = store.reserve_key(second.clone(), "f".to_owned()).await.unwrap();
        assert!(matches!(granted, Reservation::Granted));

        let recording = |holder: &KeyHolder| Recording {
            mails: vec![new_mail()],
            answer: Some((holder.clone(), Answer { status: 200, body: "{}".to_owned() })),
            ..Recording::default()
        };
        assert_eq!(store.record(recording(&first)).await.unwrap(), Recorded::KeyLost);
        assert_eq!(store.record(recording(&second)).await.unwrap(), Recorded::Committed);
        assert_eq!(backends.tally("SELECT 'mails', COUNT(*) FROM mails").await["mails"], 1);
    }

    async fn of_many_keys_that_are_asked_for_at_once_each_goes_to_the_first_who_asks(backends: Backends) {
        let store = open(&backends).await;
        let keys = (0..30).map(|key| format!("k{key:02}"));
        let asked: Vec<_> = keys.flat_map(|key| (0..3).map(move |n| (key.clone(), n))).collect();
        let asking = asked.iter().map(|(key, n)| {
            let fingerprint = if *n == 2 { "another" } else { "f" };
            store.reserve_key(holder(key), fingerprint.to_owned())
        });
        let mut told: HashMap<&str, [usize; 3]> = HashMap::new();
        for ((key, _), reservation) in asked.iter().zip(join_all(asking).await) {
            let [granted, running, reused] = told.entry(key).or_default();
            match reservation.unwrap() {
                Reservation::Granted => *granted += 1,
                Reservation::Running(_) => *running += 1,
                Reservation::Reused => *reused += 1,
                Reservation::Answered(_) => panic!("nobody has answered"),
            }
        }
        assert_eq!(told.len(), 30);
        assert!(told.values().all(|told| *told == [1, 1, 1] || *told == [1, 0, 2]), "{told:?}");
    }

    async fn an_answer_is_not_kept_for_what_a_precondition_refused(backends: Backends) {
        let store = open(&backends).await;
        store.put_resource(&merchant(), subscription("sub", "{}")).await.unwrap();
        let held = holder("k");
        store.reserve_key(held.clone(), "f".to_owned()).await.unwrap();
        let precondition = Precondition::Replace(Box::new(Replacement {
            merchant: merchant(),
            kind: ResourceKind::Subscriptions,
            id: "sub".to_owned(),
            was: "{\"something\": \"else\"}".to_owned(),
            becomes: "{}".to_owned(),
        }));
        let recording = |precondition| Recording {
            precondition,
            answer: Some((held.clone(), Answer { status: 200, body: "{}".to_owned() })),
            ..Recording::default()
        };
        assert_eq!(store.record(recording(Some(precondition))).await.unwrap(), Recorded::Outdated);
        assert_eq!(store.record(recording(None)).await.unwrap(), Recorded::Committed, "the key is still held");
    }
}
