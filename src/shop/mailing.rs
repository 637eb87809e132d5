//! The mailing family: brands, templates, members, and the rules for a mail from them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{SingleLine, TemplateClass, TemplateVersion, full_name};
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
    #[schema(value_type = String, format = "email")]
    pub email: Address,
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
    #[serde(default = "resend")]
    pub on_crash: CrashPolicy,
}

const fn resend() -> CrashPolicy {
    CrashPolicy::Resend
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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub tags: BTreeMap<String, Value>,
}

impl Member {
    /// First and last name, as far as they are known.
    pub fn full_name(&self) -> Option<String> {
        full_name(self.first_name.as_ref(), self.last_name.as_ref())
    }
}

/// The values that fill a mail: what postroom knows, over it the member's own tags, over them what the caller gave.
pub fn tag_values(brand: &Brand, member: &Member, user: Map<String, Value>) -> Map<String, Value> {
    let text = |line: &Option<SingleLine>| line.as_ref().map(|line| Value::from(line.as_str()));
    let language = member.language.as_ref().or(brand.language.as_ref());
    let known = [
        ("first_name", text(&member.first_name)),
        ("last_name", text(&member.last_name)),
        ("full_name", member.full_name().map(Value::from)),
        ("language", language.map(|language| Value::from(language.as_str()))),
        ("brand_name", Some(Value::from(brand.name.as_str()))),
    ];
    let mut values: Map<_, _> =
        known.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value?))).collect();
    values.extend(member.tags.iter().map(|(tag, value)| (tag.clone(), value.clone())));
    values.extend(user.into_iter().filter(|(tag, _)| tag != "identifier"));
    for tag in NOT_OVERRIDABLE {
        values.remove(tag);
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

    #[test]
    fn a_callers_value_goes_over_the_members_and_that_over_postrooms() {
        let user = json!({"identifier": "m1", "city": "Köln", "first_name": "Anna", "email": "evil@example.net",
            "unsubscribe_link": "https://evil.example"});
        let values = tag_values(&brand(), &member(), serde_json::from_value(user).unwrap());
        assert_eq!(
            Value::Object(values),
            json!({"email": "ann@example.net", "first_name": "Anna", "full_name": "Ann", "language": "de",
                "brand_name": "Tea", "points": 12, "city": "Köln"})
        );
    }

    #[test]
    fn names_with_control_characters_are_refused() {
        let faulty = json!({"name": "Tea\r\nBcc: all@example.net", "sender": {"email": "hi@tea.example"}});
        assert!(
            serde_json::from_value::<Brand>(faulty).unwrap_err().to_string().contains("control characters")
        );
    }
}
