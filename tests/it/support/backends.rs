//! A database and a queue for one test, and the configuration file that names them.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use postroom::{
    demo::catcher::Catcher,
    mail::MerchantId,
    store::{DatabaseSettings, NewMerchant, Store},
};
use sqlx::{AnyConnection, Connection, Executor};
use tempfile::TempDir;

use super::{CommandLine, postgres, redis::Redis, times_caught};

const UNKNOWN: &str = "SELECT recipient, COUNT(*) FROM mails JOIN attempts ON attempts.mail_id = mails.id
    WHERE outcome = 'unknown' GROUP BY recipient";

const ATTEMPTS: &str = "SELECT CONCAT_WS(' ', mails.id, 'recorded', recorded_at, 'in batch', batch_id, 'is', state, 'attempt',
        number, 'of', attempts.worker, 'at', attempts.at, outcome, phase, reply, millis)
    FROM mails LEFT JOIN attempts ON attempts.mail_id = mails.id WHERE recipient = $1 ORDER BY mails.id, number";

/// One of the two pairs of back ends, and the settings of the daemons that use it.
pub struct Backends {
    /// The Redis server, where there is one.
    pub redis: Option<Redis>,
    folder: TempDir,
    settings: BTreeMap<String, toml::Value>,
}

impl Backends {
    /// All in one process: SQLite and the embedded queue.
    pub fn sqlite_memory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("postroom.db").display());
        Self::new(folder, database, None)
    }

    /// For many processes: Postgres and Redis.
    pub async fn postgres_redis() -> Self {
        Self::on(postgres::shared_database().await).await
    }

    /// Redis and this Postgres database.
    pub async fn on(database: String) -> Self {
        Self::of(database, Redis::start().await)
    }

    /// This Postgres database and this Redis server.
    pub fn of(database: String, redis: Redis) -> Self {
        Self::new(tempfile::tempdir().unwrap(), database, Some(redis))
    }

    /// Postgres, and this Redis server by this URL.
    pub async fn on_redis(redis: Redis, url: &str) -> Self {
        Self::of(postgres::shared_database().await, redis).with("queue.url", url)
    }

    fn new(folder: TempDir, database: String, redis: Option<Redis>) -> Self {
        let queue = redis.as_ref().map_or_else(|| "memory:".to_owned(), Redis::url);
        Self { redis, folder, settings: BTreeMap::new() }
            .with("database.url", database)
            .with("database.connections", 4)
            .with("queue.url", queue)
            .with("admin.listen", "127.0.0.1:0")
            .with("log.format", "json")
    }

    /// The same with another value for one setting.
    pub fn with(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.set(key, value);
        self
    }

    /// The same with a route `main` to this catcher.
    pub fn with_route_to(self, sink: &Catcher) -> Self {
        let mut route = toml::toml! { name = "main" tls = "none" connections = 64 };
        route.insert("host".to_owned(), sink.smtp_addr().ip().to_string().into());
        route.insert("port".to_owned(), i64::from(sink.smtp_addr().port()).into());
        self.with("smtp.routes", vec![route])
    }

    /// Changes one setting; a daemon sees it when it starts.
    pub fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.settings.insert(key.to_owned(), value.into());
        let lines: String = self.settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        std::fs::write(self.config(), lines).unwrap();
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder().join("postroom.toml")
    }

    /// A folder that is gone after the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command line with this configuration.
    pub fn command_line(&self) -> CommandLine {
        CommandLine::new(self.config())
    }

    /// What the library needs to open the same database.
    pub fn database(&self) -> DatabaseSettings {
        let url = self.settings["database.url"].as_str().unwrap().to_owned();
        DatabaseSettings { url, migrate: true, connections: 4 }
    }

    /// The same database, with nothing in it but this merchant.
    pub async fn store_of(&self, merchant: &MerchantId) -> Store {
        let store = Store::open(&self.database()).await.unwrap();
        store.migrate().await.unwrap();
        let merchant = NewMerchant {
            id: merchant.clone(),
            name: "Tea".to_owned(),
            country: "DE".to_owned(),
            language: None,
            sender: None,
            secret: "whsec_x".to_owned(),
            is_test: false,
        };
        store.create_merchant(&merchant).await.unwrap();
        store
    }

    /// Changes rows behind the daemon's back.
    pub async fn execute(&self, statement: &'static str) {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.database().url).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    }

    /// How many attempts of each recipient's mail ended nobody knows how.
    pub async fn unknown_outcomes(&self) -> HashMap<String, i64> {
        self.tally(UNKNOWN).await
    }

    /// Nobody who was promised one mail got more than the record allows: one more for each attempt that ended nobody knows
    /// how.
    pub async fn nobody_got_more_than_is_on_record(&self, sink: &Catcher) {
        let unknown = self.unknown_outcomes().await;
        for (recipient, times) in times_caught(sink) {
            let may_come = 1 + unknown.get(&recipient).copied().unwrap_or(0);
            if times as i64 > may_come {
                let attempts = self.attempts_at(&recipient).await;
                panic!("{recipient} got {times} mails, {may_come} are on record:\n{attempts}");
            }
        }
    }

    /// What is on record of the mails to this recipient, a line for each attempt.
    pub async fn attempts_at(&self, recipient: &str) -> String {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.database().url).await.unwrap();
        let rows: Vec<(String,)> =
            sqlx::query_as(ATTEMPTS).bind(recipient).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.into_iter().map(|(line,)| line + "\n").collect()
    }

    /// Counts rows behind the daemon's back: the statement gives a name and a number in each of its rows.
    pub async fn tally(&self, statement: &'static str) -> HashMap<String, i64> {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.database().url).await.unwrap();
        let rows: Vec<(String, i64)> = sqlx::query_as(statement).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.into_iter().collect()
    }
}
