//! U+0000 in JSON from outside, which a database's text cannot hold: whether a body has it, and where.
//!
//! JSON can only write it as an escape. The search for that is one pass over the bytes; the JSON is read only when it is
//! found, and nothing is made of it then.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What is said of such a text.
pub(super) const REFUSED: &str = "must not contain the character U+0000";
/// The most characters of a field's name that a path shows.
const LONGEST_STEP: usize = 255;

/// The path of the first text or field's name that has U+0000; `None` when there is none.
pub(super) fn find(json: &[u8]) -> Option<String> {
    if !has_nul(json) {
        return None;
    }
    let mut finder = NulFinder::default();
    // The reading ends with an error at the text. What ends otherwise cannot be read, which others say.
    let _ = (&mut finder).deserialize(&mut serde_json::Deserializer::from_slice(json));
    Some(if finder.is_found { finder.steps.join(".") } else { String::new() })
}

fn has_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(position) = memchr::memmem::find(rest, b"\\u0000") {
        let slashes = rest[..position].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if slashes % 2 == 0 {
            return true;
        }
        rest = &rest[position + 6..];
    }
    false
}

/// Looks for the character, and notes where the reading is.
#[derive(Default)]
struct NulFinder {
    steps: Vec<String>,
    /// Whether the text that is looked for stands there.
    is_found: bool,
}

impl NulFinder {
    fn check<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.is_found = text.contains('\0');
        if self.is_found { Err(E::custom(REFUSED)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for &mut NulFinder {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut NulFinder {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.check(text)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        for at in 0_usize.. {
            self.steps.push(at.to_string());
            if entries.next_element_seed(&mut *self)?.is_none() {
                break;
            }
            self.steps.pop();
        }
        self.steps.pop();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<Cow<'_, str>>()? {
            // A path shows the character as the body does.
            let step: String = name.chars().take(LONGEST_STEP).collect();
            self.steps.push(step.replace('\0', "\\u0000"));
            self.check(&name)?;
            fields.next_value_seed(&mut *self)?;
            self.steps.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_only_where_it_is_one() {
        assert!(has_nul(br#"{"a":"x\u0000"}"#));
        assert!(has_nul(br#"{"a":"\\\u0000"}"#));
        assert!(!has_nul(br#"{"a":"\\u0000"}"#));
        assert!(!has_nul(br#"{"a":"u0000"}"#));
    }

    #[test]
    fn the_first_text_or_name_that_has_it_is_named_by_its_path() {
        let long = format!(r#"{{"{}\u0000":1}}"#, "n".repeat(1_000));
        for (json, path) in [
            (r#"{"a":1}"#, None),
            (r#""\u0000""#, Some("")),
            (r#"{"a":"x\u0000"}"#, Some("a")),
            (
                r#"{"a":[1,-2,0.5,true,null,"\\u0000"],"b":{"c":["x","y\u0000z"]},"d":"\u0000"}"#,
                Some("b.c.1"),
            ),
            (r#"[[],[{}],{"a":{"b":"\u0000"}}]"#, Some("2.a.b")),
            (r#"{"a":{"b":"x"},"c":{"d\u0000e":"\u0000"}}"#, Some(r"c.d\u0000e")),
            (r#"{"a":"x","a":"\u0000"}"#, Some("a")),
            (long.as_str(), Some(&*"n".repeat(LONGEST_STEP))),
        ] {
            assert_eq!(find(json.as_bytes()).as_deref(), path, "{json}");
        }
        assert_eq!(find(br#"{"a":1e999,"b":"\u0000"}"#).as_deref(), Some(""));
        assert!(find(format!("{}\"\\u0000\"", "[".repeat(10_000)).as_bytes()).is_some());
    }
}
