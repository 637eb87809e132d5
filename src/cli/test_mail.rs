//! `postroom test-mail`: sends one mail over a route, as workers do, and says what the relay said.
//!
//! It waits for no rate and for no pause, and leaves no mail behind: only the audit knows of it.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use super::context::{Context, author, print};
use crate::{
    app::App,
    clock,
    mail::{Address, AttemptOutcome, MailId, Mailbox, Reply},
    render::{self, Content, Headers},
    smtp::{Envelope, NotReady, Route, Sent, Unfenced},
};

/// What to send.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The address that gets the mail.
    #[arg(long)]
    to: Address,
    /// The route, by its name in the configuration; default: the preferred one of those that are not drained.
    #[arg(long)]
    route: Option<String>,
    /// The sender; default: no-reply at the host of http.public_url.
    #[arg(long)]
    from: Option<Address>,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    let route = choose(&app, arguments.route.as_deref()).await?;
    app.store.acting_for(author()).note_test_mail(route.name()).await?;
    app.store.close().await;
    let sender = arguments.from.unwrap_or_else(|| app.config.http.no_reply());
    let message_id = format!("{}@{}", MailId::new(), sender.domain());
    let reply = send(&route, &sender, &arguments.to, &message_id).await?;
    let code = reply.code.map(|code| format!("{code} ")).unwrap_or_default();
    let mut people = format!(
        "route       {}\noutcome     {}\nclass       {}\nphase       {}\nreply       {code}{}\ntook        {} ms\nmessage-id  {message_id}",
        reply.route,
        reply.outcome,
        reply.judgement.class,
        reply.phase,
        reply.text,
        reply.took.as_millis(),
    );
    for line in reply.transcript.iter().flat_map(|transcript| transcript.lines()) {
        people.push_str("\n    ");
        people.push_str(line);
    }
    let programs = json!({
        "route": reply.route,
        "outcome": reply.outcome.as_str(),
        "class": reply.judgement.class,
        "phase": reply.phase,
        "code": reply.code,
        "enhanced_code": reply.enhanced.map(|code| code.to_string()),
        "reply": reply.text,
        "millis": u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX),
        "provider_id": reply.provider_id,
        "message_id": message_id,
        "transcript": reply.transcript,
    });
    print(json_wanted, people, &programs)?;
    anyhow::ensure!(reply.outcome == AttemptOutcome::Accepted, "the relay did not take the mail");
    Ok(())
}

async fn choose(app: &App, name: Option<&str>) -> anyhow::Result<Arc<Route>> {
    if let Some(name) = name {
        let all = app.routes.all();
        let named = all.iter().find(|route| route.name() == name);
        return named.cloned().with_context(|| format!("there is no route `{name}`"));
    }
    let drained = app.store.drained_routes().await?;
    let all = app.routes.all();
    let used = all.iter().filter(|route| !drained.iter().any(|name| name == route.name()));
    let preferred = used.min_by_key(|route| route.preference().priority);
    preferred.cloned().context("there is no route, or all are drained; name one with --route")
}

async fn send(route: &Arc<Route>, sender: &Address, to: &Address, message_id: &str) -> anyhow::Result<Reply> {
    let name = route.name();
    let text = format!(
        "This is a test of the route {name}, sent by `postroom test-mail`.\n\nIf you can read this, the relay works.\n"
    );
    let content = Content {
        subject: format!("A test of the route {name}"),
        html: "<p>This is a test, sent by <code>postroom test-mail</code>.</p><p>If you can read this, the relay works.</p>".to_owned(),
        text,
    };
    let headers = Headers {
        sender: &Mailbox { name: None, email: sender.clone() },
        reply_to: None,
        recipient: &Mailbox { name: None, email: to.clone() },
        message_id,
        date: clock::now(),
        list_unsubscribe: None,
        more: &[],
    };
    let message = render::compose(&headers, &content)?;
    let permit = route.permits(1).next().context("the route has no free connection")?;
    let ready = match permit.connect().await {
        Ok(ready) => ready,
        Err(NotReady::Failed(reply)) => return Ok(reply),
        Err(NotReady::Away(until)) => anyhow::bail!("the relay is away until {until}"),
    };
    let envelope = Envelope { sender: Some(sender), recipient: to };
    match ready.send(&envelope, &message, &Unfenced).await {
        Sent::Answered(reply) => Ok(reply),
        Sent::Withheld => anyhow::bail!("the mail was not offered"),
        Sent::RouteWaits => anyhow::bail!("the relay is away"),
        Sent::SenderWaits(wait) => anyhow::bail!("the relay refuses this sender's domain for {wait:?}"),
    }
}
