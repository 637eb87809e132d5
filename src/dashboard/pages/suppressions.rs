//! `/suppressions`: addresses that get no mail of a merchant, or no promotional mail; adding and removing them.
//!
//! Who sees no addresses sees no more of these than their domains, and pages through them by ids.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};

use crate::{
    dashboard::{
        form::{Act, Asked, Fields},
        layout,
        page_error::{PageError, encoded},
        parts::{Badge, Button, More, NoMore, Time},
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
    },
    http::cut_to_page,
    mail::{Address, MerchantId, SuppressionReason, SuppressionScope},
    shop::SingleLine,
    store::{NewSuppression, SuppressionRecord},
};

/// Suppressions on a page.
const LISTED: u32 = 100;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/suppressions", get(list))
        .route("/suppressions/add", post(add))
        .route("/suppressions/remove", post(remove))
}

#[derive(Template)]
#[template(path = "dashboard/suppressions.html")]
struct Page<'a> {
    viewer: &'a Viewer,
    for_all: bool,
    merchant: String,
    address: String,
    fault: Option<String>,
    no_more: Option<NoMore>,
    rows: Vec<Row>,
    more: More,
    reasons: Vec<&'static str>,
    scopes: Vec<&'static str>,
}

struct Row {
    address: String,
    reason: &'static str,
    scope: Badge,
    note: String,
    since: Time,
    until: Option<Time>,
    button: Option<Button>,
}

/// The merchant that is meant, where this operator may see it; the first where none is named.
async fn merchant_of(
    board: &DashboardState,
    viewer: &Viewer,
    fields: &Fields,
) -> Result<Option<MerchantId>, PageError> {
    let missing = || PageError::not_found("merchant");
    let asked: Option<MerchantId> =
        fields.get("merchant")?.map(str::parse).transpose().map_err(|_| missing())?;
    match (&viewer.merchant, asked) {
        (Some(own), Some(asked)) if *own != asked => Err(missing()),
        (Some(own), _) => Ok(Some(own.clone())),
        (None, Some(asked)) => {
            board.app.store.merchant(&asked).await?.map(|merchant| Some(merchant.id)).ok_or_else(missing)
        }
        (None, None) => Ok(board.app.store.merchants("", 1).await?.pop().map(|merchant| merchant.id)),
    }
}

async fn list(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let merchant = merchant_of(&board, &viewer, &fields).await?;
    let asked = fields.get("address")?.unwrap_or_default().to_owned();
    let (address, fault) = match asked.parse::<Address>() {
        Ok(address) => (Some(address), None),
        Err(_) if asked.is_empty() => (None, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let before = fields.get("before")?.unwrap_or_default();
    let mut found = match &merchant {
        Some(merchant) if fault.is_none() => {
            board.app.store.newest_suppressions(merchant, address.as_ref(), before, LISTED + 1).await?
        }
        _ => Vec::new(),
    };
    let has_more = cut_to_page(&mut found, LISTED);
    let name = merchant.as_ref().map(ToString::to_string).unwrap_or_default();
    let next = found.last().filter(|_| has_more);
    let first = format!("/suppressions?merchant={}", encoded(&name));
    let href = next.map(|last| format!("{first}&before={}", last.id));
    let no_more = NoMore::when(found.is_empty() && !before.is_empty() && fault.is_none(), first);
    let page = Page {
        rows: found.into_iter().map(|record| Row::of(record, &viewer)).collect(),
        viewer: &viewer,
        for_all: viewer.merchant.is_none(),
        merchant: name,
        address: asked,
        fault,
        no_more,
        more: More { href, label: "Older ones" },
        reasons: SuppressionReason::ALL.iter().map(|reason| reason.as_str()).collect(),
        scopes: SuppressionScope::ALL.iter().map(|scope| scope.as_str()).collect(),
    };
    Ok(layout::page(&viewer, "Suppressions", &page))
}

impl Row {
    fn of(record: SuppressionRecord, viewer: &Viewer) -> Self {
        let address = viewer.seen(&record.address);
        let button = viewer.acts().then(|| {
            let question = format!("Let {address} get mails again? Whatever suppresses it is removed.");
            Button::new(viewer, "/suppressions/remove", "Remove")
                .danger(question)
                .with("merchant", record.merchant.as_str())
                .with("id", record.id.as_str())
        });
        Self {
            reason: match record.reason {
                SuppressionReason::Manual => "by hand",
                SuppressionReason::Unsubscribed => "unsubscribed",
                SuppressionReason::HardBounce => "no such address",
                SuppressionReason::Complaint => "complaint",
            },
            scope: match record.scope {
                SuppressionScope::All => Badge::warns("no mail"),
                SuppressionScope::Promotional => Badge::over("no promotional mail"),
            },
            note: viewer.seen(&record.note.unwrap_or_default()),
            since: Time(record.created_at),
            until: record.expires_at.map(Time),
            address,
            button,
        }
    }
}

async fn add(
    State(board): State<Arc<DashboardState>>,
    Act { viewer, fields }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let merchant =
        merchant_of(&board, &viewer, &fields).await?.ok_or_else(|| PageError::not_found("merchant"))?;
    let given = fields.need("address")?;
    let address: Address =
        given.parse().map_err(|error| PageError::bad(format!("`{given}` is no address: {error}.")))?;
    let unknown = |error: crate::mail::UnknownWord| PageError::bad(format!("{error}."));
    let reason: SuppressionReason = fields.need("reason")?.parse().map_err(unknown)?;
    let scope: SuppressionScope = fields.need("scope")?.parse().map_err(unknown)?;
    let note = fields.get("note")?.map(|note| SingleLine::<1000>::new(note.to_owned())).transpose();
    let note = note.map_err(|why| PageError::bad(format!("The note {why}.")))?;
    let suppression = NewSuppression {
        address,
        reason,
        scope,
        note: note.map(|note| note.as_str().to_owned()),
        expires_at: None,
        created_at: None,
    };
    viewer.store(&board.app).put_suppression(&merchant, suppression).await?;
    let what = match scope {
        SuppressionScope::All => "no mail",
        SuppressionScope::Promotional => "no promotional mail",
    };
    Ok(back(&merchant, Flash::done(format!("The address gets {what} any more."))))
}

async fn remove(
    State(board): State<Arc<DashboardState>>,
    Act { viewer, fields }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let merchant =
        merchant_of(&board, &viewer, &fields).await?.ok_or_else(|| PageError::not_found("merchant"))?;
    let found = board.app.store.suppression_with_id(&merchant, fields.need("id")?).await?;
    let was_suppressed = match found {
        Some(address) => viewer.store(&board.app).remove_suppression(&merchant, &address).await?,
        None => false,
    };
    let said = match was_suppressed {
        true => Flash::done("The address gets mails again."),
        false => Flash::not("Nothing was done: the address is not suppressed any more."),
    };
    Ok(back(&merchant, said))
}

fn back(merchant: &MerchantId, said: Flash) -> Response {
    back_to(&format!("/suppressions?merchant={merchant}"), said)
}
