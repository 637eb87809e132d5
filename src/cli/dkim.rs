//! `postroom dkim generate`: makes a key that signs mails, and prints the record to publish. Reads no configuration and
//! no database.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::context::{WrongUsage, print};
use crate::{
    clock,
    dkim::{Algorithm, PrivateKey, TxtRecord, check_name, generate},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a key, write it to a file that only you can read, and print the DNS record to publish.
    Generate {
        /// The domain of the senders, such as example.com.
        domain: String,
        /// The name of the key, unique in its domain; default: the algorithm and the date.
        #[arg(long)]
        selector: Option<String>,
        /// rsa or ed25519. Every receiver knows RSA; Ed25519 may only be added to it.
        #[arg(long, default_value_t = Algorithm::Rsa)]
        algorithm: Algorithm,
        /// The folder for the key file.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

pub(super) fn run(json_wanted: bool, command: &Command) -> anyhow::Result<()> {
    let Command::Generate { domain, selector, algorithm, out } = command;
    let selector = selector.clone().unwrap_or_else(|| {
        let now = clock::now().to_string();
        format!("{algorithm}-{}", now.get(..10).unwrap_or_default().replace('-', ""))
    });
    let (domain, selector) = check_name(domain, &selector).map_err(|faults| {
        WrongUsage(faults.iter().map(|(_, error)| error.to_string()).collect::<Vec<_>>().join("\n"))
    })?;
    let folder = fs::canonicalize(out).with_context(|| format!("there is no folder `{}`", out.display()))?;
    let file = folder.join(format!("{domain}.{selector}.pem"));
    if file.exists() {
        bail!("`{}` exists; give another --selector or --out", file.display());
    }
    let pem = generate(*algorithm)?;
    let key = PrivateKey::from_pem(&pem, &file)?;
    write(&file, &pem).with_context(|| format!("`{}` could not be written", file.display()))?;
    print(
        json_wanted,
        for_people(&domain, &selector, &key, &file),
        &for_programs(&domain, &selector, &key, &file),
    )
}

/// Writes a new file that its owner alone can read.
fn write(file: &Path, pem: &str) -> std::io::Result<()> {
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let written = open.write_all(pem.as_bytes()).and_then(|()| open.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(file); // half a key is of no use
    }
    written
}

fn for_people(domain: &str, selector: &str, key: &PrivateKey, file: &Path) -> String {
    let (algorithm, bits, record) = (key.algorithm(), key.bits(), TxtRecord::of(domain, selector, key));
    let beside = match algorithm {
        Algorithm::Rsa => "",
        Algorithm::Ed25519 => {
            "\nUse this key beside an RSA key of the domain: some receivers do not know Ed25519.\n"
        }
    };
    format!(
        "The private key ({algorithm}, {bits} bits) is in {file}. Only you can read it: give it to the user that runs \
         postroom.\n{beside}\n\
         1. Publish this TXT record:\n\n{record}\n\n\
         2. When it can be seen (dig TXT {name}), add the key to the configuration and run `postroom reload --wait`:\n\n\
         [[dkim]]\ndomain = \"{domain}\"\nselector = \"{selector}\"\nkey_file = \"{file}\"",
        file = file.display(),
        name = record.name,
        record = record.zone_line(),
    )
}

fn for_programs(domain: &str, selector: &str, key: &PrivateKey, file: &Path) -> serde_json::Value {
    let record = TxtRecord::of(domain, selector, key);
    json!({
        "domain": domain,
        "selector": selector,
        "algorithm": key.algorithm().as_str(),
        "bits": key.bits(),
        "key_file": file,
        "record": {"name": record.name, "type": "TXT", "value": record.value, "strings": record.strings()},
    })
}
