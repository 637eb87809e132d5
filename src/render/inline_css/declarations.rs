//! Declarations as they stand in a `style` attribute.
//!
//! css-inline only says which rules an element has; what they declare never passes through it. It would swap quotes
//! blindly, and keep one declaration of a property where authors write two, one for programs that do not know the other.

use std::collections::HashMap;

use super::css_scanner::{end_of_component, find_at_top, without_leading_comments};

/// How many declarations of one property a rule may have.
const MOST_OF_ONE: usize = 8;

/// One declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declaration {
    /// The property, in lower case unless it is a variable.
    name: String,
    /// The value as it stands between double quotes, with `!important`.
    value: String,
    is_important: bool,
}

impl Declaration {
    /// The same with its value changed.
    pub(super) fn map(mut self, change: impl FnOnce(String) -> String) -> Self {
        self.value = change(self.value);
        self
    }
}

/// Reads what stands between the braces of a rule. Rules nested in it are passed over.
pub(super) fn read(block: &str) -> Vec<Declaration> {
    let mut found: Vec<Declaration> = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        // The value of a variable may have braces.
        let is_variable = without_leading_comments(rest).starts_with("--");
        let ends: &[u8] = if is_variable { b";" } else { b";{" };
        let end = find_at_top(rest, 0, ends).unwrap_or(rest.len());
        if rest.as_bytes().get(end) == Some(&b'{') {
            let after = find_at_top(rest, end + 1, b"}").map_or(rest.len(), |end| end + 1);
            rest = &rest[after..];
            continue;
        }
        if let Some(declaration) = one(&rest[..end]).filter(|it| found.last() != Some(it)) {
            found.push(declaration);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    let mut left: HashMap<String, usize> = HashMap::new();
    found.reverse();
    found.retain(|it| {
        let seen = left.entry(it.name.clone()).or_default();
        *seen += 1;
        *seen <= MOST_OF_ONE
    });
    found.reverse();
    found
}

fn one(text: &str) -> Option<Declaration> {
    let (name, value) = without_leading_comments(text).split_once(':')?;
    let (name, value) = (name.trim_end(), value.trim());
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_') || !c.is_ascii();
    if name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(is_name)
        || (value.is_empty() && !name.starts_with("--"))
    {
        return None;
    }
    let important = value.rsplit_once('!').map(|(_, word)| word.trim());
    Some(Declaration {
        name: if name.starts_with("--") { name.to_owned() } else { name.to_ascii_lowercase() },
        is_important: important.is_some_and(|word| word.eq_ignore_ascii_case("important")),
        value: in_double_quotes(value),
    })
}

/// A value as it stands between the double quotes of an attribute. Strings get single quotes where they can: `&quot;` is
/// right too, but some programs read it wrongly.
fn in_double_quotes(value: &str) -> String {
    let mut written = String::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        let end = value.ceil_char_boundary(end_of_component(value, at));
        let component = &value[at..end];
        match component.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inside) if !inside.contains('\'') => {
                written.push('\'');
                escape(inside, &mut written);
                written.push('\'');
            }
            _ => escape(component, &mut written),
        }
        at = end;
    }
    written
}

fn escape(text: &str, written: &mut String) {
    for character in text.chars() {
        match character {
            '&' => written.push_str("&amp;"),
            '"' => written.push_str("&quot;"),
            other => written.push(other),
        }
    }
}

/// The declarations of an element whose rules come in the order of the cascade: of a property the last rule that sets it
/// keeps its declarations, all of them and in order, unless an earlier one says `!important` and it does not.
pub(super) fn write(rules: &[&[Declaration]]) -> String {
    let mut kept: Vec<&Declaration> = Vec::new();
    for rule in rules {
        let is_overruled = |new: &Declaration| {
            !new.is_important && kept.iter().any(|old| old.name == new.name && old.is_important)
        };
        let new: Vec<_> = rule.iter().filter(|declaration| !is_overruled(declaration)).collect();
        kept.retain(|old| new.iter().all(|new| new.name != old.name));
        kept.extend(new);
    }
    let written: Vec<_> = kept.iter().map(|it| format!("{}: {}", it.name, it.value)).collect();
    written.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(blocks: &[&str]) -> String {
        let rules: Vec<_> = blocks.iter().map(|block| read(block)).collect();
        write(&rules.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn any_valid_value_survives_in_an_attribute() {
        for (block, expected) in [
            (
                "font-family:\"Bob's Font\",serif;color:red",
                "font-family: &quot;Bob's Font&quot;,serif;color: red",
            ),
            ("font-family:\"A B\", 'C D'", "font-family: 'A B', 'C D'"),
            ("content:'say \"hi\"'", "content: 'say &quot;hi&quot;'"),
            ("content:\"a\\\"b;c}\";color:red", "content: 'a\\&quot;b;c}';color: red"),
            ("background:url(a.png?b=1&copy=2)", "background: url(a.png?b=1&amp;copy=2)"),
            (
                "background:url(data:image/png;base64,AA==);COLOR : Red",
                "background: url(data:image/png;base64,AA==);color: Red",
            ),
            ("quotes: '«' '»'; --Brand-Font: \"é\"", "quotes: '«' '»';--Brand-Font: 'é'"),
            (
                "width:calc(100% - (2px + 1em)) !IMPORTANT ; /* a: b; */ height : 1px",
                "width: calc(100% - (2px + 1em)) !IMPORTANT;height: 1px",
            ),
            ("*zoom:1;:x;color;a:;&:hover{color:blue}color:red", "color: red"),
            ("grid-template-areas: \"a b\" \"c d\"", "grid-template-areas: 'a b' 'c d'"),
        ] {
            assert_eq!(written(&[block]), expected, "{block}");
        }
    }

    #[test]
    fn a_property_that_stands_twice_in_a_rule_stays_twice_and_in_order() {
        let gradient = "background:#1d6357;background:linear-gradient(#1d6357, #fff)";
        for (blocks, expected) in [
            (vec![gradient], "background: #1d6357;background: linear-gradient(#1d6357, #fff)"),
            (vec![gradient, "background:blue"], "background: blue"),
            (
                vec!["background:blue;color:red", gradient],
                "color: red;background: #1d6357;background: linear-gradient(#1d6357, #fff)",
            ),
            (vec!["color:red !important", "color:blue;width:1px"], "color: red !important;width: 1px"),
            (vec!["color:red", "color:blue !important"], "color: blue !important"),
            (vec!["margin-left:1px", "margin:2px", "margin-left:3px"], "margin: 2px;margin-left: 3px"),
            (vec!["color:red;color:red"], "color: red"),
        ] {
            assert_eq!(written(&blocks), expected, "{blocks:?}");
        }
    }
}
