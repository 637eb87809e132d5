//! Sums of money as merchants give them: decimal strings, compared exactly and shown as they came.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::Quantity;

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

    /// In millionths.
    pub const fn millionths(&self) -> i64 {
        self.millionths
    }

    /// So many times this, where it comes out even with at most `decimals` decimals (up to 6): nothing is rounded.
    pub fn times(&self, quantity: &Quantity, decimals: usize) -> Option<String> {
        let product = i128::from(self.millionths) * quantity.millionths();
        let step = 10_i128.pow(12 - places(decimals));
        (product % step == 0).then(|| decimal(product / 1_000_000))
    }

    /// What is left of it when so many percent, a decimal number, are taken off, rounded to so many decimals as cash
    /// registers do.
    pub fn less_percent(&self, percent: &str, decimals: usize) -> Option<String> {
        let percent = percent.parse::<Self>().ok()?.millionths;
        let left = i128::from(self.millionths) * (100_000_000 - i128::from(percent));
        let step = 100_000_000 * 10_i128.pow(6 - places(decimals));
        let rounded = (left + step / 2).div_euclid(step) * 10_i128.pow(6 - places(decimals));
        Some(decimal(rounded))
    }
}

fn places(decimals: usize) -> u32 {
    u32::try_from(decimals.min(DECIMALS)).unwrap_or_default()
}

/// Millionths as a decimal number without trailing zeros.
fn decimal(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, rest) = (millionths.abs() / 1_000_000, millionths.abs() % 1_000_000);
    let text = format!("{sign}{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
    fn amounts_are_positive_by_their_value_and_show_as_they_came() {
        let amount = |text: &str| text.parse::<Amount>().unwrap();
        assert!(amount("0.01").is_positive() && !amount("0.00").is_positive() && !amount("-1").is_positive());
        assert_eq!(amount("007.10").to_string(), "007.10");
    }

    #[test]
    fn a_line_is_multiplied_exactly_or_not_at_all() {
        for (price, quantity, product) in [
            ("29.95", "2", Some("59.9")),
            ("9.99", "0.75", None),
            ("10.00", "0.75", Some("7.5")),
            ("-5", "3", Some("-15")),
            ("999999999999.99", "1000000000", Some("999999999999990000000")),
        ] {
            let (price, quantity): (Amount, Quantity) =
                (price.parse().unwrap(), serde_json::from_str(quantity).unwrap());
            assert_eq!(price.times(&quantity, 2).as_deref(), product, "{price} {quantity:?}");
        }
    }

    #[test]
    fn a_discounted_total_is_rounded_to_what_can_be_paid() {
        for (total, percent, decimals, left) in [
            ("59.90", "15", 2, "50.92"),
            ("59.90", "12.5", 2, "52.41"),
            ("100", "100", 2, "0"),
            ("1000", "33.3333", 0, "667"),
            ("0.01", "50", 2, "0.01"),
        ] {
            let amount: Amount = total.parse().unwrap();
            assert_eq!(amount.less_percent(percent, decimals).as_deref(), Some(left), "{total} {percent}");
        }
    }

    #[test]
    fn a_text_that_is_no_decimal_number_is_no_amount() {
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
