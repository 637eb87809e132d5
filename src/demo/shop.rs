//! The sample shop: which requests it sends, and what it announces will come of each.
//!
//! One function per family makes a [`Scene`]; a new family is a new function, named in [`scenes`]. The scenes are
//! told in that order, and each request is sent when the one before it has come to its end.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The sample merchant's id.
pub(super) const MERCHANT: &str = "tea-house";
/// The sample merchant's name.
pub(super) const NAME: &str = "The Tea House";
/// The sample merchant's country.
pub(super) const COUNTRY: &str = "DE";

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
    /// The JSON body, where there is one.
    pub(super) body: Option<Value>,
    /// The `Idempotency-Key`, where there is one.
    pub(super) key: Option<&'static str>,
}

/// What shall come of a request.
pub(super) enum Ending {
    /// It is taken, and that is all.
    Taken,
    /// It is taken, and a mail comes of it.
    Mail(FoundBy, MailEnding),
    /// It was taken before: the first answer comes again and no second mail.
    Replayed,
    /// It is refused with this status.
    Refused(StatusCode),
}

/// How the mails of a request are found.
#[expect(
    dead_code,
    reason = "the other families' answers name no mail; theirs are found by what they are about"
)]
pub(super) enum FoundBy {
    /// The answer names the mail, at this JSON pointer (RFC 6901).
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
}

/// Everything that is shown, in its order.
pub(super) fn scenes() -> Vec<Scene> {
    vec![known_things(), mailing()]
}

/// What the shop tells postroom before it can send: a brand, a template, members.
fn known_things() -> Scene {
    let template = json!({
        "brand_id": MERCHANT,
        "title": "Voucher",
        "subject": "{{first_name}}, a voucher for you",
        "html": include_str!("shop/voucher.html"),
    });
    let sender = json!({"name": NAME, "email": "hello@tea-house.example"});
    Scene {
        title: "The shop tells postroom what it knows",
        acts: vec![
            told(
                "A brand, which mails come from",
                "brands/tea-house",
                json!({"name": NAME, "sender": sender}),
            ),
            told("A template, checked and kept as a version", "templates/voucher", template),
            told("Ann takes mail as most people do", "members/ann", member("Ann", "Lee", "ann@example.net")),
            told(
                "Ben's mail server puts strangers off once",
                "members/ben",
                member("Ben", "Okoye", "greylist-once+ben@example.net"),
            ),
            told(
                "Eve's address does not exist any more",
                "members/eve",
                member("Eve", "Moreau", "reject+eve@example.net"),
            ),
        ],
    }
}

/// The mailing family: one mail to one member, in all the ways it can end.
fn mailing() -> Scene {
    let to = |identifier: &str| {
        json!({"brand_id": MERCHANT, "template_id": "voucher",
            "user": {"identifier": identifier, "voucher": "EARLGREY-10"}})
    };
    let nothing_to_print =
        json!({"brand_id": MERCHANT, "template_id": "voucher", "user": {"identifier": "ann"}});
    let found = |pointer| FoundBy::Answer(pointer);
    Scene {
        title: "Mailing: one mail to one member",
        acts: vec![
            Act {
                request: Request { key: Some("ann-1"), ..post("/mail", to("ann")) },
                said: "A mail for Ann",
                ending: Ending::Mail(found("/data/ann/transaction_id"), MailEnding::Delivered),
            },
            Act {
                request: Request { key: Some("ann-1"), ..post("/mail", to("ann")) },
                said: "The same request with the same Idempotency-Key: Ann gets one mail, not two",
                ending: Ending::Replayed,
            },
            Act {
                request: post("/mail", to("ben")),
                said: "A mail for Ben: put off at first, delivered a moment later",
                ending: Ending::Mail(found("/data/ben/transaction_id"), MailEnding::DeliveredLater),
            },
            Act {
                request: post("/mail", to("eve")),
                said: "A mail for Eve: her server refuses it for good",
                ending: Ending::Mail(found("/data/eve/transaction_id"), MailEnding::Refused(550)),
            },
            Act {
                request: post("/mail", nothing_to_print),
                said: "A mail without the voucher that its template prints: not accepted",
                ending: Ending::Refused(StatusCode::UNPROCESSABLE_ENTITY),
            },
        ],
    }
}

fn told(said: &'static str, thing: &str, body: Value) -> Act {
    let path = format!("/api/v1/{thing}");
    Act {
        said,
        request: Request { method: Method::PUT, path, body: Some(body), key: None },
        ending: Ending::Taken,
    }
}

fn post(path: &str, body: Value) -> Request {
    Request { method: Method::POST, path: path.to_owned(), body: Some(body), key: None }
}

fn member(first_name: &str, last_name: &str, email: &str) -> Value {
    json!({"brand_id": MERCHANT, "email": email, "first_name": first_name, "last_name": last_name})
}

/// A command that sends a mail to the sample shop's first member, ready to be pasted into a shell.
pub(super) fn first_mail(api: &str, token: &str) -> String {
    format!(
        "curl {api}/mail \\\n  -H 'Authorization: Bearer {token}' \\\n  -H 'Content-Type: application/json' \\\n  \
         -d '{{\"brand_id\": \"tea-house\", \"template_id\": \"voucher\",\n       \
         \"user\": {{\"identifier\": \"ann\", \"voucher\": \"MINE-20\"}}}}'"
    )
}
