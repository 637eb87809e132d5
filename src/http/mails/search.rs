//! Finding mails: one query language and the parameters beside it, by the page.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::MailView;
use crate::{
    app::App,
    clock,
    http::{
        auth::Caller,
        error::{FieldError, Refusal},
        pagination::QueryOf,
    },
    mail::{
        Timestamp,
        search::{Condition, MailCount, Query, QueryError},
    },
    shop::Ability,
    store::{FoundMails, MailSearch},
};

/// A page of mails.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailPage {
    /// The mails: newest first with `q`, else oldest first.
    pub data: Vec<MailView>,
    /// Whether there may be more after these.
    pub has_more: bool,
    /// What `after` of the next page has to be, where there may be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The time up to which the page was searched, where its share of work ended before it was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub searched_to: Option<Timestamp>,
    /// How many mails fit in all: on the first page of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<MailCount>,
    /// About how many fit, to two digits, where `count` says that there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
}

impl From<FoundMails> for MailPage {
    fn from(found: FoundMails) -> Self {
        Self {
            has_more: found.next.is_some(),
            next: found.next.map(|id| id.to_string()),
            searched_to: found.searched_to,
            count: found.count,
            estimate: found.estimate,
            data: found.mails.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        let errors = vec![FieldError { path: "q".to_owned(), message: message.clone() }];
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "invalid_query", message).about_form() }
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MailsQuery {
    /// What to search for, such as `order:1001 -state:sent since:7d`: newest first, with a count.
    q: Option<String>,
    state: Option<String>,
    lane: Option<String>,
    /// In any case.
    recipient: Option<String>,
    order: Option<String>,
    cart: Option<String>,
    subscription: Option<String>,
    batch: Option<String>,
    provider_id: Option<String>,
    /// 1 to 1,000; 100 where not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Whether the oldest come first; where not given, only without `q`.
    oldest_first: Option<bool>,
}

#[utoipa::path(get, path = "/api/v1/mails", tag = "mails", params(MailsQuery),
    responses((status = 200, body = MailPage)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryOf(query): QueryOf<MailsQuery>,
) -> Result<Json<MailPage>, Refusal> {
    caller.may(Ability::MailsRead)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        return Err(Refusal::field("limit", "must be 1 to 1000"));
    }
    let after = query
        .after
        .as_deref()
        .map(|id| id.parse().map_err(|_| Refusal::field("after", "must be a mail's id")))
        .transpose()?;
    let search = MailSearch {
        merchant: Some(caller.merchant.id.clone()),
        after,
        limit,
        oldest_first: query.oldest_first.unwrap_or(query.q.is_none()),
        count: query.q.is_some(),
        before: None,
        query: query.searched()?,
    };
    Ok(Json(app.store.search_mails(&search).await?.into()))
}

impl MailsQuery {
    /// The query and the parameters beside it as one query.
    fn searched(self) -> Result<Query, Refusal> {
        let mut query = Query::parse(self.q.as_deref().unwrap_or_default(), clock::now())?;
        if query.merchants().next().is_some() {
            let message = "merchant: is for operators; a merchant finds its own mails";
            return Err(QueryError { at: 1, message: message.to_owned() }.into());
        }
        let batch = |id: String| id.parse().map_err(|_| Refusal::field("batch", "must be a batch's id"));
        let conditions = [
            parsed("state", self.state)?.map(Condition::State),
            parsed("lane", self.lane)?.map(Condition::Lane),
            self.recipient.as_deref().map(Condition::recipient),
            self.order.map(Condition::Order),
            self.cart.map(Condition::Cart),
            self.subscription.map(Condition::Subscription),
            self.batch.map(batch).transpose()?.map(Condition::Batch),
            self.provider_id.map(Condition::ProviderId),
        ];
        for condition in conditions.into_iter().flatten() {
            query = query.and(condition);
        }
        Ok(query)
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    given: Option<String>,
) -> Result<Option<T>, Refusal> {
    given.map(|word| word.parse().map_err(|error| Refusal::field(field, format!("{error}")))).transpose()
}
