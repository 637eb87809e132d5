//! Texts that can stand on one line of a mail's header.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A text of 1 to `MOST` characters without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SingleLine<const MOST: usize = 255>(String);

impl<const MOST: usize> SingleLine<MOST> {
    /// Takes a text that fits.
    ///
    /// # Errors
    /// What does not fit, for people.
    pub fn new(text: String) -> Result<Self, String> {
        if !(1..=MOST).contains(&text.chars().count()) {
            Err(format!("must have 1 to {MOST} characters"))
        } else if text.chars().any(char::is_control) {
            Err("must not contain control characters".to_owned())
        } else if text.trim().is_empty() {
            Err("must not be blank".to_owned())
        } else {
            Ok(Self(text))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for SingleLine<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// First and last name, as far as they are known.
pub fn full_name(first: Option<&SingleLine>, last: Option<&SingleLine>) -> Option<String> {
    let names: Vec<_> = [first, last].into_iter().flatten().map(SingleLine::as_str).collect();
    if names.is_empty() { None } else { Some(names.join(" ")) }
}
