//! `postroom audit list`: shows who changed what, when and from where, and who asked for the mails of an order.

use serde_json::{Value, json};

use super::{
    context::{Context, check_merchant},
    output::print_list,
    table::{Cell, Table, Tone, row},
    times::parse_time,
};
use crate::{
    audit::Action,
    mail::{MerchantId, Timestamp},
    store::{AuditEntry, AuditFilter, AuditRecord, Store},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List changes, newest first.
    List {
        /// Only changes to things of this merchant.
        #[arg(long)]
        merchant: Option<MerchantId>,
        /// Only changes by this actor, such as cli:root, or by one kind of them: cli, operator, token or account.
        #[arg(long)]
        actor: Option<String>,
        /// Only changes of this kind, such as token.revoked.
        #[arg(long)]
        action: Option<Action>,
        /// Only changes since this time, such as 2h (ago) or 2026-01-31T12:00:00Z.
        #[arg(long, value_parser = parse_time)]
        since: Option<Timestamp>,
        /// Only changes before this time.
        #[arg(long, value_parser = parse_time)]
        until: Option<Timestamp>,
        /// Show who asked for mails of this order instead, also where they were refused.
        #[arg(long, requires = "merchant", conflicts_with_all = ["actor", "action", "since", "until", "limit"])]
        order: Option<String>,
        /// Maximum number of results.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let Command::List { merchant, actor, action, since, until, order, limit } = command;
    let store = context.store().await?;
    check_merchant(&store, merchant.as_ref()).await?;
    if let Some((merchant, order)) = merchant.as_ref().zip(order) {
        return list_of_order(&context, &store, merchant, &order).await;
    }
    let entries = store.audit(&AuditFilter { merchant, actor, action, since, until, limit }).await?;
    store.close().await;
    let mut table = Table::new(&["WHEN", "WHO", "ACTION", "TARGET", "MERCHANT", "COUNT", "FROM", "DETAILS"]);
    for entry in &entries {
        let merchant = entry.merchant.as_ref().map(ToString::to_string).unwrap_or_default();
        let origin = entry.origin.clone().unwrap_or_default();
        let at = Cell::of(entry.at, Tone::Faint);
        let details = if entry.details.is_null() { String::new() } else { entry.details.to_string() };
        table.add(row![
            at,
            &entry.actor,
            entry.action,
            &entry.target,
            merchant,
            entry.number,
            origin,
            details
        ]);
    }
    let programs: Vec<_> = entries.iter().map(view).collect();
    print_list(context.json, &table, "no changes match", &programs)
}

async fn list_of_order(
    context: &Context,
    store: &Store,
    merchant: &MerchantId,
    order: &str,
) -> anyhow::Result<()> {
    let entries = store.order_audit(merchant, order).await?;
    store.close().await;
    let mut table = Table::new(&["WHEN", "WHO", "TEMPLATE", "REASON", "FORCED"]);
    for AuditEntry { actor, template, reason, at, forced } in &entries {
        let (template, forced) = (template.as_deref().unwrap_or_default(), if *forced { "yes" } else { "" });
        table.add(row![Cell::of(at, Tone::Faint), actor, template, reason, forced]);
    }
    let program = |entry: &AuditEntry| {
        let AuditEntry { actor, template, reason, at, forced } = entry;
        json!({"at": at, "actor": actor, "template": template, "reason": reason, "forced": forced})
    };
    let programs: Vec<_> = entries.iter().map(program).collect();
    print_list(context.json, &table, "nobody asked for a mail of this order", &programs)
}

fn view(entry: &AuditRecord) -> Value {
    json!({
        "id": entry.id,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "merchant": entry.merchant,
        "count": entry.number,
        "from": entry.origin,
        "request_id": entry.request_id,
        "details": entry.details,
    })
}
