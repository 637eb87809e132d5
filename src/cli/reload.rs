//! `postroom reload`: asks the daemons of this machine to read their configuration again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};

use super::context::{WrongUsage, author, print};
use crate::reload::{self, Found, ReloadResult, Report};

/// Who is asked.
#[derive(Args)]
pub(super) struct Arguments {
    /// Wait, print what changed, and exit with 2 when the configuration was refused.
    #[arg(long)]
    wait: bool,
    /// Ask only this process. In a unit, systemd names it.
    #[arg(long, env = "MAINPID")]
    pid: Option<u32>,
}

pub(super) async fn run(json: bool, config: Option<&Path>, arguments: &Arguments) -> anyhow::Result<()> {
    let (mut asked, author) = (who_is_asked(config, arguments.pid).await?, author());
    for daemon in &mut asked {
        daemon.ask(&author).await.with_context(|| name_of(daemon))?;
    }
    if !arguments.wait {
        let pids: Vec<_> = asked.iter().map(|daemon| daemon.hello.pid).collect();
        let people: Vec<_> = asked.iter().map(|daemon| format!("{}: asked", name_of(daemon))).collect();
        return print(json, people.join("\n"), &json!({"asked": pids}));
    }
    let mut reports = Vec::new();
    for daemon in &mut asked {
        reports.push((name_of(daemon), daemon.hello.pid, daemon.report().await));
    }
    let people: Vec<_> = reports.iter().map(|(name, _, report)| shown(name, report)).collect();
    let programs: Vec<_> = reports.iter().map(|(name, pid, report)| view(name, *pid, report)).collect();
    print(json, people.join("\n"), &json!({"processes": programs}))?;
    judge(&reports)
}

async fn who_is_asked(config: Option<&Path>, pid: Option<u32>) -> anyhow::Result<Vec<Found>> {
    let all = reload::find().await.context("it cannot be found out which processes run here")?;
    let config = config.map(absolute);
    let is_meant = |found: &Found| match pid {
        Some(pid) => found.hello.pid == pid,
        None => found.hello.config.as_deref().map(absolute) == config,
    };
    let asked: Vec<_> = all.into_iter().filter(is_meant).collect();
    match (asked.is_empty(), pid, config) {
        (false, ..) => Ok(asked),
        (true, Some(pid), _) => bail!("process {pid} is no daemon of this user that can be asked"),
        (true, None, Some(file)) => {
            bail!("no daemon of this user runs here with the configuration `{}`", file.display())
        }
        (true, None, None) => {
            bail!("no daemon of this user runs here without --config; name its file, or --pid")
        }
    }
}

/// The one name of a file.
fn absolute(file: &Path) -> PathBuf {
    std::fs::canonicalize(file).or_else(|_| std::path::absolute(file)).unwrap_or_else(|_| file.to_owned())
}

fn name_of(daemon: &Found) -> String {
    format!("{} (process {})", daemon.hello.role, daemon.hello.pid)
}

fn shown(name: &str, report: &anyhow::Result<Report>) -> String {
    match report {
        Ok(report) => format!("{name}: {report}"),
        Err(error) => format!("{name}: {error:#}"),
    }
}

fn view(name: &str, pid: u32, report: &anyhow::Result<Report>) -> Value {
    match report {
        Ok(report) => json!({"pid": pid, "name": name, "report": report}),
        Err(error) => json!({"pid": pid, "name": name, "error": format!("{error:#}")}),
    }
}

/// The exit status: 2 for a configuration that was refused, as of `postroom check`.
fn judge(reports: &[(String, u32, anyhow::Result<Report>)]) -> anyhow::Result<()> {
    let results = reports.iter().map(|(_, _, report)| report.as_ref().ok().map(|report| report.result));
    let results: Vec<_> = results.collect();
    if results.contains(&Some(ReloadResult::Refused)) {
        return Err(WrongUsage("the configuration was refused".to_owned()).into());
    }
    let is_good = |result: &Option<ReloadResult>| {
        matches!(result, Some(ReloadResult::Changed | ReloadResult::Unchanged))
    };
    if results.iter().all(is_good) { Ok(()) } else { Err(anyhow!("not every process has reloaded")) }
}
