//! Puts partials and layouts in their places before a template is compiled.
//!
//! `{{> footer}}` is replaced by the text of the merchant's partial `footer`, and `{{#> layout}}…{{/layout}}` by the text of
//! `layout` with the block where that says `{{> @partial-block}}`. So a stored version is whole: what a mail was made from
//! can be read in one place, whatever becomes of the partials, and rendering knows nothing of them. The styles of a partial
//! are inlined with those of the template.
//!
//! A call may give a context (`{{> row item}}`, which is `{{#with item}}` around it) and arguments
//! (`{{> button label="Pay" url=order_url}}`): names of the partial that mean a literal or a path of its caller.
//!
//! Depth, number and size are bounded, circles are refused with their path. Faults are placed in what the author wrote: the
//! template, or the partial and the call that leads to it.

mod arguments;
mod call;
mod expansion;
mod origin;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::shop::Partials;

use super::syntax::{self, Role};
use super::{Part, TemplateFault};
use call::{BLOCK, Call};
use expansion::Expansion;
pub(super) use expansion::Owner;
use origin::Origins;

/// A part with its partials in their places.
pub(super) struct Expanded<'a> {
    pub(super) text: Cow<'a, str>,
    origins: Option<Origins<'a>>,
}

impl Expanded<'_> {
    /// The fault at the place that the author knows.
    pub(super) fn placed(&self, fault: TemplateFault) -> TemplateFault {
        match &self.origins {
            Some(origins) => origins.placed(&self.text, fault),
            None => fault,
        }
    }
}

/// Puts the partials of a part in their places and adds their names to `used`.
///
/// # Errors
/// When a partial is unknown, is called wrongly, uses itself, or it all becomes too large.
pub(super) fn expand<'a>(
    part: Part,
    source: &'a str,
    owner: Owner<'a>,
    partials: &'a Partials,
    most_bytes: usize,
    used: &mut Vec<String>,
) -> Result<Expanded<'a>, TemplateFault> {
    let mustaches = syntax::with_partials(part, source)?;
    let is_call = |role| matches!(role, Role::Partial | Role::OpenPartial);
    let Some(first) = mustaches.iter().find(|mustache| is_call(mustache.role)) else {
        return Ok(Expanded { text: source.into(), origins: None });
    };
    if part == Part::Subject {
        let message = "partials are not supported in a subject";
        return Err(syntax::fault_at(part, source, first.range.start, message));
    }
    let (text, origins) = Expansion::new(part, owner, partials, most_bytes, used).run(source, mustaches)?;
    Ok(Expanded { text: text.into(), origins: Some(origins) })
}

/// The names of the partials that a part calls, once each; none where it cannot be read.
pub fn partials_in(part: Part, source: &str) -> Vec<String> {
    let mut names = Vec::new();
    // Most templates use none.
    if !source.contains("{{") || !source.contains('>') {
        return names;
    }
    for mustache in syntax::with_partials(part, source).unwrap_or_default() {
        if matches!(mustache.role, Role::Partial | Role::OpenPartial)
            && let Ok(call) = Call::read(syntax::inner(&source[mustache.range]))
            && call.name != BLOCK
            && !names.iter().any(|name| name == call.name)
        {
            names.push(call.name.to_owned());
        }
    }
    names
}
