//! `postroom account create|list|rotate|remove`: manages accounts for HTTP Basic. A password is shown once.

use serde_json::{Value, json};

use super::{
    context::{self, Context, WrongUsage, check_merchant, print},
    output::print_list,
    table::{Table, row},
};
use crate::{
    auth::{hash_password, new_secret},
    mail::MerchantId,
    store::{AccountRecord, Store},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create an account and print its password, which is shown only once.
    Create {
        /// The merchant that the account belongs to.
        #[arg(long)]
        merchant: MerchantId,
        /// The user name: 1 to 255 characters, unique among all merchants, without a colon.
        #[arg(long)]
        username: String,
    },
    /// List accounts.
    List {
        /// Only accounts of this merchant.
        #[arg(long)]
        merchant: Option<MerchantId>,
    },
    /// Give an account another password and print it; the old one stops working within a second.
    Rotate(Named),
    /// Remove an account; it stops working within a second.
    Remove(Named),
}

/// One account.
#[derive(clap::Args)]
pub(super) struct Named {
    /// The user name.
    #[arg(long)]
    username: String,
    /// The merchant that the account belongs to, to be sure.
    #[arg(long)]
    merchant: Option<MerchantId>,
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { merchant, username } => create(&context, &merchant, &username).await,
        Command::List { merchant } => list(&context, merchant.as_ref()).await,
        Command::Rotate(named) => rotate(&context, &named).await,
        Command::Remove(named) => remove(&context, &named).await,
    }
}

async fn create(context: &Context, merchant: &MerchantId, username: &str) -> anyhow::Result<()> {
    let is_sane =
        (1..=255).contains(&username.len()) && !username.contains(|c: char| c == ':' || c.is_control());
    if !is_sane {
        let message = "--username must have 1 to 255 characters, none of them a colon or a control character";
        return Err(WrongUsage(message.to_owned()).into());
    }
    let store = context.store().await?;
    context::merchant(&store, merchant).await?;
    let password = new_secret();
    store.create_account(merchant, username, &hash_password(&password)?).await?;
    store.close().await;
    print_password(context, username, &password)
}

fn print_password(context: &Context, username: &str, password: &str) -> anyhow::Result<()> {
    let people = format!("username: {username}\npassword: {password}\nThe password is not shown again.");
    print(context.json, people, &json!({"username": username, "password": password}))
}

async fn list(context: &Context, merchant: Option<&MerchantId>) -> anyhow::Result<()> {
    let store = context.store().await?;
    check_merchant(&store, merchant).await?;
    let accounts = store.accounts(merchant).await?;
    store.close().await;
    let mut table = Table::new(&["USERNAME", "MERCHANT", "CREATED"]);
    let mut programs = Vec::with_capacity(accounts.len());
    for AccountRecord { username, merchant, created_at } in &accounts {
        table.add(row![username, merchant, created_at]);
        programs.push(json!({"username": username, "merchant": merchant, "created_at": created_at}));
    }
    print_list(context.json, &table, "there are no accounts", &Value::from(programs))
}

/// Whose account it is.
async fn owner(store: &Store, named: &Named) -> anyhow::Result<MerchantId> {
    check_merchant(store, named.merchant.as_ref()).await?;
    let account = store.account(&named.username).await?.map(|account| account.merchant.id);
    let account = account.filter(|owner| named.merchant.as_ref().is_none_or(|named| named == owner));
    account.ok_or_else(|| anyhow::anyhow!("there is no account `{}`", named.username))
}

async fn rotate(context: &Context, named: &Named) -> anyhow::Result<()> {
    let store = context.store().await?;
    let merchant = owner(&store, named).await?;
    let password = new_secret();
    let is_changed = store.rotate_account(&merchant, &named.username, &hash_password(&password)?).await?;
    store.close().await;
    anyhow::ensure!(is_changed, "there is no account `{}`", named.username);
    print_password(context, &named.username, &password)
}

async fn remove(context: &Context, named: &Named) -> anyhow::Result<()> {
    let store = context.store().await?;
    let merchant = owner(&store, named).await?;
    let is_removed = store.remove_account(&merchant, &named.username).await?;
    store.close().await;
    anyhow::ensure!(is_removed, "there is no account `{}`", named.username);
    print(
        context.json,
        format!("the account `{}` is removed", named.username),
        &json!({"username": named.username, "removed": true}),
    )
}
