//! `postroom batch list|show|pause|resume|cancel`: shows the progress of batches, and stops them.

use std::fmt::Write;

use super::{
    context::{Context, author, check_merchant, print},
    output::{OfMerchant, print_list},
    table::{Cell, Table, Tone, row},
};
use crate::{
    app::App,
    http::{BatchView, limit_of},
    mail::{BatchAction, BatchId, MerchantId},
    store::{BatchMoved, BatchRecord},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List batches, newest first.
    List {
        /// Only batches of this merchant.
        #[arg(long)]
        merchant: Option<MerchantId>,
        /// Maximum number of results.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show the progress of a batch.
    Show {
        /// The id of the batch.
        id: BatchId,
    },
    /// Pause a batch: send none of its mails until it is resumed.
    Pause {
        /// The id of the batch.
        id: BatchId,
    },
    /// Resume a paused batch.
    Resume {
        /// The id of the batch.
        id: BatchId,
    },
    /// Cancel a batch: mails that are not sent yet will not be sent.
    Cancel {
        /// The id of the batch.
        id: BatchId,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let json = context.json;
    let app = context.app().await?;
    match command {
        Command::List { merchant, limit } => list(&app, merchant.as_ref(), limit, json).await?,
        Command::Show { id } => show(&app, id, json).await?,
        Command::Pause { id } => act(&app, id, BatchAction::Pause, json).await?,
        Command::Resume { id } => act(&app, id, BatchAction::Resume, json).await?,
        Command::Cancel { id } => act(&app, id, BatchAction::Cancel, json).await?,
    }
    app.store.close().await;
    Ok(())
}

async fn list(app: &App, merchant: Option<&MerchantId>, limit: u32, json: bool) -> anyhow::Result<()> {
    check_merchant(&app.store, merchant).await?;
    let mut views = Vec::new();
    for batch in app.store.batches(merchant, limit).await? {
        views.push(view(app, batch).await?);
    }
    let mut table = Table::new(&["ID", "STATE", "SENT", "OF", "TEMPLATE", "REQUESTED", "MERCHANT", "MODE"]);
    for OfMerchant { merchant, view } in &views {
        let tone = if view.paused { Tone::Warning } else { Tone::Plain };
        let state = Cell::of(state(view), tone);
        let (requested, mode) = (view.requested_at, if view.test { "test" } else { "live" });
        table.add(row![&view.id, state, sent(view), view.mails, &view.template, requested, merchant, mode]);
    }
    print_list(json, &table, "there are no batches", &views)
}

fn state(batch: &BatchView) -> &'static str {
    if batch.paused { "paused" } else { batch.state.as_str() }
}

fn sent(batch: &BatchView) -> u64 {
    batch.counts.get("sent").copied().unwrap_or(0)
}

async fn view(app: &App, batch: BatchRecord) -> anyhow::Result<OfMerchant<BatchView>> {
    let merchant = batch.merchant.clone();
    let limit = app.store.merchant(&merchant).await?.and_then(|merchant| limit_of(app, &merchant));
    let under_way = app.store.batch_under_way(batch.id).await?;
    Ok(OfMerchant { merchant, view: BatchView::of(batch, &under_way, limit.as_ref()) })
}

fn line(batch: &BatchView) -> String {
    let (state, sent) = (state(batch), sent(batch));
    format!(
        "{}  {state:<10}  {sent:>9} of {:<9} sent  {:<20}  {}",
        batch.id, batch.mails, batch.template, batch.requested_at
    )
}

async fn show(app: &App, id: BatchId, json: bool) -> anyhow::Result<()> {
    let batch = app.store.batch(None, id).await?.ok_or_else(|| anyhow::anyhow!("there is no batch {id}"))?;
    let shown = view(app, batch).await?;
    print(json, in_words(&shown)?, &shown)
}

fn in_words(shown: &OfMerchant<BatchView>) -> Result<String, std::fmt::Error> {
    let OfMerchant { merchant, view } = shown;
    let mut people = format!("{}\nmerchant   {merchant}\n", line(view));
    if view.test {
        writeln!(people, "test       yes: its mails go to the sandbox, never to a relay")?;
    }
    for (state, mails) in view.counts.iter().filter(|(_, mails)| **mails > 0) {
        writeln!(people, "{state:<10} {mails}")?;
    }
    if let Some(end) = view.forecast.ends_at {
        writeln!(people, "rate       {} a second, over at {end}", view.rate)?;
    }
    if let Some(limit) = &view.forecast.limited_by {
        let name = limit.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        writeln!(people, "limit      {} a second, of {}{name}", limit.per_second, limit.scope)?;
    }
    if let Some(error) = &view.error {
        writeln!(people, "error      {error}")?;
    }
    people.truncate(people.trim_end().len());
    Ok(people)
}

async fn act(app: &App, id: BatchId, action: BatchAction, json: bool) -> anyhow::Result<()> {
    match app.store.acting_for(author()).move_batch(None, id, action).await? {
        BatchMoved::Now => show(app, id, json).await,
        BatchMoved::Unchanged if action == BatchAction::Resume => {
            anyhow::bail!("the batch {id} is not paused")
        }
        BatchMoved::Unchanged => anyhow::bail!("the batch {id} is {} already", action.participle()),
        BatchMoved::Over(state) => {
            anyhow::bail!("a batch that is {state} cannot be {}", action.participle())
        }
        BatchMoved::Unknown => anyhow::bail!("there is no batch {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewBatch, webhooks_fixture as fixture};

    #[tokio::test]
    async fn a_batch_is_shown_with_its_merchant_and_marked_where_it_is_only_tried_out() {
        let (store, _folder) = fixture::open().await;
        fixture::fill(&store, &fixture::tea()).await;
        for is_test in [true, false] {
            let batch = NewBatch { is_test, ..fixture::new_batch(&fixture::tea()) };
            store.record_batch(&batch, None).await.unwrap();
            let record = store.batch(None, batch.id).await.unwrap().unwrap();
            let shown = OfMerchant { merchant: fixture::tea(), view: BatchView::of(record, &[], None) };
            let people = in_words(&shown).unwrap();
            assert!(people.contains("merchant   tea"), "{people}");
            assert_eq!(people.contains("test       yes"), is_test, "{people}");
            let programs = serde_json::to_value(&shown).unwrap();
            assert_eq!(
                (programs["merchant"].as_str(), programs["test"].as_bool()),
                (Some("tea"), Some(is_test))
            );
            assert_eq!(programs["id"], batch.id.to_string());
        }
    }
}
