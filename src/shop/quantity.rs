//! How many of a thing: also a part of one, as in 0.75 kg.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Number;

/// The most decimals.
const DECIMALS: usize = 6;
/// The most of anything.
const MOST: f64 = 1e9;

/// A decimal number over 0, kept as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(Number);

impl Default for Quantity {
    /// One.
    fn default() -> Self {
        Self(Number::from(1))
    }
}

impl Quantity {
    /// As JSON has it.
    pub const fn number(&self) -> &Number {
        &self.0
    }

    /// As a decimal number, as in `2` or `0.75`.
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// In millionths.
    pub fn millionths(&self) -> i128 {
        let text = self.text();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        format!("{whole}{decimals:0<DECIMALS$}").parse().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("must be a number over 0 with at most 6 decimals");
        let number = Number::deserialize(deserializer).map_err(|_| wrong())?;
        let text = number.to_string();
        let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let fits = number.as_f64().is_some_and(|number| number > 0.0 && number <= MOST);
        if !fits || decimals > DECIMALS || text.contains(['e', 'E']) {
            return Err(wrong());
        }
        // `2.0` is two.
        match text.strip_suffix(".0").and_then(|whole| whole.parse::<u64>().ok()) {
            Some(whole) => Ok(Self(whole.into())),
            None => Ok(Self(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_a_number_over_0() {
        for (given, text, millionths) in [
            ("2", "2", 2_000_000),
            ("0.75", "0.75", 750_000),
            ("2.0", "2", 2_000_000),
            ("1.000001", "1.000001", 1_000_001),
        ] {
            let quantity: Quantity = serde_json::from_str(given).unwrap();
            assert_eq!((quantity.text().as_str(), quantity.millionths()), (text, millionths));
        }
        for wrong in ["0", "-1", "\"2\"", "1e-7", "0.0000001", "1e300", "null", "[]"] {
            let error = serde_json::from_str::<Quantity>(wrong).unwrap_err().to_string();
            assert!(error.starts_with("must be a number over 0"), "{wrong}: {error}");
        }
    }
}
