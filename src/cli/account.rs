//! `postroom account create`: creates an account for HTTP Basic. The password is shown once.

use serde_json::json;

use super::context::{Context, WrongUsage, print};
use crate::{
    auth::{hash_password, new_secret},
    mail::MerchantId,
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
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let Command::Create { merchant, username } = command;
    let is_sane =
        (1..=255).contains(&username.len()) && !username.contains(|c: char| c == ':' || c.is_control());
    if !is_sane {
        let message = "--username must have 1 to 255 characters, none of them a colon or a control character";
        return Err(WrongUsage(message.to_owned()).into());
    }
    let json_wanted = context.json;
    let app = context.app().await?;
    if app.store.merchant(&merchant).await?.is_none() {
        anyhow::bail!("there is no merchant `{merchant}`");
    }
    let password = new_secret();
    app.store.create_account(&merchant, &username, &hash_password(&password)?).await?;
    app.store.close().await;
    let people = format!("username: {username}\npassword: {password}\nThe password is not shown again.");
    print(json_wanted, people, &json!({"username": username, "password": password}))
}
