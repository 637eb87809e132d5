//! `postroom check`: reads the configuration, and tests the connections to the database, the queue and each relay. It
//! creates no file and no folder.

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::context::{Context, expect_file, lacks_sender, print};
use crate::{app, config::Config, queue, smtp::Routes, store::Store};

/// How long each of them may take to answer.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// What is checked.
#[derive(Args)]
pub(super) struct Arguments {
    /// Only read the configuration; connect to nothing.
    #[arg(long)]
    offline: bool,
}

/// What was tested, and what is wrong with it.
struct Finding {
    what: String,
    fault: Option<String>,
}

impl Finding {
    /// Tests something, for a bounded time.
    async fn of(what: String, test: impl Future<Output = anyhow::Result<()>>) -> Self {
        let tested = timeout(TEST_TIMEOUT, test).await;
        let fault = match tested.unwrap_or_else(|_| Err(anyhow!("no answer within {TEST_TIMEOUT:?}"))) {
            Ok(()) => None,
            Err(error) => Some(format!("{error:#}")),
        };
        Self { what, fault }
    }

    fn verdict(&self) -> &str {
        self.fault.as_deref().unwrap_or("ok")
    }
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let Context { config, json } = context;
    let routes = app::routes_of(&config)?;
    if arguments.offline {
        return print(json, "the configuration is valid", &json!({"config": "ok"}));
    }
    let (database, queue) = tokio::join!(
        Finding::of("database".to_owned(), test_database(&config)),
        Finding::of("queue".to_owned(), test_queue(&config)),
    );
    let relays = test_relays(&routes).await;
    let number = config.smtp.routes.len();
    let mut programs = json!({"database": database.verdict(), "queue": queue.verdict(), "routes": number});
    if let Some(object) = programs.as_object_mut().filter(|_| number > 0) {
        let verdicts: Map<String, Value> =
            relays.iter().map(|relay| (relay.what.clone(), relay.verdict().into())).collect();
        object.insert("relays".to_owned(), verdicts.into());
    }
    let mut people = vec![format!("database: {}", database.verdict()), format!("queue: {}", queue.verdict())];
    people.extend(relays.iter().map(|relay| format!("route {}: {}", relay.what, relay.verdict())));
    if number == 0 {
        people.push("there is no route, so mails will wait".to_owned());
    }
    if database.fault.is_none() {
        people.extend(without_sender(&config).await);
    }
    print(json, people.join("\n"), &programs)?;
    let faults: Vec<_> = [database, queue]
        .into_iter()
        .chain(relays)
        .filter_map(|finding| Some(format!("{}: {}", finding.what, finding.fault?)))
        .collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

async fn test_database(config: &Config) -> anyhow::Result<()> {
    expect_file(config)?;
    let store = Store::open(&config.database).await?;
    store.check_schema().await?;
    store.check_writable().await?;
    store.close().await;
    Ok(())
}

/// Names merchants without a sender where the installation has none for them, the first hundred at most.
async fn without_sender(config: &Config) -> Vec<String> {
    let Ok(store) = Store::open(&config.database).await else { return Vec::new() };
    let merchants = store.merchants("", 100).await.unwrap_or_default();
    store.close().await;
    let without = merchants.into_iter().filter(|merchant| merchant.sender.is_none());
    without.filter_map(|merchant| lacks_sender(config, &merchant.id)).map(|it| it.trim().to_owned()).collect()
}

async fn test_queue(config: &Config) -> anyhow::Result<()> {
    queue::connect(&config.queue).await?.generation().await?;
    Ok(())
}

/// Opens a connection of each route up to where mail may follow: EHLO, TLS, AUTH, QUIT.
async fn test_relays(routes: &Routes) -> Vec<Finding> {
    join_all(routes.all().iter().map(|route| {
        let tested = async { route.try_out().await.map_err(|fault| anyhow!("{fault}")) };
        Finding::of(route.name().to_owned(), tested)
    }))
    .await
}
