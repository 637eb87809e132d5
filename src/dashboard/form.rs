//! What was filled in: the fields of a query, and those of a form that acts.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};

use super::{page_error::PageError, state::DashboardState, viewer::Viewer};

/// The most bytes of a form.
pub(super) const LARGEST: usize = 64 * 1024;
/// The most fields.
const MOST_FIELDS: usize = 64;

/// Fields by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(bytes: &[u8]) -> Result<Self, PageError> {
        let fields: Vec<_> = url::form_urlencoded::parse(bytes).into_owned().take(MOST_FIELDS + 1).collect();
        if fields.len() > MOST_FIELDS {
            return Err(PageError::bad(format!("There are more than {MOST_FIELDS} fields.")));
        }
        if fields.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(PageError::bad("No field may have the character U+0000."));
        }
        Ok(Self(fields))
    }

    /// A field without the space around it; none when it is empty or not there.
    ///
    /// # Errors
    /// When it is given twice: nobody knows which is meant.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, PageError> {
        let mut values = self.0.iter().filter(|(own, _)| own == name).map(|(_, value)| value.trim());
        let value = values.next();
        if values.next().is_some() {
            return Err(PageError::bad(format!("The field {name} is given twice.")));
        }
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// A field that has to be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, PageError> {
        self.get(name)?.ok_or_else(|| PageError::bad(format!("The field {name} is missing.")))
    }

    /// The same without the restrictions on its length and space: a password.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// The fields of the query.
pub(super) struct Asked(pub(super) Fields);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PageError> {
        Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}

/// A form that needs no session: the one to sign in.
pub(super) struct Filled(pub(super) Fields);

impl<S: Send + Sync> FromRequest<S> for Filled {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &S) -> Result<Self, PageError> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|rejection| {
            PageError::new(rejection.status(), "That cannot be read", "The form is too large, or broke off.")
        })?;
        Fields::parse(&bytes).map(Self)
    }
}

/// A form that acts: of somebody who is signed in, from a page that was drawn for this session.
pub(super) struct Act {
    pub(super) viewer: Viewer,
    pub(super) fields: Fields,
}

impl FromRequest<Arc<DashboardState>> for Act {
    type Rejection = PageError;

    async fn from_request(request: Request, board: &Arc<DashboardState>) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let viewer = Viewer::from_request_parts(&mut parts, board).await?;
        let Filled(fields) = Filled::from_request(Request::from_parts(parts, body), board).await?;
        if !viewer.has_token(fields.raw("csrf")) {
            let text =
                "This form is not of your session, so nothing was done. Open the page again and retry.";
            return Err(PageError::forbidden(text));
        }
        Ok(Self { viewer, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_given_twice_is_refused() {
        let fields = Fields::parse(b"a=1&b=+2+&c=&a=3").unwrap();
        assert_eq!(fields.get("b").unwrap(), Some("2"));
        assert_eq!((fields.get("c").unwrap(), fields.get("d").unwrap()), (None, None));
        assert!(fields.get("a").is_err() && fields.need("c").is_err());
        assert!(Fields::parse(b"a=%00").is_err());
        assert!(Fields::parse("a=1&".repeat(65).as_bytes()).is_err());
    }
}
