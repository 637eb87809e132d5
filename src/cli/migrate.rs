//! `postroom migrate`: creates the schema or brings it up to date.

use serde_json::json;

use super::context::{Context, author, print};
use crate::store::Store;

pub(super) async fn run(context: Context) -> anyhow::Result<()> {
    let store = Store::open(&context.config.database).await?.acting_for(author());
    store.migrate().await?;
    store.close().await;
    print(context.json, "the schema is up to date", &json!({"schema": "up to date"}))
}
