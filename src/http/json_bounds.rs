//! Bounds of JSON from outside, found in its text before anything is made of it: how deep it is nested, how much memory
//! its values would take, and whether they can be read at all.
//!
//! `{"a":0}` is seven bytes of text and about seven hundred of memory; a number of 5,000 digits and half of a surrogate
//! pair are JSON by its grammar and nothing that a value can hold. One pass over the bytes, without an allocation.

use super::error::FieldError;

/// How deep objects and lists may be nested in a value.
pub(super) const DEEPEST: usize = 32;
/// The most memory that the values of one body may take, beside their text.
pub(super) const MOST_MEMORY: usize = 8 << 20;

/// An object that has any field.
const PER_OBJECT: usize = 640;
const PER_LIST: usize = 64;
/// A text, a number, a field's name.
const PER_SCALAR: usize = 48;

/// What a text of JSON comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measure {
    /// The memory that its values take, beside their text.
    pub(super) memory: usize,
}

/// Measures JSON that may be nested so deep. What is not JSON is measured too, to some measure: whether it is, is for
/// the parser to say.
///
/// # Errors
/// What cannot be taken, with the field of the outermost object that it is in.
pub(super) fn measure(json: &[u8], deepest: usize) -> Result<Measure, FieldError> {
    let mut scan = Scan { json, at: 0, deepest, depth: 0, field: 0..0, measure: Measure::default() };
    match scan.run() {
        Ok(()) => Ok(scan.measure),
        Err(message) => {
            let field = std::str::from_utf8(&json[scan.field]).unwrap_or_default();
            Err(FieldError { path: field.chars().take(255).collect(), message })
        }
    }
}

struct Scan<'a> {
    json: &'a [u8],
    at: usize,
    deepest: usize,
    depth: usize,
    /// The name of the outermost object's field that `at` is in.
    field: std::ops::Range<usize>,
    measure: Measure,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(&byte) = self.json.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => self.text()?,
                b'{' => self.open(PER_OBJECT)?,
                b'[' => self.open(PER_LIST)?,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b'-' | b'0'..=b'9' => self.number()?,
                _ => {}
            }
        }
        if self.measure.memory > MOST_MEMORY {
            return Err("has more values than postroom takes at once".to_owned());
        }
        Ok(())
    }

    fn open(&mut self, memory: usize) -> Result<(), String> {
        self.depth += 1;
        self.measure.memory += memory;
        if self.depth > self.deepest {
            return Err(format!("must not be nested deeper than {DEEPEST} objects and lists"));
        }
        Ok(())
    }

    fn text(&mut self) -> Result<(), String> {
        self.measure.memory += PER_SCALAR;
        let start = self.at;
        loop {
            let Some(offset) = memchr::memchr2(b'"', b'\\', &self.json[self.at..]) else {
                self.at = self.json.len();
                return Ok(());
            };
            self.at += offset;
            if self.json[self.at] == b'"' {
                break;
            }
            self.escape()?;
        }
        if self.depth == 1 && self.is_name() {
            self.field = start..self.at;
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the text that ends at `at` is the name of a field.
    fn is_name(&self) -> bool {
        self.json[self.at + 1..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.unit() {
            Some(0xD800..=0xDBFF) => {
                self.at += 6;
                match self.unit() {
                    Some(0xDC00..=0xDFFF) => {
                        self.at += 6;
                        Ok(())
                    }
                    _ => Err(half_a_pair()),
                }
            }
            Some(0xDC00..=0xDFFF) => Err(half_a_pair()),
            _ => {
                self.at = self.json.len().min(self.at + 2);
                Ok(())
            }
        }
    }

    /// The UTF-16 unit that `\uXXXX` at `at` stands for.
    fn unit(&self) -> Option<u32> {
        let digits = self.json.get(self.at..self.at + 6)?.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn number(&mut self) -> Result<(), String> {
        self.measure.memory += PER_SCALAR;
        let start = self.at - 1;
        let is_of_number =
            |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
        self.at += self.json[self.at..].iter().take_while(|byte| is_of_number(byte)).count();
        // What is shorter is below 1e15, or has an exponent.
        let number = &self.json[start..self.at];
        let may_be_large = number.len() > 15 || memchr::memchr2(b'e', b'E', number).is_some();
        let is_large = |number: &str| number.parse::<f64>().is_ok_and(f64::is_infinite);
        if may_be_large && std::str::from_utf8(number).is_ok_and(is_large) {
            return Err("has a number that is larger than any that postroom can hold".to_owned());
        }
        Ok(())
    }
}

fn half_a_pair() -> String {
    "has half of a surrogate pair, which is no character".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn fault(json: &str) -> Option<String> {
        measure(json.as_bytes(), DEEPEST + 1).err().map(|fault| format!("{}: {}", fault.path, fault.message))
    }

    #[test]
    fn a_json_value_out_of_bounds_is_named_by_its_field() {
        let nested = |depth: usize| format!("{{\"user\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        for sound in [
            "{}",
            "{\"user\": {\"a\": [1, -2.5e3, \"\\ud83d\\ude00 \\\\ud800 \\\" \\n\"]}}",
            "{\"n\": 12345678901234567890123, \"m\": 1e308, \"o\": 1e-999}",
            "{\"e999\": \"1e999\"}",
            &nested(DEEPEST),
        ] {
            assert_eq!(fault(sound), None, "{sound}");
        }
        for (json, expected) in [
            ("{\"a\": \"x\", \"user\": {\"b\": 1e999}}".to_owned(), "user: has a number"),
            (format!("{{\"user\": {{\"b\": {}}}}}", "9".repeat(5_000)), "user: has a number"),
            ("{\"user\": \"\\ud800\"}".to_owned(), "user: has half"),
            ("{\"user\": \"\\ud800\\n\"}".to_owned(), "user: has half"),
            ("{\"user\": [\"\\udc00\\ud800\"]}".to_owned(), "user: has half"),
            (nested(DEEPEST + 1), "user: must not be nested deeper than 32"),
            (format!("{{\"user\": [{}1]}}", "{\"a\":0},".repeat(20_000)), "user: has more values"),
        ] {
            assert!(
                fault(&json).is_some_and(|fault| fault.starts_with(expected)),
                "{json:.60}: {:?}",
                fault(&json)
            );
        }
    }

    proptest! {
        #[test]
        fn json_within_the_bounds_can_be_read(pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "\\", "u", "d800", "dc00", "\"a\"", "1", "e", "999", "-", ".", " ", "\\u", "é", "null",
        ]), 0..24)) {
            let json = pieces.concat();
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok();
            let passes = measure(json.as_bytes(), DEEPEST).is_ok();
            if is_json {
                prop_assert_eq!(passes, serde_json::from_str::<Value>(&json).is_ok(), "{}", json);
            }
        }
    }
}
