//! Passes: what a member is shown of a coupon or a store card, behind a link that nobody else can guess.
//!
//! A request for a mail makes the pass ([`PassRequest`]); the mail links to it; the page shows what the merchant's
//! documents say at that moment. A mail has one link, so a coupon and a store card in one request share one pass.

mod page;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};

use super::{accept_language::Preferred, auth::Caller, error::Refusal, stored::document};
use crate::{
    app::App,
    clock,
    shop::{
        ResourceKind, SingleLine,
        language::Language,
        mailing::{Brand, Member},
        pass::{self, PassSubject, Voucher},
    },
    store::{Merchant, NewPass, Pass},
};

use page::{Kind, PassPage, ShownVoucher};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/passes/{id}", get(show))
}

/// The pass that a request for a mail asks for.
#[derive(Debug, Default)]
pub(super) struct PassRequest {
    pub(super) coupon: Option<String>,
    pub(super) storecard: Option<String>,
    pub(super) identifier: Option<SingleLine>,
}

impl PassRequest {
    /// The pass for a member of a brand; none where it asks for neither a coupon nor a store card.
    ///
    /// # Errors
    /// 422 naming the field whose coupon or store card the brand does not have; 503 when the database does not answer.
    pub(super) async fn judge(
        &self,
        app: &App,
        caller: &Caller,
        brand: &str,
        member: &str,
    ) -> Result<Option<NewPass>, Refusal> {
        let merchant = &caller.merchant;
        let wishes = [
            ("coupon_id", ResourceKind::Coupons, &self.coupon),
            ("storecard_id", ResourceKind::Storecards, &self.storecard),
        ];
        for (field, kind, id) in wishes {
            let Some(id) = id else { continue };
            let stored = app.store.resource(&merchant.id, kind, id).await?;
            if stored.is_none_or(|stored| stored.brand_id.as_deref() != Some(brand)) {
                return Err(Refusal::field(field, format!("The selected {field} is invalid.")));
            }
        }
        if self.coupon.is_none() && self.storecard.is_none() {
            return Ok(None);
        }
        let subject = PassSubject {
            coupon: self.coupon.clone(),
            storecard: self.storecard.clone(),
            member: member.to_owned(),
        };
        Ok(Some(NewPass {
            id: subject.secret_id(&merchant.secret),
            merchant: merchant.id.clone(),
            subject,
            identifier: self.identifier.as_ref().map(|identifier| identifier.as_str().to_owned()),
            is_tried_out: caller.is_trying_out,
        }))
    }
}

/// The address of a pass.
pub(super) fn link_to(app: &App, pass: &str) -> String {
    app.config.http.link_to(&pass::path_of(pass))
}

/// Shows a pass to anyone who has its link.
#[utoipa::path(get, path = "/passes/{id}", tag = "mailing", security(()),
    params(("id" = String, Path, description = "The secret id, from `link_to_pass`")),
    responses((status = 200, body = String, content_type = "text/html", description = "The coupon or store card, with a QR code, in the member's language"),
        (status = 404, body = String, content_type = "text/html", description = "There is no such pass, or what it was of is gone")))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Preferred(language): Preferred,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    Ok(match app.store.pass(&id).await? {
        Some(pass) => match page_of(&app, &id, pass).await? {
            Some(page) => page.answer(),
            None => page::missing(language),
        },
        None => page::missing(language),
    })
}

/// The page, from what the merchant's documents say now; none when all that the pass was of is gone, or its merchant is
/// suspended.
async fn page_of(app: &App, id: &str, pass: Pass) -> Result<Option<PassPage>, Refusal> {
    let merchant = app.store.merchant(&pass.merchant).await?;
    let Some(merchant) = merchant.filter(|merchant| merchant.suspended_at.is_none()) else { return Ok(None) };
    let mut vouchers = Vec::new();
    for (kind, of, id) in [
        (Kind::Storecard, ResourceKind::Storecards, &pass.subject.storecard),
        (Kind::Coupon, ResourceKind::Coupons, &pass.subject.coupon),
    ] {
        if let Some(id) = id
            && let Some(stored) = app.store.resource(&merchant.id, of, id).await?
        {
            vouchers.push(ShownVoucher { kind, voucher: document::<Voucher>(&stored)? });
        }
    }
    let Some(first) = vouchers.first() else { return Ok(None) };
    let brand =
        app.store.resource(&merchant.id, ResourceKind::Brands, first.voucher.brand_id.as_str()).await?;
    let brand = brand.map(|brand| document::<Brand>(&brand)).transpose()?;
    let member = app.store.resource(&merchant.id, ResourceKind::Members, &pass.subject.member).await?;
    let member = member.map(|member| document::<Member>(&member)).transpose()?;
    Ok(Some(PassPage {
        language: language_of(member.as_ref(), brand.as_ref(), &merchant),
        timezone: brand.as_ref().and_then(|brand| brand.timezone.clone()),
        brand: brand.map_or(merchant.name, |brand| brand.name.as_str().to_owned()),
        vouchers,
        code: pass.identifier.unwrap_or_else(|| link_to(app, id)),
        now: clock::now(),
    }))
}

fn language_of(member: Option<&Member>, brand: Option<&Brand>, merchant: &Merchant) -> Language {
    let tags =
        [member.and_then(|member| member.language.as_ref()), brand.and_then(|brand| brand.language.as_ref())];
    tags.into_iter()
        .flatten()
        .find_map(|tag| Language::from_tag(tag.as_str()))
        .unwrap_or_else(|| merchant.default_language())
}

#[cfg(test)]
mod tests;
