//! `postroom reply classify`: says what a relay's reply means, and which rule says so. Needs no database and no relay.

use std::fmt::Write;

use serde_json::json;

use super::context::{Context, WrongUsage, print};
use crate::{
    mail::Phase,
    smtp::{ReplyRules, Said},
};

/// The longest reply that is read, in bytes.
const LONGEST_REPLY: usize = 64 * 1_024;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show the class and the consequence of a reply, and the rule behind them.
    Classify {
        /// The reply as a relay says it, such as "550 5.1.1 User unknown"; lines are separated by a line end or by `\\n`.
        reply: String,
        /// Where in the dialogue it was said.
        #[arg(long, default_value_t = Phase::RcptTo)]
        phase: Phase,
        /// The route that it came over, for rules that name one.
        #[arg(long, default_value = "")]
        route: String,
    },
}

pub(super) fn run(context: &Context, command: &Command) -> anyhow::Result<()> {
    let Command::Classify { reply, phase, route } = command;
    let rules = context.config.smtp.reply_rules()?;
    let (code, text) = parse(reply).map_err(WrongUsage)?;
    let said = Said { code, enhanced: None, text: &text, phase: *phase, route, domains: &[] };
    classify(&rules, &said, context.json)
}

fn classify(rules: &ReplyRules, said: &Said<'_>, json_wanted: bool) -> anyhow::Result<()> {
    let (judgement, by) = rules.judge_and_name(said);
    let wait = judgement.wait.map(|wait| wait.as_secs());
    let mail = match said.code {
        ..400 => "sent",
        _ if judgement.fails_the_mail() => "fail",
        _ => "keep",
    };
    let mut people = format!(
        "class        {}\nconsequence  {}\nscope        {}\nmail         {mail}",
        judgement.class, judgement.then, judgement.scope
    );
    if let Some(seconds) = wait {
        write!(people, "\nretry after  {seconds} s")?;
    }
    match &by {
        Some(by) => write!(people, "\nrule         {} ({}, line {})", by.name, by.file.display(), by.line)?,
        None => people.push_str("\nrule         none: the code alone"),
    }
    let rule = by.map(|by| {
        json!({"name": by.name, "file": by.file.display().to_string(), "number": by.number, "line": by.line})
    });
    let programs = json!({
        "code": said.code,
        "phase": said.phase,
        "class": judgement.class,
        "consequence": judgement.then,
        "scope": judgement.scope,
        "mail": mail,
        "retry_after": wait,
        "rule": rule,
    });
    print(json_wanted, people, &programs)
}

/// The code, and the words of all lines in one.
fn parse(reply: &str) -> Result<(u16, String), String> {
    if reply.len() > LONGEST_REPLY {
        return Err(format!("a reply of more than {LONGEST_REPLY} bytes is not read"));
    }
    let reply = reply.replace("\\n", "\n");
    let mut lines = reply.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let allowed = || {
        format!(
            "`{first}` does not begin with a reply code from 200 to 599, as in \"550 5.1.1 User unknown\""
        )
    };
    let code =
        first.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(allowed)?;
    let has_end = first[3..].is_empty() || first[3..].starts_with([' ', '-']);
    let number: u16 = code.parse().map_err(|_| allowed())?;
    if !has_end || !(200..600).contains(&number) {
        return Err(allowed());
    }
    let mut words = first[3..].trim_start_matches(['-', ' ']).to_owned();
    for line in lines {
        let repeated = line.strip_prefix(code).filter(|rest| rest.is_empty() || rest.starts_with([' ', '-']));
        write!(words, " {}", repeated.map_or(line, |rest| &rest[rest.len().min(1)..]))
            .map_err(|error| error.to_string())?;
    }
    Ok((number, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_as_relays_say_it_and_as_people_type_it() {
        for (reply, code, words) in [
            ("550 5.1.1 User unknown", 550, "5.1.1 User unknown"),
            ("550-no\n550 at all", 550, "no at all"),
            ("554 no\\nsecond line", 554, "no second line"),
            ("250", 250, ""),
        ] {
            assert_eq!(parse(reply), Ok((code, words.to_owned())));
        }
        for wrong in ["", "55", "5500 x", "User unknown", "650 x", "100 x", "ü50 x", "55ü"] {
            assert!(parse(wrong).unwrap_err().contains("200 to 599"), "{wrong}");
        }
        assert!(parse(&"5".repeat(70_000)).is_err());
    }
}
