//! A template as a merchant gives it and as it is stored.

use serde::{Deserialize, Serialize};

use crate::mail::{CrashPolicy, Mailbox, PinnedTemplate, closed_set};

closed_set! {
    /// What a template is for.
    TemplateClass {
        /// Somebody asked for this mail.
        Transactional = "transactional",
        /// Advertising: carries a way to unsubscribe.
        Promotional = "promotional",
    }
}

/// The three parts of a template as a merchant gives them, in handlebars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateSource {
    /// The `Subject`.
    pub subject: String,
    /// The HTML part; its `<style>` is inlined when the template is stored.
    pub html: String,
    /// The text part; made from the HTML where absent.
    #[serde(default)]
    pub text: Option<String>,
}

impl TemplateSource {
    /// The text part, where it says anything: a blank one counts as not given.
    pub fn given_text(&self) -> Option<&str> {
        let is_seen = |c: char| {
            !c.is_whitespace() && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
        };
        self.text.as_deref().filter(|text| text.contains(is_seen))
    }
}

/// One stored version of a template. A version never changes: mails pin it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateVersion {
    /// Names the version among all versions of all templates.
    pub id: String,
    /// The template it is a version of.
    pub template: String,
    /// The parts, with CSS inlined.
    pub source: TemplateSource,
    /// The placeholders it uses, in order of their first use.
    pub tags: Vec<String>,
    /// Its own `From`.
    pub sender: Option<Mailbox>,
    /// What it is for, where it says so.
    pub class: Option<TemplateClass>,
    /// What to do with its mails when a crash left their outcome unknown.
    pub on_crash: CrashPolicy,
    /// The language it is written in.
    pub language: Option<String>,
}

impl TemplateVersion {
    /// What a mail that is written from it pins.
    pub fn pinned(&self) -> PinnedTemplate {
        PinnedTemplate { version: self.id.clone(), name: self.template.clone(), on_crash: self.on_crash }
    }

    /// One with these placeholders and nothing else in it.
    #[cfg(test)]
    pub(super) fn sample(tags: &[&str], language: Option<&str>) -> Self {
        Self {
            id: "v".to_owned(),
            template: "t".to_owned(),
            source: TemplateSource { subject: String::new(), html: String::new(), text: None },
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            sender: None,
            class: None,
            on_crash: CrashPolicy::Resend,
            language: language.map(str::to_owned),
        }
    }
}
