//! `/merchants` and `/merchants/{id}`: settings, limits and credentials without their secrets; suspending one.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};

use crate::{
    dashboard::{
        form::{Act, Asked},
        layout,
        page_error::PageError,
        parts::{Badge, Button, More, NoMore, Time},
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
        words,
    },
    http::cut_to_page,
    mail::{MerchantId, Timestamp},
    store::{Merchant, MerchantChange},
};

/// Merchants on a page.
const LISTED: u32 = 100;
/// Credentials that are shown of each kind.
const CREDENTIALS: usize = 100;
/// Kinds of refused requests that are shown, and of how long.
const REFUSED: (u32, Duration) = (20, Duration::from_secs(60 * 60));

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/merchants", get(list))
        .route("/merchants/{id}", get(show))
        .route("/merchants/{id}/suspend", post(suspend))
        .route("/merchants/{id}/resume", post(resume))
        .route("/merchants/{id}/rate", post(set_rate))
}

#[derive(Template)]
#[template(path = "dashboard/merchants.html")]
struct ListPage {
    no_more: Option<NoMore>,
    merchants: Vec<Row>,
    more: More,
}

struct Row {
    id: String,
    name: String,
    country: String,
    rate: String,
    state: Badge,
    test: Option<Badge>,
}

#[derive(Template)]
#[template(path = "dashboard/merchant.html")]
struct Page<'a> {
    viewer: &'a Viewer,
    id: String,
    name: String,
    country: String,
    language: String,
    sender: String,
    rate: String,
    state: Badge,
    test: Option<Badge>,
    suspended: Option<Time>,
    waiting: String,
    buttons: Vec<Button>,
    may_administer: bool,
    accounts: Vec<(String, Time)>,
    tokens: Vec<TokenRow>,
    operators: Vec<(String, String)>,
    /// What requests of the last hour were answered that were refused, and how many.
    refused: Vec<(String, String)>,
}

struct TokenRow {
    id: String,
    abilities: String,
    created: Time,
    expires: Option<Time>,
    state: Badge,
    test: Option<Badge>,
}

fn state_of(merchant: &Merchant) -> Badge {
    if merchant.suspended_at.is_some() { Badge::warns("suspended") } else { Badge::good("active") }
}

/// The mark of a merchant all of whose mails are only tried out.
fn mark_of(merchant: &Merchant) -> Option<Badge> {
    merchant.is_test.then(|| Badge::test("merchant"))
}

async fn list(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let after = fields.get("after")?.unwrap_or_default();
    let mut merchants = match &viewer.merchant {
        Some(own) => board.app.store.merchant(own).await?.into_iter().collect(),
        None => board.app.store.merchants(after, LISTED + 1).await?,
    };
    let has_more = cut_to_page(&mut merchants, LISTED);
    let next = merchants.last().filter(|_| has_more).map(|last| format!("/merchants?after={}", last.id));
    let no_more = NoMore::when(merchants.is_empty() && !after.is_empty(), "/merchants");
    let rows = merchants.into_iter().map(|merchant| Row {
        state: state_of(&merchant),
        test: mark_of(&merchant),
        id: merchant.id.to_string(),
        name: merchant.name,
        country: merchant.country,
        rate: merchant.mails_rate.unwrap_or_default(),
    });
    let more = More { href: next, label: "Next page" };
    let page = ListPage { no_more, merchants: rows.collect(), more };
    Ok(layout::page(&viewer, "Merchants", &page))
}

/// The merchant that a path names, where this operator may see it.
fn id_of(viewer: &Viewer, text: &str) -> Result<MerchantId, PageError> {
    let id: MerchantId = text.parse().map_err(|_| PageError::not_found("merchant"))?;
    let is_seen = viewer.merchant.as_ref().is_none_or(|own| *own == id);
    is_seen.then_some(id).ok_or_else(|| PageError::not_found("merchant"))
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (store, id) = (&board.app.store, id_of(&viewer, &id)?);
    let merchant = store.merchant(&id).await?.ok_or_else(|| PageError::not_found("merchant"))?;
    let (accounts, tokens, operators) =
        tokio::try_join!(store.accounts(Some(&id)), store.tokens(Some(&id)), store.operators(Some(&id)))?;
    let waiting = store.waiting_of(&id).await?;
    let now = crate::clock::now();
    let refused = store.refused_requests(Some(&id), now - REFUSED.1, REFUSED.0).await?;
    let tokens = tokens.into_iter().rev().take(CREDENTIALS).map(|token| TokenRow {
        id: token.id.to_string(),
        abilities: token.abilities,
        created: Time(token.created_at),
        expires: token.expires_at.map(Time),
        state: state_of_token(token.revoked_at, token.expires_at, now),
        test: token.is_test.then(|| Badge::test("token")),
    });
    let sender = merchant.sender.as_ref().map(|sender| sender.email.to_string()).unwrap_or_default();
    let page = Page {
        state: state_of(&merchant),
        test: mark_of(&merchant),
        suspended: merchant.suspended_at.map(Time),
        waiting: words::counted_mails(waiting),
        buttons: buttons(&viewer, &merchant),
        may_administer: viewer.administers_everything(),
        accounts: accounts
            .into_iter()
            .take(CREDENTIALS)
            .map(|each| (each.username, Time(each.created_at)))
            .collect(),
        tokens: tokens.collect(),
        operators: operators.into_iter().map(|each| (each.name, each.role.to_string())).collect(),
        refused: refused.into_iter().map(|each| (words::number(each.number), each.what)).collect(),
        id: id.to_string(),
        name: merchant.name,
        country: merchant.country,
        language: merchant.language.unwrap_or_default(),
        sender: viewer.seen(&sender),
        rate: merchant.mails_rate.unwrap_or_default(),
        viewer: &viewer,
    };
    Ok(layout::page(&viewer, &page.name, &page))
}

fn state_of_token(revoked: Option<Timestamp>, expires: Option<Timestamp>, now: Timestamp) -> Badge {
    match (revoked, expires) {
        (Some(_), _) => Badge::over("revoked"),
        (None, Some(expires)) if expires <= now => Badge::over("expired"),
        _ => Badge::good("works"),
    }
}

fn buttons(viewer: &Viewer, merchant: &Merchant) -> Vec<Button> {
    if !viewer.administers_everything() {
        return Vec::new();
    }
    let to = |what: &str| format!("/merchants/{}/{what}", merchant.id);
    vec![match merchant.suspended_at {
        Some(_) => Button::new(viewer, to("resume"), "Resume").primary(),
        None => Button::new(viewer, to("suspend"), "Suspend").danger(format!(
            "Suspend {}? Nothing is taken from it any more, and its mails wait.",
            merchant.name
        )),
    }]
}

async fn suspend(
    State(board): State<Arc<DashboardState>>,
    Path(id): Path<String>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    set_suspended(&board, &viewer, &id, true).await
}

async fn resume(
    State(board): State<Arc<DashboardState>>,
    Path(id): Path<String>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    set_suspended(&board, &viewer, &id, false).await
}

async fn set_suspended(
    board: &DashboardState,
    viewer: &Viewer,
    id: &str,
    is_suspended: bool,
) -> Result<Response, PageError> {
    viewer.may_administer()?;
    let id = id_of(viewer, id)?;
    viewer.sees_everything()?;
    let store = viewer.store(&board.app);
    store.merchant(&id).await?.ok_or_else(|| PageError::not_found("merchant"))?;
    let changed = store.suspend_merchant(&id, is_suspended).await?;
    let said = match (changed, is_suspended) {
        (true, true) => Flash::done("The merchant is suspended: its mails wait, its requests are refused."),
        (true, false) => Flash::done("The merchant goes on."),
        (false, _) => Flash::not("Nothing was done: it is so already."),
    };
    Ok(back_to(&format!("/merchants/{id}"), said))
}

async fn set_rate(
    State(board): State<Arc<DashboardState>>,
    Path(id): Path<String>,
    Act { viewer, fields }: Act,
) -> Result<Response, PageError> {
    viewer.may_administer()?;
    let id = id_of(&viewer, &id)?;
    viewer.sees_everything()?;
    let rate = fields.get("rate")?.map(str::to_owned);
    if let Some(rate) = &rate
        && let Err(error) = rate.parse::<crate::limits::Rate>()
    {
        return Err(PageError::bad(format!("`{rate}`: {error}.")));
    }
    let change = MerchantChange { mails_rate: Some(rate.clone()), ..MerchantChange::default() };
    let changed = viewer.store(&board.app).change_merchant(&id, change).await?;
    changed.ok_or_else(|| PageError::not_found("merchant"))?;
    let said = rate.map_or_else(
        || "It has the rate of each merchant.".to_owned(),
        |rate| format!("Its own rate is {rate}."),
    );
    Ok(back_to(&format!("/merchants/{id}"), Flash::done(said)))
}
