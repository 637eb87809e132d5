//! The style sheet and the script: part of the binary, under names that change with their content.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

use super::state::DashboardState;

const STYLE: &str = include_str!("../../templates/dashboard/dashboard.css");
const SCRIPT: &str = include_str!("../../templates/dashboard/dashboard.js");

/// The hash of both.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha256::new().chain_update(STYLE).chain_update(SCRIPT).finalize();
    base16ct::lower::encode_string(&digest[..8])
});

/// Where the style sheet is.
pub(super) fn style() -> String {
    format!("/assets/{}/dashboard.css", *HASH)
}

/// Where the script is.
pub(super) fn script() -> String {
    format!("/assets/{}/dashboard.js", *HASH)
}

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/assets/{hash}/{name}", get(asset))
}

async fn asset(Path((hash, name)): Path<(String, String)>) -> Response {
    let (content_type, body) = match name.as_str() {
        "dashboard.css" => ("text/css; charset=utf-8", STYLE),
        "dashboard.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // A page of the version before asks for what is not there any more, and gets what there is.
    let cache = if hash == *HASH { "public, max-age=31536000, immutable" } else { "no-store" };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, cache)], body).into_response()
}
