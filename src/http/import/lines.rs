//! One line of an import: the merchant where it names one, and a document or a suppression.

use serde_json::{Map, Value};

use crate::{
    http::{
        body, composed,
        documents::{DocumentLimits, Loaded, check},
        error::{FieldError, fault},
        json_bounds, suppressions,
    },
    shop::ResourceKind,
    store::{NewSuppression, ResourceRow},
};

/// What a line says.
pub(super) enum Line {
    /// One of the documents that merchants' systems store.
    Document(Box<ResourceRow>),
    /// A partial, or a template that has some in it: stored with what belongs to it.
    Composed(ResourceKind, String, Map<String, Value>),
    /// An address that gets no mail.
    Suppression(NewSuppression),
}

impl Line {
    /// The brand that it belongs to.
    pub(super) fn brand(&self) -> Option<&str> {
        match self {
            Self::Document(row) if row.kind == ResourceKind::Brands => None,
            Self::Document(row) => row.brand_id.as_deref(),
            Self::Composed(_, _, given) => given.get("brand_id").and_then(Value::as_str),
            Self::Suppression(_) => None,
        }
    }
}

/// What a line says and which merchant it names, or what is wrong with it.
pub(super) type ReadLine = Result<(Option<String>, Line), Vec<FieldError>>;

/// Whether a line may be a template: it is enough that it looks like one.
pub(super) fn is_template(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"\"templates\"").is_some()
}

/// Reads one line, which `names_merchant` or must not.
pub(super) fn read_line(line: &[u8], limits: &DocumentLimits, names_merchant: bool) -> ReadLine {
    let line = line.strip_prefix(body::BYTE_ORDER_MARK).unwrap_or(line);
    json_bounds::measure(line, json_bounds::DEEPEST + 1).map_err(|fault| vec![fault])?;
    let mut given: Map<String, Value> =
        body::parse(line).map_err(|refusal| match refusal.errors.as_slice() {
            [] => vec![fault("", "is not a JSON object")],
            errors => errors.to_vec(),
        })?;
    let kind = take(&mut given, "kind")?;
    let merchant = if names_merchant { take(&mut given, "merchant").ok() } else { None };
    if kind == suppressions::KIND {
        return suppressions::read(given).map(|read| (merchant, Line::Suppression(read)));
    }
    let id = take(&mut given, "id")?;
    // The word is not repeated: it may be as long as a line.
    let kind: ResourceKind = kind.parse().map_err(|_| {
        let allowed: Vec<_> = ResourceKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let allowed = [&allowed[..], &[suppressions::KIND]].concat().join(", ");
        vec![fault("kind", &format!("is unknown; expected one of {allowed}"))]
    })?;
    if composed::is_composed(kind, &given) {
        return Ok((merchant, Line::Composed(kind, id, given)));
    }
    check(kind, &id, given, limits, &Loaded::default()).map(|row| (merchant, Line::Document(Box::new(row))))
}

fn take(given: &mut Map<String, Value>, field: &str) -> Result<String, Vec<FieldError>> {
    match given.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(vec![fault(field, "must be a string")]),
        None => Err(vec![fault(field, "is required")]),
    }
}
