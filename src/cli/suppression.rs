//! `postroom suppression list|add|remove|import|export`: addresses that get no mail of a merchant, or no promotional mail.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;
use uuid::Uuid;

use super::{
    context::{self, Context, WrongUsage, print},
    output::{print_list, write_out},
    screen::clean,
    table::{Cell, Table, Tone, row},
    times::parse_duration,
};
use crate::{
    clock,
    http::{CSV_HEAD, CsvReader, LineError, SuppressionView, csv_line},
    mail::{Address, MerchantId, SuppressionReason, SuppressionScope, Timestamp},
    shop::SingleLine,
    store::{NewSuppression, Store, SuppressionCursor},
};

/// Suppressions that are written or read at once.
const CHUNK: usize = 500;
/// The longest line of a file, in bytes.
const LONGEST_LINE: u64 = 64 << 10;
/// The most faults that an object for programs names.
const KEPT_FAULTS: usize = 1_000;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the suppressed addresses of a merchant.
    List {
        /// The merchant.
        #[arg(long)]
        merchant: MerchantId,
        /// Only those with this reason: manual, unsubscribed, hard_bounce or complaint.
        #[arg(long)]
        reason: Option<SuppressionReason>,
        /// Only those after this address, for the next page.
        #[arg(long)]
        after: Option<Address>,
        /// Maximum number of results.
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Send an address no more mail.
    Add(Box<Add>),
    /// Let an address get mail again.
    Remove {
        /// The merchant.
        #[arg(long)]
        merchant: MerchantId,
        /// The address.
        address: Address,
    },
    /// Suppress the addresses in a file: CSV as `export` writes it, or one address a line.
    Import {
        /// The merchant.
        #[arg(long)]
        merchant: MerchantId,
        /// The file, or `-` for standard input.
        file: PathBuf,
    },
    /// Print all suppressions of a merchant as CSV.
    Export {
        /// The merchant.
        #[arg(long)]
        merchant: MerchantId,
        /// Only those with this reason: manual, unsubscribed, hard_bounce or complaint.
        #[arg(long)]
        reason: Option<SuppressionReason>,
    },
}

#[derive(clap::Args)]
pub(super) struct Add {
    /// The merchant.
    #[arg(long)]
    merchant: MerchantId,
    /// The address.
    address: Address,
    /// Why: manual, unsubscribed, hard_bounce or complaint.
    #[arg(long, default_value_t = SuppressionReason::Manual)]
    reason: SuppressionReason,
    /// Which mails it does not get: all or promotional. Default: promotional for unsubscribed, else all.
    #[arg(long)]
    scope: Option<SuppressionScope>,
    /// Something for those who look later.
    #[arg(long)]
    note: Option<String>,
    /// When it ends by itself, such as 30d or 2027-01-31T12:00:00Z; default: never.
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    expires: Option<Timestamp>,
}

/// Reads a time to come: RFC 3339, or how long until then.
fn parse_end(text: &str) -> Result<Timestamp, String> {
    let now = clock::now();
    match Timestamp::parse(text) {
        Ok(at) if at > now => Ok(at),
        Ok(_) => Err("must be in the future".to_owned()),
        Err(_) => parse_duration(text)
            .map(|length| now + length)
            .map_err(|_| "must be a time as in 2027-01-31T12:00:00Z, or how long as in 30d".to_owned()),
    }
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let store = context.store().await?;
    let done = match command {
        Command::List { merchant, reason, after, limit } => {
            context::merchant(&store, &merchant).await?;
            list(&context, &store, &merchant, reason, after.as_ref(), limit).await
        }
        Command::Add(add) => {
            context::merchant(&store, &add.merchant).await?;
            self::add(&context, &store, *add).await
        }
        Command::Remove { merchant, address } => {
            context::merchant(&store, &merchant).await?;
            let was_suppressed = store.remove_suppression(&merchant, &address).await?;
            anyhow::ensure!(was_suppressed, "{address} is not suppressed");
            let people = format!("{address} gets mail again");
            print(context.json, people, &json!({"address": address, "suppressed": false}))
        }
        Command::Import { merchant, file } => {
            context::merchant(&store, &merchant).await?;
            import(&context, &store, &merchant, &file).await
        }
        Command::Export { merchant, reason } => {
            context::merchant(&store, &merchant).await?;
            export(&context, &store, &merchant, reason).await
        }
    };
    store.close().await;
    done
}

async fn list(
    context: &Context,
    store: &Store,
    merchant: &MerchantId,
    reason: Option<SuppressionReason>,
    after: Option<&Address>,
    limit: u32,
) -> anyhow::Result<()> {
    let after = after.map(SuppressionCursor::after).unwrap_or_default();
    let found = store.suppressions(merchant, reason, &after, limit).await?;
    let mut table = Table::new(&["ADDRESS", "REASON", "SCOPE", "SINCE", "UNTIL", "NOTE"]);
    for each in &found {
        let tone = if each.scope == SuppressionScope::All { Tone::Bad } else { Tone::Warning };
        let until = each.expires_at.map(|at| at.to_string()).unwrap_or_default();
        let note = each.note.clone().unwrap_or_default();
        table.add(row![&each.address, each.reason, Cell::of(each.scope, tone), each.created_at, until, note]);
    }
    let programs: Vec<_> = found.into_iter().map(SuppressionView::from).collect();
    print_list(context.json, &table, "no address is suppressed", &programs)
}

async fn add(context: &Context, store: &Store, add: Add) -> anyhow::Result<()> {
    let Add { merchant, address, reason, scope, note, expires } = add;
    let note = note.map(SingleLine::<1000>::new).transpose();
    let note = note.map_err(|why| WrongUsage(format!("--note {why}")))?;
    let suppression = NewSuppression {
        address: address.clone(),
        reason,
        scope: scope.unwrap_or_else(|| reason.usual_scope()),
        note: note.map(|note| note.as_str().to_owned()),
        expires_at: expires,
        created_at: None,
    };
    let what = match suppression.scope {
        SuppressionScope::All => "no mail",
        SuppressionScope::Promotional => "no promotional mail",
    };
    store.put_suppression(&merchant, suppression).await?;
    let stored = store.suppression(&merchant, &address).await?.context("the suppression is gone already")?;
    print(context.json, format!("{address} gets {what} any more"), &SuppressionView::from(stored))
}

async fn export(
    context: &Context,
    store: &Store,
    merchant: &MerchantId,
    reason: Option<SuppressionReason>,
) -> anyhow::Result<()> {
    let mut after = SuppressionCursor::default();
    let (mut text, mut views) = (CSV_HEAD.to_owned(), Vec::new());
    loop {
        let found = store.all_suppressions(merchant, reason, &after, CHUNK as u32).await?;
        let is_last = found.len() < CHUNK;
        if let Some(last) = found.last() {
            after = SuppressionCursor::after_record(last);
        }
        if context.json {
            views.extend(found.into_iter().map(SuppressionView::from));
        } else {
            text.extend(found.iter().map(csv_line));
            write_out(&text)?;
            text.clear();
        }
        if is_last {
            break;
        }
    }
    if context.json { print(true, "", &views) } else { Ok(()) }
}

async fn import(context: &Context, store: &Store, merchant: &MerchantId, file: &Path) -> anyhow::Result<()> {
    let is_standard_input = file.as_os_str() == "-";
    let name = if is_standard_input { "<stdin>".to_owned() } else { file.display().to_string() };
    let unreadable = || format!("`{name}` cannot be read");
    let mut source: Box<dyn BufRead> = if is_standard_input {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).with_context(unreadable)?))
    };
    let (mut reader, id) = (CsvReader::default(), Uuid::now_v7());
    let (mut chunk, mut faults, mut accepted, mut refused) = (Vec::new(), Vec::new(), 0, 0);
    for number in 1.. {
        let mut line = Vec::new();
        if source.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).with_context(unreadable)? == 0 {
            break;
        }
        match reader.read(&String::from_utf8_lossy(&line)) {
            Ok(Some(suppression)) => chunk.push(suppression),
            Ok(None) => {}
            Err(found) => {
                refused += 1;
                for fault in found {
                    let path =
                        if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
                    eprintln!("{}", clean(&format!("{name}:{number}: {path}{}", fault.message)));
                    if faults.len() < KEPT_FAULTS {
                        faults.push(LineError { line: number, path: fault.path, message: fault.message });
                    }
                }
            }
        }
        if chunk.len() == CHUNK {
            accepted += chunk.len();
            store.import_suppressions(id, merchant, std::mem::take(&mut chunk)).await?;
        }
    }
    if !chunk.is_empty() {
        accepted += chunk.len();
        store.import_suppressions(id, merchant, chunk).await?;
    }
    let people = format!("accepted {accepted}, refused {refused}");
    print(context.json, people, &json!({"accepted": accepted, "refused": refused, "errors": faults}))?;
    anyhow::ensure!(refused == 0, "{name}: {refused} lines were refused");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_to_come_or_how_long_until_then() {
        let in_a_day = parse_end("1d").unwrap();
        assert!(in_a_day.since(clock::now()).as_secs() > 86_000);
        assert!(parse_end("2999-01-01T00:00:00Z").is_ok());
        assert!(parse_end("2001-01-01T00:00:00Z").is_err() && parse_end("soon").is_err());
    }
}
