//! Sums of money as merchants give them: decimal strings, compared exactly and shown as they came.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The most digits before and after the point: in millionths every amount fits into 64 bits.
const WHOLE: usize = 12;
const DECIMALS: usize = 6;

/// A sum of money, such as `59.90` or `-5`: up to 12 digits, then up to 6 decimals. Keeps the text as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    text: String,
    millionths: i64,
}

/// The text is not a sum of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a decimal number in a string, as in \"59.90\": up to 12 digits, a point, up to 6 decimals")]
pub struct AmountError;

impl Amount {
    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is more than nothing.
    pub fn is_positive(&self) -> bool {
        self.millionths > 0
    }

    /// Whether this is less than `other`, in the same currency.
    pub fn is_less_than(&self, other: &Self) -> bool {
        self.millionths < other.millionths
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, decimals) = match digits.split_once('.') {
            Some((_, "")) => return Err(AmountError),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let fits = (1..=WHOLE).contains(&whole.len()) && decimals.len() <= DECIMALS;
        if !fits || !(whole.bytes().chain(decimals.bytes())).all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError);
        }
        let size: i64 = format!("{whole}{decimals:0<DECIMALS$}").parse().map_err(|_| AmountError)?;
        let millionths = if text.starts_with('-') { -size } else { size };
        Ok(Self { text: text.to_owned(), millionths })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The code of a currency by its shape (ISO 4217): three letters, kept in capitals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Currency(String);

impl Currency {
    /// The code, in capitals.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            Ok(Self(code.to_ascii_uppercase()))
        } else {
            Err(D::Error::custom("must be a currency of three letters, as in \"EUR\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_compare_by_their_value_and_show_as_they_came() {
        let amount = |text: &str| text.parse::<Amount>().unwrap();
        assert!(amount("9.9").is_less_than(&amount("10")));
        assert!(amount("-5").is_less_than(&amount("0.000001")));
        assert!(!amount("59.9").is_less_than(&amount("59.90")));
        assert!(amount("0.01").is_positive() && !amount("0.00").is_positive() && !amount("-1").is_positive());
        assert_eq!(amount("007.10").to_string(), "007.10");
    }

    #[test]
    fn what_is_no_decimal_number_is_no_amount() {
        for text in
            ["", "-", ".5", "5.", "1,5", "1e3", "--1", "+1", " 1", "1.2.3", "1.1234567", "1234567890123", "٣"]
        {
            assert_eq!(text.parse::<Amount>(), Err(AmountError), "{text:?}");
        }
        assert!("999999999999.999999".parse::<Amount>().is_ok());
    }

    #[test]
    fn a_currency_is_three_letters() {
        assert_eq!(serde_json::from_str::<Currency>("\"eur\"").unwrap().as_str(), "EUR");
        for wrong in ["\"EURO\"", "\"E1R\"", "\"\"", "\"éu\"", "5"] {
            assert!(serde_json::from_str::<Currency>(wrong).is_err(), "{wrong}");
        }
    }
}
