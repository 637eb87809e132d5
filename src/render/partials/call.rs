//! Reads how a partial is called: its name, a context, arguments.

/// What stands for the content that a layout is given.
pub(super) const BLOCK: &str = "@partial-block";
/// The most arguments of a call.
const MOST_ARGUMENTS: usize = 16;

/// `footer`, `row item` or `button label="Pay" url=order_url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    /// A path; what the names in the partial begin from.
    pub(super) context: Option<&'a str>,
    /// Names that the partial uses, and what they mean: a path or a literal as it stands.
    pub(super) arguments: Vec<(&'a str, &'a str)>,
}

impl<'a> Call<'a> {
    /// Reads what stands between the braces.
    ///
    /// # Errors
    /// What is wrong, for the author.
    pub(super) fn read(inner: &'a str) -> Result<Self, &'static str> {
        let mut words = Words { rest: inner };
        let name = words.next().transpose()?.ok_or("a partial is called by its name")?;
        let name = unquoted(name).unwrap_or(name);
        let mut call = Self { name, context: None, arguments: Vec::new() };
        for word in words {
            let word = word?;
            match word.split_once('=').filter(|(key, _)| !key.starts_with(['"', '\''])) {
                Some((key, value)) => call.argument(key, value)?,
                None if is_literal(word) => return Err("the context of a partial is a path, not a literal"),
                None if call.context.is_some() || !call.arguments.is_empty() => {
                    return Err("a partial takes one context, and arguments as in `name=value` after it");
                }
                None if word == "this" || word == "." => {}
                None => call.context = Some(word),
            }
        }
        Ok(call)
    }

    fn argument(&mut self, key: &'a str, value: &'a str) -> Result<(), &'static str> {
        let is_name = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if !is_name || value.is_empty() {
            return Err("an argument of a partial is `name=value`, without blanks");
        }
        if is_literal(value) && (value.contains("{{") || value.contains(['\\', '\n', '\r'])) {
            return Err("a text for a partial is one line without backslashes and braces");
        }
        if self.arguments.iter().any(|(known, _)| *known == key) {
            return Err("an argument of a partial is given twice");
        }
        if self.arguments.len() == MOST_ARGUMENTS {
            return Err("a partial takes at most 16 arguments");
        }
        self.arguments.push((key, value));
        Ok(())
    }
}

/// Whether a word is a text in quotes, a number or the like, and no path.
pub(super) fn is_literal(word: &str) -> bool {
    word.starts_with(['"', '\''])
        || matches!(word, "true" | "false" | "null" | "undefined")
        || word.strip_prefix('-').unwrap_or(word).starts_with(|c: char| c.is_ascii_digit())
}

/// What a text in quotes says.
pub(super) fn unquoted(word: &str) -> Option<&str> {
    ['"', '\''].into_iter().find_map(|quote| word.strip_prefix(quote)?.strip_suffix(quote))
}

/// Words that blanks separate, except in quotes and brackets.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = Result<&'a str, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start();
        let mut closes = None;
        for (at, byte) in self.rest.bytes().enumerate() {
            match (byte, closes) {
                (byte, Some(close)) if byte == close => closes = None,
                (_, Some(_)) => {}
                (b'"' | b'\'', None) => closes = Some(byte),
                (b'[', None) => closes = Some(b']'),
                (b'(' | b')', None) => {
                    self.rest = "";
                    return Some(Err("a partial is called by its name, with paths and literals alone"));
                }
                (byte, None) if byte.is_ascii_whitespace() => {
                    let (word, rest) = self.rest.split_at(at);
                    self.rest = rest;
                    return Some(Ok(word));
                }
                (_, None) => {}
            }
        }
        let word = std::mem::take(&mut self.rest);
        (!word.is_empty()).then_some(Ok(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_a_name_a_context_and_arguments() {
        let call = |inner| Call::read(inner).unwrap();
        let plain = Call { name: "footer", context: None, arguments: Vec::new() };
        assert_eq!(call("footer"), plain);
        assert_eq!(call(" footer this "), plain);
        assert_eq!(call("\"footer\""), plain);
        assert_eq!(
            call("row ../item"),
            Call { name: "row", context: Some("../item"), arguments: Vec::new() }
        );
        assert_eq!(
            call("button label=\"Pay = now\" url=order.[the url] n=2"),
            Call {
                name: "button",
                context: None,
                arguments: vec![("label", "\"Pay = now\""), ("url", "order.[the url]"), ("n", "2")],
            }
        );
    }

    #[test]
    fn a_malformed_call_of_a_partial_is_refused() {
        for inner in [
            "",
            "(lookup . x)",
            "a b c",
            "a x=1 b",
            "a \"b\"",
            "a x=",
            "a =x",
            "a x=(eq 1 2)",
            "a x=\"{{y}}\"",
            "a x=\"\\\\\"",
            "a x=1 x=2",
        ] {
            assert!(Call::read(inner).is_err(), "{inner}");
        }
    }
}
