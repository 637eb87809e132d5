//! Which language a merchant's mails are in, and as it is written in which country. Pure.
//!
//! Whoever records a mail asks here. Only mails tell Portuguese as in Brazil from that of Portugal and Africa.

use serde_json::{Map, Value};

use super::language::{Language, region_of};

/// The value of a mail that has its language. Templates may print it.
const LANGUAGE: &str = "language";
/// The value that has it as it is written where the mail is read, where that is not the same. No placeholder: what the helpers
/// for money, dates and plurals ask for.
pub const REGIONAL_LANGUAGE: &str = "regional_language";

/// What a merchant says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Locale<'a> {
    /// The language tag that it has chosen. It may name none of our languages.
    pub setting: Option<&'a str>,
    /// Its country, ISO 3166-1 alpha-2.
    pub country: &'a str,
}

impl Locale<'_> {
    /// The language of mails for which somebody asked by this tag: that of the tag, if it is one of ours, else the merchant's.
    /// A tag that names another language says nothing of where ours is read.
    pub fn language_of_mail(self, tag: Option<&str>) -> Language {
        let chosen = [tag, self.setting].into_iter().flatten().find_map(|tag| self.named(tag));
        chosen.unwrap_or_else(|| Language::for_merchant(None, self.country).in_region(self.country))
    }

    /// Puts the language among the values of a mail: the one that is there, else that of this tag, else the merchant's.
    pub fn put_language(self, values: &mut Map<String, Value>, tag: Option<&str>) {
        if let Some(tag) = tag {
            values.entry(LANGUAGE).or_insert_with(|| tag.into());
        }
        let regional = match values.get(LANGUAGE) {
            Some(given) => given.as_str().and_then(|tag| self.named(tag)),
            None => Some(self.language_of_mail(None)),
        };
        let Some(regional) = regional else { return };
        let shown = values.entry(LANGUAGE).or_insert_with(|| regional.base().as_str().into());
        if shown.as_str().and_then(Language::from_regional_tag) != Some(regional) {
            values.entry(REGIONAL_LANGUAGE).or_insert_with(|| regional.as_str().into());
        }
    }

    /// The language that a tag names, as it is written in the region of the tag, else in the merchant's country.
    pub fn named(self, tag: &str) -> Option<Language> {
        let language = Language::from_tag(tag)?;
        Some(language.in_region(region_of(tag).unwrap_or(self.country)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use Language::{De, En, Es, Pt, PtBr};

    #[test]
    fn a_mail_is_in_the_language_asked_for_if_it_is_one_of_ours_else_in_the_merchants() {
        for (tag, setting, country, expected) in [
            (None, None, "BR", PtBr),
            (None, None, "br", PtBr),
            (None, None, "PT", Pt),
            (None, None, "AO", Pt),
            (None, Some("pt-PT"), "BR", Pt),
            (None, Some("pt-BR"), "PT", PtBr),
            (None, Some("nl-NL"), "BR", PtBr),
            (Some("pt"), None, "BR", PtBr),
            (Some("pt-PT"), None, "BR", Pt),
            (Some("pt_br"), None, "PT", PtBr),
            (Some("pt-Latn-BR"), None, "PT", PtBr),
            (Some("pt-Latn-BR"), None, "BR", PtBr),
            (Some("pt-076"), None, "PT", PtBr),
            (Some("pt-Latn"), None, "BR", PtBr),
            (Some("pt-x-pt"), None, "BR", PtBr),
            (Some("nl-NL"), None, "BR", PtBr),
            (Some("zh-CN"), None, "BR", PtBr),
            (Some("nl-NL"), Some("pt-PT"), "BR", Pt),
            (Some("zh-BR"), None, "PT", Pt),
            (Some("de-AT"), None, "BR", De),
            (Some("pt"), Some("en"), "BR", PtBr),
            (Some("nl"), Some("es"), "BR", Es),
            (Some(""), None, "US", En),
        ] {
            let language = Locale { setting, country }.language_of_mail(tag);
            assert_eq!(language, expected, "{tag:?} {setting:?} {country}");
        }
    }

    #[test]
    fn a_mail_says_its_language_and_how_it_is_written_where_that_is_another() {
        for (given, tag, setting, country, language, regional) in [
            (None, None, None, "BR", json!("pt"), Some("pt-BR")),
            (None, None, Some("pt-PT"), "BR", json!("pt"), None),
            (None, None, None, "DE", json!("de"), None),
            (None, Some("pt"), Some("en"), "BR", json!("pt"), Some("pt-BR")),
            (None, Some("pt-PT"), None, "BR", json!("pt-PT"), None),
            (None, Some("pt-BR"), None, "PT", json!("pt-BR"), None),
            (None, Some("nl"), None, "BR", json!("nl"), None),
            (Some(json!("fr")), Some("pt"), None, "BR", json!("fr"), None),
            (Some(json!("pt")), None, None, "BR", json!("pt"), Some("pt-BR")),
            (Some(json!(null)), Some("pt"), None, "BR", json!(null), None),
        ] {
            let mut values: Map<_, _> = given.map(|given| (LANGUAGE.to_owned(), given)).into_iter().collect();
            Locale { setting, country }.put_language(&mut values, tag);
            let regional = regional.map(Value::from);
            assert_eq!(
                (&values[LANGUAGE], values.get(REGIONAL_LANGUAGE)),
                (&language, regional.as_ref()),
                "{tag:?} {setting:?} {country}"
            );
        }
    }
}
