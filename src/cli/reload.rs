//! `postroom reload`: asks the daemons of this machine to read their configuration again.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::context::{WrongUsage, author, print};
use crate::reload::{self, Found, ReloadResult, Report, Silent, absolute};

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
    let ((mut asked, silent), author) = (who_is_asked(config, arguments.pid).await?, author());
    for daemon in &mut asked {
        daemon.ask(&author).await.with_context(|| name_of(daemon))?;
    }
    if !arguments.wait {
        let pids: Vec<_> = asked.iter().map(|daemon| daemon.hello.pid).collect();
        let people: Vec<_> = asked.iter().map(|daemon| format!("{}: asked", name_of(daemon))).collect();
        print(json, people.join("\n"), &json!({"asked": pids}))?;
        let silent: Vec<_> = silent.iter().map(|silent| silent.pid.to_string()).collect();
        ensure!(silent.is_empty(), "process {} does not answer", silent.join(", "));
        return Ok(());
    }
    let no_answer =
        |silent: &Silent| (format!("process {}", silent.pid), silent.pid, Err(anyhow!("it does not answer")));
    let mut reports: Vec<_> = silent.iter().map(no_answer).collect();
    for daemon in &mut asked {
        reports.push((name_of(daemon), daemon.hello.pid, daemon.report().await));
    }
    let people: Vec<_> = reports.iter().map(|(name, _, report)| shown(name, report)).collect();
    let programs: Vec<_> = reports.iter().map(|(name, pid, report)| view(name, *pid, report)).collect();
    print(json, people.join("\n"), &json!({"processes": programs}))?;
    judge(&reports)
}

/// Those that can be asked, and those that would be and do not say who they are.
async fn who_is_asked(config: Option<&Path>, pid: Option<u32>) -> anyhow::Result<(Vec<Found>, Vec<Silent>)> {
    let (all, mut silent) =
        reload::find().await.context("it cannot be found out which processes run here")?;
    silent.retain(|silent| pid.map_or_else(|| silent.has(config), |pid| silent.pid == pid));
    let config = config.map(absolute);
    let is_meant = |found: &Found| match pid {
        Some(pid) => found.hello.pid == pid,
        None => found.hello.config.as_deref().map(absolute) == config,
    };
    let asked: Vec<_> = all.into_iter().filter(is_meant).collect();
    match (asked.is_empty() && silent.is_empty(), pid, config) {
        (false, ..) => Ok((asked, silent)),
        (true, Some(pid), _) => bail!("process {pid} is no daemon of this user that can be asked"),
        (true, None, Some(file)) => {
            bail!("no daemon of this user runs here with the configuration `{}`", file.display())
        }
        (true, None, None) => {
            bail!("no daemon of this user runs here without --config; name its file, or --pid")
        }
    }
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
    let others = reports.iter().zip(&results).filter(|(_, result)| !is_good(result));
    let others: Vec<_> = others.map(|((name, ..), _)| name.as_str()).collect();
    ensure!(others.is_empty(), "not every process has reloaded: {}", others.join(", "));
    Ok(())
}
