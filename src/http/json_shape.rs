//! Reads JSON into what it should be, and says what is wrong in words for people: every fault at once, each by its path.
//!
//! serde stops at the first fault, takes a list for the fields of a struct, and speaks of Rust's types. So a document is
//! read again with each fault repaired by a sample, until nothing is wrong with it.

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value};
use serde_path_to_error::{Path, Segment};

use super::error::FieldError;

/// How many faults of a document are named.
const MOST_FAULTS: usize = 32;

/// Reads a document. `sample` is a right one, with one entry in each list.
///
/// # Errors
/// All that is wrong with it, as far as one fault does not hide another.
pub(super) fn read<T: DeserializeOwned>(mut given: Value, sample: &Value) -> Result<T, Vec<FieldError>> {
    let mut faults: Vec<FieldError> = Vec::new();
    while faults.len() < MOST_FAULTS {
        let (path, message) = match serde_path_to_error::deserialize::<_, T>(Strict(&given)) {
            Ok(value) if faults.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => (Steps::of(error.path()), error.inner().to_string()),
        };
        let (path, message, is_unknown) = match missing_field(&message) {
            Some(field) => (path.to(field), "is required".to_owned(), false),
            None => (path, plain(&message), message.starts_with("unknown field")),
        };
        let written = path.to_string();
        if faults.iter().any(|fault| fault.path == written) {
            break;
        }
        let is_repaired = path.repair(&mut given, if is_unknown { None } else { path.find(sample) });
        faults.push(FieldError { path: written, message });
        if !is_repaired {
            break;
        }
    }
    Err(faults)
}

/// The field that serde misses.
pub(super) fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// What serde says, in words for people who do not know Rust.
pub(super) fn plain(message: &str) -> String {
    let is_about_type = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match message.rsplit_once(", expected ").filter(|_| is_about_type) {
        Some((_, expected)) => format!("must be {}", kind_of(expected)),
        None if message.starts_with("invalid length ") => "must be an object".to_owned(),
        None => message.to_owned(),
    }
}

/// What serde's word for a type means in JSON.
fn kind_of(expected: &str) -> &str {
    let is = |starts: &[&str]| starts.iter().any(|start| expected.starts_with(start));
    match expected {
        "a string" | "a borrowed string" | "a character" => "a string",
        "a boolean" => "true or false",
        _ if is(&[
            "struct ",
            "a map",
            "map",
            "any valid JSON object",
            "internally tagged",
            "unit struct",
        ]) =>
        {
            "an object"
        }
        _ if is(&["a sequence", "tuple", "an array", "a tuple"]) => "a list",
        _ if is(&["a nonzero"]) => "a whole number other than 0",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" | "a JSON number" => "a number",
        _ if is(&["enum ", "variant", "string or map"]) => "one of the words that are allowed here",
        other => other,
    }
}

/// A path, step by step.
pub(super) struct Steps(Vec<Step>);

enum Step {
    Field(String),
    Entry(usize),
}

impl Steps {
    pub(super) fn of(path: &Path) -> Self {
        Self(
            path.iter()
                .filter_map(|segment| match segment {
                    Segment::Seq { index } => Some(Step::Entry(*index)),
                    Segment::Map { key } => Some(Step::Field(key.clone())),
                    Segment::Enum { .. } | Segment::Unknown => None,
                })
                .collect(),
        )
    }

    pub(super) fn to(mut self, field: &str) -> Self {
        self.0.push(Step::Field(field.to_owned()));
        self
    }

    /// What stands there in a sample, where each list has one entry.
    fn find<'a>(&self, sample: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(sample, |value, step| match step {
            Step::Field(field) => value.get(field),
            Step::Entry(_) => value.get(0),
        })
    }

    /// Puts a right value there, or nothing; whether that could be done.
    pub(super) fn repair(&self, given: &mut Value, right: Option<&Value>) -> bool {
        let Some((last, before)) = self.0.split_last() else { return false };
        let parent = before.iter().try_fold(given, |value, step| match step {
            Step::Field(field) => value.get_mut(field),
            Step::Entry(at) => value.get_mut(*at),
        });
        match (parent, last) {
            (Some(Value::Object(fields)), Step::Field(field)) => match right {
                Some(right) => {
                    fields.insert(field.clone(), right.clone());
                    true
                }
                None => fields.remove(field).is_some(),
            },
            (Some(Value::Array(entries)), Step::Entry(at)) if *at < entries.len() => {
                match right {
                    Some(right) => entries[*at] = right.clone(),
                    None => drop(entries.remove(*at)),
                }
                true
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            match step {
                Step::Field(field) => f.write_str(field)?,
                Step::Entry(at) => write!(f, "{at}")?,
            }
        }
        Ok(())
    }
}

/// A value that is not taken for what it is not: a list is never an object, at any depth.
struct Strict<'a>(&'a Value);

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(entries) => visitor.visit_seq(Entries(entries.iter())),
            Value::Object(fields) => visitor.visit_map(Fields { fields: fields.iter(), value: None }),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.0.is_object() {
            self.deserialize_any(visitor)
        } else {
            Err(Error::custom("must be an object"))
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

struct Entries<'a>(std::slice::Iter<'a, Value>);

impl<'de> SeqAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|entry| seed.deserialize(Strict(entry))).transpose()
    }
}

struct Fields<'a> {
    fields: <&'a Map<String, Value> as IntoIterator>::IntoIter,
    value: Option<&'a Value>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.fields.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Strict(self.value.take().unwrap_or(&Value::Null)))
    }
}

/// Reads JSON that may be of any shape, strictly.
#[cfg(test)]
fn strictly<'de, T: serde::Deserialize<'de>>(given: &'de Value) -> Result<T, Error> {
    T::deserialize(Strict(given))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Order {
        id: u32,
        name: String,
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        tags: BTreeMap<String, Value>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        flag: bool,
        deep: Option<Box<Inner>>,
    }

    fn faults(given: Value) -> Vec<String> {
        let sample = json!({"id": 1, "name": "a", "inner": {"flag": true}, "list": [{"flag": true}]});
        let faults = read::<Order>(given, &sample).err().unwrap_or_default();
        faults.into_iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect()
    }

    #[test]
    fn no_word_of_rust_is_in_what_is_said() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only what is said of it counts")]
        struct Kinds {
            times: std::num::NonZeroU32,
            share: f64,
            shift: i64,
            size: usize,
            sort: Sort,
            names: Vec<String>,
            by_name: BTreeMap<String, u8>,
            inner: Inner,
            letter: char,
        }
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Sort {
            Up,
        }
        const OF_RUST: &str =
            "struct Kinds Inner Sort tuple enum nonzero map sequence u8 u32 i64 f64 usize char elements";
        let sample = json!({"times": 1, "share": 1.5, "shift": 1, "size": 1, "sort": "up", "names": ["a"],
            "by_name": {"a": 1}, "inner": {"flag": true}, "letter": "a"});
        for wrong in [
            json!([]),
            json!({"a": 1}),
            json!("a"),
            json!(-1),
            json!(0),
            json!(1.5),
            json!(true),
            json!(null),
        ] {
            let given = ["times", "share", "shift", "size", "sort", "names", "by_name", "inner", "letter"]
                .map(|field| (field.to_owned(), wrong.clone()));
            let faults =
                read::<Kinds>(Value::Object(given.into_iter().collect()), &sample).err().unwrap_or_default();
            assert!(faults.len() >= 4, "{wrong}: {} faults", faults.len());
            for fault in faults {
                let words: Vec<_> = fault.message.split(|c: char| !c.is_ascii_alphanumeric()).collect();
                assert!(!fault.path.is_empty(), "{wrong}: {}", fault.message);
                for word in OF_RUST.split(' ') {
                    assert!(!words.contains(&word), "{wrong}: {}: {}", fault.path, fault.message);
                }
            }
        }
    }

    #[test]
    fn every_fault_is_named_at_once_by_its_path_and_in_plain_words() {
        for (given, expected) in [
            (json!({"id": 1, "name": "a", "tags": {"b": [1], "a": {}}}), vec![]),
            (json!({}), vec!["id: is required", "name: is required"]),
            (
                json!({"id": "1", "name": 2, "inner": [true], "list": [{"flag": true}, {"flag": 1}, [true]]}),
                vec![
                    "id: must be a whole number, 0 or more",
                    "name: must be a string",
                    "inner: must be an object",
                    "list.1.flag: must be true or false",
                    "list.2: must be an object",
                ],
            ),
            (
                json!({"id": 1, "name": "a", "inner": {"flag": true, "deep": {"flag": true, "deep": [true, null]}}, "x": 1}),
                vec![
                    "inner.deep.deep: must be an object",
                    "x: unknown field `x`, expected one of `id`, `name`, `inner`, `list`, `tags`",
                ],
            ),
            (
                json!({"id": 1, "name": "a", "list": {}, "inner": {}}),
                vec!["list: must be a list", "inner.flag: is required"],
            ),
        ] {
            assert_eq!(faults(given.clone()), expected, "{given}");
        }
        assert!(strictly::<Inner>(&json!([true, null])).is_err());
    }
}
