//! `postroom import`: what postroom should know, one JSON object a line, each with its merchant.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
};

use serde_json::json;

use super::{Context, print};
use crate::{
    http::{FieldError, import_line},
    mail::MerchantId,
    shop::ResourceKind,
    store::{ResourceRow, Store},
};

/// How many documents are stored in one transaction.
const CHUNK: usize = 500;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A file, or `-` for standard input.
    file: PathBuf,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    let source: Box<dyn BufRead> = if arguments.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(&arguments.file)?))
    };
    let mut import = Import::default();
    for (index, line) in source.split(b'\n').enumerate() {
        let line = line?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Err(fault) = import.take(&app.store, import_line(&line, &app.config.render)).await? {
            import.refused += 1;
            eprintln!("line {}: {}: {}", index + 1, fault.path, fault.message);
        }
    }
    import.store_rest(&app.store).await?;
    app.store.close().await;
    let Import { accepted, refused, .. } = import;
    let people = format!("accepted {accepted}, refused {refused}");
    print(json_wanted, people, &json!({"accepted": accepted, "refused": refused}))?;
    anyhow::ensure!(refused == 0, "{refused} lines were refused");
    Ok(())
}

#[derive(Default)]
struct Import {
    waiting: HashMap<MerchantId, Vec<ResourceRow>>,
    accepted: usize,
    refused: usize,
}

impl Import {
    async fn take(
        &mut self,
        store: &Store,
        line: Result<(Option<String>, ResourceRow), Vec<FieldError>>,
    ) -> anyhow::Result<Result<(), FieldError>> {
        let fault =
            |path: &str, message: &str| FieldError { path: path.to_owned(), message: message.to_owned() };
        let (merchant, row) = match line {
            Ok(line) => line,
            Err(faults) => {
                return Ok(Err(faults.into_iter().next().unwrap_or_else(|| fault("", "is faulty"))));
            }
        };
        let Some(merchant) = merchant.and_then(|merchant| merchant.parse::<MerchantId>().ok()) else {
            return Ok(Err(fault("merchant", "must name a merchant")));
        };
        if !self.waiting.contains_key(&merchant) && store.merchant(&merchant).await?.is_none() {
            return Ok(Err(fault("merchant", "names no merchant")));
        }
        let chunk = self.waiting.entry(merchant.clone()).or_default();
        if let Some(brand) = &row.brand_id {
            let waits = chunk.iter().any(|other| other.kind == ResourceKind::Brands && other.id == *brand);
            if !waits && store.resource(&merchant, ResourceKind::Brands, brand).await?.is_none() {
                return Ok(Err(fault("brand_id", "names no brand of this merchant")));
            }
        }
        chunk.push(row);
        if chunk.len() == CHUNK {
            store.put_resources(&merchant, chunk).await?;
            self.accepted += chunk.len();
            chunk.clear();
        }
        Ok(Ok(()))
    }

    async fn store_rest(&mut self, store: &Store) -> anyhow::Result<()> {
        for (merchant, chunk) in &mut self.waiting {
            if !chunk.is_empty() {
                store.put_resources(merchant, chunk).await?;
                self.accepted += chunk.len();
                chunk.clear();
            }
        }
        Ok(())
    }
}
