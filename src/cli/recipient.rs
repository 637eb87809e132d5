//! `postroom recipient export|erase`: everything that is stored about one address, and its removal.

use serde_json::{Value, json};

use super::{
    context::{Context, WrongUsage, ask, print, somebody_can_be_asked},
    output::write_out,
};
use crate::{
    clock,
    http::MailStory,
    mail::{
        Address,
        search::{Condition, Query},
    },
    store::{MailSearch, Store, Trace},
};

/// Mails that are read at once.
const PAGE: u32 = 200;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Print everything that is stored about a recipient, as JSON.
    Export {
        /// The address, in any case.
        address: Address,
    },
    /// Remove a recipient for good: cancel what waits, delete its members, and take the address out of everything else.
    Erase {
        /// The address, in any case.
        address: Address,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Rewrite the database's files too, so that nothing is left in free pages. Takes long; SQLite takes no
        /// writes meanwhile.
        #[arg(long)]
        vacuum: bool,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let store = context.store().await?;
    let done = match command {
        Command::Export { address } => export(&store, &address).await,
        Command::Erase { address, yes, vacuum } => erase(&store, &address, yes, vacuum, context.json).await,
    };
    store.close().await;
    done
}

/// Written as it is read: there may be a lot.
async fn export(store: &Store, address: &Address) -> anyhow::Result<()> {
    let head = json!({"address": address, "exported_at": clock::now()}).to_string();
    write_out(&format!("{},\n\"mails\":[", head.trim_end_matches('}')))?;
    let mut search = MailSearch {
        query: Query::default().and(Condition::recipient(&address.to_string())),
        limit: PAGE,
        ..MailSearch::default()
    };
    let (mut between, mut number) = ("\n", 0);
    loop {
        let found = store.search_mails(&search).await?;
        for mail in found.mails {
            number += 1;
            let attempts = store.attempts(mail.id).await?;
            let whole = store.mail_to_look_at(None, mail.id).await?;
            let mut story = serde_json::to_value(MailStory::of(mail, None, attempts))?;
            if let Some(whole) = whole {
                story["values"] = serde_json::from_str(&whole.values)?;
                story["recipient_name"] = whole.recipient.name.into();
            }
            write_out(&format!("{between}{story}"))?;
            between = ",\n";
        }
        search.after = found.next;
        if search.after.is_none() {
            break;
        }
    }
    let records: Vec<_> = store.traces_of(address).await?.iter().map(view).collect();
    store.note_export(address, number).await?;
    write_out(&format!("\n],\n\"records\":{}\n}}\n", serde_json::to_string_pretty(&records)?))
}

/// A row with its columns; those that hold JSON as such.
fn view(trace: &Trace) -> Value {
    let column = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
    let columns: serde_json::Map<_, Value> = trace
        .columns
        .iter()
        .filter_map(|(name, text)| Some(((*name).to_owned(), column(text.as_ref()?))))
        .collect();
    json!({"table": trace.table, "key": trace.key, "columns": columns})
}

async fn erase(store: &Store, address: &Address, yes: bool, vacuum: bool, json: bool) -> anyhow::Result<()> {
    if !yes {
        if json || !somebody_can_be_asked() {
            return Err(
                WrongUsage("nobody can be asked here: say --yes to erase the recipient".to_owned()).into()
            );
        }
        if !ask(&format!("Erase {address} for good? Waiting mails are cancelled."))? {
            return Ok(());
        }
    }
    let erased = store.erase_recipient(address).await?;
    if vacuum {
        store.vacuum().await?;
    }
    let programs = json!({"rows": erased.rows, "cancelled": erased.cancelled, "sending": erased.sending});
    let people =
        format!("erased from {} rows; {} waiting mails were cancelled", erased.rows, erased.cancelled);
    print(json, people, &programs)?;
    anyhow::ensure!(
        erased.sending == 0,
        "{} mails to it are just being sent: run this again in a minute",
        erased.sending
    );
    Ok(())
}
