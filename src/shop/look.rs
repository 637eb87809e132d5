//! What a brand or a store says of itself in the built-in mails: its logo, its colour, where it answers.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value};

use super::{Link, Timezone};
use crate::mail::{Address, Mailbox};

/// The longest postal address, in characters.
const LONGEST_ADDRESS: usize = 1_000;

/// A colour as `#rgb` or `#rrggbb`, which every mail program knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Colour(String);

impl Colour {
    /// With six digits, as in `#1d6357`: some mail programs read no others.
    fn long(&self) -> String {
        let digits = &self.0[1..];
        if digits.len() == 6 {
            return self.0.clone();
        }
        std::iter::once('#').chain(digits.chars().flat_map(|digit| [digit, digit])).collect()
    }

    /// The colour of letters on it: white or a dark one, whichever has more contrast (WCAG 2.2, relative luminance).
    fn letters(&self) -> &'static str {
        let long = self.long();
        let channel = |at: usize| {
            let share = f64::from(u8::from_str_radix(&long[at..at + 2], 16).unwrap_or_default()) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
        if luminance > 0.2 { "#14201d" } else { "#ffffff" }
    }
}

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_colour = text.strip_prefix('#').is_some_and(|digits| {
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let wrong = || D::Error::custom("must be a colour as in \"#1d6357\"");
        is_colour.then(|| Self(text.to_ascii_lowercase())).ok_or_else(wrong)
    }
}

/// A postal address on some lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PostalAddress(String);

impl PostalAddress {
    fn lines(&self) -> Vec<&str> {
        self.0.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    }
}

impl<'de> Deserialize<'de> for PostalAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() || text.chars().nth(LONGEST_ADDRESS).is_some() {
            return Err(D::Error::custom("must have 1 to 1000 characters"));
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r')) {
            return Err(D::Error::custom("must not contain control characters other than line ends"));
        }
        Ok(Self(text))
    }
}

/// What mails show of a brand or a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look<'a> {
    /// A picture above the mail.
    pub logo_url: Option<&'a Link>,
    /// The colour of buttons and lines.
    pub colour: Option<&'a Colour>,
    /// The `Reply-To` of its mails, in place of the next.
    pub reply_to: Option<&'a Address>,
    /// Where people who read the mails are answered.
    pub support_email: Option<&'a Address>,
    /// A page where they are.
    pub support_url: Option<&'a Link>,
    /// Where the seller is.
    pub postal_address: Option<&'a PostalAddress>,
    /// The home page.
    pub website: Option<&'a Link>,
    /// The time zone of dates.
    pub timezone: Option<&'a Timezone>,
}

impl Look<'_> {
    /// The `Reply-To` of its mails.
    pub fn answers_to(self) -> Option<Mailbox> {
        let email = self.reply_to.or(self.support_email)?;
        Some(Mailbox { name: None, email: email.clone() })
    }

    /// The values of built-in mails that show it.
    pub fn mail_values(self) -> Map<String, Value> {
        let link = |link: Option<&Link>| link.map(|link| Value::from(link.as_str()));
        let known = [
            ("logo_url", link(self.logo_url)),
            ("colour", self.colour.map(|colour| Value::from(colour.long()))),
            ("colour_of_letters", self.colour.map(|colour| Value::from(colour.letters()))),
            ("support_email", self.support_email.map(|email| Value::from(email.to_string()))),
            ("support_url", link(self.support_url)),
            ("postal_address", self.postal_address.map(|address| Value::from(address.lines().join(", ")))),
            ("website", link(self.website)),
        ];
        known.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_one_that_every_mail_program_knows() {
        for (given, long, letters) in [
            ("#1d6357", "#1d6357", "#ffffff"),
            ("#FC0", "#ffcc00", "#14201d"),
            ("#fff", "#ffffff", "#14201d"),
            ("#000000", "#000000", "#ffffff"),
        ] {
            let colour: Colour = serde_json::from_value(given.into()).unwrap();
            assert_eq!((colour.long().as_str(), colour.letters()), (long, letters));
        }
        for wrong in ["red", "#12", "#12345g", "1d6357", "#1d6357;x:y", "", "#1d635700"] {
            assert!(serde_json::from_value::<Colour>(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_postal_address_has_lines_but_no_other_control_characters() {
        let address: PostalAddress = serde_json::from_value("Tea & Co\r\n 1 Quay \n\nBonn".into()).unwrap();
        assert_eq!(address.lines(), ["Tea & Co", "1 Quay", "Bonn"]);
        for wrong in ["", " \n", "a\u{7}b", &"x".repeat(1_001)] {
            assert!(serde_json::from_value::<PostalAddress>(wrong.into()).is_err(), "{wrong:?}");
        }
    }
}
