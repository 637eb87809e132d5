//! `postroom merchant create|list|show|update|suspend|resume`: manages merchants, the tenants that everything else belongs to.

use serde_json::{Value, json};

use super::{
    context::{self, Context, WrongUsage, print},
    filter::beginning,
    output::print_list,
    table::{Cell, Table, Tone, row},
};
use crate::{
    callback::Secret,
    limits::Rate,
    mail::{Address, Mailbox, MerchantId},
    shop::{SingleLine, country_code},
    store::{Merchant, MerchantChange, NewMerchant, Store},
};

const LANGUAGES: [&str; 6] = ["en", "es", "pt", "de", "it", "fr"];

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
        #[arg(long, value_parser = LANGUAGES)]
        language: Option<String>,
        /// The sender of cart links, reminders and of orders whose store has none.
        #[arg(long)]
        sender: Option<Address>,
        /// How many of its mails may go in a while, as in "3000/h burst 100", instead of `limits.per_merchant`.
        #[arg(long)]
        rate: Option<Rate>,
        /// Only try out what the merchant sends: its mails go to the sandbox, never to a relay.
        #[arg(long)]
        test: bool,
    },
    /// List merchants.
    List {
        /// Only merchants after the one with this id, for the next page.
        #[arg(long)]
        after: Option<MerchantId>,
        /// Maximum number of results.
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Show a merchant.
    Show {
        /// The id of the merchant.
        id: MerchantId,
    },
    /// Change a merchant. What is not given stays as it is.
    Update(Box<Update>),
    /// Suspend a merchant: refuse its requests, and let its mails wait.
    Suspend {
        /// The id of the merchant.
        id: MerchantId,
    },
    /// Let a suspended merchant go on: its mails are sent.
    Resume {
        /// The id of the merchant.
        id: MerchantId,
    },
}

#[derive(clap::Args)]
pub(super) struct Update {
    /// The id of the merchant.
    id: MerchantId,
    /// The name that shoppers know.
    #[arg(long)]
    name: Option<String>,
    /// The country, as an ISO 3166-1 alpha-2 code such as DE.
    #[arg(long)]
    country: Option<String>,
    /// The language of responses and mails.
    #[arg(long, value_parser = LANGUAGES)]
    language: Option<String>,
    /// Use the language of the country.
    #[arg(long, conflicts_with = "language")]
    no_language: bool,
    /// The sender of cart links, reminders and of orders whose store has none.
    #[arg(long)]
    sender: Option<Address>,
    /// Use the sender of its brand, else `no-reply@` the host of `http.public_url`.
    #[arg(long, conflicts_with = "sender")]
    no_sender: bool,
    /// How many of its mails may go in a while, as in "3000/h burst 100".
    #[arg(long)]
    rate: Option<Rate>,
    /// Use `limits.per_merchant`.
    #[arg(long, conflicts_with = "rate")]
    no_rate: bool,
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { id, name, country, language, sender, rate, test: is_test } => {
            let name = checked_name(name)?;
            let sender = sender.map(|email| Mailbox { name: Some(name.clone()), email });
            let (country, secret) = (checked_country(&country)?, Secret::generate().expose());
            let merchant = NewMerchant { id, name, country, language, sender, secret, is_test };
            create(&context, merchant, rate).await
        }
        Command::List { after, limit } => list(&context, after, limit).await,
        Command::Show { id } => {
            let store = context.store().await?;
            show(&context, &store, &context::merchant(&store, &id).await?).await
        }
        Command::Update(update) => change(&context, *update).await,
        Command::Suspend { id } => suspend(&context, &id, true).await,
        Command::Resume { id } => suspend(&context, &id, false).await,
    }
}

fn checked_name(name: String) -> Result<String, WrongUsage> {
    let name = SingleLine::<255>::new(name).map_err(|why| WrongUsage(format!("--name {why}")))?;
    Ok(name.as_str().to_owned())
}

fn checked_country(country: &str) -> Result<String, WrongUsage> {
    let wrong = || {
        let given = beginning(country);
        WrongUsage(format!(
            "--country: `{given}` is not the code of a country (ISO 3166-1 alpha-2), as in DE or GB"
        ))
    };
    country_code(country).map(str::to_owned).ok_or_else(wrong)
}

async fn create(context: &Context, merchant: NewMerchant, rate: Option<Rate>) -> anyhow::Result<()> {
    let store = context.store().await?;
    store.create_merchant(&merchant).await?;
    if let Some(rate) = rate {
        let change = MerchantChange { mails_rate: Some(Some(rate.to_string())), ..MerchantChange::default() };
        store.change_merchant(&merchant.id, change).await?;
    }
    store.close().await;
    let mut people = format!(
        "created merchant {}\nsecret: {}\nIt signs recovery links and batch webhooks; the shop checks them with it.",
        merchant.id, merchant.secret
    );
    if merchant.sender.is_none() {
        people.push_str(&context::lacks_sender(&context.config, &merchant.id).unwrap_or_default());
    }
    print(
        context.json,
        people,
        &json!({"id": merchant.id, "name": merchant.name, "country": merchant.country, "secret": merchant.secret,
            "test": merchant.is_test}),
    )
}

async fn list(context: &Context, after: Option<MerchantId>, limit: u32) -> anyhow::Result<()> {
    let store = context.store().await?;
    let after = after.as_ref().map_or("", MerchantId::as_str);
    let merchants = store.merchants(after, limit).await?;
    store.close().await;
    let mut table = Table::new(&["ID", "NAME", "COUNTRY", "RATE", "STATE", "MODE"]);
    for merchant in &merchants {
        let rate = merchant.mails_rate.clone().unwrap_or_default();
        let mode = mode(merchant);
        table.add(row![&merchant.id, &merchant.name, &merchant.country, rate, state(merchant), mode]);
    }
    let programs: Vec<_> = merchants.iter().map(view).collect();
    print_list(context.json, &table, "there are no merchants", &programs)
}

fn state(merchant: &Merchant) -> Cell {
    match merchant.suspended_at {
        Some(_) => Cell::of("suspended", Tone::Warning),
        None => Cell::of("active", Tone::Good),
    }
}

const fn mode(merchant: &Merchant) -> &'static str {
    if merchant.is_test { "test" } else { "live" }
}

fn view(merchant: &Merchant) -> Value {
    json!({
        "id": merchant.id,
        "name": merchant.name,
        "country": merchant.country,
        "language": merchant.language,
        "sender": merchant.sender.as_ref().map(|sender| &sender.email),
        "rate": merchant.mails_rate,
        "suspended_at": merchant.suspended_at,
        "test": merchant.is_test,
    })
}

async fn show(context: &Context, store: &Store, merchant: &Merchant) -> anyhow::Result<()> {
    let accounts = store.accounts(Some(&merchant.id)).await?;
    let tokens = store.tokens(Some(&merchant.id)).await?;
    let webhooks = store.endpoints(&merchant.id).await?;
    store.close().await;
    let tokens = tokens.iter().filter(|token| token.revoked_at.is_none()).count();
    let mut programs = view(merchant);
    if let Some(object) = programs.as_object_mut() {
        for (field, number) in
            [("accounts", accounts.len()), ("tokens", tokens), ("webhooks", webhooks.len())]
        {
            object.insert(field.to_owned(), number.into());
        }
    }
    let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let sender = merchant.sender.as_ref().map(|sender| sender.email.to_string());
    let people = format!(
        "id         {}\nname       {}\ncountry    {}\nlanguage   {}\nsender     {}\nrate       {}\nstate      {}\nmode       {}\n\
         accounts   {}\ntokens     {tokens}\nwebhooks   {}",
        merchant.id,
        merchant.name,
        merchant.country,
        or_dash(&merchant.language),
        or_dash(&sender),
        or_dash(&merchant.mails_rate),
        merchant.suspended_at.map_or_else(|| "active".to_owned(), |at| format!("suspended since {at}")),
        mode(merchant),
        accounts.len(),
        webhooks.len(),
    );
    print(context.json, people, &programs)
}

async fn change(context: &Context, update: Update) -> anyhow::Result<()> {
    let Update { id, name, country, language, no_language, sender, no_sender, rate, no_rate } = update;
    let name = name.map(checked_name).transpose()?;
    let country = country.as_deref().map(checked_country).transpose()?;
    let store = context.store().await?;
    let merchant = context::merchant(&store, &id).await?;
    let sender_name = name.clone().unwrap_or(merchant.name);
    let sender = sender.map(|email| Some(Mailbox { name: Some(sender_name), email }));
    let change = MerchantChange {
        name,
        country,
        language: language.map(Some).or_else(|| no_language.then_some(None)),
        sender: sender.or_else(|| no_sender.then_some(None)),
        mails_rate: rate.map(|rate| Some(rate.to_string())).or_else(|| no_rate.then_some(None)),
    };
    if change == MerchantChange::default() {
        let message = "name what is to be changed: --name, --country, --language, --sender, --rate, or one of --no-language, --no-sender, --no-rate";
        return Err(WrongUsage(message.to_owned()).into());
    }
    let changed = store.change_merchant(&id, change).await?;
    let changed = changed.ok_or_else(|| anyhow::anyhow!("there is no merchant `{id}`"))?;
    show(context, &store, &changed).await
}

async fn suspend(context: &Context, id: &MerchantId, is_suspended: bool) -> anyhow::Result<()> {
    let store = context.store().await?;
    context::merchant(&store, id).await?;
    let is_changed = store.suspend_merchant(id, is_suspended).await?;
    store.close().await;
    let (state, unchanged) = match is_suspended {
        true => ("suspended", "suspended already"),
        false => ("not suspended", "not suspended"),
    };
    anyhow::ensure!(is_changed, "the merchant `{id}` is {unchanged}");
    print(
        context.json,
        format!("the merchant `{id}` is {state}"),
        &json!({"id": id, "suspended": is_suspended}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_one_that_has_a_code_and_what_is_none_is_repeated() {
        assert_eq!(checked_country("de").unwrap(), "DE");
        for country in ["UK", "XX", "Germany"] {
            let refused = checked_country(country).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("--country: `{country}` is not the code")), "{refused}");
        }
    }
}
