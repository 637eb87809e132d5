//! The reminder that a merchant writes to a shopper who left a cart behind. Pure; `http/abandoned_carts` reads it, and
//! [`super::cart`] fills the mail with it.

use serde_json::{Number, Value, json};

use super::SingleLine;

/// The longest message of a reminder, in characters.
const LONGEST_MESSAGE: usize = 10_000;
/// The most decimals of a discount.
const DISCOUNT_DECIMALS: usize = 4;

/// What a merchant writes to a shopper who left a cart behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// The `Subject`.
    pub subject: SingleLine,
    /// The words; never HTML.
    pub message: ReminderText,
    /// What is taken off the price.
    pub discount: Option<Discount>,
}

/// A text of 1 to 10,000 characters on any number of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReminderText(String);

impl ReminderText {
    /// Takes a text that fits.
    ///
    /// # Errors
    /// What does not fit, for people.
    pub fn new(text: String) -> Result<Self, &'static str> {
        if !(1..=LONGEST_MESSAGE).contains(&text.chars().count()) {
            Err("must have 1 to 10000 characters")
        } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            Err("must not contain control characters other than line ends and tabs")
        } else {
            Ok(Self(text))
        }
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its lines, each with whether a paragraph begins with it. Outlook for Windows knows no other way to keep them.
    pub(super) fn lines(&self) -> Vec<Value> {
        let mut lines = Vec::new();
        let mut begins = false;
        for line in self.0.replace("\r\n", "\n").replace('\r', "\n").split('\n').map(str::trim_end) {
            if line.is_empty() {
                begins = true;
                continue;
            }
            let is_first = lines.is_empty();
            lines.push(json!({"text": line, "begins": begins && !is_first, "goes_on": !begins && !is_first}));
            begins = false;
        }
        lines
    }
}

/// A percentage over 0 and up to 100, as a decimal number such as `15` or `12.5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount(String);

impl Discount {
    /// Takes a percentage.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn new(percent: &Number) -> Result<Self, &'static str> {
        let percent = percent.as_f64().filter(|percent| *percent > 0.0 && *percent <= 100.0);
        let text = percent.ok_or("must be over 0 and at most 100")?.to_string();
        match text.split_once('.') {
            Some((_, decimals)) if decimals.len() > DISCOUNT_DECIMALS => Err("must have at most 4 decimals"),
            _ => Ok(Self(text)),
        }
    }

    /// The percentage as a decimal number, without trailing zeros.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        render::{RenderLimits, Renderer},
        shop::{
            builtin_mails::{self, BuiltinMail},
            language::Language,
        },
    };

    #[test]
    fn a_discount_is_a_number_over_0_and_up_to_100() {
        for (given, kept) in [
            ("15", "15"),
            ("15.5", "15.5"),
            ("100", "100"),
            ("15.50", "15.5"),
            ("1e1", "10"),
            ("0.0001", "0.0001"),
        ] {
            let number: Number = given.parse().unwrap();
            assert_eq!(Discount::new(&number).unwrap().as_str(), kept, "{given}");
        }
        for given in ["0", "0.0", "-1", "100.0001", "101", "1e300", "0.00001", "33.33333", "1e-300"] {
            let number: Number = given.parse().unwrap();
            assert!(Discount::new(&number).is_err(), "{given}");
        }
    }

    #[test]
    fn a_message_has_lines_but_no_other_control_characters() {
        assert!(ReminderText::new("one\r\n\ttwo\nü".to_owned()).is_ok());
        assert!(ReminderText::new("ä".repeat(10_000)).is_ok());
        for text in [String::new(), "ä".repeat(10_001), "beep\u{7}".to_owned(), "\u{85}".to_owned()] {
            assert!(ReminderText::new(text).is_err());
        }
    }

    #[test]
    fn a_message_keeps_its_paragraphs_and_lines() {
        for (message, marked) in [
            ("one", "one"),
            ("one\ntwo", "one|two"),
            ("one\r\n\r\ntwo\rthree", "one¶two|three"),
            ("\n\none \n \n\n\ntwo\n", "one¶two"),
        ] {
            let lines = ReminderText::new(message.to_owned()).unwrap().lines();
            let mark = |line: &Value| match (line["begins"] == true, line["goes_on"] == true) {
                (true, _) => "¶",
                (_, true) => "|",
                _ => "",
            };
            let shown: String = lines
                .iter()
                .map(|line| format!("{}{}", mark(line), line["text"].as_str().unwrap()))
                .collect();
            assert_eq!(shown, marked, "{message:?}");
        }
    }

    #[test]
    fn a_message_keeps_its_paragraphs_and_lines_in_every_program() {
        let renderer = Renderer::new(RenderLimits::default());
        let mail = BuiltinMail::AbandonedCartReminder;
        for (message, marked_up) in [
            ("One\n\nTwo", "<p>One</p> <p>Two</p>"),
            ("One\nTwo", "<p>One<br>Two</p>"),
            ("One\r\n\r\nTwo\r\nThree", "<p>One</p> <p>Two<br>Three</p>"),
            ("One\rTwo\n \n\n\nThree\n", "<p>One<br>Two</p> <p>Three</p>"),
            ("One & <b>\n\t\nTwo", "<p>One &amp; &lt;b&gt;</p> <p>Two</p>"),
        ] {
            let mut values = builtin_mails::sample_values(mail);
            values.insert("message".to_owned(), message.into());
            let lines = ReminderText::new(message.to_owned()).unwrap().lines();
            values.insert("message_lines".to_owned(), lines.into());
            let source = builtin_mails::template(mail, Language::En);
            let (content, _) = renderer.preview(&source, None, &Value::Object(values).into()).unwrap();
            let html = unstyled(&content.html).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(html.contains(marked_up), "{message:?}: {html}");
            assert!(!html.contains("pre-line"), "Outlook for Windows does not know it");
        }
    }

    /// HTML without what was written into `style`.
    fn unstyled(html: &str) -> String {
        let mut pieces = html.split(" style=\"");
        let first = pieces.next().unwrap_or_default();
        let others = pieces.filter_map(|piece| Some(piece.split_once('"')?.1));
        std::iter::once(first).chain(others).collect()
    }
}
