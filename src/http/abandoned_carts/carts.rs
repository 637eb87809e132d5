//! A merchant's carts with their reminders, for looking at.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        auth::Caller,
        error::{FieldError, Refusal, fault},
        pagination::QueryOf,
        stored::document,
    },
    mail::{MailState, Timestamp},
    shop::{
        Ability, ResourceKind,
        cart::{AbandonedCart, CartStatus},
    },
    store::{CartsPage, LookUps, Merchant, ReminderRecord, Stored},
};

/// A cart with its reminders.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CartView {
    /// The merchant's id for it.
    id: String,
    /// The same, by the name that paths have for it.
    identifier: String,
    #[serde(flatten)]
    cart: AbandonedCart,
    /// The latest 100, oldest first.
    reminders: Vec<ReminderView>,
}

/// A reminder of a cart.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ReminderView {
    /// The id of its mail.
    mail: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    when: Timestamp,
    /// Its subject.
    subject: String,
    /// Where its mail is on its way.
    state: MailState,
    /// Whether it is only tried out; absent where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
}

/// A success with its content.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CartAnswer<T> {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    data: T,
}

/// A page of carts.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CartsAnswer {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// The most recently stored first.
    data: Vec<CartView>,
    pagination: Pagination,
}

/// Which page this is.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Pagination {
    /// From 1.
    page: u32,
    /// The most carts on a page.
    per_page: u32,
    /// How many carts there are on all pages.
    total: u64,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CartsQuery {
    /// From 1, the default.
    #[param(value_type = Option<u32>, minimum = 1)]
    page: Option<String>,
    /// 1 to 100; 20 where not given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    per_page: Option<String>,
    /// Only carts of this status.
    #[param(value_type = Option<CartStatus>)]
    status: Option<String>,
}

#[utoipa::path(get, path = "/abandoned-carts", tag = "abandoned carts", params(CartsQuery),
    responses((status = 200, body = CartsAnswer)))]
pub(in crate::http) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryOf(query): QueryOf<CartsQuery>,
) -> Result<Json<CartsAnswer>, Refusal> {
    caller.may(Ability::CartsRead)?;
    let page = number("page", query.page.as_deref(), 1, u32::MAX)?;
    let per_page = number("per_page", query.per_page.as_deref(), 20, 100)?;
    let status = query.status.filter(|status| !status.is_empty()).map(|status| status.parse());
    let status: Option<CartStatus> = status
        .transpose()
        .map_err(|_| invalid(vec![fault("status", "The status field must be abandoned or recovered.")]))?;
    let skip = u64::from(page - 1) * u64::from(per_page);
    let CartsPage { carts, total } = app.store.carts(&caller.merchant.id, status, skip, per_page).await?;
    let data = views(&app, &caller.merchant, carts).await?;
    Ok(Json(CartsAnswer { status: "success", data, pagination: Pagination { page, per_page, total } }))
}

#[utoipa::path(get, path = "/abandoned-carts/{identifier}", tag = "abandoned carts",
    params(("identifier" = String, Path)),
    responses((status = 200, body = CartAnswer<CartView>)))]
pub(in crate::http) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(identifier): Path<String>,
) -> Result<Json<CartAnswer<CartView>>, Refusal> {
    caller.may(Ability::CartsRead)?;
    let look_ups = app.store.look_ups(&caller.merchant.id, "cart");
    let stored = find(&look_ups, &identifier).await?;
    let data = views(&app, &caller.merchant, vec![stored]).await?.pop().ok_or_else(Refusal::unavailable)?;
    Ok(Json(CartAnswer { status: "success", data }))
}

pub(super) async fn find(look_ups: &LookUps, identifier: &str) -> Result<Stored, Refusal> {
    let stored = look_ups.document(ResourceKind::AbandonedCarts, identifier).await?;
    stored.ok_or_else(|| Refusal::not_found("Abandoned cart"))
}

async fn views(app: &App, merchant: &Merchant, carts: Vec<Stored>) -> Result<Vec<CartView>, Refusal> {
    let mut reminders = app.store.reminders(&merchant.id, carts.iter().map(|cart| &*cart.id)).await?;
    let view = |stored: Stored| {
        let cart = document(&stored)?;
        let reminders = reminders.remove(&stored.id).unwrap_or_default();
        let reminders = reminders.into_iter().map(Into::into).collect();
        Ok(CartView { id: stored.id.clone(), identifier: stored.id, cart, reminders })
    };
    carts.into_iter().map(view).collect()
}

impl From<ReminderRecord> for ReminderView {
    fn from(ReminderRecord { mail, recorded_at, subject, state, is_test }: ReminderRecord) -> Self {
        Self { mail: mail.to_string(), when: recorded_at, subject, state, test: is_test }
    }
}

fn number(path: &str, given: Option<&str>, default: u32, most: u32) -> Result<u32, Refusal> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(default) };
    let number = given.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| match most {
        u32::MAX => invalid(vec![fault(path, &format!("The {path} field must be a number from 1."))]),
        most => invalid(vec![fault(path, &format!("The {path} field must be a number from 1 to {most}."))]),
    })
}

/// The envelope's message is the first fault: there is room for one, and the others are in `errors`.
pub(super) fn invalid(faults: Vec<FieldError>) -> Refusal {
    let message = faults.first().map(|fault| fault.message.clone()).unwrap_or_default();
    Refusal { message, ..Refusal::invalid(faults) }
}
