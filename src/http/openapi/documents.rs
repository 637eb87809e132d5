//! What merchants' systems tell postroom, as the OpenAPI document describes it: each kind with paths and a schema of
//! its own, although one handler serves them all.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::shop::{
    Partial, ResourceKind,
    cart::AbandonedCart,
    mailing::{Brand, Member, Template},
    order::{Order, StoreSettings},
    pass::Voucher,
    subscription::Subscription,
};

/// A document, by the kind in its path. Unknown fields are refused with their path.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `resources.rs` reads and shows")]
pub(in crate::http) enum Document {
    /// `subscriptions`.
    Subscription(Box<Subscription>),
    /// `abandoned-carts`.
    AbandonedCart(Box<AbandonedCart>),
    /// `orders`.
    Order(Box<Order>),
    /// `brands`.
    Brand(Box<Brand>),
    /// `templates`.
    Template(Box<Template>),
    /// `members`.
    Member(Box<Member>),
    /// `coupons` and `storecards`.
    Voucher(Box<Voucher>),
    /// `stores`.
    StoreSettings(Box<StoreSettings>),
    /// `partials`.
    Partial(Box<Partial>),
}

/// How the handlers' paths begin.
const PATH: &str = "/api/v1/{kind}";
/// The schema that each kind replaces with its own.
const DOCUMENT: &str = "#/components/schemas/Document";
const PAGE: &str = "#/components/schemas/Page_Document";

/// The name of a kind's schema.
fn schema_of(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Subscriptions => "CartSubscription",
        ResourceKind::AbandonedCarts => "AbandonedCart",
        ResourceKind::Orders => "Order",
        ResourceKind::Brands => "Brand",
        ResourceKind::Templates => "Template",
        ResourceKind::Members => "Member",
        ResourceKind::Coupons | ResourceKind::Storecards => "Voucher",
        ResourceKind::Stores => "StoreSettings",
        ResourceKind::Partials => "Partial",
    }
}

/// Gives every kind its paths in place of those with `{kind}`.
pub(super) fn expand(document: &mut Value) {
    open_flattened(document);
    for &kind in ResourceKind::ALL {
        let id = json!({"type": "string", "description": "As in the path; shown, and may be put back."});
        document["components"]["schemas"][schema_of(kind)]["properties"]["id"] = id;
    }
    let Some(paths) = document["paths"].as_object_mut() else { return };
    let (common, mut rest): (Map<_, _>, Map<_, _>) =
        std::mem::take(paths).into_iter().partition(|(path, _)| path.starts_with(PATH));
    for &kind in ResourceKind::ALL {
        for (path, item) in &common {
            let mut item = item.clone();
            for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
                of_kind(operation, kind);
            }
            rest.insert(path.replace("{kind}", kind.as_str()), item);
        }
    }
    *paths = rest;
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.remove("Document");
        schemas.remove("Page_Document");
    }
}

fn of_kind(operation: &mut Value, kind: ResourceKind) {
    operation["operationId"] =
        format!("{kind} {}", operation["operationId"].as_str().unwrap_or_default()).into();
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.retain(|parameter| parameter["name"] != "kind");
    }
    let given = json!({"$ref": format!("#/components/schemas/{}", schema_of(kind))});
    let shown = json!({"allOf": [given, {"type": "object", "required": ["id"]}]});
    let page = json!({"type": "object", "required": ["data", "has_more"], "properties": {
        "data": {"type": "array", "items": shown, "description": "In order of their ids."},
        "has_more": {"type": "boolean", "description": "Whether there are more after the last."}}});
    if let Some(body) = operation.get_mut("requestBody") {
        replace(body, DOCUMENT, &given);
    }
    replace(&mut operation["responses"], DOCUMENT, &shown);
    replace(&mut operation["responses"], PAGE, &page);
}

/// Puts a schema where another is pointed to.
fn replace(within: &mut Value, pointer: &str, schema: &Value) {
    match within {
        Value::Object(object) if object.get("$ref").is_some_and(|to| to == pointer) => {
            *within = schema.clone()
        }
        Value::Object(object) => object.values_mut().for_each(|part| replace(part, pointer, schema)),
        Value::Array(parts) => parts.iter_mut().for_each(|part| replace(part, pointer, schema)),
        _ => {}
    }
}

/// A view that has all fields of a document and more cannot point to the document's schema, which allows no more.
fn open_flattened(document: &mut Value) {
    let known = document["components"]["schemas"].clone();
    open_within(document, &known);
}

fn open_within(part: &mut Value, known: &Value) {
    match part {
        Value::Object(object) => {
            for flattened in object.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
                let name = flattened["$ref"].as_str().and_then(|to| to.rsplit('/').next());
                let closed = name.and_then(|name| known[name].as_object());
                if let Some(mut open) = closed.filter(|it| it.contains_key("additionalProperties")).cloned() {
                    open.remove("additionalProperties");
                    *flattened = Value::Object(open);
                }
            }
            object.values_mut().for_each(|part| open_within(part, known));
        }
        Value::Array(parts) => parts.iter_mut().for_each(|part| open_within(part, known)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{
        documents::{DocumentLimits, Loaded, check, sample},
        openapi::DOCUMENT,
        test_app::TestApp,
    };

    /// What a schema is of, where it only says that `null` is allowed too, or where to look.
    fn resolved<'a>(known: &'a Value, schema: &'a Value) -> &'a Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
            return resolved(known, &known[name]);
        }
        let choices = ["oneOf", "anyOf"].iter().find_map(|word| schema[*word].as_array());
        let choice = choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null"));
        choice.map_or(schema, |choice| resolved(known, choice))
    }

    /// All fields that a schema names, as deep as the sample goes: where they stand, and whether they are required.
    fn fields(known: &Value, schema: &Value, sample: &Value, at: &str, found: &mut Vec<(String, bool)>) {
        let schema = resolved(known, schema);
        if let Value::Array(entries) = sample {
            return fields(known, &schema["items"], &entries[0], &format!("{at}/0"), found);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let (path, required) = (format!("{at}/{name}"), schema["required"].as_array());
            if let Some(inner) = sample.get(name) {
                fields(known, property, inner, &path, found);
            }
            found.push((path, required.is_some_and(|required| required.iter().any(|it| it == name))));
        }
    }

    #[tokio::test]
    async fn a_field_may_be_null_unless_it_is_required() {
        let test = TestApp::start("DE").await;
        let limits = DocumentLimits::of(&test.app);
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let known = &document["components"]["schemas"];
        let mut count = 0;
        for &kind in ResourceKind::ALL {
            let mut found = Vec::new();
            fields(known, &known[schema_of(kind)], &sample(kind), "", &mut found);
            for (pointer, is_required) in &found {
                let mut given = sample(kind);
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                given.pointer_mut(parent).unwrap()[name] = Value::Null;
                let Value::Object(given) = given else { panic!("an object") };
                let checked = check(kind, "a", given, &limits, &Loaded::default());
                let refused: Vec<_> = checked.err().into_iter().flatten().map(|fault| fault.path).collect();
                let path = pointer[1..].replace('/', ".");
                let expected = if *is_required { vec![path] } else { vec![] };
                assert_eq!(refused, expected, "{kind}");
            }
            count += found.len();
        }
        assert!(count > 100, "{count}");
    }
}
