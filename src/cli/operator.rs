//! `postroom operator create|list|remove`: manages those who run this installation, or one merchant's part of it.

use serde_json::{Value, json};

use super::{
    context::{Context, WrongUsage, check_merchant, print},
    output::print_list,
    table::{Table, row},
};
use crate::{
    auth::{hash_password, new_secret},
    mail::MerchantId,
    shop::OperatorRole,
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create an operator and print the password, which is shown only once.
    Create {
        /// The name to sign in with: 1 to 64 letters, digits, dots, underscores, hyphens or @.
        #[arg(long)]
        name: String,
        /// What the operator may do: viewer, operator or admin.
        #[arg(long, default_value_t = OperatorRole::Viewer)]
        role: OperatorRole,
        /// Show the operator this merchant alone.
        #[arg(long)]
        merchant: Option<MerchantId>,
    },
    /// List operators.
    List {
        /// Only operators of this merchant.
        #[arg(long)]
        merchant: Option<MerchantId>,
    },
    /// Remove an operator.
    Remove {
        /// The name to sign in with.
        #[arg(long)]
        name: String,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { name, role, merchant } => create(&context, &name, role, merchant.as_ref()).await,
        Command::List { merchant } => list(&context, merchant.as_ref()).await,
        Command::Remove { name } => remove(&context, &name).await,
    }
}

async fn create(
    context: &Context,
    name: &str,
    role: OperatorRole,
    merchant: Option<&MerchantId>,
) -> anyhow::Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        let message = "--name must have 1 to 64 letters, digits, dots, underscores, hyphens or @";
        return Err(WrongUsage(message.to_owned()).into());
    }
    let store = context.store().await?;
    check_merchant(&store, merchant).await?;
    let password = new_secret();
    store.create_operator(name, role, merchant, &hash_password(&password)?).await?;
    store.close().await;
    print(
        context.json,
        format!("name: {name}\nrole: {role}\npassword: {password}\nThe password is not shown again."),
        &json!({"name": name, "role": role, "merchant": merchant, "password": password}),
    )
}

async fn list(context: &Context, merchant: Option<&MerchantId>) -> anyhow::Result<()> {
    let store = context.store().await?;
    check_merchant(&store, merchant).await?;
    let operators = store.operators(merchant).await?;
    store.close().await;
    let mut table = Table::new(&["NAME", "ROLE", "MERCHANT", "CREATED"]);
    let mut programs = Vec::with_capacity(operators.len());
    for operator in &operators {
        let merchant = operator.merchant.as_ref().map_or("all", MerchantId::as_str);
        table.add(row![&operator.name, operator.role, merchant, operator.created_at]);
        programs.push(json!({
            "name": operator.name,
            "role": operator.role,
            "merchant": operator.merchant,
            "created_at": operator.created_at,
        }));
    }
    print_list(context.json, &table, "there are no operators", &Value::from(programs))
}

async fn remove(context: &Context, name: &str) -> anyhow::Result<()> {
    let store = context.store().await?;
    let is_removed = store.remove_operator(name).await?;
    store.close().await;
    anyhow::ensure!(is_removed, "there is no operator `{name}`");
    print(context.json, format!("the operator `{name}` is removed"), &json!({"name": name, "removed": true}))
}
