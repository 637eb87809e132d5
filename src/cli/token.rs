//! `postroom token create|list|revoke`: manages bearer tokens. A token is shown once; afterwards it is called by its id.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    context::{self, Context, WrongUsage, check_merchant, print},
    output::print_list,
    table::{Cell, Table, Tone, row},
    times::parse_duration,
};
use crate::{
    auth::{hash_token, new_secret},
    clock,
    mail::{MerchantId, TokenId},
    shop::Abilities,
    store::TokenEntry,
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create a token and print it; it is shown only once.
    Create {
        /// The merchant that the token belongs to.
        #[arg(long)]
        merchant: MerchantId,
        /// What the token may do, such as templates.get,templates.store; `*` grants every ability, including
        /// future ones.
        #[arg(long)]
        abilities: String,
        /// How long the token is valid, such as 90d; default: forever.
        #[arg(long, value_parser = parse_duration)]
        expires_in: Option<Duration>,
        /// Only try out what is asked for with the token: its mails go to the sandbox, never to a relay.
        #[arg(long)]
        test: bool,
    },
    /// List tokens by their ids; the tokens themselves are stored nowhere.
    List {
        /// Only tokens of this merchant.
        #[arg(long)]
        merchant: Option<MerchantId>,
    },
    /// Revoke a token; it stops working within a second.
    Revoke {
        /// The token, or its id as `token list` shows it.
        #[arg(required_unless_present = "id", conflicts_with = "id")]
        token: Option<String>,
        /// The id of the token, as `token list` shows it.
        #[arg(long)]
        id: Option<TokenId>,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { merchant, abilities, expires_in, test } => {
            create(&context, &merchant, &abilities, expires_in, test).await
        }
        Command::List { merchant } => list(&context, merchant.as_ref()).await,
        Command::Revoke { token, id } => revoke(&context, token.as_deref(), id).await,
    }
}

async fn create(
    context: &Context,
    merchant: &MerchantId,
    abilities: &str,
    expires_in: Option<Duration>,
    is_test: bool,
) -> anyhow::Result<()> {
    let abilities =
        Abilities::parse(abilities).map_err(|error| WrongUsage(format!("--abilities: {error}")))?;
    let store = context.store().await?;
    context::merchant(&store, merchant).await?;
    let token = format!("pr_{}", new_secret());
    let expires_at = expires_in.map(|duration| clock::now() + duration);
    let (hash, abilities) = (hash_token(&token), abilities.to_string());
    let id = store.create_token(merchant, &hash, &abilities, expires_at, is_test).await?;
    store.close().await;
    let people = format!("id: {id}\ntoken: {token}\nThe token is not shown again.");
    print(context.json, people, &json!({"token": token}))
}

async fn list(context: &Context, merchant: Option<&MerchantId>) -> anyhow::Result<()> {
    let store = context.store().await?;
    check_merchant(&store, merchant).await?;
    let tokens = store.tokens(merchant).await?;
    store.close().await;
    let mut table = Table::new(&["ID", "MERCHANT", "CREATED", "EXPIRES", "STATE", "MODE", "ABILITIES"]);
    for token in &tokens {
        let expires = token.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let mode = if token.is_test { "test" } else { "live" };
        let (id, created, state) = (token.id, token.created_at, state(token));
        table.add(row![id, &token.merchant, created, expires, state, mode, &token.abilities]);
    }
    let programs: Vec<Value> = tokens.iter().map(view).collect();
    print_list(context.json, &table, "there are no tokens", &programs)
}

fn state(token: &TokenEntry) -> Cell {
    match (token.revoked_at, token.expires_at) {
        (Some(_), _) => Cell::of("revoked", Tone::Faint),
        (None, Some(at)) if at <= clock::now() => Cell::of("expired", Tone::Faint),
        _ => Cell::of("active", Tone::Good),
    }
}

fn view(token: &TokenEntry) -> Value {
    json!({
        "id": token.id,
        "merchant": token.merchant,
        "abilities": token.abilities.split(',').collect::<Vec<_>>(),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "test": token.is_test,
    })
}

async fn revoke(context: &Context, token: Option<&str>, id: Option<TokenId>) -> anyhow::Result<()> {
    let store = context.store().await?;
    let was_revoked = match (token, id) {
        (_, Some(id)) => store.revoke_token_by_id(id).await?,
        (Some(token), None) => match token.parse() {
            Ok(id) => store.revoke_token_by_id(id).await?,
            Err(_) => store.revoke_token(&hash_token(token)).await?,
        },
        (None, None) => false,
    };
    store.close().await;
    if !was_revoked {
        anyhow::bail!("there is no such token, or it was revoked before");
    }
    print(context.json, "the token is revoked", &json!({"revoked": true}))
}
