//! A template as a merchant gives it and as it is stored.

use serde::{Deserialize, Serialize};

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

/// One stored version of a template. A version never changes: mails pin it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateVersion {
    /// Names the version among all versions of all templates.
    pub id: String,
    /// The parts, with CSS inlined.
    pub source: TemplateSource,
}
