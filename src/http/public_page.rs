//! How a page for shoppers is answered: plain HTML behind a link that is a secret, which needs nothing from outside.

use askama::Template;
use axum::{
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::{html::written, shop::language::Language};

/// Where a page's forms may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forms {
    /// It has none.
    None,
    /// To where it came from.
    ToUs,
}

/// A page, and what it may do.
pub(super) struct PublicPage {
    pub(super) status: StatusCode,
    pub(super) language: Language,
    /// The style that stands in it; no other applies.
    pub(super) style: &'static str,
    pub(super) forms: Forms,
    /// The HTML.
    pub(super) page: String,
}

/// The page for a link that leads nowhere: it says no more than that.
#[derive(Template)]
#[template(path = "passes/missing.html")]
pub(super) struct MissingPage<'a> {
    pub(super) language: Language,
    pub(super) title: &'a str,
    pub(super) style: &'static str,
    pub(super) text: &'a str,
}

impl MissingPage<'_> {
    /// The page as an answer.
    pub(super) fn answer(&self, forms: Forms) -> Response {
        let (status, style, page) = (StatusCode::NOT_FOUND, self.style, written(self));
        PublicPage { status, language: self.language, style, forms, page }.answer()
    }
}

impl PublicPage {
    /// The page as an answer.
    pub(super) fn answer(self) -> Response {
        let style = BASE64_STANDARD.encode(Sha256::digest(self.style));
        let forms = match self.forms {
            Forms::None => "'none'",
            Forms::ToUs => "'self'",
        };
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
        );
        let headers = [
            (header::CONTENT_SECURITY_POLICY, &*policy),
            // The link is the key: it must reach neither other sites nor caches nor search engines.
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "private, no-store"),
            (HeaderName::from_static("x-robots-tag"), "noindex"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONTENT_LANGUAGE, self.language.as_str()),
        ];
        (self.status, headers, Html(self.page)).into_response()
    }
}
