//! `/u/<token>`: what unsubscribe links lead to, for mail programs and for people.
//!
//! A POST unsubscribes at once, whatever its body says (RFC 8058): no cookie, no sign-in, no redirect. A GET only shows a
//! page with a button, because link scanners fetch what is in mails. A token that leads nowhere gets a page that says no
//! more than that.

mod page;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::{Redirect, Response},
    routing::{get, post},
};

use super::{accept_language::Asked, error::Refusal};
use crate::{
    app::App,
    mail::{Address, UnsubscribeToken},
    shop::language::Language,
    store::UnsubscribeLink,
};
use page::{Shown, UnsubscribePage};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/u/{token}", get(look).post(unsubscribe))
        .route("/u/{token}/undo", post(undo).get(back_to_link))
}

#[utoipa::path(get, path = "/u/{token}", tag = "suppressions", security(()),
    params(("token" = String, Path)),
    responses((status = 200, body = String, content_type = "text/html"),
        (status = 404, body = String, content_type = "text/html", description = "The link leads nowhere")))]
pub(super) async fn look(
    State(app): State<Arc<App>>,
    Asked(language): Asked,
    Path(token): Path<String>,
) -> Result<Response, Refusal> {
    let Some((token, link)) = follow(&app, &token).await? else { return Ok(page::missing(language)) };
    let shown = if link.is_unsubscribed { Shown::Done } else { Shown::Question };
    show(&app, (&token, &link), language, shown).await
}

#[utoipa::path(post, path = "/u/{token}", tag = "suppressions", security(()),
    params(("token" = String, Path)),
    responses((status = 200, body = String, content_type = "text/html"),
        (status = 404, body = String, content_type = "text/html", description = "The link leads nowhere")))]
pub(super) async fn unsubscribe(
    State(app): State<Arc<App>>,
    Asked(language): Asked,
    Path(token): Path<String>,
) -> Result<Response, Refusal> {
    let Some((token, link)) = follow(&app, &token).await? else { return Ok(page::missing(language)) };
    // Posted again and again it writes nothing.
    if !link.is_unsubscribed {
        app.store.unsubscribe(&token).await?;
    }
    show(&app, (&token, &link), language, Shown::Done).await
}

#[utoipa::path(post, path = "/u/{token}/undo", tag = "suppressions", security(()),
    params(("token" = String, Path)),
    responses((status = 200, body = String, content_type = "text/html"),
        (status = 404, body = String, content_type = "text/html", description = "The link leads nowhere")))]
pub(super) async fn undo(
    State(app): State<Arc<App>>,
    Asked(language): Asked,
    Path(token): Path<String>,
) -> Result<Response, Refusal> {
    let Some((token, link)) = follow(&app, &token).await? else { return Ok(page::missing(language)) };
    if link.is_unsubscribed {
        app.store.subscribe_again(&token).await?;
    }
    show(&app, (&token, &link), language, Shown::Back).await
}

/// Whoever opens the address of the last page again is led to the link.
async fn back_to_link(Path(token): Path<String>) -> Result<Redirect, Refusal> {
    let token: Result<UnsubscribeToken, _> = token.parse();
    let token = token.map_err(|_| Refusal::not_found("Page"))?;
    Ok(Redirect::to(&format!("../{}", token.as_str())))
}

/// Where a link leads; what does not even look like a token is not asked about.
async fn follow(app: &App, text: &str) -> Result<Option<(UnsubscribeToken, UnsubscribeLink)>, Refusal> {
    let Ok(token) = text.parse::<UnsubscribeToken>() else { return Ok(None) };
    Ok(app.store.unsubscribe_link(&token).await?.map(|link| (token, link)))
}

async fn show(
    app: &App,
    (token, link): (&UnsubscribeToken, &UnsubscribeLink),
    asked: Option<Language>,
    shown: Shown,
) -> Result<Response, Refusal> {
    let merchant = app.store.merchant(&link.merchant).await?;
    let of_mail = || Language::from_tag(&link.language).unwrap_or(Language::En);
    let page = UnsubscribePage {
        token,
        language: asked.unwrap_or_else(of_mail),
        name: merchant.map(|merchant| merchant.name).unwrap_or_default(),
        address: link.address.parse::<Address>().map(|address| address.masked()).unwrap_or_default(),
        shown,
    };
    Ok(page.answer())
}
