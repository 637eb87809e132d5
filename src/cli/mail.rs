//! `postroom mail show|list|retry|cancel`: shows the state of mails and the reasons, and changes it.

use std::fmt::Write;

use super::{
    context::{Context, WrongUsage, author, print},
    mail_tail,
};
use crate::{
    app::App,
    http::{MailStory, MailView, Waiting},
    mail::{Lane, MailEvent, MailId, MailState, MerchantId},
    store::{MailFilter, MailRecord, Moved, Store},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show a mail with its attempts.
    Show {
        /// The id of the mail.
        id: MailId,
        /// Show what was said on the wire in attempts that failed.
        #[arg(long)]
        transcript: bool,
    },
    /// List mails, oldest first.
    List {
        /// Only mails of this merchant.
        #[arg(long)]
        merchant: Option<MerchantId>,
        /// Only mails in this state.
        #[arg(long)]
        state: Option<MailState>,
        /// Only mails in this lane.
        #[arg(long)]
        lane: Option<Lane>,
        /// Only mails to this address.
        #[arg(long)]
        recipient: Option<String>,
        /// Only mails after the one with this id, for the next page.
        #[arg(long)]
        after: Option<MailId>,
        /// Maximum number of results.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show mails as they come and change, until stopped.
    Tail(mail_tail::Arguments),
    /// Try a mail again now.
    Retry {
        /// The id of the mail.
        id: MailId,
    },
    /// Cancel a mail that is not sent yet.
    Cancel {
        /// The id of the mail.
        id: MailId,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let json_wanted = context.json;
    if let Command::Tail(arguments) = command {
        return mail_tail::run(context, arguments).await;
    }
    let app = context.app().await?;
    let store = &app.store.acting_for(author());
    match command {
        Command::Show { id, transcript } => show(&app, id, transcript, json_wanted).await?,
        Command::List { merchant, state, lane, recipient, after, limit } => {
            let filter =
                MailFilter { merchant, state, lane, recipient, after, limit, ..MailFilter::default() };
            list(store, &filter, json_wanted).await?;
        }
        Command::Retry { id } => move_mail(store, id, MailEvent::Retried, json_wanted).await?,
        Command::Cancel { id } => move_mail(store, id, MailEvent::Cancelled, json_wanted).await?,
        Command::Tail(_) => {} // above
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

async fn list(store: &Store, filter: &MailFilter, json: bool) -> anyhow::Result<()> {
    let mails = store.mails(filter).await?;
    let people: Vec<_> = mails.iter().map(line).collect();
    let views: Vec<MailView> = mails.into_iter().map(Into::into).collect();
    print(json, people.join("\n"), &views)
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
