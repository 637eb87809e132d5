//! The OpenAPI document as a page for people: written once, readable without JavaScript, with nothing from elsewhere.

use std::fmt::Write as _;

use askama::{Template, filters::Escaper};
use serde_json::Value;

use crate::html::{Named, written};

/// How deep an array's items or an `allOf` is followed.
const DEEPEST: usize = 8;

#[derive(Template)]
#[template(path = "docs/page.html")]
struct Page {
    version: String,
    about: String,
    groups: Vec<Group>,
    schemas: Vec<Schema>,
}

/// The operations of one tag.
struct Group {
    name: String,
    anchor: String,
    about: String,
    operations: Vec<Operation>,
}

struct Operation {
    anchor: String,
    method: String,
    path: String,
    summary: String,
    about: String,
    parameters: Vec<Field>,
    body: Option<Content>,
    answers: Vec<Answer>,
    example: String,
}

/// A body: its media type, its schema and the fields of that.
struct Content {
    media_type: String,
    kind: String,
    fields: Vec<Field>,
}

struct Answer {
    status: String,
    about: String,
    kind: String,
}

/// A parameter or a property.
struct Field {
    name: String,
    kind: String,
    is_required: bool,
    about: String,
}

struct Schema {
    name: String,
    about: String,
    kind: String,
    fields: Vec<Field>,
}

/// Writes the page for a document.
pub(super) fn written_for(document: &Value) -> String {
    let mut groups: Vec<Group> = list(&document["tags"]).iter().map(Group::of).collect();
    for (path, item) in entries(&document["paths"]) {
        for (method, operation) in entries(item) {
            let tag = text(&operation["tags"][0]);
            let group = match groups.iter_mut().position(|group| group.name == tag) {
                Some(known) => &mut groups[known],
                None => {
                    groups.push(Group::of(&serde_json::json!({"name": tag})));
                    let last = groups.len() - 1;
                    &mut groups[last]
                }
            };
            group.operations.push(Operation::of(method, path, operation, document));
        }
    }
    let schemas = entries(&document["components"]["schemas"]);
    written(&Page {
        version: text(&document["info"]["version"]),
        about: prose(&text(&document["info"]["description"])),
        groups,
        schemas: schemas.map(|(name, schema)| Schema::of(name, schema, document)).collect(),
    })
}

impl Group {
    fn of(tag: &Value) -> Self {
        let name = text(&tag["name"]);
        let (anchor, about) = (name.replace(' ', "-"), prose(&text(&tag["description"])));
        Self { name, anchor, about, operations: Vec::new() }
    }
}

impl Operation {
    fn of(method: &str, path: &str, operation: &Value, document: &Value) -> Self {
        let contents = entries(&operation["requestBody"]["content"]).next();
        let body = contents.map(|(media_type, content)| Content {
            media_type: media_type.to_owned(),
            kind: kind(&content["schema"], 0),
            fields: fields(&content["schema"], document, 0),
        });
        let parameter = |it: &Value| Field {
            name: text(&it["name"]),
            kind: format!("{} in the {}", kind(&it["schema"], 0), escaped(&text(&it["in"]))),
            is_required: it["required"] == true,
            about: line(&text(&it["description"])),
        };
        let answer = |(status, it): (&str, &Value)| Answer {
            status: status.to_owned(),
            about: line(&text(&it["description"])),
            kind: entries(&it["content"]).next().map_or_else(String::new, |(_, it)| kind(&it["schema"], 0)),
        };
        Self {
            anchor: text(&operation["operationId"]),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            about: prose(&text(&operation["description"])),
            parameters: list(&operation["parameters"]).iter().map(parameter).collect(),
            body,
            answers: entries(&operation["responses"]).map(answer).collect(),
            example: text(&operation["x-codeSamples"][0]["source"]),
        }
    }
}

impl Schema {
    fn of(name: &str, schema: &Value, document: &Value) -> Self {
        let fields = fields(schema, document, 0);
        Self {
            name: name.to_owned(),
            about: prose(&text(&schema["description"])),
            kind: if fields.is_empty() { kind(schema, 0) } else { String::new() },
            fields,
        }
    }
}

/// The properties of an object, also of one that is put together from others.
fn fields(schema: &Value, document: &Value, depth: usize) -> Vec<Field> {
    if depth > DEEPEST {
        return Vec::new();
    }
    if let Some(name) = schema_name(schema) {
        return fields(&document["components"]["schemas"][name], document, depth + 1);
    }
    let parts = list(&schema["allOf"]).iter().flat_map(|part| fields(part, document, depth + 1));
    let required = list(&schema["required"]);
    let own = entries(&schema["properties"]).map(|(name, it)| {
        let about = it["description"].as_str().or(it["oneOf"][0]["description"].as_str());
        Field {
            name: name.to_owned(),
            kind: kind(it, 0),
            is_required: required.iter().any(|needed| needed == name),
            about: line(about.unwrap_or_default()),
        }
    });
    parts.chain(own).collect()
}

/// What a value is, in a few words of HTML; named schemas are links.
fn kind(schema: &Value, depth: usize) -> String {
    if depth > DEEPEST {
        return "…".to_owned();
    }
    if let Some(name) = schema_name(schema) {
        let name = escaped(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let either = |parts: &[Value]| {
        let kinds: Vec<_> = parts.iter().map(|part| kind(part, depth + 1)).collect();
        kinds.join(" or ")
    };
    for choice in ["oneOf", "anyOf"] {
        if let Some(parts) = schema[choice].as_array() {
            return either(parts);
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts
            .iter()
            .find(|part| schema_name(part).is_some())
            .map_or_else(|| "object".to_owned(), |part| kind(part, depth + 1));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| code(&text(value))).collect();
        return values.join(" or ");
    }
    if !schema["const"].is_null() {
        return code(&schema["const"].as_str().map_or_else(|| schema["const"].to_string(), str::to_owned));
    }
    let mut words = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(of) if of == "array" => format!("list of {}", kind(&schema["items"], depth + 1)),
        Value::String(of) => escaped(of),
        _ => "any value".to_owned(),
    };
    words.push_str(&bounds(schema));
    words
}

/// Which values are allowed.
fn bounds(schema: &Value) -> String {
    let mut words = String::new();
    if let (Some(least), Some(most)) = (schema["minLength"].as_u64(), schema["maxLength"].as_u64()) {
        let _ = write!(words, ", {least} to {most} characters");
    } else if let Some(most) = schema["maxLength"].as_u64() {
        let _ = write!(words, ", at most {most} characters");
    }
    for (key, before) in [
        ("format", ""),
        ("minimum", "from "),
        ("exclusiveMinimum", "over "),
        ("maximum", "up to "),
        ("default", "default "),
    ] {
        let bound = &schema[key];
        if bound.is_null() {
            continue;
        }
        let value = bound.as_str().map_or_else(|| bound.to_string(), str::to_owned);
        let _ = write!(words, ", {before}{}", escaped(&value));
    }
    words
}

fn schema_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

fn list(of: &Value) -> &[Value] {
    of.as_array().map_or(&[], Vec::as_slice)
}

fn entries(of: &Value) -> impl Iterator<Item = (&str, &Value)> {
    of.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn text(of: &Value) -> String {
    of.as_str().unwrap_or_default().to_owned()
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let _ = Named.write_escaped_str(&mut html, text);
    html
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// Words in which `code` stands in backquotes, as HTML.
fn line(words: &str) -> String {
    let parts = words.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { code(part) } else { escaped(part) }).collect()
}

/// The same with a paragraph after each empty line.
fn prose(words: &str) -> String {
    let paragraphs = words.split("\n\n").filter(|words| !words.trim().is_empty());
    paragraphs.map(|words| format!("<p>{}</p>", line(words))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_value_is_described_in_words_and_what_it_says_is_escaped() {
        for (schema, words) in [
            (r#"{"type": "string", "maxLength": 5}"#, "string, at most 5 characters"),
            (r#"{"type": ["string", "null"]}"#, "string or null"),
            (r#"{"type": "array", "items": {"type": "integer"}}"#, "list of integer"),
            (r#"{"enum": ["a", "<b>"]}"#, "<code>a</code> or <code>&lt;b&gt;</code>"),
            (r##"{"$ref": "#/components/schemas/Mail"}"##, "<a href=\"#schema-Mail\">Mail</a>"),
            (r#"{"const": false}"#, "<code>false</code>"),
            ("{}", "any value"),
        ] {
            assert_eq!(kind(&serde_json::from_str(schema).unwrap(), 0), words, "{schema}");
        }
        assert_eq!(prose("Give `a<b`.\n\nNow."), "<p>Give <code>a&lt;b</code>.</p><p>Now.</p>");
    }

    #[test]
    fn the_page_shows_every_operation_and_every_link_leads_somewhere() {
        let document: Value = serde_json::from_str(&super::super::DOCUMENT).unwrap();
        let page = written_for(&document);
        let quoted = |before: &str| {
            let ends = page.split(before).skip(1);
            ends.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<BTreeSet<_>>()
        };
        let (anchors, targets) = (quoted(" id=\""), quoted("href=\"#"));
        for (path, item) in entries(&document["paths"]) {
            for (method, operation) in entries(item) {
                assert!(anchors.contains(&text(&operation["operationId"])), "{method} {path}");
            }
        }
        assert_eq!(targets.difference(&anchors).collect::<Vec<_>>(), Vec::<&String>::new());
        // But for examples, nothing on the page is from elsewhere.
        let addresses =
            page.split("http").skip(1).filter(|after| after.starts_with("://") || after.starts_with("s://"));
        let is_an_example = |after: &&str| {
            ["s://postroom.invalid", "s://tea.example", "s://shop.example"]
                .iter()
                .any(|known| after.starts_with(known))
        };
        let strange: Vec<_> = addresses.filter(|it| !is_an_example(it)).map(|it| &it[..30]).collect();
        assert!(strange.is_empty(), "{strange:?}");
    }
}
