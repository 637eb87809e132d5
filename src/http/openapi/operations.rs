//! What callers read about each operation: gathered from `operations.toml` into the OpenAPI document, with the example
//! of a request as values, as a body and as a curl command.
//!
//! What a handler says itself stays as it is where the file says nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::shop::ResourceKind;

/// The words, as text.
const FILE: &str = include_str!("operations.toml");
/// Stands in the examples for the address at which postroom is reached: `http.public_url`.
pub(super) const ORIGIN: &str = "https://postroom.invalid";

/// All that the file says.
#[derive(Default, Deserialize)]
struct Words {
    group: Vec<Group>,
    /// The operations that each kind of resource has.
    kind: BTreeMap<String, Text>,
    kinds: BTreeMap<String, KindWords>,
    #[serde(flatten)]
    operations: BTreeMap<String, Text>,
}

/// A tag, as OpenAPI calls it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    about: String,
}

/// What one operation is.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    summary: String,
    description: String,
    #[serde(default)]
    about: BTreeMap<String, String>,
    #[serde(default)]
    with: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default)]
    answers: BTreeMap<String, String>,
}

/// How a kind of resource is called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindWords {
    one: String,
    many: String,
    about: String,
    id: String,
    body: String,
}

impl Words {
    fn read() -> Self {
        let mut words: Self = toml::from_str(FILE).unwrap_or_default();
        for &kind in ResourceKind::ALL {
            let Some(called) = words.kinds.get(kind.as_str()) else { continue };
            let of_kind: Vec<_> =
                words.kind.iter().map(|(verb, text)| (name(kind, verb), called.text(verb, text))).collect();
            words.operations.extend(of_kind);
        }
        words
    }
}

/// The name of an operation of a kind.
fn name(kind: ResourceKind, verb: &str) -> String {
    format!("resources_{}_{verb}", kind.as_str().replace('-', "_"))
}

impl KindWords {
    fn text(&self, verb: &str, text: &Text) -> Text {
        let mut text = text.clone();
        let fill = |words: &str| {
            words.replace("{one}", &self.one).replace("{many}", &self.many).replace("{about}", &self.about)
        };
        text.summary = fill(&text.summary);
        text.description = fill(&text.description);
        text.answers.values_mut().for_each(|answer| *answer = fill(answer));
        if text.about.contains_key("id") {
            text.with.insert("id".to_owned(), self.id.clone());
        }
        text.body = (verb == "put").then(|| self.body.clone());
        text
    }
}

/// Writes the words, the examples and where postroom is into the document, whose operations have their names.
pub(super) fn describe(document: &mut Value) {
    let words = Words::read();
    // Relative to where the document was read: right behind every proxy and in every test.
    document["servers"] = json!([{"url": "/", "description": "Where this document came from."}]);
    document["tags"] =
        words.group.iter().map(|group| json!({"name": group.name, "description": group.about})).collect();
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let text = operation["operationId"].as_str().and_then(|name| words.operations.get(name));
            if let Some(text) = text {
                write(text, operation);
            }
            let body = text.and_then(|text| text.body.as_deref()).map(str::trim);
            operation["x-codeSamples"] =
                json!([{"lang": "Shell", "label": "curl", "source": curl(method, path, operation, body)}]);
            answers_say_something(operation);
        }
    }
}

fn write(text: &Text, operation: &mut Value) {
    operation["summary"] = text.summary.as_str().into();
    operation["description"] = text.description.trim().into();
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        if let Some(about) = text.about.get(&name) {
            parameter["description"] = about.as_str().into();
        }
        if let Some(value) = text.with.get(&name) {
            parameter["example"] = value.parse::<u64>().map_or_else(|_| value.as_str().into(), Value::from);
        }
    }
    for (status, about) in &text.answers {
        if let Some(answer) = operation["responses"].get_mut(status) {
            answer["description"] = about.as_str().into();
        }
    }
    let types = operation.get_mut("requestBody").and_then(|body| body["content"].as_object_mut());
    if let Some(body) = &text.body {
        for content in types.into_iter().flat_map(Map::values_mut) {
            content["example"] = serde_json::from_str(body).unwrap_or_else(|_| body.trim_start().into());
        }
    }
}

/// OpenAPI wants a description of every answer.
fn answers_say_something(operation: &mut Value) {
    for answer in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if answer["description"].as_str().is_none_or(str::is_empty) {
            answer["description"] = "Done.".into();
        }
    }
}

/// A request that can be pasted into a shell in which `$TOKEN` is set.
fn curl(method: &str, path: &str, operation: &Value, body: Option<&str>) -> String {
    let (mut path, mut query) = (path.to_owned(), String::new());
    let mut lines = Vec::new();
    if operation.get("security").is_none() {
        lines.push("-H \"Authorization: Bearer $TOKEN\"".to_owned());
    }
    for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        let example = match &parameter["example"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &example),
            Some("query") if !example.is_empty() => {
                let sign = if query.is_empty() { '?' } else { '&' };
                query.push_str(&format!("{sign}{name}={example}"));
            }
            Some("header") if name == "Idempotency-Key" => {
                lines.push(format!("-H '{name}: {example}'"));
            }
            _ => {}
        }
    }
    if let Some(body) = body {
        let content = operation["requestBody"]["content"].as_object().and_then(|types| types.keys().next());
        let json = "application/json".to_owned();
        lines.push(format!("-H 'Content-Type: {}'", content.unwrap_or(&json)));
        let option = if content == Some(&json) { "-d" } else { "--data-binary" };
        lines.push(format!("{option} '{}'", body.replace('\'', r"'\''")));
    }
    let url = format!("{ORIGIN}{path}{query}");
    let url = if query.is_empty() { url } else { format!("'{url}'") };
    let request = match (method, body.is_some()) {
        ("get", _) | ("post", true) => format!("curl {url}"),
        _ => format!("curl -X {} {url}", method.to_uppercase()),
    };
    [vec![request], lines].concat().join(" \\\n  ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&super::super::DOCUMENT).unwrap()
    }

    fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    #[test]
    fn every_operation_says_what_it_does_and_shows_a_request() {
        let document = document();
        for (path, method, operation) in operations(&document) {
            let at = format!("{method} {path}");
            for part in ["summary", "description"] {
                assert!(operation[part].as_str().is_some_and(|text| text.len() > 9), "{at} has no {part}");
            }
            let sample = operation["x-codeSamples"][0]["source"].as_str().unwrap();
            assert!(
                sample.starts_with("curl ") && !sample.contains(['{', '}']) || sample.contains("-d"),
                "{at}"
            );
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = &parameter["name"];
                assert!(parameter["description"].is_string(), "{at}: what is {name}?");
                let is_needed = parameter["required"] == true;
                assert!(!is_needed || !parameter["example"].is_null(), "{at}: {name} has no example");
            }
            for content in operation["requestBody"]["content"].as_object().into_iter().flat_map(Map::values) {
                assert!(!content["example"].is_null(), "{at} shows no body");
            }
            for (status, answer) in operation["responses"].as_object().unwrap() {
                assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{at} {status}");
            }
        }
    }

    #[test]
    fn the_words_are_about_operations_that_exist_and_every_group_is_described() {
        let words: Words = toml::from_str(FILE).unwrap();
        let document = document();
        let names: BTreeSet<_> =
            operations(&document).map(|(_, _, it)| it["operationId"].as_str().unwrap()).collect();
        for name in words.operations.keys() {
            assert!(names.contains(name.as_str()), "operations.toml describes {name}, which is none");
        }
        let tags: BTreeSet<_> =
            operations(&document).map(|(_, _, it)| it["tags"][0].as_str().unwrap()).collect();
        assert_eq!(words.group.iter().map(|group| group.name.as_str()).collect::<BTreeSet<_>>(), tags);
        let kinds = ResourceKind::ALL.iter().map(|kind| kind.as_str());
        assert_eq!(kinds.collect::<BTreeSet<_>>(), words.kinds.keys().map(String::as_str).collect());
    }
}
