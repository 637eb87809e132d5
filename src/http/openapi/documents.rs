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
