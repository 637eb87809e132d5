//! What a request is called: in its answer, in the log and in the audit.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    response::Response,
};
use uuid::Uuid;

/// The header that it is in.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the caller's, when it is 1 to 128 visible ASCII characters, else a fresh one.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The id of a request that has just come.
    pub fn of(request: &Request) -> Self {
        let given = request.headers().get(&REQUEST_ID).map(HeaderValue::as_bytes).filter(|id| is_sane(id));
        match given.and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => Self(id.into()),
            None => Self(Uuid::now_v7().to_string().into()),
        }
    }

    /// Writes it into the answer.
    pub fn put_on(&self, response: &mut Response) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            response.headers_mut().insert(REQUEST_ID.clone(), value);
        }
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}
