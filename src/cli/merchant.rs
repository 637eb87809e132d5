//! `postroom merchant create`: creates a merchant, the tenant that everything else belongs to.

use serde_json::json;

use super::context::{Context, WrongUsage, print};
use crate::{
    callback::Secret,
    limits::Rate,
    mail::{Address, Mailbox, MerchantId},
    shop::SingleLine,
    store::NewMerchant,
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create a merchant and print the secret that signs its recovery links and batch webhooks.
    Create {
        /// The id: 1 to 64 letters, digits, dots, underscores or hyphens.
        id: MerchantId,
        /// The name that shoppers know.
        #[arg(long)]
        name: String,
        /// The country, as an ISO 3166-1 alpha-2 code such as DE.
        #[arg(long)]
        country: String,
        /// The language of responses and mails; default: the language of the country.
        #[arg(long, value_parser = ["en", "es", "pt", "de", "it", "fr"])]
        language: Option<String>,
        /// The sender of mails for which no brand and no store has one.
        #[arg(long)]
        sender: Option<Address>,
        /// How many of its mails may go in a while, as in "3000/h burst 100", instead of `limits.per_merchant`.
        #[arg(long)]
        rate: Option<Rate>,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    let Command::Create { id, name, country, language, sender, rate } = command;
    let name = SingleLine::<255>::new(name).map_err(|why| WrongUsage(format!("--name {why}")))?;
    let country = country.to_ascii_uppercase();
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(
            WrongUsage("--country must be two letters (ISO 3166-1 alpha-2), as in DE".to_owned()).into()
        );
    }
    let merchant = NewMerchant {
        id,
        name: name.as_str().to_owned(),
        country,
        language,
        sender: sender.map(|email| Mailbox { name: Some(name.as_str().to_owned()), email }),
        secret: Secret::generate().expose(),
    };
    let json_wanted = context.json;
    let app = context.app().await?;
    app.store.create_merchant(&merchant).await?;
    if let Some(rate) = rate {
        app.store.set_mails_rate(&merchant.id, Some(&rate.to_string())).await?;
    }
    app.store.close().await;
    let people = format!(
        "created merchant {}\nsecret: {}\nIt signs recovery links and batch webhooks; the shop checks them with it.",
        merchant.id, merchant.secret
    );
    print(
        json_wanted,
        people,
        &json!({"id": merchant.id, "name": merchant.name, "country": merchant.country, "secret": merchant.secret}),
    )
}
