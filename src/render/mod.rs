//! Templates → message: checks a template when it is stored, fills it in when a mail is sent, builds the bytes.
//!
//! The ingress calls [`check`] and [`Renderer::missing`], the preview [`Renderer::preview`], and the job that sends a
//! mail [`Renderer::render`] and [`compose`]; `templates.rs` sees to it that what takes more than a moment is done away
//! from the async threads. The same inputs give the same bytes; no input, however odd, takes more than bounded time and memory,
//! panics, or adds a header.
//!
//! # What a template may do
//!
//! Placeholders in handlebars, in three parts: subject, HTML, text. The helpers are `if`, `unless`, `each`, `with`,
//! `lookup`, `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `and`, `or`, `not` and `len`, and `money`, `date` and `plural`
//! (`localised.rs`); there are no decorators and no raw blocks. Partials are put in their places when a template is stored
//! (`partials/`), and HTML that is MJML becomes HTML then (`mjml/`). Values are escaped in the HTML (except in
//! `{{{…}}}`), not in the subject and the text.
//!
//! A placeholder that would be printed and has no value is missing, and a mail with a missing placeholder is not
//! sent. A condition is not printed: `{{#if x}}`, `{{#unless x}}`, `{{#each x}}`, `{{#with x}}` and the arguments of
//! the other helpers take a missing value as false or empty. What a condition leaves out is not missed: in
//! `{{#if name}}Dear {{name}}{{/if}}` the name may be absent. `null` counts as given and prints nothing.

mod check;
mod comparison;
mod compiled_template;
mod compose;
mod engine;
mod footer;
mod html_to_text;
mod html_tokenizer;
mod inline_css;
mod localised;
mod mjml;
mod partials;
mod renderer;
mod requirements;
mod run;
mod syntax;
mod tags;
mod values;
mod work;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;

pub use check::{Checked, check, check_partial, check_with};
pub use compose::{AttachedContent, Headers, compose, compose_with};
pub use footer::with_footer;
pub use partials::partials_in;
pub use renderer::Renderer;
pub use values::Values;

/// How large a template and what comes out of it may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RenderLimits {
    /// The bytes of each part of a template as it is stored.
    pub template_bytes: usize,
    /// The bytes of each part of a mail as it is rendered.
    pub rendered_bytes: usize,
    /// How much work filling in the parts of one mail may take, in units of about a nanosecond: 200 for each element
    /// that is visited, 4 for each byte that is written, 1 for each that is compared or copied.
    pub work: u64,
    /// The bytes of memory that compiled templates may take.
    pub cache_bytes: u64,
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self {
            template_bytes: 512 * 1024,
            rendered_bytes: 1024 * 1024,
            work: 100_000_000,
            cache_bytes: 64 * 1024 * 1024,
        }
    }
}

/// One of the three parts of a template, and of what is rendered from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The subject.
    Subject,
    /// The HTML part.
    Html,
    /// The text part.
    Text,
}

impl Part {
    /// The name as it stands in the JSON of a template.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Html => "html",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}{}: {message}", position(*line, *column))]
pub struct TemplateFault {
    /// The part it is in.
    pub part: Part,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The column, counted from 1, in characters.
    pub column: Option<usize>,
    /// What is wrong, for the author of the template.
    pub message: String,
}

fn position(line: Option<usize>, column: Option<usize>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!(", line {line}, column {column}"),
        (Some(line), None) => format!(", line {line}"),
        _ => String::new(),
    }
}

/// A mail's subject and its two bodies, filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// One line without control characters.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The text part.
    pub text: String,
}

/// Why a template and values do not become a message.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Placeholders that would be printed have no value.
    #[error("the template's placeholders {} have no value", quoted(.tags))]
    Missing {
        /// Their names, once each, in order of first use.
        tags: Vec<String>,
    },
    /// A stored template does not compile; it was never checked, or by another version of the program.
    #[error("the stored template does not compile")]
    Template(#[from] TemplateFault),
    /// A part is larger than [`RenderLimits::rendered_bytes`], or a subject longer than one line may be.
    #[error("the {part} of the mail is larger than {limit} bytes")]
    TooLarge {
        /// The part.
        part: Part,
        /// The limit it exceeds.
        limit: usize,
    },
    /// The subject says nothing.
    #[error("the subject of the mail is blank with these values")]
    BlankSubject,
    /// Filling a part in takes more than [`RenderLimits::work`].
    #[error(
        "the {part} of the template takes too much work with these values: its loops, comparisons and look-ups"
    )]
    TooLong {
        /// The part.
        part: Part,
    },
    /// Too many templates of this merchant wait to be worked on; later there is room.
    #[error("too many templates of this merchant wait to be rendered")]
    Busy,
    /// A helper cannot work with the values it was given.
    #[error("the {part} of the template cannot be filled with these values{}", why(.cause))]
    Helper {
        /// The part.
        part: Part,
        /// What handlebars said.
        #[source]
        cause: Box<handlebars::RenderError>,
    },
    /// A file is not stored any more, or its media type is none.
    #[error("an attachment is gone or has no media type")]
    Attachment,
    /// The Message-ID is not one (RFC 5322, section 3.6.4).
    #[error("the message id is not of the form `left@right`")]
    MessageId,
    /// The unsubscribe link is not a URL that a header can carry (RFC 2369).
    #[error("the unsubscribe link is not a URL of visible ASCII characters")]
    UnsubscribeLink,
}

/// What a helper of ours says of its values.
fn why(cause: &handlebars::RenderError) -> String {
    match cause.reason() {
        handlebars::RenderErrorReason::Other(why) => format!(": {why}"),
        _ => String::new(),
    }
}

fn quoted(tags: &[String]) -> String {
    tags.iter().map(|tag| format!("`{tag}`")).collect::<Vec<_>>().join(", ")
}
