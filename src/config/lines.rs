//! On which line of a file each key is.

use std::collections::HashMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The most syntax errors that are reported of one file.
const MOST_ERRORS: usize = 20;

/// The lines of a file's keys, the first is 1.
#[derive(Default)]
pub(super) struct Lines(HashMap<String, usize>);

impl Lines {
    /// Finds every key of a text, and each place where it is not TOML.
    pub(super) fn of(text: &str) -> (Self, Vec<(usize, String)>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut lines = Self::default();
        lines.add(text, "", table.get_ref());
        let at = |error: toml::de::Error| {
            (line_at(text, error.span().map_or(0, |span| span.start)), error.message().to_owned())
        };
        (lines, errors.into_iter().take(MOST_ERRORS).map(at).collect())
    }

    /// The line of a key such as `smtp.routes.0.port`, or else of what holds it.
    pub(super) fn of_key(&self, key: &str) -> Option<usize> {
        let mut above = std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(above, _)| above));
        above.find_map(|key| self.0.get(key)).copied()
    }

    fn add(&mut self, text: &str, above: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = if above.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{above}.{}", name.get_ref())
            };
            self.0.insert(key.clone(), line_at(text, name.span().start));
            self.add_value(text, &key, value);
        }
    }

    fn add_value(&mut self, text: &str, key: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.add(text, key, table),
            DeValue::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    let key = format!("{key}.{index}");
                    self.0.insert(key.clone(), line_at(text, value.span().start));
                    self.add_value(text, &key, value);
                }
            }
            _ => {}
        }
    }
}

fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}
