//! What a merchant settles for one of its stores: who writes, what is not written, and from which template.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use utoipa::ToSchema;

use super::{document::Order, template::OrderTemplate};
use crate::{
    mail::{Address, duration},
    shop::{Colour, Link, Look, PostalAddress, SingleLine, Timezone, mailing::Sender, optional},
};

/// The settings of a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreSettings {
    /// Whether shoppers are told of payments that were tried and of subscriptions that ended.
    #[serde(default = "yes", deserialize_with = "optional::or_yes")]
    #[schema(value_type = Option<bool>)]
    pub alternative_non_recurring_communications: bool,
    /// Which template is taken when.
    #[serde(default, deserialize_with = "optional::or_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<Binding>>)]
    pub bindings: Vec<Binding>,
    /// The `From` of the store's mails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    /// For so long after a mail of an order the same mail goes to the same recipient only if it is forced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "15m")]
    pub resend_cooldown: Option<Cooldown>,
    /// The `Reply-To` of the store's mails.
    #[serde(skip_serializing_if = "Option::is_none", rename = "reply_to", alias = "replyTo")]
    #[schema(value_type = Option<String>, format = "email")]
    pub reply_to: Option<Address>,
    /// A picture above its built-in mails; http or https.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "logo_url", alias = "logoUrl")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub logo_url: Option<Link>,
    /// The colour of buttons in its built-in mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")]
    pub colour: Option<Colour>,
    /// Where shoppers are answered; also the `Reply-To` of its mails, where they have no other.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "support_email",
        alias = "supportEmail"
    )]
    #[schema(value_type = Option<String>, format = "email")]
    pub support_email: Option<Address>,
    /// A page where shoppers are answered; http or https.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "support_url", alias = "supportUrl")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub support_url: Option<Link>,
    /// Where it is, on some lines.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "postal_address",
        alias = "postalAddress"
    )]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1000)]
    pub postal_address: Option<PostalAddress>,
    /// The time zone of dates in its mails, of the IANA database; UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Europe/Berlin")]
    pub timezone: Option<Timezone>,
    /// Its home page; http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub website: Option<Link>,
}

/// A time to be quiet, written as in the configuration (`"90s"`, `"15m"`, `"2h"`) or as a number of whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldown(Duration);

impl Cooldown {
    /// The longest.
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// How long it is.
    pub const fn length(self) -> Duration {
        self.0
    }
}

impl Serialize for Cooldown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = self.0.as_secs();
        match (seconds % 86_400, seconds % 3_600, seconds % 60) {
            (0, ..) => serializer.collect_str(&format_args!("{}d", seconds / 86_400)),
            (_, 0, _) => serializer.collect_str(&format_args!("{}h", seconds / 3_600)),
            (.., 0) => serializer.collect_str(&format_args!("{}m", seconds / 60)),
            _ => serializer.collect_str(&format_args!("{seconds}s")),
        }
    }
}

impl<'de> Deserialize<'de> for Cooldown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Seconds(u64),
            Words(String),
        }
        let shape = "must be a duration of whole seconds, as in \"15m\" or 900, at least 1s and at most 365d";
        let length = match Written::deserialize(deserializer).map_err(|_| D::Error::custom(shape))? {
            Written::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            Written::Words(words) => duration::parse(&words),
        };
        let is_fine = |length: &Duration| {
            length.subsec_nanos() == 0 && (Duration::from_secs(1)..=Self::LONGEST).contains(length)
        };
        length.filter(is_fine).map(Self).ok_or_else(|| D::Error::custom(shape))
    }
}

const fn yes() -> bool {
    true
}

impl Default for StoreSettings {
    /// What holds for a store that nobody has settled anything for.
    fn default() -> Self {
        Self {
            alternative_non_recurring_communications: true,
            bindings: Vec::new(),
            sender: None,
            resend_cooldown: None,
            reply_to: None,
            logo_url: None,
            colour: None,
            support_email: None,
            support_url: None,
            postal_address: None,
            timezone: None,
            website: None,
        }
    }
}

/// A template for the orders that meet every condition that is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    /// For this mail.
    pub template: OrderTemplate,
    /// Take this definition: the id of one of the merchant's templates, or a name that only the order shows.
    #[schema(value_type = String, example = "order-confirmation.default")]
    pub template_definition_name: SingleLine,
    /// For orders that came from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source: Option<SingleLine>,
    /// For orders whose mails look so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub layout: Option<SingleLine>,
    /// For subscriptions that renew by themselves, or do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurring: Option<bool>,
    /// For trials, or others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<bool>,
    /// For subscriptions that a trial became, or others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion: Option<bool>,
    /// For mails in this language, a language tag: `en` also takes `en-GB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub language: Option<SingleLine<35>>,
}

impl StoreSettings {
    /// What its mails show of it.
    pub fn look(&self) -> Look<'_> {
        Look {
            logo_url: self.logo_url.as_ref(),
            colour: self.colour.as_ref(),
            reply_to: self.reply_to.as_ref(),
            support_email: self.support_email.as_ref(),
            support_url: self.support_url.as_ref(),
            postal_address: self.postal_address.as_ref(),
            website: self.website.as_ref(),
            timezone: self.timezone.as_ref(),
        }
    }

    /// Whether the store has asked not to have this mail sent.
    pub const fn switches_off(&self, template: OrderTemplate) -> bool {
        let is_alternative = matches!(
            template,
            OrderTemplate::NonRecurringPaymentAttempt | OrderTemplate::NonRecurringPaymentSubscriptionExpired
        );
        is_alternative && !self.alternative_non_recurring_communications
    }

    /// The name of the definition to take: that of the binding with the most conditions, all met; of several the one
    /// written first. `language` is the tag of the mail's language.
    pub fn definition(&self, template: OrderTemplate, order: &Order, language: &str) -> &str {
        let mut best: Option<(&Binding, usize)> = None;
        for binding in self.bindings.iter().filter(|binding| binding.template == template) {
            if let Some(met) = binding.met(order, language)
                && best.is_none_or(|(_, most)| met > most)
            {
                best = Some((binding, met));
            }
        }
        best.map_or(template.default_definition(), |(binding, _)| binding.template_definition_name.as_str())
    }
}

impl Binding {
    /// How many conditions are given, if the order meets them all. An order without a subscription counts as neither
    /// recurring nor a trial nor a conversion.
    fn met(&self, order: &Order, language: &str) -> Option<usize> {
        let subscription = order.subscription.as_ref();
        let is = |wanted: Option<bool>, actual: Option<bool>| Some(wanted? == actual.unwrap_or(false));
        let given = [
            self.source.as_ref().map(|source| order.source.as_ref() == Some(source)),
            self.layout.as_ref().map(|layout| order.layout.as_ref() == Some(layout)),
            is(self.recurring, subscription.map(|it| it.recurring)),
            is(self.trial, subscription.map(|it| it.trial)),
            is(self.conversion, subscription.map(|it| it.conversion)),
            self.language.as_ref().map(|range| takes(range.as_str(), language)),
        ];
        let given: Vec<bool> = given.into_iter().flatten().collect();
        given.iter().all(|met| *met).then_some(given.len())
    }
}

/// Whether a language range takes a tag (RFC 4647, section 3.3.1).
fn takes(range: &str, tag: &str) -> bool {
    let (range, tag) =
        (range.to_ascii_lowercase().replace('_', "-"), tag.to_ascii_lowercase().replace('_', "-"));
    tag.strip_prefix(&range).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
