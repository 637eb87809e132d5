//! Which words a count takes in each of the six languages: the plural rules of the Unicode CLDR (48).

use super::language::Language;

/// The category of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plural {
    /// Exactly nothing, for which languages have a category of their own or not.
    Zero,
    /// As in one item.
    One,
    /// As in a million of items, in languages that write `de` there.
    Many,
    /// Any other.
    Other,
}

impl Plural {
    /// The category of a decimal number; `None` where it is none.
    pub fn of(language: Language, count: &str) -> Option<Self> {
        let digits = count.strip_prefix('-').unwrap_or(count);
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(decimals) || digits.ends_with('.') {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let is_whole = decimals.is_empty();
        let is_round = decimals.bytes().all(|byte| byte == b'0');
        if whole.is_empty() && is_round {
            return Some(Self::Zero);
        }
        let is_one = match language {
            Language::En | Language::De | Language::It => whole == "1" && is_whole,
            Language::Es => whole == "1" && is_round,
            Language::Fr | Language::Pt | Language::PtBr => matches!(whole, "" | "1"),
        };
        let has_many = matches!(language.base(), Language::Es | Language::Fr | Language::It | Language::Pt);
        Some(match is_one {
            true => Self::One,
            false if has_many && is_whole && whole.len() > 6 && whole.ends_with("000000") => Self::Many,
            false => Self::Other,
        })
    }

    /// Whether nothing is counted as one is: `0 article`.
    pub const fn counts_nothing_as_one(language: Language) -> bool {
        matches!(language.base(), Language::Fr | Language::Pt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_the_category_that_cldr_gives_it() {
        use Language::{De, En, Es, Fr, It, Pt};
        use Plural::{Many, One, Other, Zero};
        for (count, expected) in [
            ("0", [Zero; 6]),
            ("0.0", [Zero; 6]),
            ("1", [One; 6]),
            ("-1", [One; 6]),
            ("1.0", [Other, Other, One, One, Other, One]),
            ("1.5", [Other, Other, Other, One, Other, One]),
            ("0.5", [Other, Other, Other, One, Other, One]),
            ("2", [Other; 6]),
            ("11", [Other; 6]),
            ("1000000", [Other, Other, Many, Many, Many, Many]),
            ("1000001", [Other; 6]),
        ] {
            for (language, expected) in [En, De, Es, Fr, It, Pt].into_iter().zip(expected) {
                assert_eq!(Plural::of(language, count), Some(expected), "{language} {count}");
            }
        }
        for no_number in ["", "-", "1.", ".5", "1e3", "one", "1,5", "٣"] {
            assert_eq!(Plural::of(En, no_number), None, "{no_number}");
        }
    }
}
