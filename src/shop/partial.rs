//! A partial: a piece that a merchant's templates share, as it is given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest name of a partial, in bytes.
const LONGEST_NAME: usize = 64;

/// Partials by name.
pub type Partials = BTreeMap<String, Partial>;

/// A piece that templates share: a footer, a button, or a layout around them. Its name is its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Partial {
    /// What it puts into an HTML part, handlebars. In a layout, `{{> @partial-block}}` stands for the content.
    pub html: String,
    /// What it puts into a text part, handlebars. Without it, templates that have a `text` cannot use it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Whether a partial can have this name, which stands in templates as it is: 1 to 64 letters, digits, `_`, `-` and `.`.
pub fn is_partial_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= LONGEST_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_ascii() {
        for name in ["footer", "order-layout", "footer.de", "_x", "7", &"a".repeat(64)] {
            assert!(is_partial_name(name), "{name}");
        }
        for name in ["", "@partial-block", "a b", "a/b", "über", ".a", "-a", "a\n", &"a".repeat(65)] {
            assert!(!is_partial_name(name), "{name}");
        }
    }
}
