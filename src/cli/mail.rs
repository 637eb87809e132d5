//! `postroom mail show|list|retry|cancel`: shows the state of mails and the reasons, and changes it.

use std::fmt::Write;

use super::context::{Context, WrongUsage, print};
use crate::{
    app::App,
    clock,
    http::{MailStory, MailView, Waiting},
    mail::{
        MailEvent, MailId,
        search::{Key, Query},
    },
    store::{FoundMails, MailRecord, MailSearch, Moved, Store},
};

/// The most characters of a wrong value that are repeated.
const MOST_REPEATED: usize = 200;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show a mail with its attempts.
    Show {
        /// The id of the mail.
        id: String,
        /// Show what was said on the wire in attempts that failed.
        #[arg(long)]
        transcript: bool,
    },
    /// List mails, newest first.
    List(Box<List>),
    /// Try a mail again now.
    Retry {
        /// The id of the mail.
        id: String,
    },
    /// Cancel a mail that is not sent yet.
    Cancel {
        /// The id of the mail.
        id: String,
    },
}

/// Each flag is a term of the query: `--order 1001` is `order:1001`.
#[derive(clap::Args)]
pub(super) struct List {
    /// What to search for, such as order:1001 or state:failed; a hyphen before a term negates it.
    #[arg(allow_hyphen_values = true)]
    query: Vec<String>,
    /// Only mails of this merchant.
    #[arg(long)]
    merchant: Option<String>,
    /// Only mails about this order.
    #[arg(long)]
    order: Option<String>,
    /// Only mails about this cart.
    #[arg(long)]
    cart: Option<String>,
    /// Only mails about this subscription.
    #[arg(long)]
    subscription: Option<String>,
    /// Only mails of this batch.
    #[arg(long)]
    batch: Option<String>,
    /// Only mails to this address, or to this domain, such as @example.net.
    #[arg(long)]
    recipient: Option<String>,
    /// Only mails in this state.
    #[arg(long)]
    state: Option<String>,
    /// Only mails whose last reply was of this class.
    #[arg(long)]
    class: Option<String>,
    /// Only mails in this lane.
    #[arg(long)]
    lane: Option<String>,
    /// Only mails recorded at this time or later: 2h, 2026-11-01, 2026-11-01T10:00:00Z.
    #[arg(long)]
    since: Option<String>,
    /// Only mails recorded before this time.
    #[arg(long)]
    until: Option<String>,
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
        let flags = [
            (Key::Merchant, &self.merchant),
            (Key::Order, &self.order),
            (Key::Cart, &self.cart),
            (Key::Subscription, &self.subscription),
            (Key::Batch, &self.batch),
            (Key::To, &self.recipient),
            (Key::State, &self.state),
            (Key::Class, &self.class),
            (Key::Lane, &self.lane),
            (Key::Since, &self.since),
            (Key::Until, &self.until),
        ];
        let flags = flags.iter().filter_map(|(key, value)| Some(key.spell(value.as_deref()?)));
        let text = self.query.iter().cloned().chain(flags).collect::<Vec<_>>().join(" ");
        let query = Query::parse(&text, clock::now())
            .map_err(|error| WrongUsage(format!("{error}: {}", beginning(&text))))?;
        let Self { after, limit, oldest_first, .. } = *self;
        Ok(MailSearch { query, merchant: None, after, limit, oldest_first, count: true })
    }
}

/// Reads an id. What people paste may be anything, and is not repeated at length.
fn id_of(text: &str) -> anyhow::Result<MailId> {
    let wrong = || WrongUsage(format!("`{}` is not the id of a mail: a UUID", beginning(text)));
    Ok(text.parse().map_err(|_| wrong())?)
}

fn beginning(text: &str) -> String {
    let mut beginning: String = text.chars().take(MOST_REPEATED).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    beginning
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    let store = &app.store;
    match command {
        Command::Show { id, transcript } => show(&app, id_of(&id)?, transcript, json_wanted).await?,
        Command::List(arguments) => list(store, &arguments.search()?, json_wanted).await?,
        Command::Retry { id } => move_mail(store, id_of(&id)?, MailEvent::Retried, json_wanted).await?,
        Command::Cancel { id } => move_mail(store, id_of(&id)?, MailEvent::Cancelled, json_wanted).await?,
    }
    store.close().await;
    Ok(())
}

async fn show(app: &App, id: MailId, transcript: bool, json: bool) -> anyhow::Result<()> {
    let store = &app.store;
    let mail = store.mail(None, id).await?.ok_or_else(|| anyhow::anyhow!("there is no mail {id}"))?;
    let merchant = mail.merchant.clone();
    let waiting = Waiting::of(app, &mail).await;
    let mut story = MailStory::of(mail, waiting, store.attempts(id).await?);
    let mut people = format!(
        "{}  {}  {}\nmerchant   {merchant}\ntemplate   {}\nrecorded   {}\n",
        story.mail.id, story.mail.lane, story.mail.state, story.mail.template, story.mail.recorded_at
    );
    if let Some(due_at) = story.mail.due_at {
        writeln!(people, "due        {due_at}")?;
    }
    if let Some(waiting) = &story.waiting {
        writeln!(people, "waiting    {}", in_words(waiting))?;
    }
    if let Some(provider_id) = &story.mail.provider_id {
        writeln!(people, "provider   {provider_id}")?;
    }
    for attempt in &mut story.attempts {
        attempt.transcript = attempt.transcript.take().filter(|_| transcript);
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
    print(json, people.trim_end(), &story)
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

async fn list(store: &Store, search: &MailSearch, json: bool) -> anyhow::Result<()> {
    let named: Vec<_> = search.query.merchants().cloned().collect();
    for id in named {
        if store.merchant(&id).await?.is_none() {
            anyhow::bail!("there is no merchant `{id}`");
        }
    }
    let found = store.search_mails(search).await?;
    say_what_is_left(search, &found);
    let people: Vec<_> = found.mails.iter().map(line).collect();
    let is_empty = people.is_empty() && !json;
    let views: Vec<MailView> = found.mails.into_iter().map(Into::into).collect();
    if is_empty { Ok(()) } else { print(json, people.join("\n"), &views) }
}

/// Beside the list, so that programs read the list alone: how many there are, and how to go on.
fn say_what_is_left(search: &MailSearch, found: &FoundMails) {
    let shown = found.mails.len();
    match found.count {
        _ if shown == 0 && found.next.is_none() => eprintln!("No mail fits."),
        Some(count) if count.more => eprintln!("{shown} mails of at least {}.", count.count),
        Some(count) if count.count > shown as u64 => eprintln!("{shown} mails of {}.", count.count),
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

fn line(mail: &MailRecord) -> String {
    let error = mail.error.as_deref().unwrap_or_default();
    format!(
        "{}  {:<9}  {:<13}  {:<20}  {}  {error}",
        mail.id, mail.state, mail.lane, mail.template, mail.recorded_at
    )
}

async fn move_mail(store: &Store, id: MailId, event: MailEvent, json: bool) -> anyhow::Result<()> {
    match store.move_mail(None, id, event).await? {
        Moved::Now(state) => {
            print(json, format!("{id} is {state}"), &serde_json::json!({"id": id, "state": state}))
        }
        Moved::Refused(state) => Err(WrongUsage(format!("a mail that is {state} cannot be {event}")).into()),
        Moved::Unknown => anyhow::bail!("there is no mail {id}"),
    }
}
