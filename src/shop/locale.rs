//! Which language a merchant's mails are in, and as it is written in which country. Pure.
//!
//! Whoever records a mail asks here. Only mails tell Portuguese as in Brazil from that of Portugal and Africa.

use super::language::{Language, region_of};

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

    /// The language that a tag names, as it is written in the region of the tag, else in the merchant's country.
    pub fn named(self, tag: &str) -> Option<Language> {
        let language = Language::from_tag(tag)?;
        Some(language.in_region(region_of(tag).unwrap_or(self.country)))
    }
}

#[cfg(test)]
mod tests {
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
}
