//! What happens when a merchant stores a template.

use crate::shop::{Partial, Partials, TemplateSource};

use super::compiled_template::{self, LONGEST_SUBJECT};
use super::partials::{self, Expanded, Owner};
use super::syntax::{self, Role};
use super::{Part, RenderLimits, TemplateFault, inline_css, mjml};

/// A template that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The template, with the CSS of its HTML inlined.
    pub source: TemplateSource,
    /// The top-level names that its placeholders use, once each, in order of first use: subject, HTML, text.
    pub tags: Vec<String>,
    /// The names of the partials in it, once each, whether it calls them or they call each other.
    pub partials: Vec<String>,
}

/// Checks a template that uses no partials: see [`check_with`].
///
/// # Errors
/// As there.
pub fn check(source: &TemplateSource, limits: &RenderLimits) -> Result<Checked, Vec<TemplateFault>> {
    check_with(source, &Partials::new(), limits)
}

/// Puts a template's partials in their places, makes HTML of its MJML, checks it, and inlines its CSS. Takes milliseconds, and a second or two for a hostile template: not
/// for an async thread.
///
/// # Errors
/// Everything that is wrong with it, at least one fault for each part that is not sound.
pub fn check_with(
    source: &TemplateSource,
    partials: &Partials,
    limits: &RenderLimits,
) -> Result<Checked, Vec<TemplateFault>> {
    let (mut tags, mut used, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let mut part = |part, text| {
        let checked = check_given(part, text, (Owner::Template, partials), limits, &mut tags, &mut used);
        checked.map_err(|fault| faults.push(fault)).ok()
    };
    part(Part::Subject, &source.subject);
    let html = part(Part::Html, &source.html);
    let text = source.given_text().map(|text| part(Part::Text, text));
    let (Some(html), true) = (html, faults.is_empty()) else { return Err(faults) };
    let html = made_html(&html.text, limits).map_err(|fault| vec![html.placed(fault)])?;
    let text = text.flatten().map(|text| text.text.into_owned());
    let source = TemplateSource { html, text, subject: source.subject.clone() };
    Ok(Checked { source, tags, partials: used })
}

/// Checks a partial by itself, with those that it uses; returns their names. Takes as long as [`check_with`].
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_partial(
    name: &str,
    partial: &Partial,
    partials: &Partials,
    limits: &RenderLimits,
) -> Result<Vec<String>, Vec<TemplateFault>> {
    let (mut used, mut faults) = (Vec::new(), Vec::new());
    let text = partial.text.as_deref().map(|text| (Part::Text, text));
    for (part, text) in [(Part::Html, &*partial.html)].into_iter().chain(text) {
        let owner = (Owner::Partial(name), partials);
        if let Err(fault) = check_given(part, text, owner, limits, &mut Vec::new(), &mut used) {
            faults.push(fault);
        } else if text.ends_with('\\') {
            let message =
                "a partial must not end with a backslash, which would quote what comes after it".to_owned();
            faults.push(TemplateFault { part, line: None, column: None, message });
        }
    }
    if faults.is_empty() { Ok(used) } else { Err(faults) }
}

/// Checks a part as it was given, and puts its partials in their places.
fn check_given<'a>(
    part: Part,
    source: &'a str,
    (owner, partials): (Owner<'a>, &'a Partials),
    limits: &RenderLimits,
    tags: &mut Vec<String>,
    used: &mut Vec<String>,
) -> Result<Expanded<'a>, TemplateFault> {
    if source.len() > limits.template_bytes {
        return Err(too_large(part, limits.template_bytes));
    }
    let expanded = partials::expand(part, source, owner, partials, limits.rendered_bytes, used)?;
    check_part(part, &expanded.text, &grown(limits), tags).map_err(|fault| expanded.placed(fault))?;
    Ok(expanded)
}

/// The HTML part as it is stored: no MJML, and with its CSS inlined.
fn made_html(html: &str, limits: &RenderLimits) -> Result<String, TemplateFault> {
    let made = if mjml::is_mjml(html) { Some(mjml::to_html(html, limits.rendered_bytes)?) } else { None };
    let html = inline_css::inline(made.as_deref().unwrap_or(html))?;
    check_part(Part::Html, &html, &grown(limits), &mut Vec::new())?;
    Ok(html)
}

fn check_part(
    part: Part,
    source: &str,
    limits: &RenderLimits,
    tags: &mut Vec<String>,
) -> Result<(), TemplateFault> {
    if part == Part::Subject && least_length(source) > LONGEST_SUBJECT {
        let message = format!("a subject has at most {LONGEST_SUBJECT} bytes");
        return Err(TemplateFault { part, line: None, column: None, message });
    }
    if source.len() > limits.template_bytes {
        return Err(too_large(part, limits.template_bytes));
    }
    compiled_template::compile_part(part, source, tags).map(|_| ())
}

fn too_large(part: Part, most: usize) -> TemplateFault {
    TemplateFault {
        part,
        line: None,
        column: None,
        message: format!("this part is larger than {most} bytes"),
    }
}

/// How long a subject is whatever its values are: the text outside of its placeholders and blocks.
fn least_length(source: &str) -> usize {
    let Ok(mustaches) = syntax::mustaches(Part::Subject, source) else { return 0 };
    let (mut length, mut done, mut depth) = (0, 0, 0_usize);
    for mustache in mustaches {
        if depth == 0 {
            length += source[done..mustache.range.start]
                .split_whitespace()
                .map(|word| word.len() + 1)
                .sum::<usize>();
        }
        match mustache.role {
            Role::Open => depth += 1,
            Role::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        done = mustache.range.end;
    }
    (length + source[done..].split_whitespace().map(|word| word.len() + 1).sum::<usize>()).saturating_sub(1)
}

/// Inlining repeats declarations, so what it makes may be larger than what was given.
fn grown(limits: &RenderLimits) -> RenderLimits {
    RenderLimits { template_bytes: limits.rendered_bytes, ..limits.clone() }
}
