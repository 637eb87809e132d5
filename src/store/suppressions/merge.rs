//! What becomes of a suppression when another one is stored for the same address and scope.

use std::sync::LazyLock;

use super::record::{NewSuppression, Row};
use crate::{
    mail::{MerchantId, Timestamp},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        rounds,
        sql::Sql,
    },
};

/// Inserts suppressions; what becomes of those that are there follows.
const INSERT: &str =
    "INSERT INTO suppressions (id, merchant_id, address_key, scope, reason, note, expires_at, created_at)
     SELECT id, $2, address_key, scope, reason, note, expires_at, COALESCE(created_at, $3)
     FROM {rows: id text, address_key text, scope text, reason text, note text, expires_at bigint, created_at bigint}
     WHERE true
     ON CONFLICT (merchant_id, address_key, scope) DO UPDATE SET";

const IS_IN_FORCE: &str = "(suppressions.expires_at IS NULL OR suppressions.expires_at > $3)";

// An unsubscription without an end, as recipients make them, stays in force, and the merchant's word is kept beneath it.
// Where it is not said since when, what is replaced stays as old as it is, unless it has ended.
static PUT: LazyLock<Sql> = LazyLock::new(|| {
    let is_recipients = "suppressions.scope = 'promotional' AND suppressions.reason = 'unsubscribed'
        AND suppressions.expires_at IS NULL";
    let is_beneath = format!("{is_recipients} AND excluded.reason <> 'unsubscribed'");
    Sql::made(format!(
        "{INSERT}
            reason = CASE WHEN {is_recipients} THEN suppressions.reason ELSE excluded.reason END,
            note = CASE WHEN {is_recipients} THEN suppressions.note ELSE excluded.note END,
            expires_at = CASE WHEN {is_recipients} THEN NULL ELSE excluded.expires_at END,
            created_at = CASE WHEN ({is_recipients}) OR (excluded.created_at = $3 AND {IS_IN_FORCE})
                THEN suppressions.created_at ELSE excluded.created_at END,
            replaced_reason = CASE WHEN {is_beneath} THEN excluded.reason END,
            replaced_note = CASE WHEN {is_beneath} THEN excluded.note END,
            replaced_expires_at = excluded.expires_at, replaced_created_at = excluded.created_at"
    ))
});

// Only what stops more changes anything, and what somebody asked for is at most made to last longer.
static ADD: LazyLock<Sql> = LazyLock::new(|| {
    let is_asked_for = format!("(suppressions.reason IN ('unsubscribed', 'complaint') AND {IS_IN_FORCE})");
    Sql::made(format!(
        "{INSERT}
            reason = CASE WHEN {is_asked_for} THEN suppressions.reason ELSE excluded.reason END,
            note = CASE WHEN {is_asked_for} THEN suppressions.note ELSE excluded.note END,
            expires_at = excluded.expires_at,
            created_at = CASE WHEN {is_asked_for} OR (excluded.created_at = $3 AND {IS_IN_FORCE})
                THEN suppressions.created_at ELSE excluded.created_at END,
            replaced_reason = CASE WHEN {is_asked_for} THEN suppressions.replaced_reason END
         WHERE suppressions.expires_at <= $3 OR suppressions.expires_at < excluded.expires_at
            OR (suppressions.expires_at IS NOT NULL AND excluded.expires_at IS NULL)"
    ))
});

/// Adds suppressions to what is known of their addresses: these get less than before, never more. Of several with one address
/// and scope each is added to those before it.
pub(in crate::store) async fn add(
    dialect: Dialect,
    on: &mut Connection,
    merchant: &MerchantId,
    suppressions: &[NewSuppression],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut rows: Vec<_> = suppressions.iter().map(Row::of).collect();
    // In the order of the key, so that two transactions never wait for each other; those of one key keep theirs.
    rows.sort_by(|a, b| (&a.address_key, a.scope).cmp(&(&b.address_key, b.scope)));
    let keyed = rows.iter().map(|row| ((&row.address_key, row.scope), row));
    for round in rounds::with_distinct_keys(keyed) {
        write(dialect, on, &ADD, merchant, &round, now).await?;
    }
    Ok(())
}

/// Makes this the suppression of its address and scope, beneath an unsubscription.
pub(super) async fn put(
    dialect: Dialect,
    on: &mut Connection,
    merchant: &MerchantId,
    suppression: &NewSuppression,
    now: Timestamp,
) -> Result<(), StoreError> {
    write(dialect, on, &PUT, merchant, &[&Row::of(suppression)], now).await
}

async fn write(
    dialect: Dialect,
    on: &mut Connection,
    statement: &'static Sql,
    merchant: &MerchantId,
    rows: &[&Row<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    statement
        .with(dialect, rows)
        .bind(merchant.as_str())
        .bind(now.millis())
        .execute(on)
        .await
        .map(drop)
        .doing("store suppressions")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::{
        clock,
        mail::{NewMail, Origin, SuppressionReason as R, SuppressionScope, Unsubscribe, UnsubscribeToken},
        store::{Recording, Store, webhooks_fixture as fixture},
    };

    /// What is said of an address: why, and until when.
    type Said = (R, Option<Timestamp>);
    /// What was said, what is imported, and what is in force then.
    type Case = (Said, Said, Said);

    fn suppression(address: &str, reason: R, expires_at: Option<Timestamp>) -> NewSuppression {
        NewSuppression {
            address: address.parse().unwrap(),
            reason,
            scope: SuppressionScope::Promotional,
            note: None,
            expires_at,
            created_at: None,
        }
    }

    async fn in_force(store: &Store, address: &str) -> Option<Said> {
        let found = store.suppression(&fixture::tea(), &address.parse().unwrap()).await.unwrap();
        found.map(|found| (found.reason, found.expires_at))
    }

    #[tokio::test]
    async fn an_import_ends_nothing_sooner_and_leaves_what_somebody_asked_for() {
        let (store, _folder) = fixture::open().await;
        let merchant = fixture::tea();
        fixture::fill(&store, &merchant).await;
        let at = |seconds| Some(clock::now() + Duration::from_secs(seconds));
        let (over, soon, later) = (Some(Timestamp(1)), at(60), at(3_600));
        let cases = [
            ((R::Unsubscribed, None), (R::Manual, soon), (R::Unsubscribed, None)),
            ((R::Complaint, None), (R::HardBounce, soon), (R::Complaint, None)),
            ((R::Complaint, soon), (R::Manual, later), (R::Complaint, later)),
            ((R::Unsubscribed, soon), (R::Manual, None), (R::Unsubscribed, None)),
            ((R::Manual, later), (R::Complaint, soon), (R::Manual, later)),
            ((R::Manual, soon), (R::Complaint, later), (R::Complaint, later)),
            ((R::Manual, None), (R::Manual, soon), (R::Manual, None)),
            ((R::Unsubscribed, over), (R::Manual, soon), (R::Manual, soon)),
        ];
        let address = |n: usize| format!("n{n}@example.net");
        let lines = |of: fn(&Case) -> Said| {
            let line = |(n, case)| suppression(&address(n), of(case).0, of(case).1);
            cases.iter().enumerate().map(line).collect::<Vec<_>>()
        };
        let (was, imported) = (lines(|case| case.0), lines(|case| case.1));
        for suppression in was.clone() {
            store.put_suppression(&merchant, suppression).await.unwrap();
        }
        store.import_suppressions(Uuid::now_v7(), &merchant, imported.clone()).await.unwrap();
        for (n, (_, _, expected)) in cases.iter().enumerate() {
            assert_eq!(in_force(&store, &address(n)).await.as_ref(), Some(expected), "case {n}");
            store.remove_suppression(&merchant, &address(n).parse().unwrap()).await.unwrap();
        }
        // The same as lines of one import.
        let both = was.into_iter().chain(imported).collect();
        store.import_suppressions(Uuid::now_v7(), &merchant, both).await.unwrap();
        for (n, (_, _, expected)) in cases.iter().enumerate() {
            assert_eq!(in_force(&store, &address(n)).await.as_ref(), Some(expected), "case {n}, at once");
        }
    }

    #[tokio::test]
    async fn a_merchants_suppression_of_somebody_who_unsubscribed_is_in_force_when_that_is_taken_back() {
        let (store, _folder) = fixture::open().await;
        let merchant = fixture::tea();
        fixture::fill(&store, &merchant).await;
        let token = UnsubscribeToken::generate();
        let unsubscribe = Some(Unsubscribe { token: token.clone(), language: "en".to_owned() });
        let mail = fixture::new_mail(&merchant, Origin::default());
        let mail = NewMail { is_promotional: true, unsubscribe, ..mail };
        let address = mail.recipient.email.to_string();
        store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
        store.unsubscribe(&token).await.unwrap();
        let soon = Some(clock::now() + Duration::from_secs(60));
        for reason in [R::Complaint, R::Unsubscribed, R::Manual] {
            let said =
                NewSuppression { note: Some("autumn".to_owned()), ..suppression(&address, reason, soon) };
            assert!(!store.put_suppression(&merchant, said).await.unwrap());
            assert_eq!(in_force(&store, &address).await, Some((R::Unsubscribed, None)), "{reason}");
        }
        store.subscribe_again(&token).await.unwrap();
        let beneath = store.suppression(&merchant, &address.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((beneath.reason, beneath.expires_at), (R::Manual, soon));
        assert_eq!(beneath.note.as_deref(), Some("autumn"));

        store.unsubscribe(&token).await.unwrap();
        assert!(store.remove_suppression(&merchant, &address.parse().unwrap()).await.unwrap());
        store.subscribe_again(&token).await.unwrap();
        assert_eq!(in_force(&store, &address).await, None);
    }
}
