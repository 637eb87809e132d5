//! What happens when a merchant stores a template.

use crate::shop::TemplateSource;

use super::compiled_template::{self, LONGEST_SUBJECT};
use super::syntax::{self, Role};
use super::{Part, RenderLimits, TemplateFault, inline_css};

/// A template that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The template, with the CSS of its HTML inlined.
    pub source: TemplateSource,
    /// The top-level names that its placeholders use, once each, in order of first use: subject, HTML, text.
    pub tags: Vec<String>,
}

/// Checks a template and inlines its CSS. Takes milliseconds, and a second or two for a hostile template: not
/// for an async thread.
///
/// # Errors
/// Everything that is wrong with it, at least one fault for each part that is not sound.
pub fn check(source: &TemplateSource, limits: &RenderLimits) -> Result<Checked, Vec<TemplateFault>> {
    let mut tags = Vec::new();
    let mut faults = Vec::new();
    let text = source.given_text().map(|text| (Part::Text, text));
    for (part, text) in
        [(Part::Subject, &*source.subject), (Part::Html, &*source.html)].into_iter().chain(text)
    {
        if let Err(fault) = check_part(part, text, limits, &mut tags) {
            faults.push(fault);
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let html = inline_css::inline(&source.html)
        .and_then(|html| check_part(Part::Html, &html, &grown(limits), &mut Vec::new()).map(|()| html))
        .map_err(|fault| vec![fault])?;
    let text = source.given_text().map(str::to_owned);
    Ok(Checked { source: TemplateSource { html, text, subject: source.subject.clone() }, tags })
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
        let message = format!("this part is larger than {} bytes", limits.template_bytes);
        return Err(TemplateFault { part, line: None, column: None, message });
    }
    compiled_template::compile_part(part, source, tags).map(|_| ())
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
