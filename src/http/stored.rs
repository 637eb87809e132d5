//! What is stored, as the type that it was when it was stored.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::error::Refusal;
use crate::{app::App, shop::TemplateVersion, store::Stored};

/// The version that a stored template is now.
///
/// # Errors
/// 503 when the database does not answer, or the version is gone: try again; the log says which of the two.
pub(super) async fn pinned(app: &App, version: Option<&str>) -> Result<Arc<TemplateVersion>, Refusal> {
    version_called(app, version.unwrap_or_default()).await
}

/// The version of this id, which some template is or was.
///
/// # Errors
/// As [`pinned`].
pub(super) async fn version_called(app: &App, id: &str) -> Result<Arc<TemplateVersion>, Refusal> {
    app.templates.version(id).await?.ok_or_else(|| {
        tracing::error!(version = id, "a template's version is gone");
        Refusal::unavailable()
    })
}

/// A stored document as its type.
///
/// # Errors
/// 503 when it cannot be read as one, which no request can mend: the log has the place, `PUT` replaces the document.
pub(super) fn document<T: DeserializeOwned>(stored: &Stored) -> Result<T, Refusal> {
    read(&stored.body)
}

/// The same of its text.
///
/// # Errors
/// As [`document`].
pub(super) fn read<T: DeserializeOwned>(body: &str) -> Result<T, Refusal> {
    serde_json::from_str(body).map_err(|error| {
        // What the error says may quote the document.
        tracing::error!(line = error.line(), column = error.column(), "a stored document cannot be read");
        Refusal::unavailable()
    })
}
