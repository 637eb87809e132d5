//! `postroom batch list|show|pause|resume|cancel`: shows the progress of batches, and stops them.

use std::fmt::Write;

use super::{
    context::{Context, author, check_merchant, print},
    output::print_list,
    table::{Cell, Table, Tone, row},
};
use crate::{
    http::BatchView,
    mail::{BatchId, MerchantId},
    store::{BatchMoved, Store},
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
    let store = &app.store.acting_for(author());
    match command {
        Command::List { merchant, limit } => list(store, merchant.as_ref(), limit, json).await?,
        Command::Show { id } => show(store, id, json).await?,
        Command::Pause { id } => {
            answer(store, id, store.pause_batch(None, id, true).await?, "paused", json).await?;
        }
        Command::Resume { id } => {
            answer(store, id, store.pause_batch(None, id, false).await?, "resumed", json).await?;
        }
        Command::Cancel { id } => {
            answer(store, id, store.cancel_batch(None, id).await?, "cancelled", json).await?;
        }
    }
    store.close().await;
    Ok(())
}

async fn list(store: &Store, merchant: Option<&MerchantId>, limit: u32, json: bool) -> anyhow::Result<()> {
    check_merchant(store, merchant).await?;
    let mut views = Vec::new();
    for batch in store.batches(merchant, limit).await? {
        let under_way = store.batch_under_way(batch.id).await?;
        views.push(BatchView::of(batch, &under_way));
    }
    let mut table = Table::new(&["ID", "STATE", "SENT", "OF", "TEMPLATE", "REQUESTED"]);
    for view in &views {
        let tone = if view.paused { Tone::Warning } else { Tone::Plain };
        let state = Cell::of(state(view), tone);
        table.add(row![&view.id, state, sent(view), view.mails, &view.template, view.requested_at]);
    }
    print_list(json, &table, "there are no batches", &views)
}

fn state(batch: &BatchView) -> &'static str {
    if batch.paused { "paused" } else { batch.state.as_str() }
}

fn sent(batch: &BatchView) -> u64 {
    batch.counts.get("sent").copied().unwrap_or(0)
}

fn line(batch: &BatchView) -> String {
    let (state, sent) = (state(batch), sent(batch));
    format!(
        "{}  {state:<10}  {sent:>9} of {:<9} sent  {:<20}  {}",
        batch.id, batch.mails, batch.template, batch.requested_at
    )
}

async fn show(store: &Store, id: BatchId, json: bool) -> anyhow::Result<()> {
    let batch = store.batch(None, id).await?.ok_or_else(|| anyhow::anyhow!("there is no batch {id}"))?;
    let merchant = batch.merchant.clone();
    let view = BatchView::of(batch, &store.batch_under_way(id).await?);
    let mut people = format!("{}\nmerchant   {merchant}\n", line(&view));
    for (state, mails) in view.counts.iter().filter(|(_, mails)| **mails > 0) {
        writeln!(people, "{state:<10} {mails}")?;
    }
    if let Some(end) = view.forecast_end {
        writeln!(people, "rate       {} a second, over at {end}", view.rate)?;
    }
    if let Some(error) = &view.error {
        writeln!(people, "error      {error}")?;
    }
    print(json, people.trim_end(), &view)
}

async fn answer(store: &Store, id: BatchId, moved: BatchMoved, wish: &str, json: bool) -> anyhow::Result<()> {
    match moved {
        BatchMoved::Now => show(store, id, json).await,
        BatchMoved::Over(state) => {
            anyhow::bail!("a batch that is {state} cannot be {wish}")
        }
        BatchMoved::Unknown => anyhow::bail!("there is no batch {id}"),
    }
}
