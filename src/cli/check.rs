//! `postroom check`: reads the configuration and tests the connections to the database and the queue.

use serde_json::json;

use super::context::{Context, print};

pub(super) async fn run(context: Context) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    app.store.check_schema().await?;
    app.store.check_writable().await?;
    app.queue.generation().await?;
    app.store.close().await;
    let routes = app.config.smtp.routes.len();
    let people = match routes {
        0 => "database and queue answer; there is no route, so mails will wait".to_owned(),
        _ => format!("database and queue answer; routes: {routes}"),
    };
    print(json_wanted, people, &json!({"database": "ok", "queue": "ok", "routes": routes}))
}
