//! What a run of a template knows and misses.
//!
//! handlebars gives a helper no way to the run it belongs to, but a run stays on its thread: all is kept there.

use std::cell::{Cell, RefCell};

use handlebars::{HelperResult, RenderContext};

use super::work::charged;
use crate::shop::language::Language;

/// More names than anyone reads.
pub(super) const MOST_MISSING: usize = 100;

thread_local! {
    /// What it missed.
    static MISSED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// The language that its template is written in.
    static LANGUAGE: Cell<Option<Language>> = const { Cell::new(None) };
}

/// Begins a run of a template in this language; so much is missing already.
pub(super) fn begin(language: Option<Language>, missing: Vec<String>) {
    LANGUAGE.set(language);
    MISSED.replace(missing);
}

/// Ends it and returns what is missing.
pub(super) fn end() -> Vec<String> {
    MISSED.take()
}

/// Notes that a name would be printed and has no value.
pub(super) fn note_missing(raw: &str, context: &RenderContext<'_, '_>) -> HelperResult {
    let path = full_path(raw, context);
    MISSED.with_borrow_mut(|missing| {
        charged((1 + missing.len() as u64).saturating_mul(16 + path.len() as u64 / 8))?;
        if missing.len() < MOST_MISSING && !missing.contains(&path) {
            missing.push(path);
        }
        Ok(())
    })
}

/// The language that the template of the run on this thread is written in.
pub(super) fn language_of_run() -> Option<Language> {
    LANGUAGE.get()
}

/// The path from the top, as in `items.0.name`, where it can be told.
fn full_path(raw: &str, context: &RenderContext<'_, '_>) -> String {
    if let Some(from_top) = raw.strip_prefix("@root") {
        return from_top.trim_start_matches(['.', '/']).to_owned();
    }
    let name = raw.strip_prefix("this").filter(|rest| rest.starts_with(['.', '/'])).unwrap_or(raw);
    let is_relative = !raw.starts_with("..") && !raw.starts_with('@');
    let name = name.trim_start_matches(['.', '/']);
    match context.block().map(|block| block.base_path()) {
        Some(base) if is_relative && !base.is_empty() => format!("{}.{name}", base.join(".")),
        _ => name.to_owned(),
    }
}
