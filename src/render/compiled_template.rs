//! A template in its compiled form.

use handlebars::{Template, TemplateErrorReason, template::TemplateElement};
use serde_json::Value;

use crate::shop::{TemplateSource, language::Language};

use super::engine::Engine;
use super::inline_css::{self, Effort, Rendered};
use super::requirements::Requirements;
use super::work::charge_for;
use super::{Content, Part, RenderError, TemplateFault, Values, html_to_text, localised, syntax, tags};

/// The longest subject, in bytes: 255 characters, what a request may have, of up to four bytes. However long its words are, no
/// line of the message is too long.
pub(super) const LONGEST_SUBJECT: usize = 255 * 4;
/// What making the text part costs for each byte of HTML, in units of work.
const PER_BYTE_OF_TEXT: u64 = 8;
/// About how many bytes of memory an element of a compiled template takes.
const ELEMENT_BYTES: usize = 512;

/// A template that is ready to be filled.
pub(super) struct CompiledTemplate {
    subject: Template,
    html: Template,
    text: Option<Template>,
    memory: u32,
    requirements: Option<Requirements>,
    /// The bytes of the subject's source, and its placeholders where it has nothing else: they bound its length.
    subject_bound: Option<(usize, Vec<String>)>,
    /// Whether the subject has words of its own, so that no value leaves it blank.
    has_own_subject: bool,
    /// Inlines the CSS of each mail, where that cannot be done once for all.
    rendered: Option<Rendered>,
    /// The language that it is written in, where it says so.
    language: Option<Language>,
}

impl CompiledTemplate {
    /// Compiles the three parts of a template in this language, a tag.
    pub(super) fn compile(source: &TemplateSource, language: Option<&str>) -> Result<Self, TemplateFault> {
        let compile = |part, source: &str| compile_part(part, source, &mut Vec::new());
        let mut subject = compile(Part::Subject, &source.subject)?;
        let mut html = compile(Part::Html, &source.html)?;
        let mut text = source.given_text().map(|text| compile(Part::Text, text)).transpose()?;
        let subject_bound = Requirements::of([&subject].into_iter())
            .and_then(Requirements::into_names)
            .map(|names| (source.subject.len(), names));
        let has_own_subject = subject.elements.iter().any(|element| match element {
            TemplateElement::RawString(text) => !one_line(text).is_empty(),
            _ => false,
        });
        let requirements = Requirements::of([&subject, &html].into_iter().chain(&text));
        let elements: usize = [&mut subject, &mut html].into_iter().chain(&mut text).map(charge_for).sum();
        let bytes = source.subject.len() + source.html.len() + source.text.as_ref().map_or(0, String::len);
        let memory = u32::try_from(bytes + elements * ELEMENT_BYTES).unwrap_or(u32::MAX);
        let rendered = inline_css::depends_on_values(&source.html).then(Rendered::new);
        let language = language.and_then(Language::from_regional_tag);
        Ok(Self {
            memory,
            requirements,
            subject,
            html,
            text,
            subject_bound,
            has_own_subject,
            rendered,
            language,
        })
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory(&self) -> u32 {
        self.memory
    }

    /// The placeholders that [`CompiledTemplate::fill`] would find without a value, where that is known without filling.
    pub(super) fn missing_at_a_glance(&self, values: &serde_json::Value) -> Option<Vec<String>> {
        self.requirements.as_ref()?.missing(values)
    }

    /// Whether the subject fits on one line with these values, and, where it `must_say_something`, does; however that is found
    /// out.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`] and [`RenderError::BlankSubject`] when it does not.
    pub(super) fn check_subject(
        &self,
        engine: &Engine,
        values: &Values,
        mut work: u64,
        must_say_something: bool,
    ) -> Result<(), RenderError> {
        let may_be_blank = must_say_something && !self.has_own_subject;
        let bound = self.subject_bound.as_ref().and_then(|(source, names)| {
            let length = |name: &String| match values.as_json().get(name) {
                None | Some(Value::Null) => Some(0),
                Some(Value::String(text)) => Some(text.len()),
                Some(Value::Bool(_) | Value::Number(_)) => Some(32),
                Some(Value::Array(_) | Value::Object(_)) => None,
            };
            names.iter().map(length).sum::<Option<usize>>().map(|values| source + values)
        });
        if !may_be_blank && bound.is_some_and(|bound| bound <= LONGEST_SUBJECT) {
            return Ok(());
        }
        // Ten times as much: what is on one line may be much shorter.
        let most = LONGEST_SUBJECT * 10;
        let too_large = RenderError::TooLarge { part: Part::Subject, limit: LONGEST_SUBJECT };
        let filled = engine.fill(
            Part::Subject,
            (&self.subject, self.language),
            values.context(),
            most,
            &mut work,
            &mut Vec::new(),
        );
        match filled {
            Ok(subject) => match one_line(&subject).len() {
                0 if may_be_blank => Err(RenderError::BlankSubject),
                0..=LONGEST_SUBJECT => Ok(()),
                _ => Err(too_large),
            },
            Err(RenderError::TooLarge { .. }) => Err(too_large),
            Err(other) => Err(other),
        }
    }

    /// Fills the parts in, each with at most `most_bytes`, all with at most `work`; also returns the placeholders that
    /// had no value.
    pub(super) fn fill(
        &self,
        engine: &Engine,
        values: &Values,
        most_bytes: usize,
        mut work: u64,
        effort: Effort,
    ) -> Result<(Content, Vec<String>), RenderError> {
        let mut missing = Vec::new();
        let mut fill = |part, template| {
            engine.fill(
                part,
                (template, self.language),
                values.context(),
                most_bytes,
                &mut work,
                &mut missing,
            )
        };
        let subject = one_line(&fill(Part::Subject, &self.subject)?);
        let mut html = fill(Part::Html, &self.html)?;
        if let Some(rendered) = &self.rendered {
            html =
                rendered.inline(html, most_bytes, effort).ok_or(RenderError::TooLong { part: Part::Html })?;
        }
        let text = match &self.text {
            Some(template) => fill(Part::Text, template)?,
            None if work < html.len() as u64 * PER_BYTE_OF_TEXT => {
                return Err(RenderError::TooLong { part: Part::Text });
            }
            None => html_to_text::from_html(&html),
        };
        if subject.len() > LONGEST_SUBJECT {
            return Err(RenderError::TooLarge { part: Part::Subject, limit: LONGEST_SUBJECT });
        }
        Ok((Content { subject, html, text }, missing))
    }
}

/// Compiles one part and adds the tags it uses to `tags`.
pub(super) fn compile_part(
    part: Part,
    source: &str,
    tags: &mut Vec<String>,
) -> Result<Template, TemplateFault> {
    syntax::mustaches(part, source)?;
    let mut template = Template::compile(source).map_err(|error| {
        let (line, column) = error.pos().unzip();
        let message = match error.reason() {
            TemplateErrorReason::MismatchingClosedHelper(open, close) => {
                format!("`{open}` was opened, but `{close}` is closing")
            }
            TemplateErrorReason::InvalidSyntax(reason) => {
                format!("invalid handlebars syntax: {}", reason.trim())
            }
            other => other.to_string(),
        };
        TemplateFault { part, line, column, message }
    })?;
    tags::collect(part, &template, tags)?;
    localised::bind(&mut template);
    Ok(template)
}

/// Makes one line of a rendered subject: a line break in a template or a value becomes a space.
fn one_line(rendered: &str) -> String {
    let words = rendered.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}
