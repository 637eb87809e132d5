//! Fills one compiled template in: missing values are noted, output and work are bounded.
//!
//! `work.rs` says what each step costs, `comparison.rs` is the helpers that compare, and `run.rs` keeps what a run missed.

use std::cmp::Ordering;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, Renderable, ScopedJson,
    Template, no_escape,
};
use serde_json::Value;

use crate::shop::language::Language;

use super::{
    Part, RenderError,
    comparison::{Comparison, Holds, argument, compare, is_equal},
    localised::Localised,
    run::{self, note_missing},
    work::{self, COPIES_OF_LOOKUP, PER_WRITTEN_BYTE, STEP, Step, charge, charged, size},
};

/// handlebars as it fills the HTML and as it fills the other parts.
pub(super) struct Engine {
    escaping: Handlebars<'static>,
    verbatim: Handlebars<'static>,
}

impl Engine {
    pub(super) fn new() -> Self {
        let mut escaping = Handlebars::new();
        escaping.register_escape_fn(escape);
        for helper in ["log", "raw"] {
            escaping.unregister_helper(helper);
        }
        escaping.register_helper("helperMissing", Box::new(Missing));
        escaping.register_helper(STEP, Box::new(Step));
        escaping.register_helper("lookup", Box::new(Lookup));
        let comparisons: [(&str, Holds); 6] = [
            ("eq", is_equal),
            ("ne", |x, y| !is_equal(x, y)),
            ("gt", |x, y| compare(x, y) == Some(Ordering::Greater)),
            ("gte", |x, y| compare(x, y).is_some_and(Ordering::is_ge)),
            ("lt", |x, y| compare(x, y) == Some(Ordering::Less)),
            ("lte", |x, y| compare(x, y).is_some_and(Ordering::is_le)),
        ];
        for (name, holds) in comparisons {
            escaping.register_helper(name, Box::new(Comparison(holds)));
        }
        for helper in Localised::ALL {
            escaping.register_helper(helper.bound_name(), Box::new(helper));
        }
        let mut verbatim = escaping.clone();
        verbatim.register_escape_fn(no_escape);
        Self { escaping, verbatim }
    }

    /// Renders one part, to at most `most_bytes`. Adds the placeholders that had no value to `missing`, once each; they
    /// print nothing. Takes what it does from `work`.
    pub(super) fn fill(
        &self,
        part: Part,
        (template, language): (&Template, Option<Language>),
        values: &Context,
        most_bytes: usize,
        work: &mut u64,
        missing: &mut Vec<String>,
    ) -> Result<String, RenderError> {
        let registry = if part == Part::Html { &self.escaping } else { &self.verbatim };
        work::allow(*work);
        run::begin(language, std::mem::take(missing));
        let mut out = Bounded { text: String::new(), limit: most_bytes, is_full: false };
        let result = template.render(registry, values, &mut RenderContext::new(None), &mut out);
        *missing = run::end();
        *work = work::left();
        match result {
            Ok(()) => Ok(out.text),
            Err(_) if out.is_full => Err(RenderError::TooLarge { part, limit: most_bytes }),
            Err(_) if *work == 0 => Err(RenderError::TooLong { part }),
            Err(cause) => Err(RenderError::Helper { part, cause: Box::new(cause) }),
        }
    }
}

/// Escapes what means something in HTML, between tags and in attributes with quotes. handlebars' own also writes `&#x3D;`
/// for `=`, on which services that count clicks break links.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        let (plain, special) = rest.split_at(at);
        escaped.push_str(plain);
        escaped.push_str(match special.as_bytes()[0] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        });
        rest = &special[1..];
    }
    escaped.push_str(rest);
    escaped
}

/// `lookup`: handlebars copies what it finds.
struct Lookup;

impl HelperDef for Lookup {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, handlebars::RenderError> {
        let found = match (argument(helper, 0), argument(helper, 1)) {
            (Value::Array(items), Value::Number(at)) => {
                at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?))
            }
            (Value::Object(fields), Value::String(key)) => fields.get(key),
            _ => None,
        };
        let Some(found) = found else { return Ok(Value::Null.into()) };
        charged(size(found).saturating_mul(COPIES_OF_LOOKUP))?;
        Ok(found.clone().into())
    }
}

/// Called for each placeholder that would be printed and has no value.
struct Missing;

impl HelperDef for Missing {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        context: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        note_missing(helper.name(), context)
    }
}

/// Text that does not grow past a limit.
struct Bounded {
    text: String,
    limit: usize,
    is_full: bool,
}

impl Output for Bounded {
    fn write(&mut self, piece: &str) -> std::io::Result<()> {
        if piece.len() > self.limit - self.text.len() {
            self.is_full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        if !charge(PER_WRITTEN_BYTE * piece.len() as u64) {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        self.text.push_str(piece);
        Ok(())
    }
}
