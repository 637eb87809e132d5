//! The sample shop: which requests it sends, and what it announces will come of each.
//!
//! One function per family makes a [`Scene`]; a new family is a new function, named in [`scenes`]. The scenes are
//! told in that order, and each request is sent when the one before it has come to its end.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::scene::{Act, Credential, Ending, FoundBy, MailEnding, Request, Scene, get, post, post_lines};

/// The sample merchant's id.
pub(super) const MERCHANT: &str = "tea-house";
/// The sample merchant's name.
pub(super) const NAME: &str = "The Tea House";
/// The sample merchant's country.
pub(super) const COUNTRY: &str = "DE";
/// Where mails come from that no brand and no store has a sender for.
pub(super) const SENDER: &str = "hello@tea-house.example";
/// The user name of the sample merchant's account.
pub(super) const USERNAME: &str = "tea-house-shop";

/// The members of the batch.
const GUESTS: u64 = 500;

/// Where only the cloud machine itself should be able to look: a famous target of forged webhooks.
const CLOUD_SECRETS: &str = "http://169.254.169.254/latest/meta-data/";

/// Everything that is shown, in its order. `receiver` is the URL at which the shop takes callbacks.
pub(super) fn scenes(receiver: &str) -> Vec<Scene> {
    vec![
        known_things(),
        cart_link(),
        callbacks(receiver),
        abandoned_cart(),
        order(),
        mailing(),
        sandbox(),
        batch(receiver),
    ]
}

/// What the shop tells postroom before it can send, for all families.
fn known_things() -> Scene {
    let brand = json!({"name": NAME, "sender": {"name": NAME, "email": SENDER}});
    let mut acts = vec![
        Act::told("A checkout that waits for its payment", "subscriptions/sub_1", subscription()),
        Act::told("One that nobody has finished yet", "subscriptions/sub_2", draft()),
        Act::told("A cart that Ann left behind", "abandoned-carts/cart_1", cart()),
        Act::told("An order that Ann paid", "orders/ord_1001", paid_order()),
        Act::told("A brand, which mails come from", "brands/tea-house", brand),
        Act::told("A coupon of the brand", "coupons/first-pot", coupon()),
    ];
    let voucher = template("{{first_name}}, a voucher for you", include_str!("shop/voucher.html"));
    let invitation = template("{{first_name}}, your first pot is ours", include_str!("shop/invitation.html"));
    acts.extend([
        Act::told("A template, checked and versioned", "templates/voucher", voucher),
        Act::told("A template that links to a pass", "templates/invitation", invitation),
        Act::told("Ann takes mail as most people do", "members/ann", member("Ann", "Lee", "ann@example.net")),
        Act::told(
            "Ben's mail server puts strangers off once",
            "members/ben",
            member("Ben", "Okoye", "greylist-once+ben@example.net"),
        ),
        Act::told(
            "Eve's address does not exist any more",
            "members/eve",
            member("Eve", "Moreau", "reject+eve@example.net"),
        ),
    ]);
    Scene { title: "The shop tells postroom what it knows", acts }
}

/// The cart-link family: no body, HTTP Basic, answers in the merchant's language.
fn cart_link() -> Scene {
    let send_link = |subscription: &str| {
        let path = format!("/api/public/v1/subscriptions/{subscription}/send_email");
        Request { body: None, by: Credential::Account, ..post(&path, Value::Null) }
    };
    Scene {
        title: "Cart link: back to the checkout on another device",
        acts: vec![
            Act {
                said: "Ann is sent her cart link; a password opens, the answer is in German",
                request: send_link("sub_1"),
                ending: Ending::Mail(FoundBy::Query("subscription=sub_1"), MailEnding::Delivered),
            },
            Act {
                said: "Only merchants in Mexico may mail a draft, and this one is in Germany",
                request: send_link("sub_2"),
                ending: Ending::Refused(StatusCode::UNPROCESSABLE_ENTITY),
            },
        ],
    }
}

/// Webhooks: where the shop is told of what happens.
fn callbacks(receiver: &str) -> Scene {
    Scene {
        title: "Webhooks: the shop wants to be told",
        acts: vec![
            Act {
                said: "A receiver of the shop, for two kinds of events",
                request: post(
                    "/webhooks",
                    json!({"url": receiver, "events": ["reminder.sent", "order.email.completed"]}),
                ),
                ending: Ending::Registered,
            },
            Act {
                said: "A URL that leads to the secrets of the machine itself: not accepted",
                request: post("/webhooks", json!({"url": CLOUD_SECRETS})),
                ending: Ending::Refused(StatusCode::UNPROCESSABLE_ENTITY),
            },
        ],
    }
}

/// The abandoned-cart family: a reminder with a discount, and a callback when it is sent.
fn abandoned_cart() -> Scene {
    let remind = |details: Value| {
        post("/abandoned-carts/cart_1/reminder", json!({"type": "email", "alert_details": details}))
    };
    let message = "Your tea is still waiting for you.\nIf you come back this week, it costs a little less.";
    Scene {
        title: "Abandoned carts: a reminder with 15 % off",
        acts: vec![
            Act {
                said: "Ann is reminded; the link in the mail carries the discount, signed",
                request: remind(
                    json!({"subject": "Your tea is waiting", "message": message, "offer_discount": 15}),
                ),
                ending: Ending::MailAndCallback(FoundBy::Query("cart=cart_1"), "reminder.sent"),
            },
            Act {
                said: "A discount of more than everything: not accepted",
                request: remind(
                    json!({"subject": "Your tea is waiting", "message": message, "offer_discount": 150}),
                ),
                ending: Ending::Refused(StatusCode::UNPROCESSABLE_ENTITY),
            },
        ],
    }
}

/// The order family: a mail sent again, by the rules of the order's state.
fn order() -> Scene {
    let send = |template: &str| {
        post("/ordersv2/ord_1001/email/send?reason=Ann+lost+the+first+one", json!({"template": template}))
    };
    Scene {
        title: "Orders: a mail sent again",
        acts: vec![
            Act {
                said: "The confirmation of an order that is paid",
                request: send("ORDERCONFIRMATION"),
                ending: Ending::MailAndCallback(FoundBy::Query("order=ord_1001"), "order.email.completed"),
            },
            Act {
                said: "The order's workflow came to its end with the mail",
                request: get("/ordersv2/ord_1001"),
                ending: Ending::Says("/emailConfirmationStatus", "COMPLETED"),
            },
            Act {
                said: "The cancellation of an order that nobody cancelled: not accepted",
                request: send("CANCELLATION"),
                ending: Ending::Refused(StatusCode::BAD_REQUEST),
            },
        ],
    }
}

/// The mailing family: one mail to one member, in all the ways it can end.
fn mailing() -> Scene {
    let to = |identifier: &str| {
        json!({"brand_id": MERCHANT, "template_id": "voucher",
            "user": {"identifier": identifier, "voucher": "EARLGREY-10"}})
    };
    let with_pass = json!({"brand_id": MERCHANT, "template_id": "invitation", "coupon_id": "first-pot",
        "user": {"identifier": "ann"}});
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
                request: post("/mail", with_pass),
                said: "A mail with a coupon: its link leads to Ann's own pass with a QR code",
                ending: Ending::Mail(found("/data/ann/transaction_id"), MailEnding::Delivered),
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

/// The sandbox: a token in test mode.
fn sandbox() -> Scene {
    let mail = json!({"brand_id": MERCHANT, "template_id": "voucher",
        "user": {"identifier": "ann", "voucher": "EARLGREY-10"}});
    Scene {
        title: "Sandbox: everything but the delivery",
        acts: vec![Act {
            request: Request { by: Credential::TestToken, ..post("/mail", mail) },
            said: "The mail for Ann once more, with a token in test mode",
            ending: Ending::Mail(FoundBy::Answer("/data/ann/transaction_id"), MailEnding::TriedOut),
        }],
    }
}

/// The mailing family: many mails from one request, and a webhook at the end. The names of the addresses let the
/// catcher take a moment over each mail, as relays do; else there would be nothing to watch.
fn batch(receiver: &str) -> Scene {
    let first_names = ["Ada", "Bruno", "Clara", "Dario", "Edith"];
    let guests = (1..=GUESTS).zip(first_names.iter().cycle()).map(|(number, name)| {
        let mut guest = member(name, "Guest", &format!("slow-10+guest-{number}@example.net"));
        guest["kind"] = json!("members");
        guest["id"] = json!(format!("guest-{number}"));
        guest
    });
    let user =
        |number| json!({"identifier": format!("guest-{number}"), "voucher": format!("FLUSH-{number:03}")});
    let mut users: Vec<_> = (1..=GUESTS).map(user).collect();
    users.push(json!({"identifier": "nobody"}));
    let harvest = template("The first flush is here", include_str!("shop/voucher.html"));
    let request =
        json!({"brand_id": MERCHANT, "template_id": "harvest", "webhook_url": receiver, "users": users});
    Scene {
        title: "Mailing: five hundred mails from one request",
        acts: vec![
            Act::told("A template for all of them", "templates/harvest", harvest),
            Act {
                request: post_lines("/api/v1/import", guests.collect()),
                said: "Five hundred members at once, a line for each",
                ending: Ending::Says("/accepted", "500"),
            },
            Act {
                request: post("/mails", request),
                said: "A voucher for each and for one stranger; the relay takes 10 ms over a mail",
                ending: Ending::Batch(GUESTS),
            },
        ],
    }
}

fn subscription() -> Value {
    json!({"state": "waiting_for_payment", "cart_link": "https://tea-house.example/checkout/1",
        "shopper": {"email": "ann@example.net", "first_name": "Ann", "last_name": "Lee"}})
}

fn draft() -> Value {
    json!({"state": "draft", "cart_link": "https://tea-house.example/checkout/2",
        "shopper": {"email": "ben@example.net", "first_name": "Ben"}})
}

fn cart() -> Value {
    json!({"recovery_link": "https://tea-house.example/carts/1", "currency": "EUR", "total": "59.90",
        "customer": {"email": "ann@example.net", "first_name": "Ann", "language": "en"},
        "items": [{"name": "Darjeeling, first flush", "quantity": 2, "unit_price": "29.95"}]})
}

fn paid_order() -> Value {
    json!({"language": "en", "currency": "EUR", "totalAmount": "59.90", "paymentStatus": "COMPLETED",
        "items": [{"name": "Darjeeling, first flush", "quantity": 2, "unitPrice": "29.95"}],
        "endUser": {"email": "ann@example.net", "firstName": "Ann", "lastName": "Lee"},
        "payments": [{"paymentId": "pay_1", "status": "COMPLETED", "amount": "59.90"}],
        "emailConfirmationStatus": "COMPLETED"})
}

fn coupon() -> Value {
    json!({"brand_id": MERCHANT, "title": "The first pot is ours", "code": "FIRSTPOT"})
}

fn template(subject: &str, html: &str) -> Value {
    json!({"brand_id": MERCHANT, "title": "For members", "subject": subject, "html": html})
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
