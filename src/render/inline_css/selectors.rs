//! What the selectors of a style sheet ask of an element, as far as it decides when they can be answered.

use super::css_scanner::{end_of_component, find_at_top};

/// Pseudo-classes that ask for brothers, sisters and children (Selectors, level 4, section 14).
const STRUCTURAL: [&str; 6] = ["first-", "last-", "only-", "nth-", "empty", "has("];

/// What selectors ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// What stands beside an element or in it.
    pub(super) siblings: bool,
    /// Attributes other than its class and id.
    pub(super) attributes: bool,
    /// Its class or id.
    pub(super) names: bool,
    /// What it stands in.
    pub(super) ancestors: bool,
}

impl Asked {
    /// Notes what a list of selectors asks for.
    pub(super) fn note(&mut self, selectors: &str) {
        let selectors = selectors.trim();
        let bytes = selectors.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'[' => {
                    self.attributes = true;
                    at = find_at_top(selectors, at + 1, b"]").unwrap_or(bytes.len());
                    continue;
                }
                b'+' | b'~' => self.siblings = true,
                b'.' | b'#' => self.names = true,
                b'>' => self.ancestors = true,
                byte if byte.is_ascii_whitespace() => self.ancestors = true,
                b':' => self.siblings |= is_structural(&selectors[at + 1..]),
                _ => {}
            }
            at = end_of_component(selectors, at);
        }
    }

    /// What either asks for.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            siblings: self.siblings || other.siblings,
            attributes: self.attributes || other.attributes,
            names: self.names || other.names,
            ancestors: self.ancestors || other.ancestors,
        }
    }
}

fn is_structural(pseudo: &str) -> bool {
    STRUCTURAL.iter().any(|name| pseudo.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_document_that_selectors_ask_for_are_seen() {
        let nothing = Asked::default();
        let siblings = Asked { siblings: true, ..nothing };
        for (selectors, expected) in [
            ("p", nothing),
            ("a:hover", nothing),
            ("tr:last-child", siblings),
            ("td:NTH-CHILD(2n+1)", siblings),
            ("tr+tr", siblings),
            ("h1~p", siblings),
            (":not(:last-child)", siblings),
            (".a", Asked { names: true, ..nothing }),
            ("#a p", Asked { names: true, ancestors: true, ..nothing }),
            ("a[href~=\"+ .b\"]", Asked { attributes: true, ..nothing }),
            ("a\\+b", nothing),
            ("ul>li", Asked { ancestors: true, ..nothing }),
        ] {
            let mut asked = Asked::default();
            asked.note(selectors);
            assert_eq!(asked, expected, "{selectors}");
        }
    }
}
