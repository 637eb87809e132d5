//! `postroom import`: stores resources from a file with one JSON object per line, each with its merchant.

use std::{fs::File, io::Read, path::PathBuf};

use serde_json::json;

use super::context::{Context, print};
use crate::http::Import;

/// How many bytes are read at once.
const BLOCK: usize = 64 << 10;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A file with one JSON object per line, or `-` for standard input.
    file: PathBuf,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    let mut source: Box<dyn Read> = if arguments.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(&arguments.file)?)
    };
    let mut import = Import::new(&app, None, usize::MAX);
    let mut block = vec![0; BLOCK];
    loop {
        let length = source.read(&mut block)?;
        if length == 0 {
            break;
        }
        import.feed(&block[..length]).await?;
        name_faults(&mut import);
    }
    import.finish().await?;
    name_faults(&mut import);
    let Import { accepted, refused, .. } = import;
    app.store.close().await;
    let people = format!("accepted {accepted}, refused {refused}");
    print(json_wanted, people, &json!({"accepted": accepted, "refused": refused}))?;
    anyhow::ensure!(refused == 0, "{refused} lines were refused");
    Ok(())
}

fn name_faults(import: &mut Import<'_>) {
    for fault in import.drain_faults() {
        eprintln!("line {}: {}: {}", fault.line, fault.path, fault.message);
    }
}
