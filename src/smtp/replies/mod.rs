//! What a relay's reply means: rules read from text, the first that matches decides.
//!
//! The shipped rules are `replies.toml` at the root of the project, compiled in; an operator's own file comes before
//! them. The connection asks for every refusal, `postroom reply classify` for whatever somebody types. All of it is pure: the
//! same reply gets the same [`Judgement`], in time proportional to its length.
//!
//! | file | what it knows |
//! |---|---|
//! | `file` | reads rules and finds every fault of them |
//! | `pattern` | bounds text patterns, and refuses what no reply can match |
//! | `rule` | whether a rule matches, and what a class leads to where no rule says it |
//! | `words` | the words of a reply without codes and addresses |
//! | `hosts` | the words without names of hosts |
//! | `wait` | how long a reply asks us to wait |

mod file;
mod hosts;
mod pattern;
mod rule;
mod wait;
mod words;

#[cfg(test)]
mod tests;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

pub use file::RuleFault;
use rule::Rule;
pub use rule::Said;
use words::Words;
pub(super) use words::without_addresses;

use crate::mail::{Consequence, Judgement, ReplyClass};

/// The rules that every installation has.
const SHIPPED: &str = include_str!("../../../replies.toml");

static SHIPPED_RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant, and tests read it")]
    file::read_shipped(SHIPPED).expect("the shipped rules make sense")
});

/// The rules in force.
#[derive(Debug, Default)]
pub struct ReplyRules {
    own: Vec<Rule>,
    own_file: Option<PathBuf>,
}

/// Which rule judged a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedBy<'a> {
    /// Its name.
    pub name: &'a str,
    /// The operator's file, or `replies.toml` for a shipped rule.
    pub file: &'a Path,
    /// Its number in that file, from 1.
    pub number: usize,
    /// The line that it begins at.
    pub line: usize,
}

/// Every fault of an operator's file of rules, at least one.
#[derive(Debug)]
pub struct RuleFaults {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub faults: Vec<RuleFault>,
}

impl fmt::Display for RuleFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rules in `{}` cannot be used:", self.file.display())?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for RuleFaults {}

impl ReplyRules {
    /// The shipped rules alone.
    pub fn shipped() -> Self {
        Self::default()
    }

    /// Compiles the shipped rules, which takes some tens of milliseconds, before the first refusal needs them. Blocks.
    pub fn prepare() {
        LazyLock::force(&SHIPPED_RULES);
    }

    /// An operator's rules from a file, and the shipped ones after them. `routes` are the names of all routes.
    ///
    /// # Errors
    /// Every fault of the file.
    pub fn load(file: &Path, routes: &[&str]) -> Result<Self, RuleFaults> {
        let failed = |faults| RuleFaults { file: file.to_owned(), faults };
        let unreadable = |error: std::io::Error| {
            failed(vec![RuleFault { line: None, message: format!("cannot be read: {error}") }])
        };
        let length = fs::metadata(file).map_err(unreadable)?.len();
        if length > file::LARGEST_FILE as u64 {
            let message = format!("has {length} bytes; at most {} are allowed", file::LARGEST_FILE);
            return Err(failed(vec![RuleFault { line: None, message }]));
        }
        let text = fs::read_to_string(file).map_err(unreadable)?;
        let own = file::read(&text, Some(routes)).map_err(failed)?;
        Ok(Self { own, own_file: Some(file.to_owned()) })
    }

    /// What a reply means.
    pub fn judge(&self, said: &Said<'_>) -> Judgement {
        self.judge_and_name(said).0
    }

    /// What a reply means, and the rule that says so; `None` where no rule knows it.
    pub fn judge_and_name(&self, said: &Said<'_>) -> (Judgement, Option<JudgedBy<'_>>) {
        if said.code < 400 {
            return (Judgement::ACCEPTED, None);
        }
        let words = Words::of(said.text);
        let enhanced = said.enhanced.or(words.enhanced);
        let own_file = self.own_file.as_deref().unwrap_or(Path::new(""));
        // An operator may ask for the name of a host. The shipped rules ask for words, which anybody can put into a name.
        let text = hosts::without_domains(&words.text, said.domains);
        let plain = hosts::without_hosts(&text);
        let own = self.own.iter().map(|rule| (true, own_file, &text, rule));
        let shipped = SHIPPED_RULES.iter().map(|rule| (false, Path::new("replies.toml"), &plain, rule));
        let found = own.chain(shipped).find(|(_, _, words, rule)| rule.matches(said, enhanced, words));
        let mut judgement = match found {
            Some((false, .., rule)) if words.are_repeated => rule.judge(said).not_about_us(said.code),
            Some((.., rule)) => rule.judge(said),
            None => rule::usual(ReplyClass::Unknown, said.code, said.phase),
        };
        if matches!(judgement.then, Consequence::Retry | Consequence::Slow | Consequence::Stop) {
            let longest =
                if judgement.then == Consequence::Stop { wait::LONGEST_STOP } else { Duration::MAX };
            judgement.wait =
                wait::wait_named_in(&words.text).map(|wait| wait.min(longest)).or(judgement.wait);
        }
        let by = found.map(|(_, file, _, rule)| JudgedBy {
            name: &rule.name,
            file,
            number: rule.number,
            line: rule.line,
        });
        (judgement, by)
    }
}
