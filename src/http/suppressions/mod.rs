//! Postroom's own API for suppressions: addresses that get no mail of a merchant, or no promotional mail.
//!
//! An address is the same in any case, with its domain in Unicode or as A-labels; with a plus it is another one.

mod csv;
mod document;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use serde::Deserialize;

use super::{
    accept,
    auth::Caller,
    body::JsonBody,
    error::{Page, Refusal},
    pagination::{QueryOf, cut_to_page},
};
use crate::{
    app::App,
    mail::{Address, MerchantId, SuppressionReason},
    shop::Ability,
    store::{Quota, SuppressionCursor, SuppressionRecord},
};

pub use csv::{CsvReader, HEAD as CSV_HEAD, line as csv_line};
pub use document::SuppressionView;
pub(super) use document::{Suppression, read};

/// The kind of an import's line.
pub(super) const KIND: &str = "suppressions";
/// The media type of the list as CSV (RFC 4180).
const CSV: &str = "text/csv";
/// Suppressions in one piece of a streamed answer.
const PAGE: u32 = 1_000;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/suppressions", get(list))
        .route("/api/v1/suppressions/{address}", get(show).put(put).delete(remove))
}

/// Which suppressions are asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SuppressionQuery {
    /// Only those with this reason.
    #[param(inline)]
    reason: Option<SuppressionReason>,
    /// Begin after this address.
    after: Option<String>,
    /// The most on a page, 1 to 1,000; 100 where not given. As CSV, everything where neither this nor `after` is given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

#[utoipa::path(get, path = "/api/v1/suppressions", tag = "suppressions", params(SuppressionQuery),
    responses((status = 200, content((Page<SuppressionView> = "application/json"), (String = "text/csv")))))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryOf(query): QueryOf<SuppressionQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=PAGE).contains(&limit) {
        return Err(Refusal::field("limit", "must be 1 to 1000"));
    }
    let after = query.after.as_deref().filter(|after| !after.is_empty());
    let after = after.map(|after| document::address("after", after)).transpose().map_err(Refusal::invalid)?;
    let is_page = query.limit.is_some() || after.is_some();
    let after = after.as_ref().map(SuppressionCursor::after).unwrap_or_default();
    let merchant = &caller.merchant.id;
    let wants_csv = accept::preferred(&headers, ["application/json", CSV]) == CSV;
    if wants_csv && !is_page {
        return Ok(whole(app, merchant.clone(), query.reason));
    }
    let mut found = app.store.suppressions(merchant, query.reason, &after, limit + 1).await?;
    let has_more = cut_to_page(&mut found, limit);
    if wants_csv {
        let lines: String = found.iter().map(csv::line).collect();
        return Ok(as_csv(Body::from(format!("{}{lines}", csv::HEAD))));
    }
    let data: Vec<_> = found.into_iter().map(SuppressionView::from).collect();
    Ok(Page { data, has_more }.into_response())
}

fn as_csv(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"suppressions.csv\""),
    ];
    (headers, body).into_response()
}

/// Everything, written while it is read. A database that goes away breaks the answer off.
fn whole(app: Arc<App>, merchant: MerchantId, reason: Option<SuppressionReason>) -> Response {
    let first = Some((SuppressionCursor::default(), csv::HEAD));
    let pieces = stream::try_unfold(first, move |from| {
        let (app, merchant) = (Arc::clone(&app), merchant.clone());
        async move {
            let Some((after, head)) = from else { return Ok(None) };
            let found = app.store.all_suppressions(&merchant, reason, &after, PAGE).await?;
            let lines: String = found.iter().map(csv::line).collect();
            let next = found.last().filter(|_| found.len() == PAGE as usize);
            let next = next.map(|last| (SuppressionCursor::after_record(last), ""));
            Ok::<_, anyhow::Error>(Some((Bytes::from(format!("{head}{lines}")), next)))
        }
    });
    as_csv(Body::from_stream(pieces))
}

/// The address of a path; what is none is not suppressed.
fn known(text: &str) -> Result<Address, Refusal> {
    document::address("address", text).map_err(|_| Refusal::not_found("Suppression"))
}

async fn found(app: &App, caller: &Caller, address: &Address) -> Result<SuppressionRecord, Refusal> {
    let found = app.store.suppression(&caller.merchant.id, address).await?;
    found.ok_or_else(|| Refusal::not_found("Suppression"))
}

#[utoipa::path(get, path = "/api/v1/suppressions/{address}", tag = "suppressions",
    params(("address" = String, Path)),
    responses((status = 200, body = SuppressionView)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(address): Path<String>,
) -> Result<Json<SuppressionView>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    Ok(Json(found(&app, &caller, &known(&address)?).await?.into()))
}

#[utoipa::path(put, path = "/api/v1/suppressions/{address}", tag = "suppressions", request_body = Suppression,
    params(("address" = String, Path)),
    responses((status = 200, body = SuppressionView), (status = 201, body = SuppressionView)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(address): Path<String>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.may(Ability::ResourcesWrite)?;
    let address = document::address("address", &address).map_err(Refusal::invalid)?;
    let suppression: Suppression = body.parse()?;
    let suppression = suppression.of(address.clone()).map_err(Refusal::invalid)?;
    check_room(&app, &caller, &address).await?;
    let is_new =
        app.store.acting_for(caller.author()).put_suppression(&caller.merchant.id, suppression).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let view = SuppressionView::from(found(&app, &caller, &address).await?);
    Ok((status, Json(view)).into_response())
}

/// A merchant that has as many as it may have can change them, but not add to them.
async fn check_room(app: &App, caller: &Caller, address: &Address) -> Result<(), Refusal> {
    let (merchant, what) = (&caller.merchant.id, Quota::Suppressions);
    let most = app.config.stored.most(what);
    if app.store.reserve_quota(merchant, what, 1, most).await?
        || app.store.suppression(merchant, address).await?.is_some()
    {
        return Ok(());
    }
    let message = format!("A merchant has at most {most} suppressions.");
    Err(Refusal::new(StatusCode::CONFLICT, "too_many", message))
}

#[utoipa::path(delete, path = "/api/v1/suppressions/{address}", tag = "suppressions",
    params(("address" = String, Path)),
    responses((status = 204)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(address): Path<String>,
) -> Result<StatusCode, Refusal> {
    caller.may(Ability::ResourcesWrite)?;
    let store = app.store.acting_for(caller.author());
    match store.remove_suppression(&caller.merchant.id, &known(&address)?).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::not_found("Suppression")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::test_app::TestApp;

    #[tokio::test]
    async fn a_list_is_csv_for_whoever_prefers_it() {
        let test = TestApp::start("DE").await;
        let never = json!({"expires_at": "9999-12-31T23:59:59Z"});
        test.put("suppressions/bob@example.net", never).await;
        for (accept, expected) in [
            ("accept: Text/CSV", "text/csv"),
            ("accept: application/json;q=0.5, text/csv", "text/csv"),
            ("accept: text/csv;q=0.5, application/json", "application/json"),
            ("accept: text/csv;q=0, */*", "application/json"),
            ("x-none: 1", "application/json"),
        ] {
            let listed = test.request("GET /api/v1/suppressions", &[&test.bearer("tea"), accept], "").await;
            assert!(listed.headers["content-type"].starts_with(expected), "{accept}: {listed:?}");
            assert!(listed.text.contains("9999-12-30T22:00:00.999Z"), "{listed:?}");
        }
    }
}
