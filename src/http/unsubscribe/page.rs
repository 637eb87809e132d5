//! The pages of unsubscribing: plain HTML in six languages that needs nothing from outside and no script.

use askama::Template;
use axum::{http::StatusCode, response::Response};

use crate::{
    html::written,
    http::public_page::{Forms, MissingPage, PublicPage},
    mail::UnsubscribeToken,
    shop::{UnsubscribeWords, language::Language},
};

const STYLE: &str = concat!(
    include_str!("../../../templates/passes/style.css"),
    include_str!("../../../templates/unsubscribe/style.css")
);

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Whether to unsubscribe.
    Question,
    /// It is done.
    Done,
    /// It is taken back.
    Back,
}

/// What a page says.
pub(super) struct UnsubscribePage<'a> {
    pub(super) token: &'a UnsubscribeToken,
    pub(super) language: Language,
    /// The merchant, as shoppers know it.
    pub(super) name: String,
    /// The recipient's address, in part.
    pub(super) address: String,
    pub(super) shown: Shown,
}

#[derive(Template)]
#[template(path = "unsubscribe/page.html")]
struct UnsubscribeTemplate<'a> {
    language: &'a str,
    title: &'a str,
    style: &'a str,
    name: &'a str,
    text: String,
    /// Where the button leads, from the address of this page.
    action: String,
    button: &'a str,
    is_quiet: bool,
}

impl UnsubscribePage<'_> {
    /// The page as an answer.
    pub(super) fn answer(&self) -> Response {
        let words = UnsubscribeWords::of(self.language);
        // Relative, for a proxy may put something before the path. The last page is one level deeper, at `…/undo`.
        let token = self.token.as_str();
        let (title, text, action, button) = match self.shown {
            Shown::Question => (&words.title, &words.text, token.to_owned(), &words.button),
            Shown::Done => (&words.done_title, &words.done_text, format!("{token}/undo"), &words.undo),
            Shown::Back => (&words.back_title, &words.back_text, format!("../{token}"), &words.button),
        };
        let page = UnsubscribeTemplate {
            language: self.language.as_str(),
            title,
            style: STYLE,
            name: &self.name,
            text: text.replace("[[address]]", &self.address).replace("[[name]]", &self.name),
            action,
            button,
            is_quiet: self.shown != Shown::Question,
        };
        PublicPage {
            status: StatusCode::OK,
            language: self.language,
            style: STYLE,
            forms: Forms::ToUs,
            page: written(&page),
        }
        .answer()
    }
}

/// The page for a link that leads nowhere: in the language that the reader asked for.
pub(super) fn missing(language: Option<Language>) -> Response {
    let language = language.unwrap_or(Language::En);
    let words = UnsubscribeWords::of(language);
    let (title, text) = (words.missing_title.as_str(), words.missing_text.as_str());
    MissingPage { language, title, style: STYLE, text }.answer(Forms::ToUs)
}
