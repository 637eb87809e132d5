//! The only map from a failure to an answer: one [`Refusal`], written in the envelope of the family whose path it is.

use std::error::Error;

use axum::{
    Json,
    body::Body,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    store::{Answer, StoreError},
    telemetry::{Outage, chain},
};

/// Why a request is not done.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Which fields are wrong, with their paths.
    pub errors: Vec<FieldError>,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
    /// Whether the request itself is malformed: wrong syntax, a missing field, a value of the wrong type. A refusal of a
    /// rule, such as a wrong state or a name that nothing has, depends on what is stored.
    pub is_about_form: bool,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where, as in `user.identifier`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// What is wrong with one field.
pub(super) fn fault(path: &str, message: &str) -> FieldError {
    FieldError { path: path.to_owned(), message: message.to_owned() }
}

impl Refusal {
    /// A refusal without field errors.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            errors: Vec::new(),
            retry_after: None,
            is_about_form: false,
        }
    }

    /// The same, marked as one whose reason is in the request alone: see [`Refusal::is_about_form`].
    pub fn about_form(self) -> Self {
        Self { is_about_form: true, ..self }
    }

    /// Whether it is kept as the answer for the request's idempotency key. What is wrong with a form is wrong again the next
    /// time; what is wrong with us, or is too much at the moment, may be right then.
    pub(super) fn is_kept(&self) -> bool {
        let is_for_now = self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS;
        !is_for_now && !self.is_about_form
    }

    /// The body says something that is not allowed. What has no path is said of the body as a whole.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let message = match errors.as_slice() {
            [only] if only.path.is_empty() => format!("The body {}.", only.message.trim_end_matches('.')),
            [only] => format!("{}: {}", only.path, only.message),
            _ => "The given data was invalid.".to_owned(),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message) }
    }

    /// One field says something that is not allowed.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { path: path.into(), message: message.into() }])
    }

    /// There is no such thing for this merchant.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} not found"))
    }

    /// A dependency is away.
    pub fn unavailable() -> Self {
        let message = "The service is not available right now, try again later.";
        Self { retry_after: Some(2), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message) }
    }

    /// Something failed that ought to work: the log says what, and why. The caller may try again.
    pub(super) fn failed(what: &'static str, error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "{what}");
        Self::unavailable()
    }

    /// The commit was under way and its answer did not come.
    pub fn outcome_unknown() -> Self {
        let message = "outcome_unknown: whether this was recorded is not known yet. Ask again with the same Idempotency-Key to find out.";
        Self { code: "outcome_unknown", message: message.to_owned(), ..Self::unavailable() }
    }

    /// Another request took the idempotency key over; nothing was recorded.
    pub fn key_lost() -> Self {
        let message = "Another request with this Idempotency-Key was faster.";
        let refusal = Self::new(StatusCode::CONFLICT, "idempotency_key_in_use", message);
        Self { retry_after: Some(5), ..refusal }
    }

    /// The merchant has as much under way as it may have.
    pub fn busy() -> Self {
        let message = "Too much of this merchant is under way, try again later.";
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
        }
    }

    /// The body of the answer in a family's envelope.
    pub fn body(&self, family: Family, request_id: &str) -> Value {
        let message = &self.message;
        match family {
            Family::CartLink => json!({"errors": [{"code": self.code, "title": message}]}),
            Family::Carts => with_errors(json!({"status": "error", "message": message}), self.by_path()),
            Family::Orders => json!({"error": {"code": self.code, "message": message}}),
            Family::Mailing => with_errors(json!({"message": message}), self.by_path()),
            Family::Templates => json!({"success": false, "message": message}),
            Family::Own => with_errors(
                json!({
                    "type": "about:blank",
                    "title": self.status.canonical_reason().unwrap_or("Error"),
                    "status": self.status.as_u16(),
                    "code": self.code,
                    "detail": message,
                    "request_id": request_id,
                }),
                (!self.errors.is_empty()).then(|| json!(self.errors)),
            ),
        }
    }

    /// The answer as it is kept for an idempotency key.
    pub fn answer(&self, family: Family, request_id: &str) -> Answer {
        Answer { status: self.status.as_u16(), body: self.body(family, request_id).to_string() }
    }

    /// The answer as it goes out.
    pub fn response(&self, family: Family, request_id: &str) -> Response {
        tracing::debug!(code = self.code, is_about_form = self.is_about_form, "refused");
        let body = self.body(family, request_id).to_string();
        let mut response =
            (self.status, [(header::CONTENT_TYPE, family.content_type())], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(
                "Basic realm=\"postroom\", charset=\"UTF-8\", Bearer realm=\"postroom\"",
            );
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }

    fn by_path(&self) -> Option<Value> {
        if self.status != StatusCode::UNPROCESSABLE_ENTITY {
            return None;
        }
        let mut by_path = Map::new();
        for FieldError { path, message } in self.errors.iter().filter(|error| !error.path.is_empty()) {
            if let Value::Array(messages) = by_path.entry(path).or_insert_with(|| json!([])) {
                messages.push(json!(message));
            }
        }
        (!by_path.is_empty()).then_some(Value::Object(by_path))
    }
}

fn with_errors(mut envelope: Value, errors: Option<Value>) -> Value {
    if let (Value::Object(envelope), Some(errors)) = (&mut envelope, errors) {
        envelope.insert("errors".to_owned(), errors);
    }
    envelope
}

/// A refusal travels as a bare status with itself in the extensions; the middleware writes it in the family's envelope.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Requests that the database fails, while it is away.
static FAILED: Outage = Outage::new();

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let is_unknown = matches!(error, StoreError::OutcomeUnknown { .. });
        // A row that cannot be read is a fault of its own each time.
        let times = if error.may_pass() { FAILED.failed() } else { Some(1) };
        if let Some(times) = times {
            tracing::error!(error = %chain(&error), times, "the database failed a request");
        }
        if is_unknown { Self::outcome_unknown() } else { Self::unavailable() }
    }
}

/// Whose envelope an answer is in. The path decides, also for paths that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `/api/public/v1/subscriptions`.
    CartLink,
    /// `/abandoned-carts` and `/webhooks`.
    Carts,
    /// `/ordersv2`.
    Orders,
    /// `/mail`, `/mails`, `/webhooks/mails`.
    Mailing,
    /// `/templates`, a part of mailing with an envelope of its own.
    Templates,
    /// Postroom's own API.
    Own,
}

impl Family {
    /// The family of a path.
    pub fn of(path: &str) -> Self {
        let mut segments = path.trim_start_matches('/').split('/');
        match (segments.next().unwrap_or_default(), segments.next()) {
            ("api", Some("public")) => Self::CartLink,
            ("webhooks", Some("mails")) | ("mail" | "mails", _) => Self::Mailing,
            ("templates", _) => Self::Templates,
            ("abandoned-carts" | "webhooks", _) => Self::Carts,
            ("ordersv2", _) => Self::Orders,
            _ => Self::Own,
        }
    }

    /// The media type of its refusals.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Own => "application/problem+json", // RFC 9457
            _ => "application/json",
        }
    }
}

/// No handler has this path.
pub async fn unknown_path() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
}

/// The path exists, but not with this method.
pub async fn wrong_method(method: Method) -> Refusal {
    let message = format!("{method} is not allowed here.");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// A JSON answer that also can be kept for an idempotency key.
pub fn json_answer(status: StatusCode, body: &impl serde::Serialize) -> Answer {
    let body = serde_json::to_string(body).unwrap_or_default();
    Answer { status: status.as_u16(), body }
}

/// Sends a kept or fresh answer.
pub fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    (status, [(header::CONTENT_TYPE, "application/json")], answer.body).into_response()
}

/// A list of things, with whether there are more.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The things, in order of their ids.
    pub data: Vec<T>,
    /// Whether there are more after the last.
    pub has_more: bool,
}

impl<T: serde::Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_envelope() {
        let refusal = Refusal::field("user.identifier", "is required");
        assert_eq!(
            refusal.body(Family::CartLink, "r"),
            json!({"errors": [{"code": "invalid", "title": "user.identifier: is required"}]})
        );
        assert_eq!(
            refusal.body(Family::Mailing, "r"),
            json!({"message": "user.identifier: is required", "errors": {"user.identifier": ["is required"]}})
        );
        assert_eq!(refusal.body(Family::Orders, "r")["error"]["code"], "invalid");
        assert_eq!(refusal.body(Family::Carts, "r")["status"], "error");
        assert_eq!(refusal.body(Family::Templates, "r")["success"], false);
        assert_eq!(refusal.body(Family::Own, "r")["request_id"], "r");
    }

    #[test]
    fn a_refusal_that_may_pass_is_kept_for_no_idempotency_key() {
        let rule = Refusal::field("cart_token", "is unknown");
        assert!(rule.is_kept() && Refusal::not_found("Mail").is_kept());
        for refusal in
            [rule.about_form(), Refusal::busy(), Refusal::unavailable(), Refusal::outcome_unknown()]
        {
            assert!(!refusal.is_kept(), "{refusal:?}");
        }
    }

    #[test]
    fn a_fault_of_a_body_as_a_whole_is_under_no_field() {
        let refusal = Refusal::field("", "must be an object");
        let message = "The body must be an object.";
        assert_eq!(refusal.body(Family::Mailing, "r"), json!({"message": message}));
        assert_eq!(refusal.body(Family::Carts, "r"), json!({"status": "error", "message": message}));
        assert_eq!(refusal.body(Family::Orders, "r")["error"]["message"], message);
        let errors = json!([{"path": "", "message": "must be an object"}]);
        let own = refusal.body(Family::Own, "r");
        assert_eq!((&own["detail"], &own["errors"]), (&json!(message), &errors));
    }

    #[test]
    fn the_path_decides_the_family() {
        for (path, family) in [
            ("/api/public/v1/subscriptions/1/send_email", Family::CartLink),
            ("/webhooks/mails/1", Family::Mailing),
            ("/webhooks/1", Family::Carts),
            ("/mail", Family::Mailing),
            ("/templates/x", Family::Templates),
            ("/ordersv2/1", Family::Orders),
            ("/api/v1/mails", Family::Own),
            ("/nowhere", Family::Own),
        ] {
            assert_eq!(Family::of(path), family, "{path}");
        }
    }
}
