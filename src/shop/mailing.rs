//! The mailing family: brands, templates, members, and the rules for a mail from them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Colour, Link, Look, PostalAddress, SingleLine, TemplateClass, TemplateVersion, Timezone, full_name,
    locale::Locale, optional,
};
use crate::mail::{Address, CrashPolicy, Mailbox};

/// The placeholders that postroom fills itself.
pub const RESERVED_TAGS: [&str; 8] = [
    "email",
    "first_name",
    "last_name",
    "full_name",
    "language",
    "brand_name",
    "link_to_pass",
    UNSUBSCRIBE_LINK,
];
/// What names the member in a user object. A template may have it as a placeholder.
pub const IDENTIFIER: &str = "identifier";
/// The placeholder that leads the recipient to unsubscribing. Nobody but postroom fills it: its meaning is a promise.
pub const UNSUBSCRIBE_LINK: &str = "unsubscribe_link";
/// Placeholders that a caller's value does not fill.
const NOT_OVERRIDABLE: [&str; 2] = ["email", UNSUBSCRIBE_LINK];

/// A sender as merchants write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    /// The name that mail programs show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub name: Option<SingleLine>,
    /// The address.
    #[serde(deserialize_with = "senders_address")]
    #[schema(value_type = String, format = "email")]
    pub email: Address,
}

/// The longest domain of a sender: with an id before it, it becomes the `Message-ID` of each of its mails.
const LONGEST_DOMAIN: usize = 213;

fn senders_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    let address = Address::deserialize(deserializer)?;
    if address.domain().len() > LONGEST_DOMAIN {
        return Err(D::Error::custom(format!("must have at most {LONGEST_DOMAIN} characters after the `@`")));
    }
    Ok(address)
}

impl From<Sender> for Mailbox {
    fn from(sender: Sender) -> Self {
        Self { name: sender.name.map(|name| name.as_str().to_owned()), email: sender.email }
    }
}

/// A brand of a merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Brand {
    /// The name that shoppers know.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub name: SingleLine,
    /// The `From` of its mails.
    pub sender: Sender,
    /// The `Reply-To` of its mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "email")]
    pub reply_to: Option<Address>,
    /// The language of its members, where they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 35)]
    pub language: Option<SingleLine<35>>,
    /// A picture above its built-in mails; http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub logo_url: Option<Link>,
    /// The colour of buttons in its built-in mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")]
    pub colour: Option<Colour>,
    /// Where shoppers are answered; also the `Reply-To` of its mails, where they have no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "email")]
    pub support_email: Option<Address>,
    /// A page where shoppers are answered; http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub support_url: Option<Link>,
    /// Where it is, on some lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

impl Brand {
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
}

/// A template as merchants write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The brand it belongs to.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub brand_id: SingleLine,
    /// Its title, for people.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub title: SingleLine,
    /// The `Subject`, handlebars.
    pub subject: String,
    /// The HTML part, handlebars.
    pub html: String,
    /// The text part, handlebars; made from the HTML where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its own `From`, instead of the brand's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    /// The language it is written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 35)]
    pub language: Option<SingleLine<35>>,
    /// What it is for. Where it does not say so, a mail of a batch is promotional, and any other is transactional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<TemplateClass>,
    /// What to do with its mails when a crash left their outcome unknown.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<CrashPolicy>)]
    pub on_crash: CrashPolicy,
}

/// A member of a brand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The brand it belongs to.
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub brand_id: SingleLine,
    /// Where its mails go.
    #[schema(value_type = String, format = "email")]
    pub email: Address,
    /// The first name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub first_name: Option<SingleLine>,
    /// The last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub last_name: Option<SingleLine>,
    /// The language of its mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 35)]
    pub language: Option<SingleLine<35>>,
    /// Values for custom placeholders.
    #[serde(default, deserialize_with = "optional::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub tags: BTreeMap<String, Value>,
}

impl Member {
    /// Somebody of this brand of whom nothing but the address is known.
    pub fn at(email: Address, brand_id: SingleLine) -> Self {
        Self { brand_id, email, first_name: None, last_name: None, language: None, tags: BTreeMap::new() }
    }

    /// First and last name, as far as they are known.
    pub fn full_name(&self) -> Option<String> {
        full_name(self.first_name.as_ref(), self.last_name.as_ref())
    }
}

/// The language that somebody named for a mail to this member of this brand, a tag: the member's, else the brand's, else the
/// template's.
pub fn named_language<'a>(
    version: &'a TemplateVersion,
    (brand, member): (Option<&'a Brand>, Option<&'a Member>),
) -> Option<&'a str> {
    let of_member = member.and_then(|member| member.language.as_ref());
    let chosen = of_member.or(brand.and_then(|brand| brand.language.as_ref())).map(SingleLine::as_str);
    chosen.or(version.language.as_deref())
}

/// The values that fill a mail of a template: what postroom knows, over it the member's own tags, over them what the caller
/// gave. The language is the merchant's where nobody named one.
pub fn tag_values(
    version: &TemplateVersion,
    (brand, member): (&Brand, &Member),
    user: Map<String, Value>,
    link_to_pass: Option<String>,
    of_merchant: Locale<'_>,
) -> Map<String, Value> {
    // It names the member; few mails say it.
    let says_identifier = version.tags.iter().any(|tag| tag == IDENTIFIER);
    let text = |line: &Option<SingleLine>| line.as_ref().map(|line| Value::from(line.as_str()));
    let known = [
        ("first_name", text(&member.first_name)),
        ("last_name", text(&member.last_name)),
        ("brand_name", Some(Value::from(brand.name.as_str()))),
        // No placeholder: what the helper `date` asks for.
        ("brand_timezone", brand.timezone.as_ref().map(|zone| Value::from(zone.as_str()))),
    ];
    let mut values: Map<_, _> =
        known.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value?))).collect();
    values.extend(member.tags.iter().map(|(tag, value)| (tag.clone(), value.clone())));
    values.extend(user.into_iter().filter(|(tag, _)| tag != IDENTIFIER || says_identifier));
    for tag in NOT_OVERRIDABLE {
        values.remove(tag);
    }
    of_merchant.put_language(&mut values, named_language(version, (Some(brand), Some(member))));
    if let Some(link) = link_to_pass {
        values.entry("link_to_pass").or_insert_with(|| link.into());
    }
    // The full name is that of the names that the mail has, whoever gave them.
    if !values.contains_key("full_name") {
        let names = ["first_name", "last_name"].map(|tag| values.get(tag).and_then(Value::as_str));
        let names: Vec<_> =
            names.into_iter().flatten().map(str::trim).filter(|name| !name.is_empty()).collect();
        if !names.is_empty() {
            values.insert("full_name".to_owned(), Value::from(names.join(" ")));
        }
    }
    values.insert("email".to_owned(), Value::from(member.email.to_string()));
    values
}

/// The placeholders of a template that postroom does not fill.
pub fn custom_tags(version: &TemplateVersion) -> Vec<&str> {
    let is_custom = |tag: &&str| !RESERVED_TAGS.contains(tag);
    version.tags.iter().map(String::as_str).filter(is_custom).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ITALIAN: Locale<'_> = Locale { setting: Some("it"), country: "DE" };

    fn brand() -> Brand {
        serde_json::from_value(
            json!({"name": "Tea", "sender": {"email": "hi@tea.example"}, "language": "de"}),
        )
        .unwrap()
    }

    fn member() -> Member {
        serde_json::from_value(json!({"brand_id": "tea", "email": "ann@example.net", "first_name": "Ann",
            "tags": {"points": 12, "city": "Bonn", "email": "x@example.net"}}))
        .unwrap()
    }

    fn values(user: Value) -> Map<String, Value> {
        values_of(&TemplateVersion::sample(&[], None), user, None)
    }

    fn values_of(version: &TemplateVersion, user: Value, link_to_pass: Option<String>) -> Map<String, Value> {
        let user = serde_json::from_value(user).unwrap();
        tag_values(version, (&brand(), &member()), user, link_to_pass, ITALIAN)
    }

    #[test]
    fn the_language_is_the_members_then_the_brands_then_the_templates_then_the_merchants() {
        for (of_member, of_brand, of_template, language) in [
            (Some("de-CH"), Some("fr"), Some("es"), "de-CH"),
            (None, Some("fr"), Some("es"), "fr"),
            (None, None, Some("es-MX"), "es-MX"),
            (None, None, None, "it"),
        ] {
            let line = |tag: Option<&str>| tag.map(|tag| SingleLine::new(tag.to_owned()).unwrap());
            let brand = Brand { language: line(of_brand), ..brand() };
            let member = Member { language: line(of_member), ..member() };
            let version = TemplateVersion::sample(&["language"], of_template);
            let values = tag_values(&version, (&brand, &member), Map::new(), None, ITALIAN);
            assert_eq!(values["language"], language);
        }
        assert_eq!(values(json!({"language": "pt"}))["language"], "pt");
    }

    #[test]
    fn a_callers_value_goes_over_the_members_and_that_over_postrooms() {
        let user = json!({"identifier": "m1", "city": "Köln", "first_name": "Anna", "email": "evil@example.net",
            "unsubscribe_link": "https://evil.example"});
        assert_eq!(
            Value::Object(values(user)),
            json!({"email": "ann@example.net", "first_name": "Anna", "full_name": "Anna", "language": "de",
                "brand_name": "Tea", "points": 12, "city": "Köln"})
        );
    }

    #[test]
    fn a_template_may_name_the_member_and_link_to_its_pass() {
        let user = json!({"identifier": "m1"});
        let pass = || Some("https://x.example/passes/1".to_owned());
        let with_pass = values_of(&TemplateVersion::sample(&[IDENTIFIER], None), user.clone(), pass());
        assert_eq!((&with_pass["identifier"], &with_pass["link_to_pass"]), (&json!("m1"), &json!(pass())));
        assert_eq!(values(user).get("identifier"), None);
    }

    #[test]
    fn a_full_name_is_that_of_the_names_in_the_mail() {
        for (user, full_name) in [
            (json!({}), json!("Ann")),
            (json!({"last_name": "Lee"}), json!("Ann Lee")),
            (json!({"first_name": "Bo", "last_name": "Ray"}), json!("Bo Ray")),
            (json!({"first_name": "Bo", "full_name": "Dr. Bo"}), json!("Dr. Bo")),
            (json!({"first_name": " ", "last_name": "Ray"}), json!("Ray")),
            (json!({"first_name": null}), json!(null)),
        ] {
            let values = values(user.clone());
            assert_eq!(values.get("full_name").cloned().unwrap_or_default(), full_name, "{user}");
        }
    }

    #[test]
    fn a_senders_domain_leaves_room_for_a_message_id() {
        let brand = |length: usize| {
            let domain = format!("{}.example", ["a"; 103].join("."))[..].to_owned();
            let domain = format!("{}{domain}", "b".repeat(length - domain.len()));
            serde_json::from_value::<Brand>(
                json!({"name": "Tea", "sender": {"email": format!("hi@{domain}")}}),
            )
        };
        assert!(brand(213).is_ok());
        for too_long in [214, 215, 230, 240] {
            assert!(brand(too_long).unwrap_err().to_string().contains("at most 213"), "{too_long}");
        }
    }

    #[test]
    fn a_brand_answers_at_its_reply_to_or_its_support() {
        for (given, answers_to) in [
            (json!({}), None),
            (json!({"support_email": "help@tea.example"}), Some("help@tea.example")),
            (
                json!({"support_email": "help@tea.example", "reply_to": "us@tea.example"}),
                Some("us@tea.example"),
            ),
        ] {
            let mut document = json!({"name": "Tea", "sender": {"email": "hi@tea.example"}});
            document.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
            let brand: Brand = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(brand.look().answers_to().map(|mailbox| mailbox.to_string()).as_deref(), answers_to);
            assert_eq!(serde_json::to_value(&brand).unwrap(), document);
        }
    }

    #[test]
    fn names_with_control_characters_are_refused() {
        let faulty = json!({"name": "Tea\r\nBcc: all@example.net", "sender": {"email": "hi@tea.example"}});
        assert!(
            serde_json::from_value::<Brand>(faulty).unwrap_err().to_string().contains("control characters")
        );
    }
}
