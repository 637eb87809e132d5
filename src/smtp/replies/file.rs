//! Reads a file of rules. Every fault is found at once, with its line.

use std::{borrow::Cow, fmt, time::Duration};

use regex::bytes::Regex;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    pattern,
    rule::{CodePattern, EnhancedPattern, Rule},
    wait,
};
use crate::mail::{Consequence, Phase, ReplyClass, ReplyScope};

/// The largest file, in bytes, and the most rules in it.
pub(super) const LARGEST_FILE: usize = 256 * 1_024;
const MOST_RULES: usize = 500;
/// The most elements of a list.
const LONGEST_LIST: usize = 50;

const KEYS: [&str; 10] =
    ["name", "code", "enhanced", "phase", "route", "text", "class", "then", "scope", "wait"];
/// Of these keys a rule has one at least.
const CONDITIONS: [&str; 5] = ["code", "enhanced", "phase", "route", "text"];

/// One fault of a file of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFault {
    /// Where, from 1; `None` when the whole file is meant.
    pub line: Option<usize>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads rules. `routes` are the names of all routes, where they are known.
///
/// # Errors
/// Every fault.
pub(super) fn read(text: &str, routes: Option<&[&str]>) -> Result<Vec<Rule>, Vec<RuleFault>> {
    read_with(text, routes, &pattern::compile)
}

/// Reads the shipped rules, which tests have checked.
///
/// # Errors
/// Every fault but those of patterns that match nothing.
pub(super) fn read_shipped(text: &str) -> Result<Vec<Rule>, Vec<RuleFault>> {
    read_with(text, None, &pattern::compile_unchecked)
}

/// Turns the patterns of a rule into one.
type Compile<'a> = &'a dyn Fn(&[String]) -> Result<Option<Regex>, String>;

fn read_with(text: &str, routes: Option<&[&str]>, compile: Compile<'_>) -> Result<Vec<Rule>, Vec<RuleFault>> {
    let whole = |message: String| vec![RuleFault { line: None, message }];
    if text.len() > LARGEST_FILE {
        return Err(whole(format!("has {} bytes; at most {LARGEST_FILE} are allowed", text.len())));
    }
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let document = DeTable::parse(text).map_err(|error| {
        vec![RuleFault {
            line: error.span().map(|span| line(span.start)),
            message: format!("is no TOML: {}", error.message()),
        }]
    })?;
    let mut reader = Reader { faults: Vec::new(), line: &line, routes, compile, rule: String::new() };
    let mut rules: Vec<Rule> = Vec::new();
    for (key, value) in document.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("rules", DeValue::Array(tables)) if tables.len() <= MOST_RULES => {
                for (index, table) in tables.iter().enumerate() {
                    rules.extend(reader.rule(index + 1, table));
                }
            }
            ("rules", DeValue::Array(_)) => {
                reader.fault(value.span().start, format!("at most {MOST_RULES} rules are allowed"));
            }
            ("rules", _) => reader.fault(value.span().start, "write each rule as [[rules]]".to_owned()),
            (other, _) => {
                reader.fault(key.span().start, format!("`{other}` is unknown; only [[rules]] is allowed"))
            }
        }
    }
    reader.find_shadowed(&rules);
    if reader.faults.is_empty() {
        return Ok(rules);
    }
    reader.faults.sort_by_key(|fault| fault.line);
    Err(reader.faults)
}

struct Reader<'a> {
    faults: Vec<RuleFault>,
    line: &'a dyn Fn(usize) -> usize,
    routes: Option<&'a [&'a str]>,
    compile: Compile<'a>,
    /// The rule that is read, for its faults.
    rule: String,
}

impl Reader<'_> {
    fn fault(&mut self, at: usize, message: String) {
        let message = format!("{}{message}", self.rule);
        self.faults.push(RuleFault { line: Some((self.line)(at)), message });
    }

    fn rule(&mut self, number: usize, table: &Spanned<DeValue<'_>>) -> Option<Rule> {
        self.rule = format!("rule {number}: ");
        let before = self.faults.len();
        let rule = self.read_rule(number, table);
        self.rule.clear();
        rule.filter(|_| self.faults.len() == before)
    }

    fn read_rule(&mut self, number: usize, table: &Spanned<DeValue<'_>>) -> Option<Rule> {
        let at = table.span().start;
        let DeValue::Table(table) = table.get_ref() else {
            self.fault(at, "write it as [[rules]]".to_owned());
            return None;
        };
        self.find_unknown(table);
        let codes =
            self.list(table, "code", "a refusal such as \"550\", \"45x\" or \"5xx\"", CodePattern::parse);
        let enhanced = self.list(
            table,
            "enhanced",
            "an enhanced code such as \"5.1.1\", \"x.1.1\", \"x.1\" or \"x.7.606-649\"",
            EnhancedPattern::parse,
        );
        let (phases, routes) = (self.phases(table), self.routes(table));
        let patterns = self.list(table, "text", "", |word| Some(word.to_owned()));
        let text = (self.compile)(&patterns).unwrap_or_else(|fault| {
            self.fault(at_of(table, "text").unwrap_or(at), format!("`text`: {fault}"));
            None
        });
        if CONDITIONS.iter().all(|key| at_of(table, key).is_none()) {
            let message =
                "has no condition and would match every reply; give code, enhanced, phase, route or text";
            self.fault(at, message.to_owned());
        }
        let name = self.name(table);
        let class = self.class(table, at);
        let (then, scope, wait) = (self.then(table), self.scope(table), self.wait(table));
        let class = class?;
        self.find_failure_about_us(table, at, class, then, scope);
        Some(Rule {
            name: name.unwrap_or_else(|| format!("rule-{number}")),
            number,
            line: (self.line)(at),
            codes,
            enhanced,
            phases,
            routes,
            patterns,
            text,
            class,
            then,
            scope,
            wait,
        })
    }

    fn find_unknown(&mut self, table: &DeTable<'_>) {
        for (key, _) in table {
            if !KEYS.contains(&key.get_ref().as_ref()) {
                let message = format!("`{}` is unknown; allowed are {}", key.get_ref(), KEYS.join(", "));
                self.fault(key.span().start, message);
            }
        }
    }

    fn phases(&mut self, table: &DeTable<'_>) -> Vec<Phase> {
        let speaks = |phase: &Phase| *phase >= Phase::Greeting;
        let allowed = words(Phase::ALL.iter().filter(|phase| speaks(phase)).map(|phase| phase.as_str()));
        let allowed = format!("a phase in which a relay speaks: {allowed}");
        self.list(table, "phase", &allowed, |word| word.parse().ok().filter(speaks))
    }

    fn routes(&mut self, table: &DeTable<'_>) -> Vec<String> {
        let known = self.routes;
        let allowed = known.map_or_else(String::new, |names| match names {
            [] => "the name of a route, and there is none".to_owned(),
            names => format!("the name of a route: {}", names.join(", ")),
        });
        let is_known = |word: &str| known.is_none_or(|names| names.contains(&word));
        self.list(table, "route", &allowed, |word| is_known(word).then(|| word.to_owned()))
    }

    fn name(&mut self, table: &DeTable<'_>) -> Option<String> {
        self.word(table, "name", "1 to 64 letters, digits and hyphens", |word| {
            let is_name = (1..=64).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            is_name.then(|| word.to_owned())
        })
    }

    /// The class of a refusal, which each rule has to give.
    fn class(&mut self, table: &DeTable<'_>, at: usize) -> Option<ReplyClass> {
        let is_of_a_refusal =
            |class: &ReplyClass| !matches!(class, ReplyClass::Accepted | ReplyClass::Connection);
        let classes = ReplyClass::ALL.iter().filter(|class| is_of_a_refusal(class));
        let allowed = words(classes.map(|class| class.as_str()));
        let class = self.word(table, "class", &allowed, |word| word.parse().ok().filter(is_of_a_refusal));
        if class.is_none() && at_of(table, "class").is_none() {
            self.fault(at, format!("`class` is missing; allowed are {allowed}"));
        }
        class
    }

    fn then(&mut self, table: &DeTable<'_>) -> Option<Consequence> {
        let is_then = |then: &Consequence| *then != Consequence::Done;
        let allowed = words(Consequence::ALL.iter().filter(|then| is_then(then)).map(|then| then.as_str()));
        self.word(table, "then", &allowed, |word| word.parse().ok().filter(is_then))
    }

    fn scope(&mut self, table: &DeTable<'_>) -> Option<ReplyScope> {
        let allowed = words(ReplyScope::ALL.iter().map(|scope| scope.as_str()));
        self.word(table, "scope", &allowed, |word| word.parse().ok())
    }

    fn wait(&mut self, table: &DeTable<'_>) -> Option<Duration> {
        self.word(table, "wait", "1s to 24h, such as \"15m\"", |word| {
            let wait = crate::mail::duration::parse(word)?;
            (wait::BOUNDS.0..=wait::BOUNDS.1).contains(&wait).then_some(wait)
        })
    }

    fn find_failure_about_us(
        &mut self,
        table: &DeTable<'_>,
        at: usize,
        class: ReplyClass,
        then: Option<Consequence>,
        scope: Option<ReplyScope>,
    ) {
        let is_about_us = matches!(class, ReplyClass::Config | ReplyClass::AuthFailure);
        let fails = matches!(then, Some(Consequence::Fail | Consequence::Suppress));
        if is_about_us && fails && scope != Some(ReplyScope::Message) {
            let message = format!(
                "`then`: what is about us fails no mail: `{class}` goes with fail only where `scope` is \"message\""
            );
            self.fault(at_of(table, "then").unwrap_or(at), message);
        }
    }

    /// A word, or a list of words, each of them parsed; nothing where the key is missing.
    fn list<T>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let at = value.span().start;
        let mut parsed = Vec::new();
        let mut take = |reader: &mut Self, value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(word) => match parse(word) {
                Some(word) => parsed.push(word),
                None => reader.fault(value.span().start, format!("`{key}`: {word:?} must be {allowed}")),
            },
            _ => reader.fault(value.span().start, format!("`{key}` must be a string or a list of strings")),
        };
        match value.get_ref() {
            DeValue::Array(words) if words.is_empty() => {
                self.fault(at, format!("`{key}` is an empty list, so the rule can match nothing"));
            }
            DeValue::Array(words) if words.len() > LONGEST_LIST => {
                self.fault(
                    at,
                    format!("`{key}` has {} elements; at most {LONGEST_LIST} are allowed", words.len()),
                );
            }
            DeValue::Array(words) => words.iter().for_each(|word| take(self, word)),
            _ => take(self, value),
        }
        parsed
    }

    fn word<T>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = table.get(key)?;
        let given = match value.get_ref() {
            DeValue::String(word) => Cow::clone(word),
            _ => Cow::Borrowed(""),
        };
        let parsed = parse(&given);
        if parsed.is_none() {
            self.fault(value.span().start, format!("`{key}`: {given:?} is not one of {allowed}"));
        }
        parsed
    }

    /// Refuses rules for which an earlier one leaves nothing, and names that stand twice.
    fn find_shadowed(&mut self, rules: &[Rule]) {
        for (index, rule) in rules.iter().enumerate() {
            let line = Some(rule.line);
            if let Some(earlier) = rules[..index].iter().find(|earlier| earlier.covers(rule)) {
                let message = format!(
                    "rule {}: can match nothing, because rule {} (`{}`, line {}) takes everything that it would",
                    rule.number, earlier.number, earlier.name, earlier.line
                );
                self.faults.push(RuleFault { line, message });
            }
            if let Some(earlier) = rules[..index].iter().find(|earlier| earlier.name == rule.name) {
                let message =
                    format!("rule {}: rule {} is called `{}` too", rule.number, earlier.number, rule.name);
                self.faults.push(RuleFault { line, message });
            }
        }
    }
}

/// What is allowed, for people.
fn words(allowed: impl Iterator<Item = &'static str>) -> String {
    allowed.collect::<Vec<_>>().join(", ")
}

fn at_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    table.get(key).map(|value| value.span().start)
}
