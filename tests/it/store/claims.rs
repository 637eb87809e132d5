//! A mail is claimed by one worker, settled by it alone, and taken from it when it died.

use postroom::{
    mail::{ClaimFacts, MailLane, Timestamp, Unsubscribe, UnsubscribeToken},
    store::{NewOrderEmail, OrderStep},
};

use super::*;

/// A mail with all that a claim returns of one that depends on nothing.
fn full_mail() -> NewMail {
    NewMail {
        reply_to: Some(mailbox("answers@tea.example")),
        recipient: Mailbox { name: Some("Ann Lee".to_owned()), ..mailbox("ok@example.net") },
        values: RawValue::from_string(r#"{"first_name":"Ann"}"#.to_owned()).unwrap().into(),
        schedule: Schedule {
            expires_at: Some(clock::now() + Duration::from_secs(60)),
            ..Schedule::default()
        },
        trace_parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok(),
        is_promotional: true,
        ..new_mail()
    }
}

async fn record_claimed(store: &Store, mail: NewMail, worker: WorkerId) -> Recorded {
    let recording = Recording { mails: vec![mail], claimed_by: Some(worker), ..Recording::default() };
    store.record(recording).await.unwrap()
}

/// Else each claim would write the mail into all of its indexes again.
#[tokio::test]
async fn postgres_has_room_for_a_claim_on_the_page_of_the_mail() {
    let backends = Backends::postgres_redis().await;
    let store = open(&backends).await;
    let worker = worker(&store).await;
    let mails: Vec<_> = (0..500).map(|_| full_mail()).collect();
    let ids: Vec<_> = mails.iter().map(|mail| mail.id).collect();
    store.record(Recording { mails, ..Recording::default() }).await.unwrap();
    let pages =
        "SELECT id, CAST(split_part(trim(leading '(' from CAST(ctid AS text)), ',', 1) AS bigint) FROM mails";
    let recorded = backends.tally(pages).await;
    join_all(ids.iter().map(|id| claim(&store, *id, worker))).await;
    let claimed = backends.tally(pages).await;
    let moved = recorded.iter().filter(|(id, page)| claimed[*id] != **page).count();
    assert!(moved < 100, "{moved} of {} moved to another page", recorded.len());
}

on_both! {
    async fn a_mail_is_recorded_claimed_and_settled(backends: Backends) {
        let store = open(&backends).await;
        let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);

        let mail = claim(&store, id, worker).await;
        assert_eq!((mail.attempt, state(&store, id).await), (1, MailState::Sending));
        let settled = store.settle_mail(accepted(&mail, worker)).await.unwrap();
        assert_eq!(settled, Settled::Now { state: MailState::Sent, is_told: false });
        let attempts = store.attempts(id).await.unwrap();
        assert_eq!((attempts.len(), attempts[0].code, attempts[0].number), (1, Some(250), 1));
        assert!(backends.tally(UNDER_WAY).await.is_empty());
    }

    async fn a_mail_that_is_recorded_as_claimed_is_what_a_claim_makes_of_it(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        let (queued, handed_over) = (full_mail(), full_mail());
        let known = [&queued, &handed_over].map(NewMail::as_claimed);
        record(&store, queued).await;
        let claimed = claim(&store, known[0].id, worker).await;
        assert_eq!(format!("{claimed:?}"), format!("{:?}", known[0]));
        assert_eq!(record_claimed(&store, handed_over, worker).await, Recorded::Claimed(Box::default()));
        let rows = backends.tally(
            "SELECT state || ' ' || attempt || ' ' || worker || ' ' || (wake_at - recorded_at) || ' ' ||
                CASE WHEN claimed_at >= recorded_at AND settled_at IS NULL THEN 'claimed' ELSE '' END || COALESCE(error, ''),
             COUNT(*) FROM mails GROUP BY 1",
        ).await;
        assert_eq!(rows, [(format!("sending 1 {worker} 15000 claimed"), 2)].into());
        for mail in &known {
            let settled = store.settle_mail(accepted(mail, worker)).await.unwrap();
            assert_eq!(settled, Settled::Now { state: MailState::Sent, is_told: false });
        }
    }

    async fn a_recording_that_claims_tells_what_a_claim_tells(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        for kind in [ResourceKind::AbandonedCarts, ResourceKind::Subscriptions, ResourceKind::Orders] {
            let body = format!(r#"{{"of": "{}"}}"#, kind.as_str());
            store.put_resource(&merchant(), ResourceRow { kind, ..subscription("one", &body) }).await.unwrap();
        }
        let one = || Some("one".to_owned());
        let origins = [
            Origin { cart: one(), ..Origin::default() },
            Origin { cart: Some("gone".to_owned()), ..Origin::default() },
            Origin { subscription: one(), ..Origin::default() },
            Origin { order: one(), ..Origin::default() },
            Origin::default(),
        ];
        for origin in origins {
            let with_link = || NewMail {
                origin: origin.clone(),
                unsubscribe: Some(Unsubscribe { token: UnsubscribeToken::generate(), language: "de".to_owned() }),
                ..full_mail()
            };
            let step = |mail: &NewMail| {
                origin.order.clone().map(|order| {
                    Precondition::Order(Box::new(OrderStep {
                        merchant: merchant(),
                        order,
                        was: r#"{"of": "orders"}"#.to_owned(),
                        document_updated_at: Timestamp(0),
                        is_test: false,
                        quiet_since: None,
                        workflow: None,
                        email: Some(NewOrderEmail {
                            mail: mail.id,
                            template: "ORDERCONFIRMATION".parse().unwrap(),
                            definition: "plain".to_owned(),
                            recipient: mail.recipient.email.clone(),
                            payment: None,
                            created_at: mail.recorded_at,
                        }),
                    }))
                })
            };
            let recording = |mail: NewMail, claimed_by| Recording {
                precondition: step(&mail),
                mails: vec![mail],
                claimed_by,
                ..Recording::default()
            };
            backends.execute("UPDATE resources SET updated_at = 0").await;
            let (queued, handed_over) = (with_link(), with_link());
            let (id, known) = (queued.id, handed_over.as_claimed());
            assert_eq!(store.record(recording(queued, None)).await.unwrap(), Recorded::Committed);
            let claimed = claim(&store, id, worker).await;
            let Recorded::Claimed(claim_facts) = store.record(recording(handed_over, Some(worker))).await.unwrap() else {
                panic!("it is claimed");
            };
            let as_if_claimed = known.clone().with_claim_facts(*claim_facts);
            let told = |mail: &Mail| (mail.facts.clone(), mail.order.clone(), mail.unsubscribe.clone());
            assert_eq!(told(&as_if_claimed), told(&claimed));
            assert_eq!(as_if_claimed.facts.is_some(), origin != Origin::default());
            assert_ne!(as_if_claimed.unsubscribe, known.unsubscribe, "the link that is there already");
        }
    }

    async fn a_mail_that_is_recorded_as_claimed_is_lost_and_given_back_like_any_other(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        for (policy, then) in [(CrashPolicy::Resend, MailState::Queued), (CrashPolicy::Hold, MailState::Held)] {
            let new = NewMail { on_crash: policy, ..new_mail() };
            let mail = new.as_claimed();
            record_claimed(&store, new, worker).await;
            assert!(take_from_dead_workers(&store, SILENCE).await.is_empty(), "its worker is alive");
            take_from_dead_workers(&store, Duration::ZERO).await;
            assert_eq!(state(&store, mail.id).await, then);
            assert_eq!(store.settle_mail(accepted(&mail, worker)).await.unwrap(), Settled::TooLate);
            let attempts = store.attempts(mail.id).await.unwrap();
            assert_eq!((attempts.len(), attempts[0].outcome.as_str()), (1, "unknown"));
        }
        let new = new_mail();
        let id = new.id;
        record_claimed(&store, new, worker).await;
        let back = GivenBack { mail: id, pause: Duration::ZERO, is_broken: false };
        assert_eq!(store.give_back_mails(worker, &[back], 3).await.unwrap(), 1);
        assert_eq!((state(&store, id).await, claim(&store, id, worker).await.attempt), (MailState::Queued, 1));
    }

    async fn a_dead_worker_is_known_until_all_its_mails_are_taken(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        for on_crash in [CrashPolicy::Resend, CrashPolicy::Hold] {
            record_claimed(&store, NewMail { on_crash, ..new_mail() }, worker).await;
        }
        // It falls silent after its mails were looked for.
        assert!(take_from_dead_workers(&store, SILENCE).await.is_empty());
        assert_eq!(store.forget_dead_workers(Duration::ZERO).await.unwrap(), 0);
        assert!(store.odd_heartbeats(Duration::ZERO).await.unwrap().are_silent);
        let taken = store.take_lost_mails(Duration::ZERO, WorkerId::new(), &POLICY, |_| false).await.unwrap();
        assert_eq!((taken.due.len(), taken.held), (1, 1));
        assert_eq!(store.forget_dead_workers(Duration::ZERO).await.unwrap(), 1);
        assert!(!store.odd_heartbeats(Duration::ZERO).await.unwrap().are_silent);
    }

    async fn a_recording_claims_nothing_that_is_suppressed_and_tells_of_bad_addresses(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        backends.execute("INSERT INTO bad_addresses (merchant_id, address_key, at) VALUES ('tea', 'example.net@ok', 1)").await;
        let claim_facts = ClaimFacts { was_bad_address: true, ..ClaimFacts::default() };
        assert_eq!(record_claimed(&store, new_mail(), worker).await, Recorded::Claimed(Box::new(claim_facts)));
        backends.execute(
            "INSERT INTO suppressions (id, merchant_id, address_key, scope, reason, created_at)
             VALUES ('s', 'tea', 'example.net@ok', 'all', 'manual', 1)",
        ).await;
        let mail = new_mail();
        let id = mail.id;
        assert_eq!(record_claimed(&store, mail, worker).await, Recorded::Suppressed);
        assert_eq!(state(&store, id).await, MailState::Suppressed);
    }

    async fn a_job_that_comes_twice_sends_once(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        for _ in 0..20 {
            let id = record(&store, new_mail()).await;
            let claims = join_all((0..4).map(|_| store.claim_mail(id, worker, MailLane::Transactional))).await;
            let granted = claims.into_iter().filter(|claim| matches!(claim, Ok(Claim::Granted(_)))).count();
            assert_eq!(granted, 1);
        }
    }

    async fn a_mail_that_is_not_due_is_nobodys(backends: Backends) {
        let store = open(&backends).await;
        let later = NewMail { due_at: clock::now() + Duration::from_secs(60), ..new_mail() };
        let id = record(&store, later).await;
        let answer = store.claim_mail(id, worker(&store).await, MailLane::Transactional).await.unwrap();
        assert!(matches!(answer, Claim::NotYours(Some(MailState::Queued))), "{answer:?}");
        let unknown = store.claim_mail(MailId::new(), WorkerId::new(), MailLane::Transactional).await.unwrap();
        assert!(matches!(unknown, Claim::NotYours(None)), "{unknown:?}");
    }

    async fn a_late_worker_cannot_settle(backends: Backends) {
        let store = open(&backends).await;
        for (policy, then) in [(CrashPolicy::Resend, MailState::Queued), (CrashPolicy::Hold, MailState::Held)] {
            let id = record(&store, NewMail { on_crash: policy, ..new_mail() }).await;
            let worker = worker(&store).await;
            let mail = claim(&store, id, worker).await;
            assert!(take_from_dead_workers(&store, SILENCE).await.is_empty(), "it is alive");

            // Silent for no time at all is silent for too long.
            let rescued = take_from_dead_workers(&store, Duration::ZERO).await;
            assert_eq!(rescued.len(), usize::from(policy == CrashPolicy::Resend));
            assert_eq!(state(&store, id).await, then);
            assert_eq!(store.settle_mail(accepted(&mail, worker)).await.unwrap(), Settled::TooLate);
            assert_eq!(state(&store, id).await, then);
            let attempts = store.attempts(id).await.unwrap();
            assert_eq!((attempts.len(), attempts[0].outcome.as_str()), (1, "unknown"));
            assert_eq!(attempts[0].phase, None);
        }
    }

    async fn a_late_worker_cannot_settle_the_attempt_of_another(backends: Backends) {
        let store = open(&backends).await;
        let (id, slow) = (record(&store, new_mail()).await, worker(&store).await);
        let first = claim(&store, id, slow).await;
        take_from_dead_workers(&store, Duration::ZERO).await;
        let second = claim(&store, id, slow).await;
        assert_eq!(second.attempt, 2);
        assert_eq!(store.settle_mail(accepted(&first, slow)).await.unwrap(), Settled::TooLate);
        assert_eq!(store.settle_mail(accepted(&second, slow)).await.unwrap(), Settled::Now { state: MailState::Sent, is_told: false });
    }

    async fn a_worker_that_signed_off_holds_nothing(backends: Backends) {
        let store = open(&backends).await;
        let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);
        claim(&store, id, worker).await;
        store.sign_off(worker).await.unwrap();
        assert_eq!(take_from_dead_workers(&store, SILENCE).await.len(), 1);
    }

    async fn a_mail_that_its_living_worker_forgot_is_freed(backends: Backends) {
        let store = open(&backends).await;
        let (forgetful, other) = (worker(&store).await, worker(&store).await);
        let (at_work, forgotten) = (record(&store, new_mail()).await, record(&store, new_mail()).await);
        for mail in [at_work, forgotten] {
            claim(&store, mail, forgetful).await;
        }
        let taken = async |by| store.take_lost_mails(SILENCE, by, &POLICY, move |mail| mail == at_work).await.unwrap().due;
        assert!(taken(other).await.is_empty(), "only the worker itself knows what it works on");
        let freed: Vec<_> = taken(forgetful).await.into_iter().map(|due| due.mail).collect();
        assert_eq!(freed, [forgotten]);
        assert_eq!(state(&store, at_work).await, MailState::Sending);
        assert_eq!(claim(&store, forgotten, other).await.attempt, 2);
    }

    async fn a_mail_is_rescued_so_many_times_and_then_held_with_the_reason(backends: Backends) {
        let store = open(&backends).await;
        let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);
        for attempt in 1..=2 {
            assert_eq!(claim(&store, id, worker).await.attempt, attempt);
            assert_eq!(take_from_dead_workers(&store, Duration::ZERO).await.len(), 1);
        }
        claim(&store, id, worker).await;
        assert!(take_from_dead_workers(&store, Duration::ZERO).await.is_empty());
        let mail = store.mail(None, id).await.unwrap().unwrap();
        assert_eq!(mail.state, MailState::Held);
        let why = mail.error.unwrap();
        assert!(why.contains("queued again 2 times already, the most that `retry.rescues` allows"), "{why}");
        assert_eq!(store.attempts(id).await.unwrap().len(), 3);

        // A person who asks for another try gets all of it.
        store.move_mail(None, id, MailEvent::Retried).await.unwrap();
        claim(&store, id, worker).await;
        assert_eq!(take_from_dead_workers(&store, Duration::ZERO).await.len(), 1);
    }

    async fn a_mail_that_is_too_old_is_not_rescued(backends: Backends) {
        let store = open(&backends).await;
        let old = NewMail { recorded_at: clock::now() - Duration::from_secs(86_401), ..new_mail() };
        let (id, worker) = (record(&store, old).await, worker(&store).await);
        claim(&store, id, worker).await;
        assert!(take_from_dead_workers(&store, Duration::ZERO).await.is_empty());
        let mail = store.mail(None, id).await.unwrap().unwrap();
        assert_eq!(mail.state, MailState::Held);
        assert!(mail.error.unwrap().ends_with("it is older than `retry.max_age`"));
    }
}
