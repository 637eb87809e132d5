//! What a configuration was read from, setting by setting, to tell what a reload changes. Secrets are compared and never shown.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    fmt,
    fs::File,
    hash::{Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::Value;

use super::layers::is_secret;

/// What a reload may change: these settings and those below them. All others need a restart.
const CHANGEABLE: [&str; 4] = ["smtp", "dkim", "limits", "log.filter"];

/// Of a file no more than this is compared, in bytes.
const LARGEST: u64 = 8 << 20;
/// The most characters of a value that are shown.
const LONGEST_SHOWN: usize = 200;

/// Where a configuration was read from, and its values.
#[derive(Clone, Default)]
pub struct Written {
    pub(super) file: Option<PathBuf>,
    pub(super) environment: Vec<(String, String)>,
    values: BTreeMap<String, Value>,
    /// The entries of lists, such as a route. Their keys name them.
    entries: BTreeSet<String>,
    /// The content of the files that settings name, as a number.
    files: BTreeMap<String, u64>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A setting that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The setting, as in `limits.mails`; a route and a DKIM key are named, as in `smtp.routes.main.rate`.
    pub key: String,
    /// How it differs.
    #[serde(flatten)]
    pub difference: Difference,
}

/// How a setting differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Difference {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another value.
    Changed {
        /// The one before.
        before: String,
        /// The one now.
        after: String,
    },
    /// It has another value, which is secret.
    SecretChanged,
    /// The file that it names has another content.
    FileChanged,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.difference {
            Difference::Added => write!(f, "{key}: added"),
            Difference::Removed => write!(f, "{key}: removed"),
            Difference::Changed { before, after } => write!(f, "{key}: {before} -> {after}"),
            Difference::SecretChanged => write!(f, "{key}: changed"),
            Difference::FileChanged => write!(f, "{key}: its file has changed"),
        }
    }
}

/// Whether a reload may change a setting.
pub(super) fn is_changeable(key: &str) -> bool {
    CHANGEABLE
        .iter()
        .any(|each| key.strip_prefix(each).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

impl Written {
    /// Takes the values of all layers, before they are read into settings.
    pub(super) fn new(file: Option<&Path>, environment: Vec<(String, String)>, values: &Value) -> Self {
        let file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
        let mut written = Self { file, environment, ..Self::default() };
        written.flatten("", values);
        written
    }

    /// The file that was read, as an absolute path.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn flatten(&mut self, key: &str, value: &Value) {
        let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
        match value {
            Value::Table(table) => {
                for (name, value) in table {
                    self.flatten(&below(name), value);
                }
            }
            Value::Array(list) if list.iter().any(Value::is_table) => {
                for (index, entry) in list.iter().enumerate() {
                    let key = below(&name_of(entry).unwrap_or_else(|| index.to_string()));
                    self.entries.insert(key.clone());
                    self.flatten(&key, entry);
                }
            }
            value => {
                self.values.insert(key.to_owned(), value.clone());
            }
        }
    }

    /// Notes the content of a file that a setting names. Before it is read for use: what changes in between is seen by the next
    /// reload then.
    pub(super) fn note_file(&mut self, key: String, file: &Path) {
        if let Some(content) = content_of(file) {
            self.files.insert(key, content);
        }
    }

    /// What differs from `before`, by key.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut note = |key: &str, difference| changes.push(Change { key: key.to_owned(), difference });
        for entry in self.entries.difference(&before.entries) {
            note(entry, Difference::Added);
        }
        for entry in before.entries.difference(&self.entries) {
            note(entry, Difference::Removed);
        }
        let in_both = |key: &str| {
            let of_one = self.entries.symmetric_difference(&before.entries);
            !of_one
                .into_iter()
                .any(|entry| key.strip_prefix(entry.as_str()).is_some_and(|rest| rest.starts_with('.')))
        };
        let keys: BTreeSet<_> = self.values.keys().chain(before.values.keys()).collect();
        for key in keys.into_iter().filter(|key| in_both(key)) {
            let (was, is) = (before.values.get(key), self.values.get(key));
            if was != is {
                note(key, difference(key, was, is));
            }
        }
        for (key, content) in &self.files {
            let is_same_path = self.values.get(key) == before.values.get(key);
            if is_same_path && in_both(key) && before.files.get(key) != Some(content) {
                note(key, Difference::FileChanged);
            }
        }
        changes.sort_by(|one, other| one.key.cmp(&other.key));
        changes
    }

    /// What is in force after a reload: of these the settings that may change, of `before` all others.
    pub(super) fn over(self, before: &Self) -> Self {
        let (new, old) = (self.values.into_iter(), before.values.clone().into_iter());
        let values =
            new.filter(|(key, _)| is_changeable(key)).chain(old.filter(|(key, _)| !is_changeable(key)));
        let (new, old) = (self.entries.into_iter(), before.entries.iter().cloned());
        let entries = new.filter(|key| is_changeable(key)).chain(old.filter(|key| !is_changeable(key)));
        Self { values: values.collect(), entries: entries.collect(), ..self }
    }
}

/// What an entry of a list is called: a route by its name, a DKIM key by its record, a limit by its domains.
fn name_of(entry: &Value) -> Option<String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let of_domains = || {
        let names = entry.get("names")?.as_array()?.iter().filter_map(Value::as_str);
        Some(names.collect::<Vec<_>>().join(","))
    };
    let of_key = || Some(format!("{}/{}", text("domain")?, text("selector")?));
    text("name").map(str::to_owned).or_else(of_key).or_else(of_domains)
}

fn difference(key: &str, before: Option<&Value>, after: Option<&Value>) -> Difference {
    match (before, after) {
        (None, _) => Difference::Added,
        (_, None) => Difference::Removed,
        _ if is_secret(key) => Difference::SecretChanged,
        (Some(before), Some(after)) => Difference::Changed { before: shown(before), after: shown(after) },
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The content of a file as a number; `None` for what is no file or cannot be read.
fn content_of(file: &Path) -> Option<u64> {
    // A pipe would keep us waiting.
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Written {
        Written::new(None, Vec::new(), &Value::Table(text.parse().unwrap()))
    }

    fn said(before: &str, after: &str) -> Vec<String> {
        written(after).changes_since(&written(before)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_setting_is_named_by_its_route_and_shows_no_secret() {
        let before = "limits.mails = ''\nsmtp.routes = [{ name = 'a', rate = '5/s', password = 'old' }, { name = 'b' }]
            dkim = [{ domain = 'tea.example', selector = 's', key_file = 'k' }]";
        let after = "limits.mails = '9/s'\nsmtp.routes = [{ name = 'c', port = 1 }, { name = 'a', rate = '6/s', password = 'new' }]
            dkim = [{ domain = 'tea.example', selector = 't', key_file = 'k' }]";
        assert_eq!(
            said(before, after),
            [
                "dkim.tea.example/s: removed",
                "dkim.tea.example/t: added",
                "limits.mails: \"\" -> \"9/s\"",
                "smtp.routes.a.password: changed",
                "smtp.routes.a.rate: \"5/s\" -> \"6/s\"",
                "smtp.routes.b: removed",
                "smtp.routes.c: added",
            ]
        );
        assert_eq!(said(before, before), [""; 0]);
    }

    #[test]
    fn a_setting_that_needs_a_restart_is_named_until_there_is_one() {
        let (started, now) =
            ("http.listen = 'a'\nlimits.mails = '1/s'", "http.listen = 'b'\nlimits.mails = '2/s'");
        let in_force = written(now).over(&written(started));
        let left: Vec<_> = written(now).changes_since(&in_force).iter().map(ToString::to_string).collect();
        assert_eq!(left, ["http.listen: \"a\" -> \"b\""]);
        assert!(
            is_changeable("smtp.hello_name")
                && is_changeable("dkim.a/b.key_file")
                && is_changeable("log.filter")
        );
        assert!(!is_changeable("log.format") && !is_changeable("smtpx") && !is_changeable("limitsx.a"));
    }

    #[test]
    fn a_file_of_the_same_name_and_another_content_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let read = |content: &str| {
            std::fs::write(&file, content).unwrap();
            let mut written = written("smtp.replies_file = 'ca.pem'");
            written.files.insert("smtp.replies_file".to_owned(), content_of(&file).unwrap());
            written
        };
        let (one, same, other) = (read("one"), read("one"), read("other"));
        assert!(same.changes_since(&one).is_empty());
        assert_eq!(other.changes_since(&one)[0].to_string(), "smtp.replies_file: its file has changed");
    }
}
