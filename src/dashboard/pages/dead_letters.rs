//! `/dead-letters`: mails that failed for good, grouped by what went wrong, each group with what to do.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};

use crate::{
    dashboard::{
        causes::meaning_of,
        layout,
        page_error::{PageError, encoded},
        parts::Ago,
        state::DashboardState,
        viewer::Viewer,
        words,
    },
    mail::{ReplyClass, Timestamp},
    store::FailedMail,
};

/// How many of the newest mails that failed are looked at.
const LOOKED_AT: u32 = 5_000;
/// The most groups that are shown.
const MOST_GROUPS: usize = 60;
/// The domains that a group names.
const NAMED: usize = 3;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/dead-letters", get(show))
}

#[derive(Template)]
#[template(path = "dashboard/dead_letters.html")]
struct Page<'a> {
    viewer: &'a Viewer,
    seen: String,
    groups: Vec<Group>,
    left_out: usize,
}

struct Group {
    class: &'static str,
    meaning: &'static str,
    reply: String,
    routes: String,
    domains: String,
    mails: String,
    newest: Ago,
    example: String,
    /// The mails of this class.
    query: String,
    href: String,
}

async fn show(State(board): State<Arc<DashboardState>>, viewer: Viewer) -> Result<Response, PageError> {
    let failed = board.app.store.newest_failed(viewer.merchant.as_ref(), LOOKED_AT).await?;
    let seen = words::several(failed.len() as u64, "mail", "mails");
    let mut groups = grouped(&failed);
    let left_out = groups.len().saturating_sub(MOST_GROUPS);
    groups.truncate(MOST_GROUPS);
    let groups = groups.into_iter().map(|sum| Group::of(sum, &viewer)).collect();
    Ok(layout::page(&viewer, "Dead letters", &Page { viewer: &viewer, seen, groups, left_out }))
}

/// Mails that failed in the same way.
struct Sum {
    class: ReplyClass,
    reply: String,
    mails: u64,
    newest: Timestamp,
    example: String,
    routes: BTreeMap<String, u64>,
    domains: HashMap<String, u64>,
}

/// Groups by class and words, the largest first.
fn grouped(failed: &[FailedMail]) -> Vec<Sum> {
    let mut groups: HashMap<(ReplyClass, String), Sum> = HashMap::new();
    for mail in failed {
        let class = mail.class.unwrap_or(ReplyClass::Unknown);
        let reply = words::alike(mail.error.as_deref().unwrap_or_default());
        let sum = groups.entry((class, reply.clone())).or_insert_with(|| Sum {
            class,
            reply,
            mails: 0,
            newest: Timestamp(0),
            example: mail.id.to_string(),
            routes: BTreeMap::new(),
            domains: HashMap::new(),
        });
        sum.mails += 1;
        sum.newest = sum.newest.max(mail.settled_at.unwrap_or_default());
        *sum.routes.entry(mail.route.clone().unwrap_or_default()).or_default() += 1;
        let domain = mail.recipient.rsplit('@').next().unwrap_or_default().to_lowercase();
        *sum.domains.entry(domain).or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|a, b| b.mails.cmp(&a.mails).then_with(|| a.reply.cmp(&b.reply)));
    groups
}

impl Group {
    fn of(sum: Sum, viewer: &Viewer) -> Self {
        let mut domains: Vec<_> = sum.domains.into_iter().collect();
        domains.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let others = domains.len().saturating_sub(NAMED);
        let named =
            domains.iter().take(NAMED).map(|(domain, mails)| format!("{domain} ({})", words::number(*mails)));
        let mut named: Vec<_> = named.collect();
        if others > 0 {
            named.push(format!("{} more", words::number(others as u64)));
        }
        let routes = sum.routes.keys().map(|route| if route.is_empty() { "none" } else { route });
        let class = sum.class.as_str();
        let query = format!("state:failed class:{class}");
        Self {
            class,
            meaning: meaning_of(sum.class),
            reply: viewer.seen(&sum.reply),
            routes: routes.collect::<Vec<_>>().join(", "),
            domains: named.join(", "),
            mails: words::several(sum.mails, "mail", "mails"),
            newest: Ago(sum.newest),
            example: sum.example,
            href: format!("/mails?q={}", encoded(&query)),
            query,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::MailId;

    #[test]
    fn mails_whose_replies_differ_in_an_address_are_one_group() {
        let failed = |recipient: &str, error: &str| FailedMail {
            id: MailId::new(),
            template: "welcome".to_owned(),
            merchant: "tea".parse().unwrap(),
            recipient: recipient.to_owned(),
            class: Some(ReplyClass::BadAddress),
            route: Some("main".to_owned()),
            error: Some(error.to_owned()),
            settled_at: Some(Timestamp(5)),
        };
        let groups = grouped(&[
            failed("a@one.example", "550 5.1.1 <a@one.example>: no such user"),
            failed("b@two.example", "550 5.1.1 <b@two.example>: no such user"),
            failed("c@two.example", "552 mailbox full"),
        ]);
        assert_eq!(groups.iter().map(|group| group.mails).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(groups[0].domains.len(), 2);
    }
}
