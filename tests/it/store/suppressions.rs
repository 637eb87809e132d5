//! Suppressions that come by themselves: what relays say of addresses, and what recipients do with their links.

use postroom::{
    mail::{
        Consequence, Judgement, ReplyClass, ReplyScope, SuppressionReason, SuppressionScope, Timestamp,
        Unsubscribe, UnsubscribeToken,
    },
    store::{NewSuppression, Stop, Unsubscribed},
};

use super::*;

const NO_SUCH_MAILBOX: Judgement = Judgement {
    class: ReplyClass::BadAddress,
    then: Consequence::Suppress,
    scope: ReplyScope::Recipient,
    wait: None,
};

fn address() -> Address {
    "ok@example.net".parse().unwrap()
}

/// A relay says of a new mail that there is no such address.
async fn refuse(store: &Store, worker: WorkerId) {
    let mail = record(store, new_mail()).await;
    let mail = claim(store, mail, worker).await;
    let reply = Reply {
        outcome: AttemptOutcome::Permanent,
        code: Some(550),
        judgement: NO_SUCH_MAILBOX,
        ..Reply::silent("main", Phase::RcptTo, "5.1.1 no", Duration::ZERO)
    };
    let settlement = Settlement::new(&mail, worker, clock::now(), reply, Verdict::Failed);
    let settled = store.settle_mail(settlement).await.unwrap();
    assert!(matches!(settled, Settled::Now { state: MailState::Failed, .. }));
}

async fn is_suppressed(store: &Store) -> bool {
    store.suppression(&merchant(), &address()).await.unwrap().is_some()
}

fn promotional(token: &UnsubscribeToken) -> NewMail {
    let unsubscribe = Some(Unsubscribe { token: token.clone(), language: "de".to_owned() });
    NewMail { is_promotional: true, unsubscribe, ..new_mail() }
}

on_both! {
    async fn the_second_bad_address_within_a_month_suppresses_and_a_success_takes_that_back(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        refuse(&store, worker).await;
        let mail = record(&store, new_mail()).await;
        let mail = claim(&store, mail, worker).await;
        store.settle_mail(accepted(&mail, worker)).await.unwrap();
        refuse(&store, worker).await;
        assert!(!is_suppressed(&store).await, "the success took the first one back");

        backends.execute("UPDATE bad_addresses SET at = at - 2592000001").await;
        refuse(&store, worker).await;
        assert!(!is_suppressed(&store).await, "the one before is too old to count");

        let under_way = record(&store, new_mail()).await;
        let under_way = claim(&store, under_way, worker).await;
        refuse(&store, worker).await;
        let made = store.suppression(&merchant(), &address()).await.unwrap().unwrap();
        assert_eq!((made.reason, made.scope), (SuppressionReason::HardBounce, SuppressionScope::All));
        assert_eq!(made.expires_at.unwrap().since(made.created_at), Duration::from_secs(180 * 86_400));
        store.settle_mail(accepted(&under_way, worker)).await.unwrap();
        assert!(!is_suppressed(&store).await, "a relay took a mail for it after all");
    }

    async fn a_recipients_own_suppression_outlives_what_relays_say(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        let token = UnsubscribeToken::generate();
        record(&store, promotional(&token)).await;
        let mail = record(&store, promotional(&UnsubscribeToken::generate())).await;
        let link = claim(&store, mail, worker).await.unsubscribe.unwrap();
        assert_eq!((link.token, &*link.language), (token.clone(), "de"), "a recipient has one link");
        assert_eq!(store.unsubscribe(&token).await.unwrap(), Unsubscribed::Now);
        assert_eq!(store.unsubscribe(&token).await.unwrap(), Unsubscribed::Before);
        for _ in 0..2 {
            refuse(&store, worker).await;
        }
        let scope = async || store.suppression(&merchant(), &address()).await.unwrap().map(|made| made.scope);
        assert_eq!(scope().await, Some(SuppressionScope::All));
        backends.execute("UPDATE suppressions SET expires_at = 1 WHERE scope = 'all'").await;
        assert_eq!(scope().await, Some(SuppressionScope::Promotional));
        assert_eq!(store.forget_ended_suppressions().await.unwrap(), 1);
        store.subscribe_again(&token).await.unwrap();
        assert_eq!(scope().await, None);
    }

    async fn an_earlier_suppression_of_the_merchant_is_in_force_again_when_an_unsubscription_is_taken_back(backends: Backends) {
        let store = open(&backends).await;
        let token = UnsubscribeToken::generate();
        record(&store, promotional(&token)).await;
        let said = NewSuppression {
            address: address(),
            reason: SuppressionReason::Complaint,
            scope: SuppressionScope::Promotional,
            note: Some("by telephone".to_owned()),
            expires_at: Timestamp::parse("2099-01-01T00:00:00Z").ok(),
            created_at: Timestamp::parse("2020-01-01T00:00:00Z").ok(),
        };
        store.put_suppression(&merchant(), said.clone()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.unsubscribe(&token).await.unwrap(), Unsubscribed::Now);
            let made = store.suppression(&merchant(), &address()).await.unwrap().unwrap();
            assert_eq!((made.reason, made.note, made.expires_at), (SuppressionReason::Unsubscribed, None, None));
            store.subscribe_again(&token).await.unwrap();
            let made = store.suppression(&merchant(), &address()).await.unwrap().unwrap();
            assert_eq!((made.reason, made.note), (said.reason, said.note.clone()));
            assert_eq!((made.expires_at, Some(made.created_at)), (said.expires_at, said.created_at));
        }
        store.unsubscribe(&token).await.unwrap();
        backends.execute("UPDATE suppressions SET replaced_expires_at = 1").await;
        store.subscribe_again(&token).await.unwrap();
        assert_eq!(store.suppression(&merchant(), &address()).await.unwrap(), None, "it has ended meanwhile");
    }

    async fn a_recipients_own_suppression_is_ended_by_no_import_and_no_put(backends: Backends) {
        let store = open(&backends).await;
        let token = UnsubscribeToken::generate();
        record(&store, promotional(&token)).await;
        store.unsubscribe(&token).await.unwrap();
        let line = |reason, expires_at: &str| NewSuppression {
            address: address(),
            reason,
            scope: SuppressionScope::Promotional,
            note: None,
            expires_at: Timestamp::parse(expires_at).ok(),
            created_at: None,
        };
        let import = async |lines| store.import_suppressions(uuid::Uuid::now_v7(), &merchant(), lines).await.unwrap();
        let in_force = async || {
            let made = store.suppression(&merchant(), &address()).await.unwrap();
            made.map(|made| (made.reason, made.expires_at))
        };
        let soon = line(SuppressionReason::Manual, "2098-01-01T00:00:00Z");
        import(vec![soon.clone()]).await;
        assert_eq!(in_force().await, Some((SuppressionReason::Unsubscribed, None)));
        store.put_suppression(&merchant(), soon.clone()).await.unwrap();
        assert_eq!(in_force().await, Some((SuppressionReason::Unsubscribed, None)));
        store.subscribe_again(&token).await.unwrap();
        assert_eq!(in_force().await, Some((SuppressionReason::Manual, soon.expires_at)));

        let longer = line(SuppressionReason::Complaint, "2099-01-01T00:00:00Z");
        import(vec![longer.clone(), line(SuppressionReason::Manual, "2097-01-01T00:00:00Z")]).await;
        assert_eq!(in_force().await, Some((SuppressionReason::Complaint, longer.expires_at)));
        import(vec![line(SuppressionReason::HardBounce, "")]).await;
        assert_eq!(in_force().await, Some((SuppressionReason::Complaint, None)));
        backends.execute("UPDATE suppressions SET expires_at = 1").await;
        import(vec![soon.clone()]).await;
        assert_eq!(in_force().await, Some((SuppressionReason::Manual, soon.expires_at)));
    }

    async fn a_mail_is_asked_about_when_it_is_recorded_and_when_it_is_claimed(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        let [waiting, other] = [record(&store, promotional(&UnsubscribeToken::generate())).await, record(&store, new_mail()).await];
        let suppression = NewSuppression {
            address: "OK@EXAMPLE.net".parse().unwrap(),
            reason: SuppressionReason::Complaint,
            scope: SuppressionScope::Promotional,
            note: None,
            expires_at: None,
            created_at: None,
        };
        assert!(store.put_suppression(&merchant(), suppression.clone()).await.unwrap());
        assert!(!store.put_suppression(&merchant(), suppression).await.unwrap());
        let mail = claim(&store, waiting, worker).await;
        assert_eq!(mail.suppressed, Some(SuppressionReason::Complaint));
        let settled = store.stop_mail(&mail, worker, Stop::Suppressed(SuppressionReason::Complaint)).await.unwrap();
        assert!(matches!(settled, Settled::Now { state: MailState::Suppressed, .. }));
        assert_eq!(store.stop_mail(&mail, worker, Stop::Suppressed(SuppressionReason::Complaint)).await.unwrap(), Settled::TooLate);
        assert_eq!(store.mail(None, waiting).await.unwrap().unwrap().attempt, 0);
        assert_eq!(claim(&store, other, worker).await.suppressed, None, "it is not promotional");

        let mails = vec![promotional(&UnsubscribeToken::generate())];
        let id = mails[0].id;
        let recorded = store.record(Recording { mails, ..Recording::default() }).await.unwrap();
        assert_eq!((recorded, state(&store, id).await), (Recorded::Suppressed, MailState::Suppressed));
        assert!(matches!(store.claim_mail(id, worker, MailLane::Transactional).await.unwrap(), Claim::NotYours(Some(MailState::Suppressed))));
    }
}
