//! Writes that share a transaction.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use postroom::{mail::MailLane, store::DatabaseSettings};
use sqlx::{AnyConnection, Connection, Executor};
use uuid::Uuid;

use super::*;
use crate::support::within;

on_both! {
    async fn one_bad_row_of_a_group_spoils_only_itself(backends: Backends) {
        let store = open(&backends).await;
        let mut of_a_batch = new_mail();
        of_a_batch.origin.batch = Some(BatchId::new());
        of_a_batch.origin.member = Some("ann".to_owned());
        let mut recordings: Vec<_> = (0..30).map(|_| new_mail()).collect();
        // Neither the mail's id nor the batch's member may be there twice.
        recordings[7].id = of_a_batch.id;
        recordings[11].origin = of_a_batch.origin.clone();
        record(&store, of_a_batch).await;
        let ids: Vec<_> = recordings.iter().map(|mail| mail.id).collect();

        let outcomes = join_all(
            recordings.into_iter().map(|mail| store.record(Recording { mails: vec![mail], ..Recording::default() })),
        );
        for (index, outcome) in outcomes.await.into_iter().enumerate() {
            let is_bad = [7, 11].contains(&index);
            assert_eq!(outcome.is_err(), is_bad, "{index}: {outcome:?}");
            let is_there = store.mail(None, ids[index]).await.unwrap().is_some();
            assert_eq!(is_there, index != 11, "{index}");
        }
    }

    async fn a_single_mail_waits_for_what_is_being_written_of_a_batch_and_not_for_all_of_it(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        let of_a_batch = || {
            let mut mail = new_mail();
            mail.lane = MailLane::Bulk;
            mail
        };
        let mails: Vec<_> = (0..3_000).map(|_| of_a_batch()).collect();
        let ids: Vec<_> = mails.iter().map(|mail| mail.id).collect();
        store.record(Recording { mails, ..Recording::default() }).await.unwrap();
        let claimed = Arc::new(AtomicUsize::new(0));
        let claim = |mail: &MailId| {
            let (store, claimed, mail) = (store.clone(), Arc::clone(&claimed), *mail);
            tokio::spawn(async move {
                let claim = store.claim_mail(mail, worker, MailLane::Bulk).await;
                claimed.fetch_add(1, Ordering::SeqCst);
                assert!(matches!(claim, Ok(Claim::Granted(_))), "{claim:?}");
            })
        };
        let claims: Vec<_> = ids.iter().map(claim).collect();
        within(Duration::from_secs(10), "some are claimed", async || claimed.load(Ordering::SeqCst) > 0).await;
        record(&store, new_mail()).await;
        let before = claimed.load(Ordering::SeqCst);
        assert!(before < 2_000, "{before} of a batch came first");
        join_all(claims).await.into_iter().for_each(Result::unwrap);
    }

    async fn a_document_that_changed_since_the_rules_were_asked_records_nothing(backends: Backends) {
        let store = open(&backends).await;
        let was = r#"{"state":"draft"}"#.to_owned();
        store.put_resource(&merchant(), subscription("sub_1", &was)).await.unwrap();

        let recording = || replacing("sub_1", &was, r#"{"state":"sent"}"#);
        let outcomes = join_all((0..10).map(|_| store.record(recording()))).await;
        let committed = outcomes.into_iter().filter(|outcome| matches!(outcome, Ok(Recorded::Committed))).count();
        assert_eq!(committed, 1, "ten at once");
        assert_eq!(backends.tally(UNDER_WAY).await, [("queued".to_owned(), 1)].into());
        let stored = store.resource(&merchant(), ResourceKind::Subscriptions, "sub_1").await.unwrap().unwrap();
        assert_eq!(stored.body, r#"{"state":"sent"}"#);
    }

    async fn a_group_replaces_documents_as_if_one_came_after_the_other(backends: Backends) {
        let store = open(&backends).await;
        let [draft, sent, active] = ["draft", "sent", "active"].map(|state| format!(r#"{{"state":"{state}"}}"#));
        let ids: Vec<_> = (0..20).map(|number| format!("sub_{number}")).collect();
        let rows: Vec<_> = ids.iter().map(|id| subscription(id, &draft)).collect();
        store.import_resources(Uuid::now_v7(), &merchant(), rows).await.unwrap();

        let recordings = ids.iter().flat_map(|id| {
            [(&draft, &sent), (&draft, &active), (&sent, &active)].map(|(was, becomes)| replacing(id, was, becomes))
        });
        let outcomes = join_all(recordings.map(|recording| store.record(recording))).await;
        for outcomes in outcomes.chunks(3) {
            let outcomes: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap()).collect();
            assert_eq!(outcomes, [&Recorded::Committed, &Recorded::Outdated, &Recorded::Committed]);
        }
        assert_eq!(backends.tally(UNDER_WAY).await, [("queued".to_owned(), 40)].into());
        for id in &ids {
            let stored = store.resource(&merchant(), ResourceKind::Subscriptions, id).await.unwrap().unwrap();
            assert_eq!(stored.body, active);
        }
    }
}

/// A batch whose row another session has locked, as long ones do, holds its own mails up and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_of_a_batch_keep_no_single_mail_waiting() {
    let backends = Backends::postgres_redis().await;
    let store = open(&backends).await;
    let worker = worker(&store).await;
    let [of_batch, single] = [MailLane::Bulk, MailLane::Transactional].map(|lane| {
        let mut mail = new_mail();
        mail.lane = lane;
        mail
    });
    let ids = [record(&store, of_batch).await, record(&store, single).await];
    let mut locks = AnyConnection::connect(&backends.database().url).await.unwrap();
    locks.execute("BEGIN; SELECT 1 FROM mails FOR UPDATE").await.unwrap();
    let waits = tokio::spawn({
        let store = store.clone();
        async move { store.claim_mail(ids[0], worker, MailLane::Bulk).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = std::time::Instant::now();
    record(&store, new_mail()).await;
    assert!(began.elapsed() < Duration::from_secs(2) && !waits.is_finished(), "{:?}", began.elapsed());
    locks.execute("COMMIT").await.unwrap();
    assert!(matches!(waits.await.unwrap(), Ok(Claim::Granted(_))));
    assert!(matches!(store.claim_mail(ids[1], worker, MailLane::Transactional).await, Ok(Claim::Granted(_))));
    store.close().await;
}

/// Both lanes keep their connections while there is work. Whoever else writes, such as the heartbeat, has one all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_beside_the_groups_has_a_connection_where_few_are_allowed() {
    let backends = Backends::postgres_redis().await;
    let all = open(&backends).await;
    let worker = worker(&all).await;
    let few = Store::open(&DatabaseSettings { connections: 1, ..backends.database() }).await.unwrap();
    let busy = MailLane::ALL.iter().map(|lane| {
        let few = few.clone();
        tokio::spawn(async move {
            loop {
                few.claim_mail(MailId::new(), worker, *lane).await.unwrap();
            }
        })
    });
    let busy: Vec<_> = busy.collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let written = tokio::time::timeout(Duration::from_secs(3), few.check_writable()).await;
    busy.iter().for_each(|lane| lane.abort());
    assert!(matches!(written, Ok(Ok(()))), "{written:?}");
    few.close().await;
    all.close().await;
}

/// So many rows of a table were read without an index.
async fn rows_read_through(backends: &Backends, table: &str) -> i64 {
    // Each session tells what it did up to a second later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    backends.tally("SELECT relname::text, seq_tup_read FROM pg_stat_user_tables").await[table]
}

/// Records mails and claims them.
async fn record_and_claim(store: &Store, number: usize) {
    let worker = worker(store).await;
    let one = async || {
        let id = record(store, new_mail()).await;
        assert!(matches!(store.claim_mail(id, worker, MailLane::Transactional).await, Ok(Claim::Granted(_))));
    };
    join_all((0..number).map(|_| one())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_fills_from_nothing_is_never_read_through() {
    let backends = Backends::postgres_redis().await;
    let store = open(&backends).await;
    record_and_claim(&store, 3_000).await;
    let mut statistics = HashMap::new();
    within(Duration::from_secs(20), "statistics are gathered", async || {
        let known =
            "SELECT relname::text, reltuples::bigint FROM pg_class WHERE relname = 'mails' AND reltuples > 0";
        statistics = backends.tally(known).await;
        !statistics.is_empty()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await; // the next look at them
    let before = rows_read_through(&backends, "mails").await;
    record_and_claim(&store, 3_000).await;
    let after = rows_read_through(&backends, "mails").await;
    // The look for statistics may sample the table; each statement that read it all would read 3,000 rows and more.
    assert!(after - before < 6_000, "{before} and then {after}, by {statistics:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_found_by_their_keys_also_where_there_were_none_at_first() {
    let backends = Backends::postgres_redis().await;
    let store = open(&backends).await;
    let look_up = async || {
        for _ in 0..20 {
            let found = join_all((0..20).map(|number| {
                let id = format!("m{number}");
                let (store, merchant) = (&store, merchant());
                async move { store.resource(&merchant, ResourceKind::Members, &id).await.unwrap() }
            }));
            let found = found.await.into_iter().flatten().count();
            assert!(matches!(found, 0 | 20), "{found}");
        }
    };
    look_up().await;
    let many = "INSERT INTO resources (merchant_id, kind, id, brand_id, body, created_at, updated_at)
        SELECT 'tea', 'members', 'm' || number, 'tea', '{}', 1, 1 FROM generate_series(0, 999) AS number";
    backends.execute(many).await;
    let before = rows_read_through(&backends, "resources").await;
    look_up().await;
    let after = rows_read_through(&backends, "resources").await;
    assert_eq!(after - before, 0);
    store.close().await;
}
