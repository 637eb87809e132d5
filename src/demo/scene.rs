//! How the story is written down: scenes of requests, and what is announced of each.
//!
//! `shop.rs` writes them, `play.rs` performs them.

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Requests that belong together.
pub(super) struct Scene {
    /// What they show.
    pub(super) title: &'static str,
    /// In their order.
    pub(super) acts: Vec<Act>,
}

/// One request, and what shall come of it.
pub(super) struct Act {
    /// What happens here, for people.
    pub(super) said: &'static str,
    /// What is sent.
    pub(super) request: Request,
    /// What is announced.
    pub(super) ending: Ending,
}

/// A request to the public API.
pub(super) struct Request {
    /// The method.
    pub(super) method: Method,
    /// The path, with its query.
    pub(super) path: String,
    /// The body, where there is one.
    pub(super) body: Option<Body>,
    /// The `Idempotency-Key`, where there is one.
    pub(super) key: Option<&'static str>,
    /// Who asks.
    pub(super) by: Credential,
}

/// What is sent with a request.
pub(super) enum Body {
    /// One JSON document.
    Json(Value),
    /// A JSON document on each line (`application/x-ndjson`).
    Lines(Vec<Value>),
}

/// How the shop shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// A bearer token.
    Token,
    /// A bearer token in test mode.
    TestToken,
    /// A user name and a password, by HTTP Basic.
    Account,
}

/// What shall come of a request.
pub(super) enum Ending {
    /// It is taken, and that is all.
    Taken,
    /// It is taken, and a mail comes of it.
    Mail(FoundBy, MailEnding),
    /// It is taken, a mail comes of it and is delivered, and the shop's receiver is told of this event.
    MailAndCallback(FoundBy, &'static str),
    /// It is taken, and a batch of so many mails comes of it: each is delivered, the shop's receiver is told of the end,
    /// and the link in what it is told leads to the results.
    Batch(u64),
    /// It is taken, and the answer has the secret that signs callbacks.
    Registered,
    /// It is taken, and at this JSON pointer (RFC 6901) the answer says this.
    Says(&'static str, &'static str),
    /// It was taken before: the first answer comes again and no second mail.
    Replayed,
    /// It is refused with this status.
    Refused(StatusCode),
}

/// How the mails of a request are found.
pub(super) enum FoundBy {
    /// The answer names the mail, at this JSON pointer.
    Answer(&'static str),
    /// This query of `GET /api/v1/mails`, such as `cart=cart_1`.
    Query(&'static str),
}

/// What shall become of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MailEnding {
    /// The relay takes it.
    Delivered,
    /// The relay puts it off, and takes it later.
    DeliveredLater,
    /// The relay refuses it for good with this code.
    Refused(u16),
    /// The sandbox takes it, and the relay hears nothing of it.
    TriedOut,
}

impl Act {
    /// The shop tells postroom of a thing.
    pub(super) fn told(said: &'static str, thing: &str, body: Value) -> Self {
        let path = format!("/api/v1/{thing}");
        Self { said, request: Request { method: Method::PUT, ..post(&path, body) }, ending: Ending::Taken }
    }
}

/// A POST of a JSON body with the token.
pub(super) fn post(path: &str, body: Value) -> Request {
    Request {
        method: Method::POST,
        path: path.to_owned(),
        body: Some(Body::Json(body)),
        key: None,
        by: Credential::Token,
    }
}

/// A POST of many JSON documents, one on each line, with the token.
pub(super) fn post_lines(path: &str, lines: Vec<Value>) -> Request {
    Request { body: Some(Body::Lines(lines)), ..post(path, Value::Null) }
}

/// A GET with the token.
pub(super) fn get(path: &str) -> Request {
    Request { method: Method::GET, body: None, ..post(path, Value::Null) }
}
