//! What merchants' systems tell postroom: each kind's document, checked before it is stored.

use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    error::{FieldError, fault},
    json_shape,
};
use crate::{
    app::App,
    render::{self, RenderLimits},
    shop::{
        ResourceKind, TemplateSource,
        cart::AbandonedCart,
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

/// Checks a document and makes it ready to be stored.
pub(super) fn check(
    kind: ResourceKind,
    id: &str,
    mut given: Map<String, Value>,
    limits: &DocumentLimits,
) -> Result<ResourceRow, Vec<FieldError>> {
    if id.is_empty() || id.chars().count() > LONGEST_ID || id.chars().any(char::is_control) {
        let message = format!("must have 1 to {LONGEST_ID} characters, none of them a control character");
        return Err(vec![FieldError { path: "id".to_owned(), message }]);
    }
    // What `GET` shows can be put back as it is.
    if given.get("id").is_some_and(|given| given == id) {
        given.remove("id");
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
            let version = version_of(id, &template, &limits.render)?;
            row(kind, id, Some(template.brand_id.as_str().to_owned()), Some(version), &template)
        }),
        ResourceKind::Subscriptions => json_shape::read::<Subscription>(given, &sample)
            .and_then(|subscription| row(kind, id, None, None, &subscription)),
        ResourceKind::AbandonedCarts => json_shape::read::<AbandonedCart>(given, &sample).and_then(|cart| {
            let row = row(kind, id, None, None, &cart)?;
            Ok(ResourceRow { status: Some(cart.status.as_str()), ..row })
        }),
        ResourceKind::Coupons | ResourceKind::Storecards => json_shape::read::<Voucher>(given, &sample)
            .and_then(|voucher| row(kind, id, Some(voucher.brand_id.as_str().to_owned()), None, &voucher)),
        ResourceKind::Orders => {
            json_shape::read::<Order>(given, &sample).and_then(|order| row(kind, id, None, None, &order))
        }
        ResourceKind::Stores => json_shape::read::<StoreSettings>(given, &sample)
            .and_then(|settings| row(kind, id, None, None, &settings)),
        ResourceKind::Brands => {
            json_shape::read::<Brand>(given, &sample).and_then(|brand| row(kind, id, None, None, &brand))
        }
    }
}

/// Documents that are right, with one entry in each list.
fn sample(kind: ResourceKind) -> Value {
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
    let checked = render::check(&source, limits)
        .map_err(|faults| faults.into_iter().map(FieldError::from).collect::<Vec<_>>())?;
    Ok(NewTemplateVersion {
        id: Uuid::now_v7().to_string(),
        template: id.to_owned(),
        source: checked.source,
        tags: checked.tags,
        sender: template.sender.clone().map(Into::into),
        class: template.class,
        on_crash: template.on_crash,
        language: template.language.as_ref().map(|language| language.as_str().to_owned()),
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
