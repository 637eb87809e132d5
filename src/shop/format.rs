//! Money, percentages and dates as people in each of the six languages write them.
//!
//! The code that fills a built-in mail calls these, so that a template only ever places finished strings. The conventions
//! are those of the Unicode CLDR (48), kept here as a few short tables. Differences are meant: signs that few readers know
//! give way to ISO codes, a minus always comes first, and the first of a month is `1er` in French, `1º` in Brazil.

use super::{Quantity, language::Language, months::months, timezone::day_of};
use crate::mail::Timestamp;
use serde_json::Value;

const NO_BREAK_SPACE: char = '\u{a0}';
const NARROW_NO_BREAK_SPACE: char = '\u{202f}';

/// How numbers are written.
#[derive(Clone, Copy)]
struct Numerals {
    decimal: char,
    group: char,
    /// The fewest digits that stand before the first group mark: with 2, `1234` has none and `12.345` has one.
    before_group: usize,
}

const POINT: Numerals = Numerals { decimal: '.', group: ',', before_group: 1 };
const COMMA: Numerals = Numerals { decimal: ',', group: '.', before_group: 1 };
const COMMA_FROM_FIVE_DIGITS: Numerals = Numerals { before_group: 2, ..COMMA };
const COMMA_AND_SPACES: Numerals = Numerals { decimal: ',', group: NO_BREAK_SPACE, before_group: 2 };
const COMMA_AND_NARROW_SPACES: Numerals =
    Numerals { decimal: ',', group: NARROW_NO_BREAK_SPACE, before_group: 1 };
const SWISS: Numerals = Numerals { decimal: '.', group: '’', before_group: 1 };

/// Where the currency stands.
#[derive(Clone, Copy)]
enum CurrencyPosition {
    /// `$5`, but `CHF 5`: a word needs the space that a sign does not.
    Close,
    /// `R$ 5`.
    Before,
    /// `5 €`.
    After,
}

/// Writes a sum of money: `amount` is a decimal number such as `-1234.5`, `currency` an ISO 4217 code.
///
/// The sum gets as many decimals as its currency has by ISO 4217. It is never rounded: further decimals are dropped
/// only where they are zeros. An amount that is not a decimal number is written as it came, before the code.
///
/// A currency that is at home in a region of the language is written as there: pesos in Spanish as in Mexico, reais in
/// Portuguese as in Brazil, Swiss francs as in Switzerland.
pub fn format_money(language: Language, amount: &str, currency: &str) -> String {
    let currency = currency.trim().to_ascii_uppercase();
    let Some(number) = Number::parse(amount) else {
        return format!("{amount}{NO_BREAK_SPACE}{currency}");
    };
    let (numerals, position, home_sign) = convention(language, &currency);
    let sign = home_sign.or_else(|| sign(language, &currency)).unwrap_or(&currency);
    let minus = if number.negative { "-" } else { "" };
    let digits = number.write(numerals, decimals(&currency));
    match position {
        CurrencyPosition::Close if !sign.ends_with(char::is_alphabetic) => {
            format!("{minus}{sign}{digits}")
        }
        CurrencyPosition::Close | CurrencyPosition::Before => {
            format!("{minus}{sign}{NO_BREAK_SPACE}{digits}")
        }
        CurrencyPosition::After => format!("{minus}{digits}{NO_BREAK_SPACE}{sign}"),
    }
}

/// Writes a decimal number such as `1234.5`; `None` where it is none.
pub fn format_number(language: Language, number: &str) -> Option<String> {
    let number = Number::parse(number)?;
    let minus = if number.negative { "-" } else { "" };
    Some(format!("{minus}{}", number.write(numerals(language), 0)))
}

/// Whether a text is a decimal number such as `-1234.5`.
pub fn is_number(text: &str) -> bool {
    Number::parse(text).is_some()
}

/// A quantity for a mail: a whole number as a number, another as readers of the language write it: `0,75`.
pub(super) fn quantity_value(language: Language, quantity: &Quantity) -> Value {
    let text = quantity.text();
    match Number::parse(&text).filter(|number| !number.fraction.is_empty()) {
        Some(number) => Value::from(number.write(numerals(language), 0)),
        None => Value::Number(quantity.number().clone()),
    }
}

/// Writes a percentage: `percent` is a decimal number such as `15` or `12.5`. What is none is written as it came.
pub fn format_percent(language: Language, percent: &str) -> String {
    let Some(number) = Number::parse(percent) else {
        return format!("{percent}%");
    };
    let minus = if number.negative { "-" } else { "" };
    let digits = number.write(numerals(language), 0);
    match language {
        Language::En | Language::Pt | Language::PtBr | Language::It => format!("{minus}{digits}%"),
        Language::Es | Language::De | Language::Fr => format!("{minus}{digits}{NO_BREAK_SPACE}%"),
    }
}

/// Writes the day of `time`, in UTC, in full: `21 November 2026`.
pub fn format_date(language: Language, time: Timestamp) -> String {
    format_day(language, day_of(time, None))
}

/// Writes a day in full.
pub fn format_day(language: Language, date: jiff::civil::Date) -> String {
    let (day, year) = (date.day(), date.year());
    let index = usize::try_from(date.month() - 1).unwrap_or_default();
    let month = months(language).get(index).copied().unwrap_or_default();
    match language {
        Language::En | Language::It => format!("{day} {month} {year}"),
        Language::PtBr if day == 1 => format!("1º de {month} de {year}"),
        Language::Es | Language::Pt | Language::PtBr => format!("{day} de {month} de {year}"),
        Language::De => format!("{day}. {month} {year}"),
        Language::Fr if day == 1 => format!("1er {month} {year}"),
        Language::Fr => format!("{day} {month} {year}"),
    }
}

const fn numerals(language: Language) -> Numerals {
    match language {
        Language::En => POINT,
        Language::Es | Language::It => COMMA_FROM_FIVE_DIGITS,
        Language::Pt => COMMA_AND_SPACES,
        Language::PtBr | Language::De => COMMA,
        Language::Fr => COMMA_AND_NARROW_SPACES,
    }
}

/// How a currency is written in a language, with the sign it has only at home, where it is at home.
fn convention(language: Language, currency: &str) -> (Numerals, CurrencyPosition, Option<&'static str>) {
    use Language::{De, En, Es, Fr, It, Pt, PtBr};
    match (language, currency) {
        (Es, "MXN") => (POINT, CurrencyPosition::Close, Some("$")),
        (Es, "DOP") => (POINT, CurrencyPosition::Close, Some("RD$")),
        (Es, "GTQ") => (POINT, CurrencyPosition::Close, Some("Q")),
        (Es, "HNL") => (POINT, CurrencyPosition::Close, Some("L")),
        (Es, "NIO") => (POINT, CurrencyPosition::Close, Some("C$")),
        (Es, "PAB") => (POINT, CurrencyPosition::Before, Some("B/.")),
        (Es, "PEN") => (POINT, CurrencyPosition::Before, Some("S/")),
        (Es, "CLP") => (COMMA, CurrencyPosition::Close, Some("$")),
        (Es, "ARS" | "COP" | "UYU") => (COMMA, CurrencyPosition::Before, Some("$")),
        (Es, "BOB") => (COMMA, CurrencyPosition::Before, Some("Bs")),
        (Es, "PYG") => (COMMA, CurrencyPosition::Before, Some("Gs.")),
        (Es, "VES") => (COMMA, CurrencyPosition::Before, Some("Bs.S")),
        (Pt, "BRL") => (COMMA, CurrencyPosition::Before, None),
        (Pt, "AOA") => (COMMA_AND_SPACES, CurrencyPosition::After, Some("Kz")),
        (Pt, "MZN") => (COMMA_AND_SPACES, CurrencyPosition::After, Some("MTn")),
        (De, "CHF") => (SWISS, CurrencyPosition::Before, None),
        (It, "CHF") => (Numerals { before_group: 2, ..SWISS }, CurrencyPosition::Before, None),
        (Fr, "CHF") => (Numerals { decimal: '.', ..COMMA_AND_NARROW_SPACES }, CurrencyPosition::After, None),
        (En, _) => (POINT, CurrencyPosition::Close, None),
        (PtBr, _) => (COMMA, CurrencyPosition::Before, None),
        (Es | Pt | De | It | Fr, _) => (numerals(language), CurrencyPosition::After, None),
    }
}

/// The sign of a currency where readers of the language know it; all others go by their code, which cannot mislead.
fn sign(language: Language, currency: &str) -> Option<&'static str> {
    use Language::{De, En, Es, Fr, It, Pt};
    Some(match (language.base(), currency) {
        (_, "EUR") => "€",
        (_, "GBP") => "£",
        (_, "XOF") => "F\u{202f}CFA",
        (_, "XAF") => "FCFA",
        (En | De, "USD") => "$",
        (Es | Pt | It, "USD") => "US$",
        (Fr, "USD") => "$US",
        (En | Pt | De | Fr, "BRL") => "R$",
        (En | Pt | De, "MXN") => "MX$",
        (En | De, "JPY") => "¥",
        _ => return None,
    })
}

/// The decimals of a currency by ISO 4217.
pub(super) fn decimals(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// A decimal number by its digits: no arithmetic is done on it, so none can go wrong.
struct Number<'a> {
    negative: bool,
    /// Without leading zeros, at least one digit.
    whole: &'a str,
    /// Without trailing zeros.
    fraction: &'a str,
}

impl<'a> Number<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let significant = whole.trim_start_matches('0');
        let whole = if significant.is_empty() { "0" } else { significant };
        let fraction = fraction.trim_end_matches('0');
        Some(Self { negative: negative && (whole, fraction) != ("0", ""), whole, fraction })
    }

    /// Writes the number without its sign, with at least so many decimals.
    fn write(&self, numerals: Numerals, decimals: usize) -> String {
        let mut text = String::with_capacity(self.whole.len() * 2 + decimals + 1);
        let grouped = self.whole.len() >= 3 + numerals.before_group;
        for (index, digit) in self.whole.chars().enumerate() {
            if grouped && index > 0 && (self.whole.len() - index).is_multiple_of(3) {
                text.push(numerals.group);
            }
            text.push(digit);
        }
        if decimals > 0 || !self.fraction.is_empty() {
            text.push(numerals.decimal);
            text.push_str(&format!("{:0<decimals$}", self.fraction));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Language::{De, En, Es, Fr, It, Pt, PtBr};

    /// Makes the spaces that do not break visible: `~` for the wide one, `_` for the narrow one.
    fn visible(text: &str) -> String {
        text.replace(NO_BREAK_SPACE, "~").replace(NARROW_NO_BREAK_SPACE, "_")
    }

    #[test]
    fn a_sum_of_money_is_written_as_readers_of_the_language_write_it() {
        for (language, amount, currency, expected) in [
            (En, "1234567.5", "EUR", "€1,234,567.50"),
            (En, "59.9", "USD", "$59.90"),
            (En, "59.90", "chf", "CHF~59.90"),
            (En, "1234.00", "JPY", "¥1,234"),
            (En, "1234.5", "KWD", "KWD~1,234.500"),
            (En, "-5", "EUR", "-€5.00"),
            (Es, "1234.5", "EUR", "1234,50~€"),
            (Es, "12345.5", "EUR", "12.345,50~€"),
            (Es, "1234.5", "USD", "1234,50~US$"),
            (Es, "1234.5", "MXN", "$1,234.50"),
            (Es, "1234.5", "PEN", "S/~1,234.50"),
            (Es, "1234.5", "ARS", "$~1.234,50"),
            (Es, "1234.00", "CLP", "$1.234"),
            (Pt, "1234.5", "BRL", "R$~1.234,50"),
            (Pt, "1234.5", "EUR", "1234,50~€"),
            (Pt, "12345.5", "EUR", "12~345,50~€"),
            (Pt, "1234.5", "USD", "1234,50~US$"),
            (PtBr, "1234.5", "USD", "US$~1.234,50"),
            (PtBr, "1234.5", "EUR", "€~1.234,50"),
            (PtBr, "1234.5", "BRL", "R$~1.234,50"),
            (De, "1234.5", "EUR", "1.234,50~€"),
            (De, "1234.5", "CHF", "CHF~1’234.50"),
            (De, "-1234567.5", "EUR", "-1.234.567,50~€"),
            (It, "1234.5", "EUR", "1234,50~€"),
            (It, "1234.5", "CHF", "CHF~1234.50"),
            (Fr, "1234.5", "EUR", "1_234,50~€"),
            (Fr, "1234.5", "CHF", "1_234.50~CHF"),
            (Fr, "15000", "XOF", "15_000~F_CFA"),
        ] {
            assert_eq!(visible(&format_money(language, amount, currency)), expected);
        }
    }

    #[test]
    fn a_sum_of_money_is_never_rounded_or_made_up() {
        for (amount, expected) in [
            ("0", "€0.00"),
            ("-0.00", "€0.00"),
            ("0.005", "€0.005"),
            ("007.1000", "€7.10"),
            ("99999999999999999999.99", "€99,999,999,999,999,999,999.99"),
            ("", "~EUR"),
            ("1,5", "1,5~EUR"),
            ("1.", "1.~EUR"),
            ("٣", "٣~EUR"),
        ] {
            assert_eq!(visible(&format_money(En, amount, "EUR")), expected, "{amount:?}");
        }
        assert_eq!(visible(&format_money(En, "12.5", "JPY")), "¥12.5");
    }

    #[test]
    fn a_percentage_has_the_space_that_the_language_wants() {
        for (language, percent, expected) in [
            (En, "15", "15%"),
            (En, "12.50", "12.5%"),
            (Es, "15", "15~%"),
            (Pt, "12.5", "12,5%"),
            (De, "12.5", "12,5~%"),
            (It, "15.0", "15%"),
            (Fr, "15", "15~%"),
            (En, "some", "some%"),
        ] {
            assert_eq!(visible(&format_percent(language, percent)), expected);
        }
    }

    #[test]
    fn a_date_is_written_in_full_and_in_utc() {
        let late = Timestamp::parse("2026-11-21T23:59:59.999Z").unwrap();
        let first =
            Timestamp::parse("2027-03-01T01:30:00+02:00").unwrap() + std::time::Duration::from_hours(1);
        for (language, expected, expected_first) in [
            (En, "21 November 2026", "1 March 2027"),
            (Es, "21 de noviembre de 2026", "1 de marzo de 2027"),
            (Pt, "21 de novembro de 2026", "1 de março de 2027"),
            (PtBr, "21 de novembro de 2026", "1º de março de 2027"),
            (De, "21. November 2026", "1. März 2027"),
            (It, "21 novembre 2026", "1 marzo 2027"),
            (Fr, "21 novembre 2026", "1er mars 2027"),
        ] {
            assert_eq!(format_date(language, late), expected);
            assert_eq!(format_date(language, first), expected_first);
        }
    }

    #[test]
    fn every_month_has_its_name() {
        for &language in Language::ALL {
            for month in 1..=12_i8 {
                let time = Timestamp::parse(&format!("2026-{month:02}-15T12:00:00Z")).unwrap();
                let name = months(language)[usize::try_from(month - 1).unwrap()];
                assert!(format_date(language, time).contains(name), "{language} {month}");
            }
        }
        assert!(format_date(En, Timestamp(i64::MAX)).ends_with("9999"));
    }
}
