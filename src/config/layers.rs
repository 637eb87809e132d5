//! Lays a file and the environment over the defaults and remembers where each value came from.

use std::{collections::HashMap, path::Path};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{ConfigFaults, Fault};

const PREFIX: &str = "POSTROOM_";
/// Keys whose value may live in a file named by `<key>_file`.
const SECRETS: [&str; 2] = ["password", "url"];
/// Lists of tables.
const LISTS: [&str; 2] = ["smtp.routes", "limits.domains"];
/// Variables of this prefix that are not settings.
const NOT_SETTINGS: [&str; 3] = ["POSTROOM_CONFIG", "POSTROOM_TEST_TOOLS", "POSTROOM_LOG"];

pub(super) struct Layers {
    defaults: Value,
    values: Value,
    origins: HashMap<String, String>,
    faults: Vec<Fault>,
}

impl Layers {
    pub(super) fn of_defaults(text: &str) -> Self {
        #[expect(clippy::expect_used, reason = "the defaults are compiled in and a test parses them")]
        let defaults = Value::Table(text.parse::<Table>().expect("config.toml is TOML"));
        Self { values: defaults.clone(), defaults, origins: HashMap::new(), faults: Vec::new() }
    }

    pub(super) fn add_file(&mut self, file: &Path) -> Result<(), ConfigFaults> {
        let whole = |message: String| {
            ConfigFaults(vec![Fault { key: String::new(), from: Some(file.display().to_string()), message }])
        };
        let text =
            std::fs::read_to_string(file).map_err(|error| whole(format!("cannot be read: {error}")))?;
        let table =
            text.parse::<Table>().map_err(|error| whole(format!("is not TOML: {}", error.message())))?;
        self.lay_over("", Value::Table(table), &file.display().to_string());
        Ok(())
    }

    pub(super) fn add_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = environment
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name.as_str()))
            .collect();
        variables.sort();
        for (name, text) in variables {
            let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            let is_text = matches!(find(&self.defaults, &key), Some(Value::String(_)));
            let parsed = if is_text { None } else { parse_inline(&text) };
            self.lay_over(
                &key,
                parsed.unwrap_or(Value::String(text)),
                &format!("environment variable {name}"),
            );
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
                        &file,
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

    /// Reads the values into `T`. A value that does not fit is noted and replaced by its default, until all fit, so
    /// that every fault is found in one go.
    pub(super) fn parse<T: DeserializeOwned>(mut self) -> Result<T, ConfigFaults> {
        loop {
            match serde_path_to_error::deserialize::<_, T>(self.values.clone()) {
                Ok(config) if self.faults.is_empty() => return Ok(config),
                Ok(_) => return Err(ConfigFaults(self.faults)),
                Err(error) => {
                    let message = error.inner().message().trim().to_owned();
                    let mut key = error.path().to_string();
                    if let Some(unknown) =
                        message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
                        && key.rsplit('.').next() != Some(unknown)
                    {
                        key = if key == "." { unknown.to_owned() } else { format!("{key}.{unknown}") };
                    }
                    let key = key.replace('[', ".").replace(']', "");
                    let mended = self.mend(&key);
                    // What is missing because it was removed above is a fault already.
                    let missing =
                        message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
                    let removed = missing.map(|missing| format!("{key}.{missing}"));
                    if !self.faults.iter().any(|fault| Some(&fault.key) == removed.as_ref()) {
                        self.faults.push(Fault { from: self.origin_of(&key), key, message });
                    }
                    if !mended || self.faults.len() > 100 {
                        return Err(ConfigFaults(self.faults));
                    }
                }
            }
        }
    }

    /// Puts the default in the place of a faulty value, or removes it where there is none.
    fn mend(&mut self, key: &str) -> bool {
        match find(&self.defaults, key).cloned() {
            Some(default) if find(&self.values, key) != Some(&default) => {
                set(&mut self.values, key, default);
                true
            }
            Some(_) => false,
            None => {
                let removed = remove(&mut self.values, key).is_some();
                match LISTS.iter().find(|list| key.starts_with(**list)) {
                    // Half a route cannot be mended: leave the whole list out.
                    Some(list) if !removed => {
                        set(&mut self.values, list, Value::Array(Vec::new()));
                        true
                    }
                    Some(_) => true,
                    None => removed,
                }
            }
        }
    }

    fn lay_over(&mut self, key: &str, value: Value, origin: &str) {
        match value {
            Value::Table(table) => {
                for (name, value) in table {
                    let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                    self.lay_over(&key, value, origin);
                }
            }
            value => {
                self.origins.insert(key.to_owned(), origin.to_owned());
                set(&mut self.values, key, value);
            }
        }
    }

    fn origin_of(&self, key: &str) -> Option<String> {
        let mut key = key;
        loop {
            if let Some(origin) = self.origins.get(key) {
                return Some(origin.clone());
            }
            if let Some(origin) = self
                .origins
                .iter()
                .find(|(known, _)| known.starts_with(&format!("{key}.")))
                .map(|(_, origin)| origin)
            {
                return Some(origin.clone());
            }
            key = key.rsplit_once('.')?.0;
        }
    }
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

fn set(value: &mut Value, key: &str, new: Value) {
    let (name, rest) = match key.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (key, None),
    };
    let slot = match value {
        Value::Array(list) => {
            let Ok(index) = name.parse::<usize>() else { return };
            if index > list.len() || index > 1_000 {
                return;
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
        None => *slot = new,
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
