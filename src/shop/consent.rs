//! Whether a mail is advertising, and the link with which its recipient unsubscribes. Pure.

use serde_json::{Map, Value};

use super::{TemplateClass, TemplateVersion, language::Language, mailing::UNSUBSCRIBE_LINK};
use crate::mail::{NewMail, Unsubscribe, UnsubscribeToken};

/// What a mail owes to the will of its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    is_promotional: bool,
    unsubscribe: Option<Unsubscribe>,
}

impl Consent {
    /// What a mail of this class owes. It carries a link where it is promotional, or its template prints one; in the
    /// language of the template, else of the tag that its values have, else in `fallback`.
    pub fn of(
        version: &TemplateVersion,
        class: TemplateClass,
        of_values: Option<&Value>,
        fallback: Language,
    ) -> Self {
        let is_promotional = class == TemplateClass::Promotional;
        let has_link = is_promotional || version.tags.iter().any(|tag| tag == UNSUBSCRIBE_LINK);
        let language = || {
            let tags = [version.language.as_deref(), of_values.and_then(Value::as_str)];
            tags.into_iter().flatten().find_map(Language::from_tag).unwrap_or(fallback)
        };
        let unsubscribe = has_link.then(|| Unsubscribe {
            token: UnsubscribeToken::generate(),
            language: language().as_str().to_owned(),
        });
        Self { is_promotional, unsubscribe }
    }

    /// Puts the link among the values, so that nothing is missed that a template does with it. A worker puts that of the
    /// recipient in its place.
    pub fn put_link(&self, values: &mut Map<String, Value>, link_to: impl FnOnce(&str) -> String) {
        if let Some(Unsubscribe { token, .. }) = &self.unsubscribe {
            values.insert(UNSUBSCRIBE_LINK.to_owned(), link_to(&path_of(token)).into());
        }
    }

    /// The mail with what it owes.
    pub fn applied_to(self, mail: NewMail) -> NewMail {
        NewMail { is_promotional: self.is_promotional, unsubscribe: self.unsubscribe, ..mail }
    }
}

/// The path of an unsubscribe link, below `http.public_url`.
pub fn path_of(token: &UnsubscribeToken) -> String {
    format!("u/{}", token.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_promotional_mail_has_a_link_and_another_where_it_prints_one() {
        use TemplateClass::{Promotional, Transactional};
        for (class, tags, has_link) in [
            (Promotional, &[][..], true),
            (Promotional, &["unsubscribe_link"], true),
            (Transactional, &["unsubscribe_link"], true),
            (Transactional, &["email"], false),
        ] {
            let consent = Consent::of(&TemplateVersion::sample(tags, None), class, None, Language::En);
            assert_eq!(consent.is_promotional, class == Promotional);
            assert_eq!(consent.unsubscribe.is_some(), has_link, "{class} {tags:?}");
            let mut values = Map::new();
            consent.put_link(&mut values, |path| format!("https://post.example/{path}"));
            assert_eq!(values.contains_key("unsubscribe_link"), has_link);
        }
    }

    #[test]
    fn the_language_is_that_of_the_template_then_of_the_values_then_of_the_merchant() {
        for (own, of_values, language) in [
            (Some("fr-CA"), json!("de"), "fr"),
            (Some("xx"), json!("de"), "de"),
            (None, json!("pt-BR"), "pt"),
            (None, json!(5), "it"),
        ] {
            let (version, class) = (TemplateVersion::sample(&[], own), TemplateClass::Promotional);
            let consent = Consent::of(&version, class, Some(&of_values), Language::It);
            assert_eq!(consent.unsubscribe.unwrap().language, language);
        }
    }
}
