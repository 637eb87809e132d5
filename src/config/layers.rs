//! Lays a file and the environment over the defaults and remembers where each value came from.

use std::{collections::HashMap, path::Path};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{
    faults::{self, ConfigFaults, Fault},
    lines::Lines,
};

const PREFIX: &str = "POSTROOM_";
/// Keys whose value may live in a file named by `<key>_file`.
const SECRETS: [&str; 2] = ["password", "url"];
/// Variables of this prefix that are not settings.
const NOT_SETTINGS: [&str; 3] = ["POSTROOM_CONFIG", "POSTROOM_TEST_TOOLS", "POSTROOM_LOG"];
/// The most faults that are reported; what follows is most often a consequence.
const MOST_FAULTS: usize = 100;

pub(super) struct Layers {
    defaults: Value,
    values: Value,
    origins: HashMap<String, Origin>,
    /// Values of variables, as text, that were read as something else.
    texts: HashMap<String, Value>,
    lines: Lines,
    faults: Vec<Fault>,
    /// How many of the faults are about types, once all types are known to be right or mended.
    of_types: Option<usize>,
}

/// Where a value came from.
#[derive(Clone)]
enum Origin {
    /// The file, whose lines are known.
    File(String),
    /// A variable, or the file of a secret.
    Other(String),
}

impl Layers {
    pub(super) fn of_defaults(text: &str) -> Self {
        #[expect(clippy::expect_used, reason = "the defaults are compiled in and a test parses them")]
        let defaults = Value::Table(text.parse::<Table>().expect("config.toml is TOML"));
        Self {
            values: defaults.clone(),
            defaults,
            origins: HashMap::new(),
            texts: HashMap::new(),
            lines: Lines::default(),
            faults: Vec::new(),
            of_types: None,
        }
    }

    pub(super) fn add_file(&mut self, file: &Path) -> Result<(), ConfigFaults> {
        let name = file.display().to_string();
        let whole = |from: String, message: String| Fault { key: String::new(), from: Some(from), message };
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigFaults(vec![whole(name.clone(), format!("cannot be read: {error}"))]))?;
        let (lines, errors) = Lines::of(&text);
        let faults: Vec<_> = errors
            .into_iter()
            .map(|(line, message)| whole(format!("{name}:{line}"), format!("is not TOML: {message}")))
            .collect();
        ConfigFaults::none_of(faults)?;
        let table = text.parse::<Table>().map_err(|error| {
            ConfigFaults(vec![whole(name.clone(), format!("is not TOML: {}", error.message()))])
        })?;
        self.lines = lines;
        self.lay_over("", Value::Table(table), &Origin::File(name));
        Ok(())
    }

    /// The values of all layers.
    pub(super) fn values(&self) -> &Value {
        &self.values
    }

    pub(super) fn add_environment(&mut self, variables: &[(String, String)]) {
        for (name, text) in variables {
            let key = key_of(name);
            let is_text = is_secret(&key) || matches!(find(&self.defaults, &key), Some(Value::String(_)));
            let (as_text, from) = (Value::String(text.clone()), format!("environment variable {name}"));
            let parsed = if is_text { None } else { parse_inline(text) };
            let value = match parsed {
                Some(parsed) if parsed.is_str() => parsed,
                Some(parsed) => {
                    self.texts.insert(key.clone(), as_text);
                    parsed
                }
                None => as_text,
            };
            self.lay_over(&key, value, &Origin::Other(from));
        }
    }

    /// Replaces every `<secret>_file` by the content of the file.
    pub(super) fn read_secrets(&mut self) {
        let mut files = Vec::new();
        collect_files(&self.values, "", &mut files);
        for (key, file) in files {
            remove(&mut self.values, &key);
            let from = self.origin_of(&key);
            let secret_key = key.trim_end_matches("_file").to_owned();
            let path = match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) if !file.contains('/') => Path::new(&folder).join(&file),
                _ => Path::new(&file).to_owned(),
            };
            match std::fs::read_to_string(&path) {
                Ok(secret) => {
                    self.lay_over(
                        &secret_key,
                        Value::String(secret.trim_end_matches(['\r', '\n']).to_owned()),
                        &Origin::Other(file),
                    );
                }
                Err(error) => self.faults.push(Fault {
                    key,
                    from,
                    message: format!("`{file}` cannot be read: {error}"),
                }),
            }
        }
    }

    /// Reads the values into `T`. A value that does not fit is noted and replaced by its default or a stand-in, until all
    /// fit, so that every fault is found in one go. `None` when nothing could stand in; then there is a fault.
    pub(super) fn parse<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(self.values.clone()) {
                Ok(config) => {
                    self.of_types = Some(self.faults.len());
                    return Some(config);
                }
                Err(error) => error,
            };
            let message = error.inner().message().trim().to_owned();
            let mut key = match error.path().to_string() {
                path if path == "." => String::new(),
                path => path.replace('[', ".").replace(']', ""),
            };
            if let Some(name) = named_field(&message)
                && key.rsplit('.').next() != Some(name)
            {
                key = if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
            }
            // What looks like a number in a variable is text where that is wanted.
            if let Some(text) = self.texts.remove(&key)
                && message.contains("string")
            {
                set(&mut self.values, &key, text);
                continue;
            }
            let is_missing = message.starts_with("missing field");
            let mended = self.mend(&key, is_missing);
            let message = if is_missing {
                "is missing".to_owned()
            } else if is_secret(&key) {
                "must be text in quotes".to_owned() // the parser's words have the value
            } else {
                faults::in_plain_words(&message)
            };
            self.note(&key, message);
            if !mended || self.faults.len() > MOST_FAULTS {
                return None;
            }
        }
    }

    /// Notes a fault, unless the value, or one that holds it, was not read at all: what stands in for it has no faults.
    pub(super) fn note(&mut self, key: &str, message: String) {
        let of_types = self.of_types.unwrap_or(self.faults.len());
        if !self.faults[..of_types].iter().any(|fault| fault.is_about(key)) {
            self.faults.push(Fault { from: self.origin_of(key), key: key.to_owned(), message });
        }
    }

    /// Notes a fault of a file that a key names.
    pub(super) fn note_in(&mut self, key: &str, place: String, message: String) {
        self.faults.push(Fault { from: Some(place), key: key.to_owned(), message });
    }

    /// Whether somebody has set this very key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// Every fault that was found.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Puts the default or a stand-in in the place of a faulty value, or removes it where there is none.
    fn mend(&mut self, key: &str, is_missing: bool) -> bool {
        if let Some(default) = find(&self.defaults, key).cloned() {
            let differs = find(&self.values, key) != Some(&default);
            if differs {
                set(&mut self.values, key, default);
            }
            return differs;
        }
        match stand_in(key).filter(|stand_in| find(&self.values, key) != Some(stand_in)) {
            Some(stand_in) if is_missing || find(&self.values, key).is_some() => {
                set(&mut self.values, key, stand_in);
                true
            }
            _ => remove(&mut self.values, key).is_some(),
        }
    }

    fn lay_over(&mut self, key: &str, value: Value, origin: &Origin) {
        match value {
            // One that is empty has no keys that could be unknown: it is read for its own name.
            Value::Table(table)
                if !table.is_empty() || find(&self.values, key).is_some() || key.is_empty() =>
            {
                for (name, value) in table {
                    let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                    self.lay_over(&key, value, origin);
                }
            }
            value => {
                self.origins.insert(key.to_owned(), origin.clone());
                if !set(&mut self.values, key, value) {
                    self.note(
                        key,
                        "there is none before it: entries are numbered from 0 without gaps".to_owned(),
                    );
                }
            }
        }
    }

    fn origin_of(&self, key: &str) -> Option<String> {
        let above = std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(above, _)| above));
        let found = above.clone().find_map(|key| {
            let below = || {
                let prefix = format!("{key}.");
                self.origins.iter().find(|(known, _)| known.starts_with(&prefix)).map(|(_, origin)| origin)
            };
            self.origins.get(key).or_else(below)
        });
        Some(match found? {
            Origin::Other(origin) => origin.clone(),
            Origin::File(file) => match self.lines.of_key(key) {
                Some(line) => format!("{file}:{line}"),
                None => file.clone(),
            },
        })
    }
}

/// The variables that are settings, in order.
pub(super) fn variables(environment: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let is_setting = |name: &str| name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name);
    let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| is_setting(name)).collect();
    // In the order of their numbers: the tenth entry of a list comes after the ninth.
    let number_or_word = |part: &str| (part.parse::<usize>().ok(), part.to_owned());
    variables.sort_by_cached_key(|(name, _)| name.split("__").map(number_or_word).collect::<Vec<_>>());
    variables
}

/// The key that a variable sets.
fn key_of(variable: &str) -> String {
    variable[PREFIX.len()..].to_ascii_lowercase().replace("__", ".")
}

/// Whether the value of a key must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    key.rsplit('.').next().is_some_and(|name| SECRETS.contains(&name))
}

/// The field that a message of the parser is about, where the path does not hold it.
fn named_field(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("missing field `"))?;
    rest.split('`').next()
}

/// What is read in the place of a faulty or missing value in a list, or in a table of one, where there is no default, so
/// that the faults after it are found too.
fn stand_in(key: &str) -> Option<Value> {
    let (above, name) = key.rsplit_once('.')?;
    let above = above.rsplit('.').next()?;
    let text = match (above.parse::<usize>(), name) {
        (Err(_), name) => {
            name.parse::<usize>().ok()?;
            return stand_in_of_list(above);
        }
        (_, "port") => return Some(Value::Integer(25)),
        (_, "names") => return Some(Value::Array(Vec::new())),
        (Ok(index), "name" | "selector") => format!("stand-in-{index}"),
        (_, "host") => "localhost".to_owned(),
        (_, "tls") => "none".to_owned(),
        (_, "rate") => "1/s".to_owned(),
        (_, "domain") => "stand-in.example".to_owned(),
        (_, "key_file") => "stand-in".to_owned(),
        _ => return None,
    };
    Some(Value::String(text))
}

/// The same for an element of the list with this name.
fn stand_in_of_list(name: &str) -> Option<Value> {
    let text = match name {
        "allow_networks" => "127.0.0.1/32",
        "schedule" => "1s",
        "lanes" => "transactional",
        "merchants" => "stand-in",
        "names" | "sender_domains" => "stand-in.example",
        "routes" | "domains" | "dkim" => return Some(Value::Table(Table::new())),
        _ => return None,
    };
    Some(Value::String(text.to_owned()))
}

fn parse_inline(text: &str) -> Option<Value> {
    format!("value = {text}").parse::<Table>().ok()?.remove("value")
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(value, |value, name| match value {
        Value::Table(table) => table.get(name),
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Sets a value, and the tables that hold it; not in a list that would have gaps then.
fn set(value: &mut Value, key: &str, new: Value) -> bool {
    let (name, rest) = match key.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (key, None),
    };
    let slot = match value {
        Value::Array(list) => {
            let Ok(index) = name.parse::<usize>() else { return false };
            if index > list.len() || index > 1_000 {
                return false;
            }
            if index == list.len() {
                list.push(Value::Table(Table::new()));
            }
            &mut list[index]
        }
        Value::Table(table) => table.entry(name.to_owned()).or_insert_with(|| Value::Table(Table::new())),
        other => {
            *other = Value::Table(Table::new());
            return set(other, key, new);
        }
    };
    match rest {
        Some(rest) => set(slot, rest, new),
        None => {
            *slot = new;
            true
        }
    }
}

fn remove(value: &mut Value, key: &str) -> Option<Value> {
    match (value, key.split_once('.')) {
        (Value::Table(table), Some((name, rest))) => remove(table.get_mut(name)?, rest),
        (Value::Array(list), Some((name, rest))) => remove(list.get_mut(name.parse::<usize>().ok()?)?, rest),
        (Value::Table(table), None) => table.remove(key),
        _ => None,
    }
}

fn collect_files(value: &Value, key: &str, files: &mut Vec<(String, String)>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                match (name.strip_suffix("_file"), value) {
                    (Some(secret), Value::String(file)) if SECRETS.contains(&secret) => {
                        files.push((below(name), file.clone()));
                    }
                    _ => collect_files(value, &below(name), files),
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                collect_files(value, &below(&index.to_string()), files);
            }
        }
        _ => {}
    }
}
