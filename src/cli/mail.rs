//! `postroom mail show|list|tail|retry|cancel|release|discard|replay`: shows the state of mails and the reasons, and changes
//! it.

use std::fmt::Write;

use anyhow::Context as _;
use serde::Serialize;

use super::{
    action::{self, Draft},
    context::{Context, WrongUsage, author, print},
    daemon_status,
    filter::{Filter, beginning, refused},
    mail_tail,
    output::{OfMerchant, print_list},
    table::{Cell, Table, row},
};
use crate::{
    app::App,
    clock,
    cpu_pool::Share,
    http::{MailStory, MailView, Waiting},
    jobs,
    mail::{ActionKind, IdError, MailEvent, MailId, MailState, MerchantId, WaitReason, search::Query},
    store::{FoundMails, MailRecord, MailSearch, Moved, Store},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show a mail with its attempts.
    Show {
        /// The id of the mail.
        id: String,
        #[command(flatten)]
        parts: Parts,
    },
    /// List mails, newest first.
    List(Box<List>),
    /// Show mails as they come and change, until stopped.
    Tail(mail_tail::Arguments),
    /// Try mails again now: one at once, or all that a query finds, once it is confirmed.
    Retry(Box<Draft>),
    /// Cancel mails that are not sent yet: one at once, or all that a query finds, once it is confirmed.
    Cancel(Box<Draft>),
    /// Let held mails go on, once it is confirmed.
    Release(Box<Draft>),
    /// Cancel held mails, once it is confirmed.
    Discard(Box<Draft>),
    /// Send the callbacks about mails again, once it is confirmed.
    Replay(Box<Draft>),
    /// Suppress the recipients of mails: they get no mail any more, once it is confirmed.
    Suppress(Box<Draft>),
}

/// What is shown of a mail.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command")]
pub(super) struct Parts {
    /// Show its text part, in place of where it is.
    #[arg(long)]
    text: bool,
    /// Show its HTML part, in place of where it is.
    #[arg(long)]
    html: bool,
    /// Show it as it goes over the wire, in place of where it is.
    #[arg(long)]
    source: bool,
    /// Show what was said on the wire in attempts that failed.
    #[arg(long)]
    transcript: bool,
}

/// What a mail says, as far as it was asked for.
#[derive(Default, Serialize)]
struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

/// A mail with it, and whose it is.
#[derive(Serialize)]
struct Shown {
    merchant: MerchantId,
    #[serde(flatten)]
    story: MailStory,
    #[serde(flatten)]
    content: Content,
}

impl Parts {
    /// Fills the mail in, where that is asked for.
    async fn content(&self, app: &App, id: MailId) -> anyhow::Result<Content> {
        let mut content = Content::default();
        if !(self.text || self.html || self.source) {
            return Ok(content);
        }
        let mail = app.store.mail_to_look_at(None, id).await?;
        let mail = mail.ok_or_else(|| anyhow::anyhow!("there is no mail {id}"))?;
        if self.text || self.html {
            let share = || Share::Request(mail.merchant.clone());
            let link = app.unsubscribe_link(&mail);
            let filled = app.templates.render_mail(share, &mail, link.as_deref()).await?;
            let filled = filled.context("the mail cannot be filled in")?;
            content.text = self.text.then_some(filled.text);
            content.html = self.html.then_some(filled.html);
        }
        if self.source {
            let source = jobs::source_of(app, &mail).await?;
            let source = source.map_err(|why| anyhow::anyhow!("the mail cannot be composed: {why}"))?;
            content.source = Some(String::from_utf8_lossy(&source.unstuffed()).into_owned());
        }
        Ok(content)
    }
}

#[derive(clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only mails after the one with this id, for the next page.
    #[arg(long)]
    after: Option<MailId>,
    /// Maximum number of results.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// List the oldest first.
    #[arg(long)]
    oldest_first: bool,
}

impl List {
    fn search(&self) -> anyhow::Result<MailSearch> {
        let text = self.filter.text();
        let query = Query::parse(&text, clock::now()).map_err(|error| refused(&text, error))?;
        let Self { after, limit, oldest_first, .. } = *self;
        Ok(MailSearch { query, after, limit, oldest_first, count: true, ..MailSearch::default() })
    }
}

impl Command {
    /// Refuses wrong usage before anything is opened.
    fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Show { id, .. } => id_of(id).map(drop),
            Self::List(arguments) => arguments.search().map(drop),
            _ => Ok(()),
        }
    }
}

/// Reads an id.
fn id_of(text: &str) -> anyhow::Result<MailId> {
    Ok(text.parse().map_err(|error: IdError| WrongUsage(format!("`{}` {error}", beginning(text))))?)
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let json_wanted = context.json;
    if let Command::Tail(arguments) = command {
        return mail_tail::run(context, arguments).await;
    }
    command.check()?;
    let app = context.app().await?;
    let store = &app.store.acting_for(author());
    match command {
        Command::Show { id, parts } => show(&app, id_of(&id)?, &parts, json_wanted).await?,
        Command::List(arguments) => list(store, &arguments.search()?, json_wanted).await?,
        Command::Retry(draft) => {
            act(store, ActionKind::Retry, Some(MailEvent::Retried), &draft, json_wanted).await?;
        }
        Command::Cancel(draft) => {
            act(store, ActionKind::Cancel, Some(MailEvent::Cancelled), &draft, json_wanted).await?;
        }
        Command::Release(draft) => act(store, ActionKind::Release, None, &draft, json_wanted).await?,
        Command::Discard(draft) => act(store, ActionKind::Discard, None, &draft, json_wanted).await?,
        Command::Replay(draft) => act(store, ActionKind::Replay, None, &draft, json_wanted).await?,
        Command::Suppress(draft) => act(store, ActionKind::Suppress, None, &draft, json_wanted).await?,
        Command::Tail(_) => {} // above
    }
    store.close().await;
    Ok(())
}

/// One mail that is named by its id is moved at once, where an event is given; all else is a bulk action.
async fn act(
    store: &Store,
    kind: ActionKind,
    at_once: Option<MailEvent>,
    draft: &Draft,
    json: bool,
) -> anyhow::Result<()> {
    let only = draft.filter.only_id().filter(|_| !draft.dry_run);
    match only.zip(at_once) {
        Some((id, event)) => move_mail(store, id, event, json).await,
        None => action::draft(store, kind, draft, json).await,
    }
}

async fn show(app: &App, id: MailId, parts: &Parts, json: bool) -> anyhow::Result<()> {
    let store = &app.store;
    let mail = store.mail(None, id).await?.ok_or_else(|| anyhow::anyhow!("there is no mail {id}"))?;
    let merchant = mail.merchant.clone();
    let waiting = match Waiting::of(app, &mail).await {
        // An embedded queue and the routes are known to the daemon alone.
        Some(queued) if queued.reason == WaitReason::Queued => {
            daemon_status::waiting(&app.config, id).await.or(Some(queued))
        }
        known => known,
    };
    let mut story = MailStory::of(mail, waiting, store.attempts(id).await?);
    let mut people = format!(
        "{}  {}  {}\nmerchant   {merchant}\nto         {}\ntemplate   {}\nrecorded   {}\n",
        story.mail.id,
        story.mail.lane,
        story.mail.state,
        story.mail.recipient,
        story.mail.template,
        story.mail.recorded_at
    );
    if story.mail.test {
        writeln!(people, "test       yes: it goes to the sandbox, never to a relay")?;
    }
    if let Some(send_at) = story.mail.send_at {
        writeln!(people, "send at    {send_at}")?;
    }
    if let Some(expires_at) = story.mail.expires_at {
        writeln!(people, "expires    {expires_at}")?;
    }
    if let Some(why) = story.mail.cancel_reason {
        writeln!(people, "not sent   {why}: {}", why.words())?;
    }
    if let Some(due_at) = story.mail.due_at {
        writeln!(people, "due        {due_at}")?;
    }
    if let Some(waiting) = &story.waiting {
        writeln!(people, "waiting    {}", in_words(waiting))?;
        for line in paused_by(store, waiting).await? {
            writeln!(people, "           {line}")?;
        }
    }
    if let Some(provider_id) = &story.mail.provider_id {
        writeln!(people, "provider   {provider_id}")?;
    }
    for attempt in &mut story.attempts {
        attempt.transcript = attempt.transcript.take().filter(|_| parts.transcript);
        let code = attempt.code.map(|code| format!("{code} ")).unwrap_or_default();
        let phase = attempt.phase.as_deref().unwrap_or("?");
        writeln!(
            people,
            "attempt {}  {}  {}  {} at {phase}  {}  {code}{}",
            attempt.number, attempt.at, attempt.route, attempt.outcome, attempt.class, attempt.reply
        )?;
        for line in attempt.transcript.iter().flat_map(|transcript| transcript.lines()) {
            writeln!(people, "    {line}")?;
        }
    }
    let content = parts.content(app, id).await?;
    let said = [&content.text, &content.html, &content.source].into_iter().flatten();
    let said: Vec<_> = said.map(String::as_str).collect();
    if !said.is_empty() {
        people = if parts.transcript { format!("{people}\n") } else { String::new() } + &said.join("\n");
    }
    print(json, people.trim_end(), &Shown { merchant, story, content })
}

fn in_words(waiting: &Waiting) -> String {
    let Waiting { reason, scope, name, until } = waiting;
    let mut words = reason.to_string();
    for word in [scope, name].into_iter().flatten() {
        words.push(' ');
        words.push_str(word);
    }
    until.map_or_else(|| words.clone(), |until| format!("{words}  until {until}"))
}

/// Who paused what the mail waits for, and why.
async fn paused_by(store: &Store, waiting: &Waiting) -> anyhow::Result<Vec<String>> {
    if waiting.reason != WaitReason::Paused {
        return Ok(Vec::new());
    }
    let mut pauses = store.pauses().await?;
    pauses.retain(|pause| {
        waiting.scope.as_deref() == Some(pause.scope.kind())
            && waiting.name.as_deref() == Some(pause.scope.name())
    });
    Ok(pauses
        .into_iter()
        .map(|pause| format!("since {} by {}: {}", pause.at, pause.actor, pause.reason))
        .collect())
}

async fn list(store: &Store, search: &MailSearch, json: bool) -> anyhow::Result<()> {
    let named: Vec<_> = search.query.merchants().cloned().collect();
    for id in named {
        if store.merchant(&id).await?.is_none() {
            anyhow::bail!("there is no merchant `{id}`");
        }
    }
    let found = store.search_mails(search).await?;
    say_what_is_left(search, &found);
    let mut table = Table::new(&["ID", "STATE", "LANE", "TEMPLATE", "RECORDED", "MERCHANT", "NOTE"]);
    for mail in &found.mails {
        let state = Cell::of(mail.state, mail_tail::tone(mail.state));
        let (recorded, merchant) = (mail.recorded_at, &mail.merchant);
        table.add(row![mail.id, state, mail.lane, &mail.template, recorded, merchant, note(mail)]);
    }
    let view = |mail: MailRecord| OfMerchant { merchant: mail.merchant.clone(), view: MailView::from(mail) };
    let views: Vec<_> = found.mails.into_iter().map(view).collect();
    print_list(json, &table, "No mail fits.", &views)
}

/// What a list says of a mail beside its state.
fn note(mail: &MailRecord) -> String {
    let test = mail.is_test.then_some("test");
    let scheduled = mail.schedule.send_at.filter(|_| mail.state == MailState::Queued && mail.attempt == 0);
    let scheduled = scheduled.map(|at| format!("for {at}"));
    let why = mail.cancel_reason.map(|why| why.as_str()).or(mail.error.as_deref());
    let parts: Vec<_> = [test, scheduled.as_deref(), why].into_iter().flatten().collect();
    parts.join(": ")
}

/// Beside the list, so that programs read the list alone: how many there are, and how to go on.
fn say_what_is_left(search: &MailSearch, found: &FoundMails) {
    let shown = found.mails.len();
    match found.count {
        Some(count) if count.more => match found.estimate {
            Some(estimate) => eprintln!("Shown: {shown} of about {estimate} mails."),
            None => eprintln!("Shown: {shown} of at least {} mails.", count.count),
        },
        Some(count) if count.count > shown as u64 => eprintln!("Shown: {shown} of {} mails.", count.count),
        _ => {}
    }
    if let Some(time) = found.searched_to {
        let direction = if search.oldest_first { "up to" } else { "back to" };
        eprintln!("Searched {direction} {time}; there may be more beyond.");
    }
    if let Some(next) = found.next {
        eprintln!("For the next page: --after {next}");
    }
}

async fn move_mail(store: &Store, id: MailId, event: MailEvent, json: bool) -> anyhow::Result<()> {
    match store.move_mail(None, id, event).await? {
        Moved::Now(state) => {
            print(json, format!("{id} is {state}"), &serde_json::json!({"id": id, "state": state}))
        }
        Moved::Refused(state) => anyhow::bail!("a mail that is {state} cannot be {event}"),
        Moved::ToNobody => anyhow::bail!("a mail whose recipient is gone cannot be {event}"),
        Moved::Unknown => anyhow::bail!("there is no mail {id}"),
    }
}
