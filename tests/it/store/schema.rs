//! The schema is changed beside others who are at work.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use sqlx::{AnyConnection, Connection, Executor};

use super::{new_mail, open, record};
use crate::support::Backends;

/// What the last migration of Postgres does, undone.
const AS_BEFORE: [&str; 8] = [
    "DELETE FROM _sqlx_migrations WHERE version = 14",
    "ALTER TABLE order_workflows ADD CONSTRAINT order_workflows_merchant_id_fkey FOREIGN KEY (merchant_id) REFERENCES merchants (id)",
    "ALTER TABLE order_audit ADD CONSTRAINT order_audit_merchant_id_fkey FOREIGN KEY (merchant_id) REFERENCES merchants (id)",
    "ALTER TABLE order_emails ADD CONSTRAINT order_emails_merchant_id_fkey FOREIGN KEY (merchant_id) REFERENCES merchants (id)",
    "ALTER TABLE order_emails ADD CONSTRAINT order_emails_mail_id_fkey FOREIGN KEY (mail_id) REFERENCES mails (id)",
    "ALTER TABLE idempotency ADD CONSTRAINT idempotency_merchant_id_fkey FOREIGN KEY (merchant_id) REFERENCES merchants (id)",
    "ALTER TABLE events ADD CONSTRAINT events_merchant_id_fkey FOREIGN KEY (merchant_id) REFERENCES merchants (id)",
    "ALTER TABLE deliveries ADD CONSTRAINT deliveries_merchant_id_fkey FOREIGN KEY (merchant_id) REFERENCES merchants (id)",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_waits_for_a_back_up_and_keeps_nobody_else_waiting() {
    let backends = Backends::postgres_redis().await;
    let store = open(&backends).await;
    for statement in AS_BEFORE {
        backends.execute(statement).await;
    }
    let mut back_up = AnyConnection::connect(&backends.database().url).await.unwrap();
    back_up.execute("BEGIN; LOCK TABLE mails, merchants IN ACCESS SHARE MODE").await.unwrap();
    let is_migrated = Cell::new(false);
    let migrating = async {
        store.migrate().await.unwrap();
        is_migrated.set(true);
    };
    let at_work = async {
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            let began = Instant::now();
            record(&store, new_mail()).await;
            longest = longest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(longest < Duration::from_secs(3) && !is_migrated.get(), "{longest:?}");
        back_up.execute("COMMIT").await.unwrap();
    };
    tokio::join!(migrating, at_work);
    store.check_schema().await.unwrap();
    store.close().await;
}
