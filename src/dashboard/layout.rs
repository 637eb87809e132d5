//! The frame of each page: navigation, search, what the last action came to, and when the session ends.

use std::time::Duration;

use askama::Template;
use axum::{
    http::header,
    response::{Html, IntoResponse, Response},
};

use super::{
    assets,
    parts::Time,
    viewer::{Flash, Viewer},
    words,
};
use crate::{clock, html::written};

/// So long before its end a session's page says so, also without a script.
const SOON: Duration = Duration::from_secs(30 * 60);

/// A page in the navigation.
struct NavEntry {
    href: &'static str,
    label: &'static str,
    /// The key that leads there, after `g`.
    key: char,
    /// Whether it is about the whole installation.
    is_for_all: bool,
}

const fn entry(href: &'static str, label: &'static str, key: char, is_for_all: bool) -> NavEntry {
    NavEntry { href, label, key, is_for_all }
}

const NAV_ENTRIES: [NavEntry; 13] = [
    entry("/", "Overview", 'o', false),
    entry("/mails", "Mails", 'm', false),
    entry("/dead-letters", "Dead letters", 'd', false),
    entry("/batches", "Batches", 'b', false),
    entry("/actions", "Bulk actions", 'a', false),
    entry("/callbacks", "Callbacks", 'c', false),
    entry("/suppressions", "Suppressions", 's', false),
    entry("/queue", "Queue", 'q', false),
    entry("/routes", "Routes", 'r', true),
    entry("/workers", "Workers", 'w', true),
    entry("/templates", "Templates", 't', false),
    entry("/merchants", "Merchants", 'e', false),
    entry("/audit", "Audit", 'u', false),
];

#[derive(Template)]
#[template(path = "dashboard/layout.html")]
struct Layout<'a> {
    title: &'a str,
    viewer: &'a Viewer,
    live: &'a str,
    content: &'a str,
    style: String,
    script: String,
}

impl Layout<'_> {
    fn entries(&self) -> impl Iterator<Item = &'static NavEntry> {
        let sees_all = self.viewer.merchant.is_none();
        NAV_ENTRIES.iter().filter(move |entry| sees_all || !entry.is_for_all)
    }

    fn is_here(&self, entry: &NavEntry) -> bool {
        let path = self.viewer.path.as_str();
        let below = path.strip_prefix(entry.href).is_some_and(|rest| rest.starts_with('/'));
        path == entry.href || (entry.href != "/" && below)
    }

    fn flash(&self) -> Option<&Flash> {
        self.viewer.flash.as_ref()
    }

    fn ends(&self) -> Time {
        Time(self.viewer.session.expires_at)
    }

    /// In how long the session ends, where that is soon.
    fn ends_in(&self) -> Option<String> {
        let left = self.viewer.session.expires_at.since(clock::now());
        (left < SOON).then(|| words::length(left))
    }
}

/// A page.
pub(super) fn page(viewer: &Viewer, title: &str, content: &impl Template) -> Response {
    live(viewer, title, "", content)
}

/// A page of which fragments are sent anew while it is open; `live` says which.
pub(super) fn live(viewer: &Viewer, title: &str, live: &str, content: &impl Template) -> Response {
    let content = written(content);
    let (style, script) = (assets::style(), assets::script());
    let layout = Layout { title, viewer, live, content: &content, style, script };
    let page = Html(written(&layout)).into_response();
    match viewer.flash {
        Some(_) => ([(header::SET_COOKIE, Flash::FORGET)], page).into_response(),
        None => page,
    }
}
