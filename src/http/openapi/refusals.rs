//! What every operation may be refused with, written into the OpenAPI document once: the statuses that extractors and
//! the surroundings of a handler answer with, each in the envelope of the path's family.
//!
//! What a handler says about a status itself stays as it is; only the envelope is added where it names none.

use serde_json::{Map, Value, json};

use crate::http::error::Family;

/// Which operations can answer with a status.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    /// All.
    Every,
    /// Those that want a credential.
    Private,
    /// Those that read a body.
    Reader,
}

const REFUSALS: [(&str, Who, &str); 11] = [
    ("400", Who::Every, "What was sent cannot be read"),
    ("401", Who::Private, "Missing or wrong credentials"),
    ("403", Who::Private, "The credential lacks an ability, or the merchant is suspended"),
    ("404", Who::Private, "There is no such thing for this merchant"),
    ("408", Who::Reader, "The body came too slowly"),
    (
        "409",
        Who::Private,
        "Not in this state, or the first request with this `Idempotency-Key` is still under way",
    ),
    ("413", Who::Reader, "The body is too large"),
    ("415", Who::Reader, "The body is of another type, or not in UTF-8"),
    ("422", Who::Private, "Something that was given is not allowed"),
    ("429", Who::Private, "Too many requests; `Retry-After` says when to come back"),
    ("503", Who::Every, "Nothing was done; try again after `Retry-After`"),
];

/// Adds the refusals to every operation of the document, and their schemas to its components.
pub(super) fn add(document: &mut Value) {
    let (mut families, mut schemas) = (Vec::new(), Map::new());
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            let family = Family::of(path);
            families.push(family);
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                let is_reader = matches!(method.as_str(), "post" | "put");
                add_to(operation, is_reader, family);
            }
        }
    }
    for family in families {
        let (name, schema) = envelope(family);
        schemas.insert(name.to_owned(), schema);
    }
    if let Some(known) = document["components"]["schemas"].as_object_mut() {
        known.extend(schemas);
    }
}

fn add_to(operation: &mut Value, is_reader: bool, family: Family) {
    let is_public = operation.get("security").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, who, description) in REFUSALS {
        let applies = match who {
            Who::Every => true,
            Who::Private => !is_public,
            Who::Reader => !is_public && is_reader,
        };
        if applies || responses.contains_key(status) {
            let response = responses.entry(status).or_insert_with(|| json!({"description": description}));
            if response.get("content").is_none() {
                response["content"] = content(family);
            }
        }
    }
}

fn content(family: Family) -> Value {
    let (name, _) = envelope(family);
    json!({ family.content_type(): {"schema": {"$ref": format!("#/components/schemas/{name}")}} })
}

/// The schema of a family's refusals, with its name: what [`Refusal::body`](crate::http::error::Refusal::body) writes.
fn envelope(family: Family) -> (&'static str, Value) {
    let text = || json!({"type": "string"});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let by_path = || {
        json!({"type": "object", "description": "What is wrong, by path; only with 422.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
            "example": {"user.identifier": ["The user.identifier field is required."]}})
    };
    match family {
        Family::CartLink => {
            let error = object(&["code", "title"], json!({"code": text(), "title": text()}));
            let errors = json!({"type": "array", "minItems": 1, "items": error});
            ("CartLinkRefusal", object(&["errors"], json!({"errors": errors})))
        }
        Family::Carts => {
            let properties = json!({"status": {"const": "error"}, "message": text(), "errors": by_path()});
            ("CartsRefusal", object(&["status", "message"], properties))
        }
        Family::Orders => {
            let error = object(&["code", "message"], json!({"code": text(), "message": text()}));
            ("OrdersRefusal", object(&["error"], json!({"error": error})))
        }
        Family::Mailing => {
            ("MailingRefusal", object(&["message"], json!({"message": text(), "errors": by_path()})))
        }
        Family::Templates => {
            let properties = json!({"success": {"const": false}, "message": text()});
            ("TemplatesRefusal", object(&["success", "message"], properties))
        }
        Family::Own => {
            let fault = object(&["path", "message"], json!({"path": text(), "message": text()}));
            let properties = json!({"type": text(), "title": text(), "status": {"type": "integer"}, "code": text(),
                "detail": text(), "request_id": text(), "errors": {"type": "array", "items": fault}});
            let required = ["type", "title", "status", "code", "detail", "request_id"];
            ("Problem", object(&required, properties))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_a_handler_describes_keeps_its_words_and_gets_the_familys_envelope() {
        let mut document = json!({"components": {"schemas": {}}, "paths": {
            "/ordersv2/{id}": {"get": {"responses": {"404": {"description": "`order_not_found`"}}}},
            "/passes/{id}": {"get": {"security": [{}], "responses": {"200": {"description": "a page"}}}},
        }});
        add(&mut document);
        let responses = &document["paths"]["/ordersv2/{id}"]["get"]["responses"];
        assert_eq!(responses["404"]["description"], "`order_not_found`");
        let schema = &responses["404"]["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/OrdersRefusal");
        assert!(responses.get("415").is_none() && responses.get("429").is_some());
        let public = document["paths"]["/passes/{id}"]["get"]["responses"].as_object().unwrap();
        assert_eq!(public.keys().collect::<Vec<_>>(), ["200", "400", "503"]);
    }
}
