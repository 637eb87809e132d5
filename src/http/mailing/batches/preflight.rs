//! `POST /api/v1/batches/preflight`: what would become of a batch, without recording or sending anything.
//!
//! The body is read as that of `POST /mails`, a chunk of users at a time, each filled in as far as it takes to see what is
//! missing. Of all messages those are rendered whole that have the most to say: the largest is among them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    routing::post,
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    MailsRequest, SMALL, judge,
    manage::{Forecast, LimitView, end_of, limit_of},
    spool::Spool,
    user_stream::Limits,
    users::{Chunk, Head, User},
};
use crate::{
    admission::Speed,
    app::App,
    clock,
    cpu_pool::Share,
    http::{
        auth::Caller,
        body,
        error::Refusal,
        passes,
        stored::{self, version_called},
    },
    mail::{MailId, MailLane, Mailbox},
    render::{self, Headers, RenderError, Values},
    shop::{
        Ability, TemplateClass, TemplateVersion, UnsubscribeWords,
        filled_mail::{FilledMail, Filling, class_of, sender_of},
        language::Language,
        mailing::{Brand, Member, UNSUBSCRIBE_LINK},
        pass::PassSubject,
    },
    store::{Merchant, NewBatch},
};

/// The most identifiers that are named of each fault.
const EXAMPLES: usize = 100;
/// The most placeholders that are named.
const TAGS: usize = 100;
/// Messages that are rendered whole, of those with the most to say.
const LARGEST: usize = 16;
/// Users that are looked at before another task has its turn.
const AT_A_STRETCH: usize = 50;

/// What would become of a batch.
#[derive(Default, Serialize, ToSchema)]
pub(in crate::http) struct Preflight {
    /// Members that would get a mail each.
    recipients: u64,
    /// Users that are no members of the brand.
    not_found: u64,
    /// Users that are given again: the first entry counts.
    duplicates: u64,
    /// Recipients that are on the suppression list.
    suppressed: u64,
    /// Recipients whose mail cannot be rendered for another reason than a missing value.
    unrenderable: u64,
    /// Placeholders that have no value for some recipients, whose mails would fail.
    missing_tags: Vec<MissingTag>,
    /// About how large the largest message is, in bytes.
    largest_bytes: usize,
    forecast: Forecast,
    examples: Examples,
}

/// A placeholder without a value.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MissingTag {
    tag: String,
    /// How many recipients have none.
    users: u64,
    /// The identifiers of the first hundred.
    examples: Vec<String>,
}

/// Whom it is about: the identifiers of the first hundred of each.
#[derive(Default, Serialize, ToSchema)]
pub(in crate::http) struct Examples {
    not_found: Vec<String>,
    duplicates: Vec<String>,
    suppressed: Vec<String>,
    unrenderable: Vec<String>,
}

pub(in crate::http::mailing) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/batches/preflight", post(preflight))
}

#[utoipa::path(post, path = "/api/v1/batches/preflight", tag = "batches", request_body = MailsRequest,
    responses((status = 200, body = Preflight)))]
pub(in crate::http) async fn preflight(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Preflight>, Refusal> {
    caller.may(Ability::TemplatesStore)?;
    body::expect_json(request.headers())?;
    let merchant = &caller.merchant;
    let (longest, share) = (app.config.http.max_body.0, app.config.batches.spooled_per_merchant.0);
    let spool = Spool::of(request, &merchant.id, longest, share).await?;
    let _turn = if spool.length() > SMALL {
        let turn = app.preflights.hold(Some(&merchant.id), 1, app.config.batches.timeout);
        Some(turn.await.map_err(body::full)?)
    } else {
        None
    };
    let limits = Limits { users: app.config.batches.max_users, user: app.config.http.max_user.0 };
    let head = spool.head(limits).await?;
    let batch = judge(&app, &caller, &head).await?;
    let mut survey = Survey::of(&app, merchant, &head, &batch).await?;
    let mut users = spool.users(limits);
    while let Some(chunk) = users.recv().await {
        survey.look_at(chunk?).await?;
    }
    survey.result().await.map(Json)
}

/// What is found out about a batch.
struct Survey<'a> {
    app: &'a App,
    merchant: &'a Merchant,
    head: &'a Head,
    brand: Brand,
    version: Arc<TemplateVersion>,
    /// Stands for the link to a member's pass: all are of one length.
    pass_link: Option<String>,
    found: Preflight,
    missing: BTreeMap<String, MissingTag>,
    /// The recipients whose values have the most bytes, with these.
    largest: Vec<(usize, Mailbox, Values)>,
}

impl<'a> Survey<'a> {
    async fn of(
        app: &'a App,
        merchant: &'a Merchant,
        head: &'a Head,
        batch: &NewBatch,
    ) -> Result<Self, Refusal> {
        let pass_link = head.coupon_id.clone().map(|coupon| {
            let subject = PassSubject { coupon: Some(coupon), storecard: None, member: String::new() };
            passes::link_to(app, &subject.secret_id(&merchant.secret))
        });
        Ok(Self {
            app,
            merchant,
            head,
            brand: stored::read(&batch.brand)?,
            version: version_called(app, &batch.template_version).await?,
            pass_link,
            found: Preflight::default(),
            missing: BTreeMap::new(),
            largest: Vec::with_capacity(LARGEST + 1),
        })
    }

    async fn look_at(&mut self, chunk: Chunk) -> Result<(), Refusal> {
        for identifier in chunk.repeated {
            note(&mut self.found.duplicates, &mut self.found.examples.duplicates, identifier);
        }
        let ids: Vec<&str> = chunk.users.iter().map(|user| user.identifier.as_str()).collect();
        let members = self.app.store.members(&self.merchant.id, &ids).await?;
        let mut recipients = Vec::with_capacity(chunk.users.len());
        for user in chunk.users {
            match members.get(&user.identifier).map(|member| serde_json::from_str::<Member>(member)) {
                Some(Ok(member)) if member.brand_id.as_str() == self.head.brand_id => {
                    recipients.push((user, member));
                }
                Some(Err(_)) => {
                    self.found.recipients += 1;
                    self.unrenderable(user.identifier);
                }
                Some(Ok(_)) | None => {
                    note(&mut self.found.not_found, &mut self.found.examples.not_found, user.identifier);
                }
            }
        }
        let addresses: Vec<_> = recipients.iter().map(|(_, member)| member.email.clone()).collect();
        let is_promotional = self.is_promotional();
        let suppressed = self.app.store.suppressed(&self.merchant.id, &addresses, is_promotional).await?;
        for (index, (user, member)) in recipients.into_iter().enumerate() {
            self.found.recipients += 1;
            if suppressed.contains(&member.email.search_key()) {
                note(&mut self.found.suppressed, &mut self.found.examples.suppressed, user.identifier);
            } else {
                self.fill_in(user, &member).await?;
            }
            if index % AT_A_STRETCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn is_promotional(&self) -> bool {
        class_of(&self.version, MailLane::Bulk) == TemplateClass::Promotional
    }

    fn unrenderable(&mut self, identifier: String) {
        note(&mut self.found.unrenderable, &mut self.found.examples.unrenderable, identifier);
    }

    /// Sees what a recipient's mail would miss, as `fan_out_batch` does, and how much it has to say.
    async fn fill_in(&mut self, user: User, member: &Member) -> Result<(), Refusal> {
        let Ok(values) = serde_json::from_str::<Map<String, Value>>(user.json.get()) else {
            self.unrenderable(user.identifier);
            return Ok(());
        };
        let (link_to_pass, of_merchant) = (self.pass_link.clone(), self.merchant.locale());
        let filling = Filling { user: values, link_to_pass, of_merchant };
        let link_to = |path: &str| self.app.config.http.link_to(path);
        let filled = FilledMail::of(&self.version, MailLane::Bulk, (&self.brand, member), filling, link_to);
        let values = Values::from(filled.values);
        let share = || Share::Request(self.merchant.id.clone());
        match self.app.templates.missing(share, &self.version, &values).await {
            Ok(tags) if tags.is_empty() => self.consider(member, values),
            Ok(tags) => tags.into_iter().for_each(|tag| self.misses(tag, &user.identifier)),
            Err(RenderError::Busy) => return Err(Refusal::busy()),
            Err(_) => self.unrenderable(user.identifier),
        }
        Ok(())
    }

    fn misses(&mut self, tag: String, identifier: &str) {
        if self.missing.len() == TAGS && !self.missing.contains_key(&tag) {
            return;
        }
        let missing = self.missing.entry(tag.clone()).or_insert_with(|| MissingTag {
            tag,
            users: 0,
            examples: Vec::new(),
        });
        note(&mut missing.users, &mut missing.examples, identifier.to_owned());
    }

    fn consider(&mut self, member: &Member, values: Values) {
        let size = bytes_of(values.as_json());
        if self.largest.len() == LARGEST && self.largest.last().is_some_and(|(least, ..)| size <= *least) {
            return;
        }
        let recipient = Mailbox { name: member.full_name(), email: member.email.clone() };
        self.largest.push((size, recipient, values));
        self.largest.sort_by_key(|(size, ..)| std::cmp::Reverse(*size));
        self.largest.truncate(LARGEST);
    }

    async fn result(mut self) -> Result<Preflight, Refusal> {
        self.found.largest_bytes = self.largest_bytes().await?;
        self.found.missing_tags = std::mem::take(&mut self.missing).into_values().collect();
        self.found.missing_tags.sort_by_key(|missing| std::cmp::Reverse(missing.users));
        let limit = limit_of(self.app, self.merchant);
        let mails = self.found.recipients.saturating_sub(self.found.suppressed);
        let ends_at = |limit: &Speed| end_of(&self.head.schedule, mails, limit.per_second, clock::now());
        self.found.forecast.ends_at = limit.as_ref().map(ends_at);
        self.found.forecast.limited_by = limit.as_ref().map(LimitView::of);
        Ok(self.found)
    }

    async fn largest_bytes(&self) -> Result<usize, Refusal> {
        let (sender, reply_to) = sender_of(&self.version, &self.brand);
        let message_id = format!("{}@{}", MailId::new(), sender.email.domain());
        let mut largest = 0;
        for (_, recipient, values) in &self.largest {
            let share = || Share::Request(self.merchant.id.clone());
            let content = match self.app.templates.render(share, &self.version, values).await {
                Ok(content) => content,
                Err(RenderError::Busy) => return Err(Refusal::busy()),
                Err(_) => continue,
            };
            let link = values.as_json()[UNSUBSCRIBE_LINK].as_str();
            let link = link.filter(|_| self.is_promotional());
            let content = match link {
                Some(link) => render::with_footer(content, &UnsubscribeWords::of(Language::En).footer, link),
                None => content,
            };
            let (reply_to, message_id, date) = (reply_to.as_ref(), message_id.as_str(), clock::now());
            let headers = Headers {
                sender: &sender,
                reply_to,
                recipient,
                message_id,
                date,
                list_unsubscribe: link,
                more: &[],
            };
            let Ok(message) = render::compose(&headers, &content) else { continue };
            let message = self.app.signing.signed(&self.merchant.id, &sender.email, message).await;
            let message = message.map_err(|error| Refusal::failed("a mail could not be signed", &error))?;
            largest = largest.max(message.size());
        }
        Ok(largest)
    }
}

fn note(count: &mut u64, examples: &mut Vec<String>, identifier: String) {
    *count += 1;
    if examples.len() < EXAMPLES {
        examples.push(identifier);
    }
}

/// About how many bytes values have to say.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(fields) => fields.values().map(bytes_of).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        http::test_app::TestApp,
        jobs::{FanOutBatch, Job, source_of},
        store::MailFilter,
    };

    #[tokio::test]
    async fn the_largest_message_is_as_large_as_the_one_that_is_sent() {
        let test = TestApp::start("DE").await;
        let template = json!({"brand_id": "tea", "title": "Hello", "subject": "Hello", "html": "<p>Hello</p>",
            "class": "transactional"});
        test.put_mailing(template).await;
        for field in ["reply_to", "support_email"] {
            let sender = json!({"email": "hello@tea.example"});
            test.put("brands/tea", json!({"name": "Tea", "sender": sender, field: "answers@tea.example"}))
                .await;
            let batch = json!({"brand_id": "tea", "template_id": "hello", "users": [{"identifier": "ann"}]});
            let preflight = test.json("POST /api/v1/batches/preflight", &batch).await.json();
            let queued = test.json("POST /mails", &batch).await.json();
            let id = queued["data"]["batch_id"].as_str().unwrap();
            FanOutBatch { batch: id.parse().unwrap() }.run(&test.app).await.unwrap();
            let filter = MailFilter { batch: Some(id.to_owned()), limit: 1, ..MailFilter::default() };
            let sent = test.app.store.mails(&filter).await.unwrap();
            let mail = test.app.store.mail_to_look_at(None, sent[0].id).await.unwrap().unwrap();
            let message = source_of(&test.app, &mail).await.unwrap().unwrap();
            assert_eq!(preflight["largest_bytes"], message.size(), "{field}");
        }
    }
}
