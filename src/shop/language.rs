//! The six languages that postroom writes to people in, and how one of them is chosen.
//!
//! The request handlers ask for the language of an answer, whoever records a mail for the language of its text.
//! Pure functions: the caller knows what to fall back on where nobody asked for a language that we have.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::weight::weight;
use crate::mail::UnknownWord;

/// A language that answers and built-in mails are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English, the language of everybody who has no other.
    En,
    /// Spanish.
    Es,
    /// Portuguese, as in Portugal and Africa.
    Pt,
    /// German.
    De,
    /// Italian.
    It,
    /// French.
    Fr,
    /// Portuguese as in Brazil. Only mails tell it from [`Language::Pt`].
    #[serde(rename = "pt-BR")]
    PtBr,
}

/// Countries whose merchants are written to in Spanish: Spain and the Spanish-speaking Americas. Puerto Rico is one of
/// them: Spanish is its first official language and the one that most people there speak at home. Belize is not.
const SPANISH: &[&str] = &[
    "AR", "BO", "CL", "CO", "CR", "CU", "DO", "EC", "ES", "GT", "HN", "MX", "NI", "PA", "PE", "PR", "PY",
    "SV", "UY", "VE",
];

/// Countries whose merchants are written to in Portuguese.
const PORTUGUESE: &[&str] = &["AO", "BR", "MZ", "PT"];

/// Countries whose merchants are written to in German.
const GERMAN: &[&str] = &["AT", "CH", "DE", "LI"];

/// Countries whose merchants are written to in Italian.
const ITALIAN: &[&str] = &["IT", "SM", "VA"];

/// Countries whose merchants are written to in French: four in Europe, then French-speaking Africa.
const FRENCH: &[&str] = &[
    "BE", "FR", "LU", "MC", // French is an official language.
    "BI", "BJ", "CD", "CF", "CG", "CI", "CM", "DJ", "GA", "GN", "GQ", "KM", "MG", "RW", "SC", "SN", "TD",
    "TG", // It was until 2023 to 2025, and remains the working language of the state.
    "BF", "ML", "NE",
    // Never official since independence, but the language of trade and higher schooling.
    "DZ", "MA", "MR", "TN",
    // Departments of France off the African coast, with country codes of their own.
    "RE", "YT",
];

impl Language {
    /// Every language, in the order in which one is picked for somebody who takes any.
    pub const ALL: &[Self] = &[Self::En, Self::Es, Self::Pt, Self::De, Self::It, Self::Fr];

    /// Every language that built-in mails are written in.
    pub const OF_BUILTIN_MAILS: &[Self] =
        &[Self::En, Self::Es, Self::Pt, Self::PtBr, Self::De, Self::It, Self::Fr];

    const WORDS: &[&str] = &["en", "es", "pt", "de", "it", "fr"];

    /// The spelling in JSON, in SQL and in a `lang` attribute: the ISO 639-1 code, with a region for Brazil.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
            Self::Pt => "pt",
            Self::De => "de",
            Self::It => "it",
            Self::Fr => "fr",
            Self::PtBr => "pt-BR",
        }
    }

    /// The language without a region.
    pub const fn base(self) -> Self {
        match self {
            Self::PtBr => Self::Pt,
            other => other,
        }
    }

    /// The language as it is written in a region: a country code in any case, or a number of UN M.49.
    pub(super) fn in_region(self, region: &str) -> Self {
        let region = region.trim();
        let is_brazil = region.eq_ignore_ascii_case("br") || region == "076";
        if self.base() == Self::Pt && is_brazil { Self::PtBr } else { self.base() }
    }

    /// The language that a merchant is answered in: its own setting, a language tag; else by its country, an
    /// ISO 3166-1 alpha-2 code in any case. A setting that names none of our languages counts as none.
    pub fn for_merchant(setting: Option<&str>, country: &str) -> Self {
        setting.and_then(Self::from_tag).unwrap_or_else(|| Self::for_country(country))
    }

    fn for_country(country: &str) -> Self {
        let country = country.trim().to_ascii_uppercase();
        [
            (SPANISH, Self::Es),
            (PORTUGUESE, Self::Pt),
            (GERMAN, Self::De),
            (ITALIAN, Self::It),
            (FRENCH, Self::Fr),
        ]
        .into_iter()
        .find_map(|(countries, language)| countries.contains(&country.as_str()).then_some(language))
        .unwrap_or(Self::En)
    }

    /// The language that a language tag names by its primary subtag (BCP 47, RFC 5646, section 2.2.1), in any case;
    /// `pt-BR`, and for leniency `pt_BR`, are Portuguese.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next()?;
        Self::ALL.iter().copied().find(|language| primary.eq_ignore_ascii_case(language.as_str()))
    }

    /// The same with the region that the tag names: `pt-BR` is not `pt`.
    pub fn from_regional_tag(tag: &str) -> Option<Self> {
        Self::from_tag(tag).map(|language| language.in_region(region_of(tag).unwrap_or_default()))
    }

    /// The language that the sender of an `Accept-Language` header likes best among ours (RFC 9110, section 12.5.4);
    /// `None` where it names none of them, or there is no header.
    ///
    /// Among equals the one named first wins. `*` stands for the languages that no other range names, ours in their
    /// order. What is not a language range or has a weight that is none is passed over.
    pub fn negotiate(accept_language: Option<&str>) -> Option<Self> {
        let ranges: Vec<Range> = accept_language?.split(',').filter_map(Range::parse).collect();
        let is_named = |language| ranges.iter().any(|range| range.language == Some(language));

        let mut best: Option<(Self, u16)> = None;
        for range in ranges.iter().filter(|range| range.weight > 0) {
            let language =
                range.language.or_else(|| Self::ALL.iter().copied().find(|&language| !is_named(language)));
            if let Some(language) = language
                && best.is_none_or(|(_, weight)| range.weight > weight)
            {
                best = Some((language, range.weight));
            }
        }
        best.map(|(language, _)| language)
    }

    /// The answer to a request for a cart link that was accepted.
    pub const fn cart_link_sent(self) -> &'static str {
        match self {
            Self::En => "Cart link email sent successfully",
            Self::Es => "Correo con enlace al carrito enviado exitosamente",
            Self::Pt | Self::PtBr => "E-mail com link do carrinho enviado com sucesso",
            Self::De => "Cart-Link-E-Mail erfolgreich gesendet",
            Self::It => "E-mail con link al carrello inviata con successo",
            Self::Fr => "E-mail avec lien du panier envoyé avec succès",
        }
    }

    /// The answer to a request for a reminder that was accepted.
    pub const fn reminder_sent(self) -> &'static str {
        match self {
            Self::En => "Reminder sent successfully",
            Self::Es => "Recordatorio enviado exitosamente",
            Self::Pt | Self::PtBr => "Lembrete enviado com sucesso",
            Self::De => "Erinnerung erfolgreich gesendet",
            Self::It => "Promemoria inviato con successo",
            Self::Fr => "Rappel envoyé avec succès",
        }
    }
}

/// The region that a language tag names (BCP 47, RFC 5646, section 2.2.4): two letters or three digits, before which a script
/// may stand, and which no extension holds.
pub(super) fn region_of(tag: &str) -> Option<&str> {
    let mut subtags = tag.trim().split(['-', '_']).skip(1).take_while(|subtag| subtag.len() != 1);
    let is_region = |subtag: &&str| match subtag.len() {
        2 => subtag.bytes().all(|byte| byte.is_ascii_alphabetic()),
        3 => subtag.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    subtags.find(is_region)
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|language| language.as_str() == text)
            .ok_or_else(|| UnknownWord { word: text.to_owned(), allowed: Self::WORDS })
    }
}

/// One element of an `Accept-Language` header that concerns us: a language of ours, or `None` for `*`.
struct Range {
    language: Option<Language>,
    /// In thousandths; 0 is "not acceptable".
    weight: u16,
}

impl Range {
    fn parse(element: &str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let language = match parts.next()? {
            "*" => None,
            range => Some(Language::from_tag(range)?),
        };
        Some(Self { language, weight: weight(parts)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merchant_without_a_setting_is_written_to_in_the_language_of_its_country() {
        let table = [
            ("es", "AR BO CL CO CR CU DO EC ES GT HN MX NI PA PE PR PY SV UY VE mx"),
            ("pt", "AO BR MZ PT pt"),
            ("de", "AT CH DE LI"),
            ("it", "IT SM VA"),
            (
                "fr",
                "BE FR LU MC BF BI BJ CD CF CG CI CM DJ DZ GA GN GQ KM MA MG ML MR NE RE RW SC SN TD TG TN YT",
            ),
            ("en", "US GB IE CA AU IN NG KE ZA GH EG BZ JM NL PL SE JP CN AE XX"),
        ];
        for (language, countries) in table {
            for country in countries.split(' ') {
                assert_eq!(Language::for_merchant(None, country).as_str(), language, "{country}");
            }
        }
        assert_eq!(Language::for_merchant(None, ""), Language::En);
    }

    #[test]
    fn a_merchants_own_setting_goes_before_its_country() {
        for (setting, country, language) in [
            (Some("de"), "MX", Language::De),
            (Some("PT-br"), "MX", Language::Pt),
            (Some("nl"), "MX", Language::Es),
            (Some(""), "FR", Language::Fr),
        ] {
            assert_eq!(Language::for_merchant(setting, country), language, "{setting:?} {country}");
        }
    }

    #[test]
    fn a_tag_is_known_by_its_primary_subtag() {
        for (tag, language) in [
            ("en", Some(Language::En)),
            ("pt-BR", Some(Language::Pt)),
            ("pt_BR", Some(Language::Pt)),
            ("DE-CH-1996", Some(Language::De)),
            (" fr ", Some(Language::Fr)),
            ("eng", None),
            ("e", None),
            ("nl", None),
            ("-en", None),
            ("", None),
        ] {
            assert_eq!(Language::from_tag(tag), language, "{tag:?}");
        }
    }

    #[test]
    fn portuguese_is_that_of_a_region() {
        use Language::{De, Pt, PtBr};
        for (tag, expected) in [
            ("pt", Some(Pt)),
            ("pt-BR", Some(PtBr)),
            ("pt-Latn-BR", Some(PtBr)),
            ("pt_076", Some(PtBr)),
            ("pt-AO", Some(Pt)),
            ("de-BR", Some(De)),
            ("nl-BR", None),
        ] {
            assert_eq!(Language::from_regional_tag(tag), expected, "{tag}");
        }
        assert_eq!((PtBr.as_str(), PtBr.base()), ("pt-BR", Pt));
        assert_eq!(serde_json::to_string(&PtBr).unwrap(), "\"pt-BR\"");
    }

    #[test]
    fn a_region_is_that_of_bcp_47() {
        for (tag, region) in [
            ("pt", None),
            ("pt-BR", Some("BR")),
            ("zh-Hant-TW", Some("TW")),
            ("zh-cmn-Hans-CN", Some("CN")),
            ("es-419", Some("419")),
            ("de-CH-1996", Some("CH")),
            ("de-1996", None),
            ("pt-u-rg-brzzzz", None),
            ("pt-", None),
        ] {
            assert_eq!(region_of(tag), region, "{tag}");
        }
    }

    #[test]
    fn the_best_liked_language_is_negotiated() {
        use Language::{De, En, Es, Fr, It, Pt};
        for (header, language) in [
            ("de", Some(De)),
            ("pt-BR", Some(Pt)),
            ("nl, fr;q=0.5, it;q=0.8", Some(It)),
            ("nl,pl", None),
            ("fr;q=0.8, de;q=0.8", Some(Fr)),
            ("fr;q=0, de;q=0.1", Some(De)),
            ("fr;q=0", None),
            ("fr;q=0.000", None),
            ("fr ; Q = 0.3 , es;q=0.25", Some(Fr)),
            ("en-GB,en;q=0.9,de;q=0.95", Some(En)),
            ("pt-BR;q=0, pt;q=0.5", Some(Pt)),
            ("*", Some(En)),
            ("nl, *;q=0.1", Some(En)),
            ("en;q=0, *", Some(Es)),
            ("de;q=0.5, *;q=0.1", Some(De)),
            ("en;q=0, es;q=0, pt;q=0, de;q=0, it;q=0, fr;q=0, *", None),
            ("*;q=0", None),
            ("{{lang}}", None),
            ("", None),
            (",,;q=1,", None),
            ("it;q=x, es;q=0.2", Some(Es)),
            ("it;q=1.5, es;q=0.2", Some(Es)),
            ("it;q=0.12345, es;q=0.2", Some(Es)),
            ("it;q=, es;q=0.2", Some(Es)),
            ("it;q=-1, es;q=0.2", Some(Es)),
            ("it;level=1;q=0.1, es;q=0.2", Some(Es)),
            ("it;q=1.000, es", Some(It)),
            ("français, é;q=0.é, es", Some(Es)),
        ] {
            assert_eq!(Language::negotiate(Some(header)), language, "{header:?}");
        }
        assert_eq!(Language::negotiate(None), None);
    }

    #[test]
    fn every_word_parses_back() {
        for (&language, word) in Language::ALL.iter().zip(Language::WORDS) {
            assert_eq!(language.as_str(), *word);
            assert_eq!(word.parse::<Language>().unwrap(), language);
            assert_eq!(serde_json::to_string(&language).unwrap(), format!("\"{word}\""));
        }
        assert!("EN".parse::<Language>().unwrap_err().to_string().contains("fr"));
    }
}
