//! `/actions` and `/actions/{id}`: one thing done to all mails that fit a query; drafted, confirmed, followed, stopped.

use std::sync::Arc;

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
        page_error::{PageError, encoded},
        parts::{Badge, Button, MailLine, More, NoMore, Time},
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
        words,
    },
    html::written,
    http::cut_to_page,
    jobs,
    mail::{ActionId, ActionKind, ActionResult, ActionState, ActionWish, MailId, MerchantId},
    store::{ActionMoved, ActionRecord, NewAction},
};

/// Actions, and results of one, on a page.
const LISTED: u32 = 100;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/actions", get(list).post(draft))
        .route("/actions/{id}", get(show))
        .route("/actions/{id}/{wish}", post(act))
}

#[derive(Template)]
#[template(path = "dashboard/actions.html")]
struct ListPage<'a> {
    viewer: &'a Viewer,
    kinds: Vec<&'static str>,
    no_more: Option<NoMore>,
    actions: Vec<Row>,
    more: More,
}

struct Row {
    id: String,
    what: String,
    query: String,
    state: Badge,
    progress: String,
    by: String,
    drafted: Time,
}

#[derive(Template)]
#[template(path = "dashboard/action.html")]
struct Page<'a> {
    fragments: String,
    sample: Vec<MailLine>,
    no_more: Option<NoMore>,
    results: Vec<Outcome>,
    more: More,
    viewer: &'a Viewer,
}

#[derive(Template)]
#[template(path = "dashboard/action_parts.html")]
struct Parts {
    what: String,
    state: Badge,
    query: String,
    href: String,
    consequence: &'static str,
    is_draft: bool,
    matched: String,
    done: u64,
    skipped: u64,
    all: u64,
    error: Option<String>,
    facts: Vec<(&'static str, String, Option<Time>)>,
    buttons: Vec<Button>,
}

/// What an action came to for a mail.
struct Outcome {
    mail: String,
    result: Badge,
    why: String,
}

fn state_of(state: ActionState) -> Badge {
    let word = state.as_str();
    match state {
        ActionState::Draft => Badge::waits(word),
        ActionState::Running => Badge::works(word),
        ActionState::Stopped => Badge::warns(word),
        ActionState::Done => Badge::good(word),
        ActionState::Failed => Badge::bad(word),
    }
}

async fn list(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let after = fields.get("after")?.map(id_of).transpose()?;
    let mut actions = board.app.store.actions(viewer.merchant.as_ref(), after, LISTED + 1).await?;
    let has_more = cut_to_page(&mut actions, LISTED);
    let next = actions.last().filter(|_| has_more).map(|last| format!("/actions?after={}", last.id));
    let no_more = NoMore::when(actions.is_empty() && after.is_some(), "/actions");
    let rows = actions.into_iter().map(|action| Row {
        id: action.id.to_string(),
        what: what(&action),
        state: state_of(action.state),
        progress: format!("{} of {}", words::number(action.done), words::counted(action.matched)),
        query: viewer.seen(&action.query),
        by: action.drafted_by,
        drafted: Time(action.drafted_at),
    });
    let page = ListPage {
        viewer: &viewer,
        kinds: ActionKind::ALL.iter().map(|kind| kind.as_str()).collect(),
        no_more,
        actions: rows.collect(),
        more: More { href: next, label: "Older actions" },
    };
    Ok(layout::page(&viewer, "Bulk actions", &page))
}

fn what(action: &ActionRecord) -> String {
    let whose = action.merchant.as_ref().map(|merchant| format!(" of {merchant}")).unwrap_or_default();
    format!("{} mails{whose}", action.kind)
}

pub(super) fn id_of(text: &str) -> Result<ActionId, PageError> {
    text.parse().map_err(|_| PageError::not_found("action"))
}

async fn draft(
    State(board): State<Arc<DashboardState>>,
    Act { viewer, fields }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let kind: ActionKind =
        fields.need("kind")?.parse().map_err(|_| PageError::bad("There is no such action."))?;
    let query = fields.get("q")?.unwrap_or_default();
    let new = NewAction::new(viewer.merchant.clone(), kind, query, &viewer.actor());
    let new = new.map_err(|error| PageError::bad(format!("{error}.")))?;
    let is_foreign = |merchant: &MerchantId| viewer.merchant.as_ref().is_some_and(|own| own != merchant);
    if new.merchants().any(is_foreign) {
        return Err(PageError::forbidden("You act on the mails of your own merchant alone."));
    }
    let store = viewer.store(&board.app);
    let selected = store.select_for_action(&new).await?;
    if selected.count.count == 0 && !selected.count.more {
        let back = format!("/mails?q={}", encoded(query));
        return Ok(back_to(&back, Flash::not("No mail fits that this can be done to.")));
    }
    let action = store.draft_action(&new, selected.count).await?;
    let said = Flash::done("Drafted. Nothing happens until you confirm it.");
    Ok(back_to(&format!("/actions/{}", action.id), said))
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let store = &board.app.store;
    let action = found(&board, &viewer, id_of(&id)?).await?;
    let after = fields.get("after")?.map(str::parse::<MailId>).transpose();
    let after = after.map_err(|_| PageError::bad("`after` must be a mail's id."))?;
    let is_draft = action.state == ActionState::Draft;
    let sample = if is_draft { store.sample_of_action(&action).await? } else { Vec::new() };
    let mut results = store.action_results(action.id, after, LISTED + 1).await?;
    let has_more = cut_to_page(&mut results, LISTED);
    let next = results.last().filter(|_| has_more).map(|last| format!("/actions/{id}?after={}", last.mail));
    let live = format!("action:{}", action.id);
    let page = Page {
        fragments: written(&Parts::of(&action, &viewer)),
        sample: sample.iter().map(|mail| MailLine::of(mail, &viewer)).collect(),
        no_more: NoMore::when(results.is_empty() && after.is_some(), format!("/actions/{}", action.id)),
        results: results
            .into_iter()
            .map(|result| Outcome {
                mail: result.mail.to_string(),
                result: match result.result {
                    ActionResult::Done => Badge::good("done"),
                    ActionResult::Skipped => Badge::over("skipped"),
                },
                why: result.why.unwrap_or_default(),
            })
            .collect(),
        more: More { href: next, label: "Further results" },
        viewer: &viewer,
    };
    Ok(layout::live(&viewer, "Bulk action", &live, &page))
}

async fn found(board: &DashboardState, viewer: &Viewer, id: ActionId) -> Result<ActionRecord, PageError> {
    let action = board.app.store.action(viewer.merchant.as_ref(), id).await?;
    action.ok_or_else(|| PageError::not_found("action"))
}

/// An action as it is now.
pub(super) async fn fragments(
    board: &DashboardState,
    viewer: &Viewer,
    id: ActionId,
) -> Result<String, PageError> {
    Ok(written(&Parts::of(&found(board, viewer, id).await?, viewer)))
}

impl Parts {
    fn of(action: &ActionRecord, viewer: &Viewer) -> Self {
        let facts = [
            Some(("Drafted by", action.drafted_by.clone(), Some(action.drafted_at))),
            action.confirmed_by.clone().map(|by| ("Confirmed by", by, action.confirmed_at)),
            action.stopped_by.clone().map(|by| ("Stopped by", by, action.stopped_at)),
            action.finished_at.map(|at| ("Over", String::new(), Some(at))),
        ];
        Self {
            what: what(action),
            state: state_of(action.state),
            query: viewer.seen(&action.query),
            href: format!("/mails?q={}", encoded(&action.query)),
            consequence: action.kind.consequence(),
            is_draft: action.state == ActionState::Draft,
            matched: words::counted_mails(action.matched),
            done: action.done,
            skipped: action.skipped,
            all: action.matched.count.max(action.done + action.skipped).max(1),
            error: action.error.clone(),
            facts: facts.into_iter().flatten().map(|(name, by, at)| (name, by, at.map(Time))).collect(),
            buttons: buttons(action, viewer),
        }
    }
}

fn buttons(action: &ActionRecord, viewer: &Viewer) -> Vec<Button> {
    if !viewer.acts() {
        return Vec::new();
    }
    let to = |wish: &str| format!("/actions/{}/{wish}", action.id);
    let mails = words::counted_mails(action.matched);
    match action.state {
        // What is drawn for many is confirmed by one: the store refuses others.
        ActionState::Draft => {
            let ask = format!("{} {mails}? {}", action.kind, action.kind.consequence());
            vec![Button::new(viewer, to("confirm"), "Confirm: do it").danger(ask)]
        }
        ActionState::Running => vec![Button::new(viewer, to("stop"), "Stop it")],
        ActionState::Stopped => vec![Button::new(viewer, to("resume"), "Go on").primary()],
        ActionState::Done | ActionState::Failed => Vec::new(),
    }
}

async fn act(
    State(board): State<Arc<DashboardState>>,
    Path((id, wish)): Path<(String, String)>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let (id, merchant, by) = (id_of(&id)?, viewer.merchant.as_ref(), viewer.actor());
    let wish: ActionWish = wish.parse().map_err(|_| PageError::not_found("action"))?;
    let moved = viewer.store(&board.app).move_action(merchant, id, wish, &by).await?;
    let said = match moved {
        ActionMoved::Unknown => return Err(PageError::not_found("action")),
        ActionMoved::NotYours(by) => {
            Flash::not(format!("{by} drafted this action; only who drafted it can confirm it."))
        }
        ActionMoved::Refused(action) => {
            Flash::not(format!("Nothing was done: the action is {}.", action.state))
        }
        ActionMoved::Now(action) => {
            if action.state == ActionState::Running {
                board.app.enqueue(jobs::run_bulk_action_job(action.id, action.merchant.clone()));
            }
            Flash::done(match wish {
                ActionWish::Confirm => "The action is running.",
                ActionWish::Stop => "The action is stopped.",
                ActionWish::Resume => "The action is running again.",
            })
        }
    };
    Ok(back_to(&format!("/actions/{id}"), said))
}
