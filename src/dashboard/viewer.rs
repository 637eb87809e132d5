//! Who looks: an operator who is signed in, and what that operator may see and do.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, Method, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{page_error::PageError, session, state::DashboardState, words};
use crate::{
    app::App,
    audit::Author,
    http::{Peer, RequestId},
    mail::MerchantId,
    shop::OperatorRole,
    store::{SessionRecord, Store},
    telemetry::chain,
};

/// Who looks.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    /// The operator's name.
    pub(super) name: Arc<str>,
    /// What the operator may do.
    pub(super) role: OperatorRole,
    /// Whose things alone are seen; none: everything.
    pub(super) merchant: Option<MerchantId>,
    /// The session.
    pub(super) session: SessionRecord,
    /// What each form has.
    pub(super) csrf: String,
    /// The page that is shown, without its query.
    pub(super) path: String,
    /// The page with its query.
    pub(super) here: String,
    /// What the last action came to.
    pub(super) flash: Option<Flash>,
    author: Author,
}

impl Viewer {
    /// The same for a page that is drawn for all with these rights: this stands for the token of each.
    pub(super) fn for_many(&self, token: &str) -> Self {
        Self { csrf: token.to_owned(), flash: None, ..self.clone() }
    }

    /// Asserts that the operator may act on mails, batches and the queue.
    pub(super) fn may_act(&self) -> Result<(), PageError> {
        match self.role {
            OperatorRole::Operator | OperatorRole::Admin => Ok(()),
            OperatorRole::Viewer => {
                Err(PageError::forbidden("Your role is viewer: you may look, and change nothing."))
            }
        }
    }

    /// Asserts that the operator may change merchants and their credentials.
    pub(super) fn may_administer(&self) -> Result<(), PageError> {
        match self.role {
            OperatorRole::Admin => Ok(()),
            _ => Err(PageError::forbidden("Only an admin may do this.")),
        }
    }

    /// Asserts that the operator is one of the whole installation.
    pub(super) fn sees_everything(&self) -> Result<(), PageError> {
        match &self.merchant {
            None => Ok(()),
            Some(merchant) => {
                let text = format!("You see the merchant {merchant} alone; this is about all merchants.");
                Err(PageError::forbidden(text))
            }
        }
    }

    /// Whether forms are drawn.
    pub(super) fn acts(&self) -> bool {
        self.may_act().is_ok()
    }

    /// Whether forms that change merchants are drawn.
    pub(super) fn administers_everything(&self) -> bool {
        self.may_administer().is_ok() && self.merchant.is_none()
    }

    /// Whether forms for the whole installation are drawn.
    pub(super) fn acts_on_everything(&self) -> bool {
        self.acts() && self.merchant.is_none()
    }

    /// Whether mails are shown with their content.
    pub(super) fn sees_bodies(&self) -> bool {
        self.acts()
    }

    /// A text that may have addresses in it, as this operator may see it.
    pub(super) fn seen(&self, text: &str) -> String {
        if self.sees_bodies() { text.to_owned() } else { words::masked(text) }
    }

    /// The rows, where what is changed is in the audit under the operator's name.
    pub(super) fn store(&self, app: &App) -> Store {
        app.store.acting_for(self.author.clone())
    }

    /// The operator as the audit and bulk actions write it.
    pub(super) fn actor(&self) -> String {
        self.author.actor.to_string()
    }

    /// Whether a form is of this session. Takes as long whatever was sent.
    pub(super) fn has_token(&self, token: &str) -> bool {
        let (own, token) = (self.csrf.as_bytes(), token.as_bytes());
        own.len() == token.len() && own.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

impl FromRequestParts<Arc<DashboardState>> for Viewer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, board: &Arc<DashboardState>) -> Result<Self, PageError> {
        let here = parts.uri.path_and_query().map_or("/", |here| here.as_str()).to_owned();
        let is_look = parts.method == Method::GET || parts.method == Method::HEAD;
        let nobody = || PageError::sign_in(if is_look { here.clone() } else { "/".to_owned() }, is_look);
        let secret = session::secret(&parts.headers).ok_or_else(nobody)?.to_owned();
        let store = &board.app.store;
        let signed_in = store.session(&session::hash(&secret)).await?.ok_or_else(nobody)?;
        if let Err(error) = store.see_session(&signed_in.session).await {
            tracing::debug!(error = %chain(&error), "it could not be noted that a session is used");
        }
        let name: Arc<str> = signed_in.session.operator.as_str().into();
        Ok(Self {
            author: Author {
                request_id: parts.extensions.get::<RequestId>().map(|id| Arc::clone(&id.0)),
                ..Author::of_operator(Arc::clone(&name), peer(parts))
            },
            name,
            role: signed_in.role,
            merchant: signed_in.merchant,
            session: signed_in.session,
            csrf: session::form_token(&secret),
            path: parts.uri.path().to_owned(),
            here,
            flash: session::cookie(&parts.headers, FLASH).and_then(Flash::parse),
        })
    }
}

/// The other end of the connection.
pub(super) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0)
}

/// What an action came to, said on the page that comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flash {
    /// Whether it was done.
    pub(super) is_done: bool,
    /// In words.
    pub(super) text: String,
}

const FLASH: &str = "postroom_said";
/// The longest text, in bytes.
const LONGEST_TEXT: usize = 1_000;

impl Flash {
    pub(super) fn done(text: impl Into<String>) -> Self {
        Self { is_done: true, text: text.into() }
    }

    pub(super) fn not(text: impl Into<String>) -> Self {
        Self { is_done: false, text: text.into() }
    }

    fn parse(cookie: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok().filter(|bytes| bytes.len() <= LONGEST_TEXT)?;
        let text = String::from_utf8(bytes).ok()?;
        let (kind, text) = text.split_at_checked(1)?;
        Some(Self { is_done: kind == "+", text: text.to_owned() })
    }

    fn cookie(&self) -> HeaderValue {
        let kind = if self.is_done { "+" } else { "-" };
        let text = &self.text[..self.text.floor_char_boundary(LONGEST_TEXT - 1)];
        let value = BASE64_URL_SAFE_NO_PAD.encode(format!("{kind}{text}"));
        let cookie = format!("{FLASH}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=30");
        HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""))
    }

    /// What makes the browser forget it.
    pub(super) const FORGET: HeaderValue =
        HeaderValue::from_static("postroom_said=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
}

/// After an action: to a page, which says what it came to.
pub(super) fn back_to(path: &str, said: Flash) -> Response {
    ([(header::SET_COOKIE, said.cookie())], Redirect::to(path)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_an_action_survives_the_redirect_whatever_it_says() {
        for text in ["The lane bulk is paused.", "<script>; , \" \u{e9}\r\n", ""] {
            let said = Flash::not(text);
            let cookie = said.cookie();
            let value =
                cookie.to_str().unwrap().split_once('=').unwrap().1.split_once(';').unwrap().0.to_owned();
            assert_eq!(Flash::parse(&value), Some(said));
        }
        let long = Flash::done("\u{e9}".repeat(2_000)).cookie();
        assert!(long.len() < 2_000);
        assert_eq!(Flash::parse("%%%"), None);
        assert_eq!(Flash::parse(""), None);
    }
}
