//! The words of unsubscribing in six languages: of its pages, and of the line below a promotional mail. Pure.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::language::Language;

/// The words of one language. In some of them `[[address]]` and `[[name]]` stand for what is to be put in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeWords {
    /// The question.
    pub title: String,
    /// What follows.
    pub text: String,
    /// What unsubscribes.
    pub button: String,
    /// That it is done.
    pub done_title: String,
    /// What that means.
    pub done_text: String,
    /// What takes it back.
    pub undo: String,
    /// That it is taken back.
    pub back_title: String,
    /// What that means.
    pub back_text: String,
    /// That a link leads nowhere.
    pub missing_title: String,
    /// What to do about it.
    pub missing_text: String,
    /// The link below a mail.
    pub footer: String,
}

impl UnsubscribeWords {
    /// The words of a language.
    pub fn of(language: Language) -> &'static Self {
        static WORDS: LazyLock<BTreeMap<Language, UnsubscribeWords>> = LazyLock::new(|| {
            // A test reads the file; a page without words is still better than a panic.
            toml::from_str(include_str!("../../templates/unsubscribe/words.toml")).unwrap_or_default()
        });
        static NONE: LazyLock<UnsubscribeWords> = LazyLock::new(UnsubscribeWords::default);
        WORDS.get(&language).unwrap_or(&NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_word() {
        for &language in Language::ALL {
            let words = UnsubscribeWords::of(language);
            for text in [&words.text, &words.done_text, &words.back_text] {
                assert!(text.contains("[[address]]") && text.contains("[[name]]"), "{language}: {text}");
            }
            let UnsubscribeWords { title, button, done_title, undo, back_title, .. } = words;
            let UnsubscribeWords { missing_title, missing_text, footer, .. } = words;
            for word in [title, button, done_title, undo, back_title, missing_title, missing_text, footer] {
                assert!(!word.is_empty(), "{language}");
            }
        }
    }
}
