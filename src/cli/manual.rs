//! `postroom completions` and `postroom man`: what shells and readers of manuals need, made from the same words as `--help`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap_complete::Shell;

use super::output::write_out;

/// Which shell.
#[derive(clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Which pages.
#[derive(clap::Args)]
pub(super) struct Manual {
    /// Write a page for each command into this folder, instead of printing the first.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Prints a script that completes commands and options.
pub(super) fn complete(mut commands: clap::Command, arguments: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    let name = commands.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut commands, name, &mut script);
    write_out(&String::from_utf8_lossy(&script))
}

/// Prints the page of `postroom` in the format of `man`, or writes all pages.
pub(super) fn man(commands: clap::Command, arguments: &Manual) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.dir {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(commands, folder))
            .with_context(|| format!("the pages cannot be written to `{}`", folder.display()))?;
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(commands).render(&mut page)?;
    write_out(&String::from_utf8_lossy(&page))
}
