//! What merchants' systems tell postroom: each kind's document, checked before it is stored.

use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    error::{FieldError, fault},
    json_shape,
};
use crate::{
    app::App,
    mail::{Address, CrashPolicy},
    render::{self, RenderLimits},
    shop::{
        Look, Partial, Partials, ResourceKind, TemplateSource,
        cart::AbandonedCart,
        is_partial_name,
        mailing::{Brand, Member, Template},
        order::{Order, StoreSettings},
        pass::Voucher,
        subscription::Subscription,
    },
    store::{NewTemplateVersion, ResourceRow},
};

/// The longest id, in characters.
const LONGEST_ID: usize = 255;

/// How large documents and what is in them may be.
#[derive(Clone)]
pub(super) struct DocumentLimits {
    render: RenderLimits,
    /// The bytes of a member: its tags are values of each of its mails.
    member: usize,
}

impl DocumentLimits {
    pub(super) fn of(app: &App) -> Self {
        Self { render: app.config.render.clone(), member: app.config.http.max_user.0 }
    }
}

/// The partials that a document was read with.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    pub(super) partials: Partials,
    /// Their versions, by name.
    pub(super) versions: BTreeMap<String, String>,
}

impl Loaded {
    /// The versions of these partials, by name, as a version of a template pins them.
    fn pinned(&self, names: Vec<String>) -> BTreeMap<String, String> {
        let pin = |name: String| {
            let version = self.versions.get(&name).cloned().unwrap_or_default();
            (name, version)
        };
        names.into_iter().map(pin).collect()
    }
}

/// Checks a document and makes it ready to be stored.
pub(super) fn check(
    kind: ResourceKind,
    id: &str,
    mut given: Map<String, Value>,
    limits: &DocumentLimits,
    loaded: &Loaded,
) -> Result<ResourceRow, Vec<FieldError>> {
    // What `GET` shows can be put back as it is.
    let is_another = given.remove("id").is_some_and(|given| !given.is_null() && given != id);
    let checked = check_fields(kind, id, given, limits, loaded);
    if !is_another {
        return checked;
    }
    let mut faults = vec![fault("id", "must be the id of the path")];
    faults.extend(checked.err().into_iter().flatten());
    Err(faults)
}

/// The same for a document without an id of its own.
fn check_fields(
    kind: ResourceKind,
    id: &str,
    given: Map<String, Value>,
    limits: &DocumentLimits,
    loaded: &Loaded,
) -> Result<ResourceRow, Vec<FieldError>> {
    if id.is_empty() || id.chars().count() > LONGEST_ID || id.chars().any(char::is_control) {
        let message = format!("must have 1 to {LONGEST_ID} characters, none of them a control character");
        return Err(vec![FieldError { path: "id".to_owned(), message }]);
    }
    let sample = sample(kind);
    let given = Value::Object(given);
    match kind {
        ResourceKind::Members => json_shape::read::<Member>(given, &sample).and_then(|member| {
            let row = row(kind, id, Some(member.brand_id.as_str().to_owned()), None, &member)?;
            if row.body.get().len() > limits.member {
                let message = format!("a member may be at most {} bytes", limits.member);
                return Err(vec![FieldError { path: "tags".to_owned(), message }]);
            }
            Ok(row)
        }),
        ResourceKind::Templates => json_shape::read::<Template>(given, &sample).and_then(|template| {
            let version = version_of(id, &template, &limits.render, loaded)?;
            row(kind, id, Some(template.brand_id.as_str().to_owned()), Some(version), &template)
        }),
        ResourceKind::Partials => json_shape::read::<Partial>(given, &sample).and_then(|partial| {
            let version = version_of_partial(id, &partial, &limits.render, loaded)?;
            row(kind, id, None, Some(version), &partial)
        }),
        ResourceKind::Subscriptions => {
            json_shape::read::<Subscription>(given, &sample).and_then(|subscription| {
                let brand = subscription.brand_id.as_ref().map(|id| id.as_str().to_owned());
                row(kind, id, brand, None, &subscription)
            })
        }
        ResourceKind::AbandonedCarts => json_shape::read::<AbandonedCart>(given, &sample).and_then(|cart| {
            let brand = cart.brand_id.as_ref().map(|id| id.as_str().to_owned());
            let row = row(kind, id, brand, None, &cart)?;
            Ok(ResourceRow { status: Some(cart.status.as_str()), ..row })
        }),
        ResourceKind::Coupons | ResourceKind::Storecards => json_shape::read::<Voucher>(given, &sample)
            .and_then(|voucher| row(kind, id, Some(voucher.brand_id.as_str().to_owned()), None, &voucher)),
        ResourceKind::Orders => {
            json_shape::read::<Order>(given, &sample).and_then(|order| row(kind, id, None, None, &order))
        }
        ResourceKind::Stores => json_shape::read::<StoreSettings>(given, &sample).and_then(|settings| {
            check_replies(settings.look())?;
            row(kind, id, None, None, &settings)
        }),
        ResourceKind::Brands => json_shape::read::<Brand>(given, &sample).and_then(|brand| {
            check_replies(brand.look())?;
            row(kind, id, None, None, &brand)
        }),
    }
}

/// What stands in `Reply-To` must be what every relay takes. Those that were stored before are left out of mails.
fn check_replies(look: Look<'_>) -> Result<(), Vec<FieldError>> {
    let given = [("reply_to", look.reply_to), ("support_email", look.support_email)];
    let is_faulty = |(_, address): &(&str, Option<&Address>)| address.is_some_and(Address::needs_smtputf8);
    let faults: Vec<_> = given
        .into_iter()
        .filter(is_faulty)
        .map(|(path, _)| {
            fault(
                path,
                "must have only ASCII characters before the @, as many relays take no others in `Reply-To`",
            )
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Documents that are right, with one entry in each list.
pub(super) fn sample(kind: ResourceKind) -> Value {
    let (link, sender) = ("https://shop.example/", json!({"email": "a@shop.example"}));
    match kind {
        ResourceKind::Subscriptions => json!({"state": "draft", "cart_link": link, "shopper": {}}),
        ResourceKind::AbandonedCarts => json!({"recovery_link": link, "currency": "EUR", "total": "1",
            "status": "abandoned", "customer": {}, "items": [{"name": "a", "unit_price": "1", "quantity": 1}]}),
        ResourceKind::Orders => json!({"endUser": {}, "paymentStatus": "PENDING", "currency": "EUR",
            "totalAmount": "1", "items": [{"name": "a", "unitPrice": "1", "quantity": 1}],
            "payments": [{"paymentId": "a"}],
            "subscription": {"recurring": true, "trial": false, "conversion": false,
                "resumeOffer": {"resumesAt": "2026-01-01T00:00:00Z"}}}),
        ResourceKind::Brands => json!({"name": "a", "sender": sender}),
        ResourceKind::Templates => {
            json!({"brand_id": "a", "title": "a", "subject": "a", "html": "a", "sender": sender,
                "class": "transactional", "on_crash": "resend"})
        }
        ResourceKind::Partials => json!({"html": "a"}),
        ResourceKind::Members => json!({"brand_id": "a", "email": "a@shop.example", "tags": {}}),
        ResourceKind::Coupons | ResourceKind::Storecards => json!({"brand_id": "a", "title": "a"}),
        ResourceKind::Stores => json!({"alternativeNonRecurringCommunications": true, "sender": sender,
            "bindings": [{"template": "ORDERCONFIRMATION", "templateDefinitionName": "a"}]}),
    }
}

fn row(
    kind: ResourceKind,
    id: &str,
    brand_id: Option<String>,
    version: Option<NewTemplateVersion>,
    document: &impl Serialize,
) -> Result<ResourceRow, Vec<FieldError>> {
    let body = serde_json::value::to_raw_value(document)
        .map_err(|error| vec![FieldError { path: String::new(), message: error.to_string() }])?;
    Ok(ResourceRow { kind, id: id.to_owned(), brand_id, status: None, version, body })
}

fn version_of(
    id: &str,
    template: &Template,
    limits: &RenderLimits,
    loaded: &Loaded,
) -> Result<NewTemplateVersion, Vec<FieldError>> {
    let parts = [("subject", &template.subject), ("html", &template.html)];
    let blank: Vec<_> = parts.into_iter().filter(|(_, text)| text.trim().is_empty()).collect();
    if !blank.is_empty() {
        return Err(blank.into_iter().map(|(path, _)| fault(path, "must not be blank")).collect());
    }
    let source = TemplateSource {
        subject: template.subject.clone(),
        html: template.html.clone(),
        text: template.text.clone(),
    };
    let checked = render::check_with(&source, &loaded.partials, limits)
        .map_err(|faults| faults.into_iter().map(FieldError::from).collect::<Vec<_>>())?;
    Ok(NewTemplateVersion {
        id: Uuid::now_v7().to_string(),
        kind: ResourceKind::Templates,
        template: id.to_owned(),
        partials: loaded.pinned(checked.partials),
        source: checked.source,
        tags: checked.tags,
        sender: template.sender.clone().map(Into::into),
        class: template.class,
        on_crash: template.on_crash,
        language: template.language.as_ref().map(|language| language.as_str().to_owned()),
    })
}

fn version_of_partial(
    name: &str,
    partial: &Partial,
    limits: &RenderLimits,
    loaded: &Loaded,
) -> Result<NewTemplateVersion, Vec<FieldError>> {
    if !is_partial_name(name) {
        let message = "must be a name as templates spell it: 1 to 64 letters, digits, `_`, `-` and `.`";
        return Err(vec![fault("id", message)]);
    }
    if partial.html.trim().is_empty() {
        return Err(vec![fault("html", "must not be blank")]);
    }
    let used = render::check_partial(name, partial, &loaded.partials, limits)
        .map_err(|faults| faults.into_iter().map(FieldError::from).collect::<Vec<_>>())?;
    Ok(NewTemplateVersion {
        id: Uuid::now_v7().to_string(),
        kind: ResourceKind::Partials,
        template: name.to_owned(),
        partials: loaded.pinned(used),
        source: TemplateSource {
            subject: String::new(),
            html: partial.html.clone(),
            text: partial.text.clone(),
        },
        tags: Vec::new(),
        sender: None,
        class: None,
        on_crash: CrashPolicy::Resend,
        language: None,
    })
}

impl From<render::TemplateFault> for FieldError {
    fn from(fault: render::TemplateFault) -> Self {
        let place = match (fault.line, fault.column) {
            (Some(line), Some(column)) => format!("line {line} column {column}: "),
            (Some(line), None) => format!("line {line}: "),
            _ => String::new(),
        };
        Self { path: fault.part.to_string(), message: format!("{place}{}", fault.message) }
    }
}
