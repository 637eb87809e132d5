//! `postroom doctor DOMAIN`: looks up what the DNS says about a sender's domain, and what is missing for its mails to be
//! believed. Needs no database, and sends no mail.

mod findings;
mod resolver;

use std::net::SocketAddr;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::context::{Context, WrongUsage, print};
use crate::{app, mail::domain_name};
use findings::{Finding, examine};
use resolver::Resolver;

/// What is looked up, and where.
#[derive(Args)]
pub(super) struct Arguments {
    /// The domain of the senders, such as example.com.
    domain: String,
    /// The DNS server to ask, such as 192.0.2.53 or 127.0.0.1:5353; default: the first one of /etc/resolv.conf.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_server)]
    resolver: Option<SocketAddr>,
}

fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.parse().map(|address| SocketAddr::new(address, resolver::PORT));
    text.parse().or_else(|_| alone()).map_err(|_| "must be an IP address, with a port or without".to_owned())
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let domain = domain_name(&arguments.domain).map_err(|_| {
        WrongUsage(format!("`{}` is not a domain name, such as example.com", arguments.domain))
    })?;
    let resolver = match arguments.resolver {
        Some(server) => Resolver::at(server),
        None => Resolver::of_this_machine()?,
    };
    let keys = app::keys_of(&context.config)?;
    let hosts: Vec<_> =
        context.config.smtp.routes.iter().map(|route| (route.name.as_str(), route.host.as_str())).collect();
    let findings = examine(&resolver, &domain, &keys, &hosts).await;
    let people: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let programs: Vec<_> = findings.iter().map(for_programs).collect();
    print(context.json, people.join("\n"), &json!({"domain": domain, "checks": programs}))?;
    let faults = findings.iter().filter(|finding| finding.fault.is_some()).count();
    if faults > 0 {
        bail!("{faults} of {} checks found something wrong", findings.len());
    }
    Ok(())
}

fn for_programs(finding: &Finding) -> Value {
    json!({
        "check": finding.check,
        "name": finding.name,
        "ok": finding.fault.is_none(),
        "found": finding.found,
        "fault": finding.fault,
    })
}
