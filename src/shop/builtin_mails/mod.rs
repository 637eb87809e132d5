//! The built-in mails, each in six languages, Portuguese as in Portugal and as in Brazil, as handlebars templates.
//!
//! The code that records a cart link, a reminder, an order mail or a notice takes the template from here; `render` checks
//! and fills it like any merchant's. A built-in mail is put together from one layout, its own fragment, a few fragments
//! that mails share, and the words of the language, all of them below `templates/mails`. There `[[mark]]` stands for
//! words, `[[mark.label]]` for words without the value at their end, `[[mark.before]]` and `[[mark.after]]` for what stands
//! around a value, and `[[>name]]` for a shared fragment. They are put in as text before handlebars sees anything, so words
//! may hold handlebars tags.
//!
//! # What each mail is filled with
//!
//! Every value is a string unless said otherwise. Money, dates and percentages come formatted for the language
//! ([`super::format`]). Subject and text part are to be filled without HTML escaping, the HTML part with it.
//! An optional tag may be missing, null or empty; all others must be given.
//!
//! | mail | required | optional |
//! |---|---|---|
//! | all | | `first_name`, `last_name` (used only with `first_name`); of the brand or store `logo_url`, `colour` with `colour_of_letters`, `support_email`, `support_url`, `postal_address`, `website`; `json_ld` (not to be escaped) |
//! | `cart_link` | `merchant_name`, `cart_link` (a URL) | |
//! | `abandoned_cart_reminder` | `merchant_name`, `subject`, `message`, `recovery_link` (a URL), `total` | `message_lines`, `discount` (`15%`), `discounted_total`, `items` |
//! | every `order_…` | `store_name`, `order_id`, `total` | `items`, `subtotal`, `shipping`, `order_discount`, `tax`, `shipping_address`, `shipping_address_lines`, `billing_address`, `billing_address_lines`, `order_url`, `payment_url` |
//! | `order_prebilling` | | `next_billing_date` |
//! | `order_confirmation` | | `paid_on` |
//! | `order_cancellation` | `cancelled_on` | `reason` |
//! | `order_partial_refund` | `refunded_amount` | `payment_id` |
//! | `order_offline_payment_pending` | | `payment_id` |
//! | `order_non_recurring_prebilling` | | `next_billing_date` |
//! | `order_non_recurring_payment_attempt` | | `payment_id` |
//! | `order_non_recurring_payment_subscription_expired` | `expired_on` | |
//! | `endpoint_disabled` | `merchant_name`, `url`, `endpoint_id`, `disabled_on` | `status` (what it answered, where that disabled it) |
//!
//! `items` is a list of objects: `name`, `quantity` (a number or a string) and `unit_price` required, `image_url` and
//! `line_total` optional. `message_lines` are the lines of the message: `text`, and whether a paragraph `begins` with it
//! or the one before `goes_on`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
    sync::LazyLock,
};

use serde_json::{Map, Value};

use super::{TemplateClass, TemplateSource, json_ld, language::Language};
use crate::mail::UnknownWord;

/// Defines the built-in mails, each with its name, which is also the name of its two fragments below `templates/mails`.
macro_rules! builtin_mails {
    ($($(#[$doc:meta])* $mail:ident = $name:literal,)+) => {
        /// A mail that postroom has a template for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum BuiltinMail {
            $($(#[$doc])* $mail,)+
        }

        impl BuiltinMail {
            /// Every built-in mail, in the order of the definition.
            pub const ALL: &[Self] = &[$(Self::$mail,)+];

            const NAMES: &[&str] = &[$($name,)+];

            /// The name of its template.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$mail => $name,)+
                }
            }

            const fn fragment(self) -> Fragment {
                match self {
                    $(Self::$mail => fragment!($name),)+
                }
            }
        }
    };
}

/// Takes a pair of files below `templates/mails` into the binary.
macro_rules! fragment {
    ($path:literal) => {
        Fragment {
            html: include_str!(concat!("../../../templates/mails/", $path, ".html")),
            text: include_str!(concat!("../../../templates/mails/", $path, ".txt")),
        }
    };
}

builtin_mails! {
    /// The link to the cart that a shopper asked for or needs on another device.
    CartLink = "cart_link",
    /// A merchant's message to a shopper who left a cart behind.
    AbandonedCartReminder = "abandoned_cart_reminder",
    /// Announces the next payment of a subscription that renews by itself.
    OrderPrebilling = "order_prebilling",
    /// Confirms a paid order.
    OrderConfirmation = "order_confirmation",
    /// Confirms that an order was cancelled.
    OrderCancellation = "order_cancellation",
    /// Says that a part of a payment was refunded.
    OrderPartialRefund = "order_partial_refund",
    /// Reminds of a payment that the shopper makes outside of the shop.
    OrderOfflinePaymentPending = "order_offline_payment_pending",
    /// Announces the next payment of a subscription that does not renew by itself.
    OrderNonRecurringPrebilling = "order_non_recurring_prebilling",
    /// Says that such a payment was tried and is not complete.
    OrderNonRecurringPaymentAttempt = "order_non_recurring_payment_attempt",
    /// Says that such a subscription ended because nobody paid.
    OrderNonRecurringPaymentSubscriptionExpired = "order_non_recurring_payment_subscription_expired",
    /// Says to a merchant that postroom disabled one of its webhook endpoints.
    EndpointDisabled = "endpoint_disabled",
}

impl BuiltinMail {
    /// What it is for. A merchant's own template in place of a promotional one may say otherwise; in place of any other it
    /// may not: orders and carts that shoppers ask for are no advertising.
    pub fn class(self, own: Option<TemplateClass>) -> TemplateClass {
        match self {
            Self::AbandonedCartReminder => own.unwrap_or(TemplateClass::Promotional),
            _ => TemplateClass::Transactional,
        }
    }
}

/// Returns the template of a built-in mail in a language.
pub fn template(mail: BuiltinMail, language: Language) -> TemplateSource {
    static TEMPLATES: LazyLock<HashMap<(BuiltinMail, Language), TemplateSource>> = LazyLock::new(|| {
        let every_language =
            |&mail: &BuiltinMail| Language::OF_BUILTIN_MAILS.iter().map(move |&language| (mail, language));
        BuiltinMail::ALL
            .iter()
            .flat_map(every_language)
            .map(|(mail, language)| ((mail, language), Composition { mail, language }.compose()))
            .collect()
    });
    TEMPLATES.get(&(mail, language)).cloned().unwrap_or_else(|| Composition { mail, language }.compose())
}

/// What mail programs read of a mail that leads to a cart, filled with these values; `None` for others.
pub fn linked_data(mail: BuiltinMail, language: Language, values: &Map<String, Value>) -> Option<String> {
    let link = match mail {
        BuiltinMail::CartLink => "cart_link",
        BuiltinMail::AbandonedCartReminder => "recovery_link",
        _ => return None,
    };
    let text = |tag: &str| values.get(tag).and_then(Value::as_str);
    let button = Composition { mail, language }.words("button")?;
    Some(json_ld::view_action(text("merchant_name")?, button, text(link)?))
}

impl BuiltinMail {
    const fn is_about_an_order(self) -> bool {
        !matches!(self, Self::CartLink | Self::AbandonedCartReminder | Self::EndpointDisabled)
    }

    const fn asks_for_payment(self) -> bool {
        self.is_about_an_order()
            && !matches!(self, Self::OrderConfirmation | Self::OrderCancellation | Self::OrderPartialRefund)
    }
}

impl fmt::Display for BuiltinMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuiltinMail {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|mail| mail.as_str() == text)
            .ok_or_else(|| UnknownWord { word: text.to_owned(), allowed: Self::NAMES })
    }
}

/// A piece of a mail, as it stands in the HTML and in the text part.
#[derive(Clone, Copy)]
struct Fragment {
    html: &'static str,
    text: &'static str,
}

impl Fragment {
    /// The fragments that mails share, by the name in their `[[>name]]`.
    fn shared(name: &str) -> Option<Self> {
        Some(match name {
            "shop" => fragment!("parts/shop"),
            "opening" => fragment!("parts/opening"),
            "button" => fragment!("parts/button"),
            "summary" => fragment!("parts/summary"),
            "order" => fragment!("parts/order"),
            "pay" => fragment!("parts/pay"),
            "view" => fragment!("parts/view"),
            // It differs in how it looks, which a text part does not.
            "view_quiet" => Fragment {
                html: include_str!("../../../templates/mails/parts/view_quiet.html"),
                ..fragment!("parts/view")
            },
            _ => return None,
        })
    }

    fn in_form(self, form: Form) -> &'static str {
        match form {
            Form::Html => self.html.trim_end(),
            Form::Text => self.text.trim_end(),
        }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Html,
    Text,
}

const LAYOUT: Fragment = fragment!("layout");

/// The words of a language: by section, which is `common`, `order` or the name of a mail, then by mark.
type Words = BTreeMap<String, BTreeMap<String, String>>;

fn words(language: Language) -> &'static Words {
    macro_rules! words_of {
        ($path:literal) => {{
            static WORDS: LazyLock<Words> = LazyLock::new(|| {
                let text = include_str!(concat!("../../../templates/mails/words/", $path, ".toml"));
                // A test reads every file; a mail without words is still better than a panic.
                toml::from_str(text).unwrap_or_default()
            });
            &WORDS
        }};
    }
    match language {
        Language::En => words_of!("en"),
        Language::Es => words_of!("es"),
        Language::Pt => words_of!("pt"),
        Language::PtBr => words_of!("pt_br"),
        Language::De => words_of!("de"),
        Language::It => words_of!("it"),
        Language::Fr => words_of!("fr"),
    }
}

/// Puts one mail together.
#[derive(Clone, Copy)]
struct Composition {
    mail: BuiltinMail,
    language: Language,
}

impl Composition {
    /// Words within words within fragments within the mail within the layout: nothing nests deeper.
    const DEPTH: usize = 6;

    fn compose(self) -> TemplateSource {
        TemplateSource {
            subject: self.fill("[[subject]]", Form::Text, Self::DEPTH),
            html: self.fill(LAYOUT.in_form(Form::Html), Form::Html, Self::DEPTH) + "\n",
            text: Some(self.fill(LAYOUT.in_form(Form::Text), Form::Text, Self::DEPTH) + "\n"),
        }
    }

    /// Replaces every mark in `text`, and the marks in what replaces them. An unknown mark stays as it is.
    fn fill(self, text: &str, form: Form, depth: usize) -> String {
        let mut filled = String::with_capacity(text.len() * 2);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("[[") {
            filled.push_str(before);
            match after.split_once("]]").and_then(|(mark, after)| Some((self.meaning(mark, form)?, after))) {
                Some((meaning, after)) if depth > 0 => {
                    filled.push_str(&self.fill(meaning, form, depth - 1));
                    rest = after;
                }
                _ => {
                    filled.push_str("[[");
                    rest = after;
                }
            }
        }
        filled + rest
    }

    fn meaning(self, mark: &str, form: Form) -> Option<&'static str> {
        let is_about_an_order = self.mail.is_about_an_order();
        match mark {
            ">body" => Some(self.mail.fragment().in_form(form)),
            // Where there is a payment to make, its button is the one to be seen.
            ">view" if self.mail.asks_for_payment() => {
                Fragment::shared("view_quiet").map(|fragment| fragment.in_form(form))
            }
            "language" => Some(self.language.as_str()),
            "name" => Some("{{first_name}}{{#if last_name}} {{last_name}}{{/if}}"),
            "shop" => Some(if is_about_an_order { "{{store_name}}" } else { "{{merchant_name}}" }),
            "link" => match self.mail {
                BuiltinMail::CartLink => Some("{{cart_link}}"),
                BuiltinMail::AbandonedCartReminder => Some("{{recovery_link}}"),
                _ => None,
            },
            _ => match mark.strip_prefix('>') {
                Some(name) => Fragment::shared(name).map(|fragment| fragment.in_form(form)),
                None => match mark.split_once('.') {
                    Some((mark, "label")) => self.words(mark).map(label),
                    Some((mark, "before")) => self.words(mark).map(|words| around(words).0),
                    Some((mark, "after")) => self.words(mark).map(|words| around(words).1),
                    _ => self.words(mark),
                },
            },
        }
    }

    fn words(self, mark: &str) -> Option<&'static str> {
        let order = self.mail.is_about_an_order().then_some("order");
        [Some(self.mail.as_str()), order, Some("common")]
            .into_iter()
            .flatten()
            .find_map(|section| {
                // What a region says otherwise goes before what the language says.
                let of = |language| words(language).get(section)?.get(mark);
                of(self.language).or_else(|| of(self.language.base()))
            })
            .map(String::as_str)
    }
}

/// What stands before the value at the end of words, as `Tax` in `Tax: {{tax}}`.
fn label(words: &'static str) -> &'static str {
    around(words).0.trim_end_matches(|c: char| c == ':' || c.is_whitespace())
}

/// What stands before the first value of words, and what behind it.
fn around(words: &'static str) -> (&'static str, &'static str) {
    let (before, rest) = words.split_once("{{").unwrap_or((words, ""));
    (before, rest.split_once("}}").map_or("", |(_, after)| after))
}

mod sample;

#[cfg(test)]
mod tests;

pub use sample::sample_values;
