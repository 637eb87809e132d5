//! `postroom token create|revoke`: creates a bearer token, which is shown once, and revokes one.

use std::time::Duration;

use serde_json::json;

use super::context::{Context, WrongUsage, print};
use crate::{
    auth::{hash_token, new_secret},
    clock,
    mail::{MerchantId, duration},
    shop::Abilities,
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
    },
    /// Revoke a token.
    Revoke {
        /// The token.
        token: String,
    },
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "must be a number and one of ms, s, m, h, d".to_owned())
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { merchant, abilities, expires_in } => {
            create(context, merchant, &abilities, expires_in).await
        }
        Command::Revoke { token } => revoke(context, &token).await,
    }
}

async fn create(
    context: Context,
    merchant: MerchantId,
    abilities: &str,
    expires_in: Option<Duration>,
) -> anyhow::Result<()> {
    let abilities =
        Abilities::parse(abilities).map_err(|error| WrongUsage(format!("--abilities: {error}")))?;
    let json_wanted = context.json;
    let app = context.app().await?;
    if app.store.merchant(&merchant).await?.is_none() {
        anyhow::bail!("there is no merchant `{merchant}`");
    }
    let token = format!("pr_{}", new_secret());
    let expires_at = expires_in.map(|duration| clock::now() + duration);
    app.store.create_token(&merchant, &hash_token(&token), &abilities.to_string(), expires_at).await?;
    app.store.close().await;
    let people = format!("token: {token}\nThe token is not shown again.");
    print(json_wanted, people, &json!({"token": token}))
}

async fn revoke(context: Context, token: &str) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    let was_revoked = app.store.revoke_token(&hash_token(token)).await?;
    app.store.close().await;
    if !was_revoked {
        anyhow::bail!("there is no such token, or it was revoked before");
    }
    print(json_wanted, "the token is revoked", &json!({"revoked": true}))
}
