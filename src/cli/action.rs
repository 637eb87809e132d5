//! `postroom action list|show|confirm|stop|resume`, and the drafting of an action by `postroom mail retry` and the like.

use super::{
    context::{Context, ask, author, print, somebody_can_be_asked},
    filter::{Filter, refused},
    output::print_list,
    table::{Cell, Table, Tone, row},
};
use crate::{
    http::{ActionView, MailResultView, MailView},
    mail::{ActionId, ActionKind, ActionState, ActionWish, MailId, search::MailCount},
    store::{ActionMoved, ActionRecord, MailRecord, NewAction, Selected, Store},
};

/// The most results that are printed.
const MOST_RESULTS: u32 = 10_000;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List bulk actions, newest first.
    List {
        /// Only actions before the one with this id, for the next page.
        #[arg(long)]
        after: Option<ActionId>,
        /// Maximum number of results.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show what an action does, and how far it is.
    Show {
        /// The id of the action.
        id: ActionId,
        /// Print the result for each mail instead.
        #[arg(long)]
        results: bool,
        /// Only results after this mail, for the next page.
        #[arg(long, requires = "results")]
        after: Option<MailId>,
    },
    /// Let a draft run. Only who drafted it can confirm it.
    Confirm {
        /// The id of the action.
        id: ActionId,
    },
    /// Stop an action that is running.
    Stop {
        /// The id of the action.
        id: ActionId,
    },
    /// Let a stopped action go on.
    Resume {
        /// The id of the action.
        id: ActionId,
    },
}

/// An action on all mails that a query finds.
#[derive(clap::Args)]
pub(super) struct Draft {
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
    /// Only show which mails it would be for.
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let json = context.json;
    let app = context.app().await?;
    let store = &app.store.acting_for(author());
    match command {
        Command::List { after, limit } => list(store, after, limit, json).await?,
        Command::Show { id, results: true, after } => results(store, id, after, json).await?,
        Command::Show { id, .. } => show(store, id, json).await?,
        Command::Confirm { id } => move_action(store, id, ActionWish::Confirm, json).await?,
        Command::Stop { id } => move_action(store, id, ActionWish::Stop, json).await?,
        Command::Resume { id } => move_action(store, id, ActionWish::Resume, json).await?,
    }
    store.close().await;
    Ok(())
}

/// Drafts an action, shows what it would do, asks, and confirms it. To act on no mail at all is a failure; to look is none.
pub(super) async fn draft(store: &Store, kind: ActionKind, draft: &Draft, json: bool) -> anyhow::Result<()> {
    let text = draft.filter.text();
    let new = NewAction::new(None, kind, &text, &caller()).map_err(|error| refused(&text, error))?;
    for id in new.merchants() {
        if store.merchant(id).await?.is_none() {
            anyhow::bail!("there is no merchant `{id}`");
        }
    }
    let Selected { count, sample } = store.select_for_action(&new).await?;
    let fits_nothing = is_none(count);
    if fits_nothing || draft.dry_run {
        preview(kind, &text, count, sample, json)?;
        anyhow::ensure!(draft.dry_run, "no mail fits; there is nothing to do");
        if fits_nothing {
            eprintln!("No mail fits; there is nothing to do.");
        }
        return Ok(());
    }
    let action = store.draft_action(&new, count).await?;
    let id = action.id;
    let people = in_words(kind, &text, count, &sample);
    let asks = !json && !draft.yes && somebody_can_be_asked();
    if asks {
        eprintln!("{people}");
    }
    if draft.yes || asks && ask(&format!("{kind} {}?", mails(count)))? {
        return move_action(store, id, ActionWish::Confirm, json).await;
    }
    let hint = format!("Nothing is done yet. To do it: postroom action confirm {id}");
    let people = if asks { hint } else { format!("{people}\n{hint}") };
    print(json, people, &ActionView::of(action, sample))
}

/// Shows what an action would do. Where no mail fits, people are told nothing here.
fn preview(
    kind: ActionKind,
    text: &str,
    count: MailCount,
    sample: Vec<MailRecord>,
    json: bool,
) -> anyhow::Result<()> {
    if !json && is_none(count) {
        return Ok(());
    }
    let people = in_words(kind, text, count, &sample);
    let sample: Vec<MailView> = sample.into_iter().map(Into::into).collect();
    let view = serde_json::json!({
        "kind": kind, "q": text, "matched": count, "consequence": kind.consequence(), "sample": sample,
    });
    print(json, people, &view)
}

const fn is_none(count: MailCount) -> bool {
    count.count == 0 && !count.more
}

fn mails(count: MailCount) -> String {
    let at_least = if count.more { "at least " } else { "" };
    let mails = if count.count == 1 && !count.more { "mail" } else { "mails" };
    format!("{at_least}{} {mails}", count.count)
}

fn in_words(kind: ActionKind, query: &str, count: MailCount, sample: &[MailRecord]) -> String {
    let mut words = format!("{kind}: {} for {query}\n{}", mails(count), kind.consequence());
    for mail in sample {
        let test = if mail.is_test { "  test" } else { "" };
        words.push_str(&format!(
            "\n  {}  {:<9}  {:<20}  {}  {}{test}",
            mail.id, mail.state, mail.template, mail.recipient, mail.recorded_at
        ));
    }
    let shown = sample.len() as u64;
    if count.count > shown {
        words.push_str(&format!("\n  and {} more", count.count - shown));
    }
    words
}

async fn list(store: &Store, after: Option<ActionId>, limit: u32, json: bool) -> anyhow::Result<()> {
    let actions = store.actions(None, after, limit).await?;
    if actions.len() == limit as usize
        && let Some(last) = actions.last()
    {
        eprintln!("For the next page: --after {}", last.id);
    }
    let mut table = Table::new(&["ID", "KIND", "STATE", "DONE", "SKIPPED", "OF", "BY", "DRAFTED", "QUERY"]);
    for action in &actions {
        let ActionRecord { id, kind, matched, done, skipped, drafted_by, drafted_at, query, .. } = action;
        table.add(row![
            id,
            kind,
            state(action),
            done,
            skipped,
            mails(*matched),
            drafted_by,
            drafted_at,
            query
        ]);
    }
    let views: Vec<_> = actions.into_iter().map(|action| ActionView::of(action, Vec::new())).collect();
    print_list(json, &table, "There are no bulk actions.", &views)
}

fn state(action: &ActionRecord) -> Cell {
    let tone = match action.state {
        ActionState::Draft | ActionState::Stopped => Tone::Warning,
        _ if action.error.is_some() => Tone::Bad,
        _ => Tone::Plain,
    };
    Cell::of(action.state, tone)
}

fn line(action: &ActionRecord) -> String {
    let ActionRecord { id, kind, state, matched, done, skipped, drafted_by, drafted_at, query, .. } = action;
    let matched = mails(*matched);
    format!(
        "{id}  {kind:<7}  {state:<7}  {done} done, {skipped} skipped of {matched}  {drafted_by}  {drafted_at}  {query}"
    )
}

async fn show(store: &Store, id: ActionId, json: bool) -> anyhow::Result<()> {
    let action = found(store, id).await?;
    let is_draft = action.state == ActionState::Draft;
    let sample = if is_draft { store.sample_of_action(&action).await? } else { Vec::new() };
    let mut people = line(&action);
    people.push_str(&format!("\n{}", action.kind.consequence()));
    let moves = [
        ("confirmed", &action.confirmed_by, action.confirmed_at),
        ("stopped", &action.stopped_by, action.stopped_at),
    ];
    for (what, by, at) in moves {
        if let (Some(by), Some(at)) = (by, at) {
            people.push_str(&format!("\n{what:<10} {at} by {by}"));
        }
    }
    if let Some(at) = action.finished_at {
        people.push_str(&format!("\nfinished   {at}"));
    }
    if let Some(error) = &action.error {
        people.push_str(&format!("\nerror      {error}"));
    }
    print(json, people, &ActionView::of(action, sample))
}

async fn found(store: &Store, id: ActionId) -> anyhow::Result<ActionRecord> {
    store.action(None, id).await?.ok_or_else(|| anyhow::anyhow!("there is no action {id}"))
}

async fn results(store: &Store, id: ActionId, after: Option<MailId>, json: bool) -> anyhow::Result<()> {
    let action = found(store, id).await?;
    let results = store.action_results(action.id, after, MOST_RESULTS).await?;
    if results.len() == MOST_RESULTS as usize
        && let Some(last) = results.last()
    {
        eprintln!("For the next page: --results --after {}", last.mail);
    }
    let mut table = Table::new(&["MAIL", "RESULT", "WHY"]);
    for result in &results {
        table.add(row![result.mail, &result.result, result.why.as_deref().unwrap_or_default()]);
    }
    let views: Vec<MailResultView> = results.into_iter().map(Into::into).collect();
    print_list(json, &table, "There are no results.", &views)
}

async fn move_action(store: &Store, id: ActionId, wish: ActionWish, json: bool) -> anyhow::Result<()> {
    match store.move_action(None, id, wish, &caller()).await? {
        ActionMoved::Now(action) => {
            let people = format!("{id} is {}: postroom action show {id}", action.state);
            print(json, people, &ActionView::of(*action, Vec::new()))
        }
        ActionMoved::Refused(action) => {
            anyhow::bail!("an action that is {} cannot be {}", action.state, wish.event())
        }
        ActionMoved::NotYours(by) => {
            anyhow::bail!("{by} drafted this action; only who drafted it can confirm it")
        }
        ActionMoved::Unknown => anyhow::bail!("there is no action {id}"),
    }
}

/// Who runs this command, as far as the system says.
fn caller() -> String {
    author().actor.to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        mail::{NewMail, Origin},
        store::{Recording, webhooks_fixture as fixture},
    };

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        draft: Draft,
    }

    fn asked(words: &[&str]) -> Draft {
        Asked::parse_from([&["retry"], words].concat()).draft
    }

    #[tokio::test]
    async fn to_act_on_no_mail_fails_and_to_look_for_some_does_not() {
        let (store, _folder) = fixture::open().await;
        for words in [&["0192-no-id"][..], &["--state", "failed"], &["state:failed", "--yes"]] {
            for json in [false, true] {
                let ended = super::draft(&store, ActionKind::Retry, &asked(words), json).await;
                assert!(ended.unwrap_err().to_string().starts_with("no mail fits"), "{words:?}");
            }
        }
        super::draft(&store, ActionKind::Retry, &asked(&["0192-no-id", "--dry-run"]), false).await.unwrap();
        assert!(store.actions(None, None, 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn mails_that_are_only_tried_out_are_marked_in_the_sample() {
        let (store, _folder) = fixture::open().await;
        fixture::fill(&store, &fixture::tea()).await;
        let mail = |is_test| NewMail { is_test, ..fixture::new_mail(&fixture::tea(), Origin::default()) };
        store
            .record(Recording { mails: vec![mail(false), mail(true)], ..Recording::default() })
            .await
            .unwrap();
        let new = NewAction::new(None, ActionKind::Cancel, "to:ann@example.net", "cli:ann").unwrap();
        let Selected { count, sample } = store.select_for_action(&new).await.unwrap();
        let shown = in_words(ActionKind::Cancel, "to:ann@example.net", count, &sample);
        let marks: Vec<_> = shown.lines().skip(2).map(|line| line.ends_with("  test")).collect();
        assert_eq!(marks, [true, false], "{shown}");
    }
}
