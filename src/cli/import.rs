//! `postroom import`: stores resources from a file with one JSON object per line, each with its merchant.

use std::{fs::File, io::Read, path::PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{
    context::{Context, author, print},
    screen::clean,
};
use crate::http::{Import, LineError};

/// The most faults that an object for programs names.
const KEPT_FAULTS: usize = 1_000;
/// How many bytes are read at once.
const BLOCK: usize = 64 << 10;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A file with one JSON object per line, or `-` for standard input.
    file: PathBuf,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let (json_wanted, file) = (context.json, arguments.file);
    let app = context.app().await?;
    let is_standard_input = file.as_os_str() == "-";
    let name = if is_standard_input { "<stdin>".to_owned() } else { file.display().to_string() };
    let mut source: Box<dyn Read> = if is_standard_input {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(&file).with_context(|| format!("`{name}` cannot be read"))?)
    };
    let mut faults = Vec::new();
    let mut import = Import::new(&app, author(), None, usize::MAX);
    let mut block = vec![0; BLOCK];
    loop {
        let length = source.read(&mut block).with_context(|| format!("`{name}` cannot be read"))?;
        if length == 0 {
            break;
        }
        import.feed(&block[..length]).await?;
        name_faults(&mut import, &name, &mut faults);
    }
    import.finish().await?;
    name_faults(&mut import, &name, &mut faults);
    let Import { accepted, refused, .. } = import;
    app.store.close().await;
    let people = format!("accepted {accepted}, refused {refused}");
    print(json_wanted, people, &json!({"accepted": accepted, "refused": refused, "errors": faults}))?;
    anyhow::ensure!(refused == 0, "{name}: {refused} lines were refused");
    Ok(())
}

/// Names each fault as compilers do, so that editors find the line; keeps the first for programs.
fn name_faults(import: &mut Import<'_>, file: &str, kept: &mut Vec<LineError>) {
    for fault in import.drain_faults() {
        let path = if fault.path.is_empty() { String::new() } else { format!("{}: ", fault.path) };
        eprintln!("{}", clean(&format!("{file}:{}: {path}{}", fault.line, fault.message)));
        if kept.len() < KEPT_FAULTS {
            kept.push(fault);
        }
    }
}
