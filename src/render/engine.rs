//! Fills one compiled template in: missing values are noted, output and loops are bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderErrorReason,
    Renderable, Template, no_escape,
};

use super::{Part, RenderError, RenderLimits};

/// The names of the helpers that belong to one run; a template cannot spell them.
const STEP: &str = "loop step";
const MISSING: &str = "missing value";

/// The last resort beside [`RenderLimits::loop_steps`]: values are given, and copying large ones takes time.
const LONGEST: Duration = Duration::from_secs(2);
/// More names than anyone reads.
const MOST_MISSING: usize = 100;

/// handlebars as it fills the HTML and as it fills the other parts.
pub(super) struct Engine {
    escaping: Handlebars<'static>,
    verbatim: Handlebars<'static>,
}

impl Engine {
    pub(super) fn new() -> Self {
        let mut escaping = Handlebars::new();
        for helper in ["log", "raw"] {
            escaping.unregister_helper(helper);
        }
        escaping.register_helper("helperMissing", Box::new(AskTheRun));
        let mut verbatim = escaping.clone();
        verbatim.register_escape_fn(no_escape);
        Self { escaping, verbatim }
    }

    /// Renders one part. Adds the placeholders that had no value to `missing`, once each; they print nothing.
    pub(super) fn fill(
        &self,
        part: Part,
        template: &Template,
        values: &Context,
        limits: &RenderLimits,
        missing: &mut Vec<String>,
    ) -> Result<String, RenderError> {
        let registry = if part == Part::Html { &self.escaping } else { &self.verbatim };
        let run = Arc::new(Run {
            steps_left: AtomicU64::new(limits.loop_steps),
            started: Instant::now(),
            missing: Mutex::new(std::mem::take(missing)),
        });
        let mut out = Bounded { text: String::new(), limit: limits.rendered_bytes, is_full: false };
        let mut context = RenderContext::new(None);
        context.register_local_helper(STEP, Box::new(Step(Arc::clone(&run))));
        context.register_local_helper(MISSING, Box::new(Missing(Arc::clone(&run))));
        let result = template.render(registry, values, &mut context, &mut out);
        *missing = std::mem::take(&mut run.missing.lock().unwrap_or_else(PoisonError::into_inner));
        match result {
            Ok(()) => Ok(out.text),
            Err(_) if out.is_full => Err(RenderError::TooLarge { part, limit: limits.rendered_bytes }),
            Err(_) if run.is_over() => Err(RenderError::TooLong { part }),
            Err(cause) => Err(RenderError::Helper { part, cause: Box::new(cause) }),
        }
    }
}

/// Puts a counter at the start of each loop's body, so that [`Engine::fill`] can end a loop that prints nothing.
pub(super) fn count_loops(template: &mut Template) {
    for element in &mut template.elements {
        let TemplateElement::HelperBlock(block) = element else { continue };
        let is_loop = block.name.as_name() == Some("each");
        if let Some(body) = &mut block.template {
            count_loops(body);
            if is_loop {
                let step = step_of(weight(body));
                body.elements.insert(0, step);
                if let Some(place) = body.mapping.first().cloned() {
                    body.mapping.insert(0, place);
                }
            }
        }
        if let Some(inverse) = &mut block.inverse {
            count_loops(inverse);
        }
    }
}

/// How many elements one pass visits at most, leaving out the bodies of loops, which count themselves.
fn weight(template: &Template) -> u64 {
    let inside = |block: &HelperTemplate| {
        let body = block.template.as_ref().filter(|_| block.name.as_name() != Some("each"));
        body.into_iter().chain(&block.inverse).map(weight).sum::<u64>()
    };
    template
        .elements
        .iter()
        .map(|element| match element {
            TemplateElement::HelperBlock(block) => 1 + inside(block),
            _ => 1,
        })
        .sum::<u64>()
        .max(1)
}

fn step_of(weight: u64) -> TemplateElement {
    let name = Parameter::Name(STEP.to_owned());
    *Subexpression::new(name, vec![Parameter::Literal(weight.into())], HashMap::new()).element
}

/// What one rendering of one part may still do, and what it missed.
struct Run {
    steps_left: AtomicU64,
    started: Instant,
    missing: Mutex<Vec<String>>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.steps_left.load(Ordering::Relaxed) == 0 || self.started.elapsed() > LONGEST
    }
}

/// Called at the start of each pass of a loop.
struct Step(Arc<Run>);

impl HelperDef for Step {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        let weight = helper.param(0).and_then(|weight| weight.value().as_u64()).unwrap_or(1);
        let left = self.0.steps_left.load(Ordering::Relaxed).saturating_sub(weight);
        self.0.steps_left.store(left, Ordering::Relaxed);
        if self.0.is_over() {
            return Err(RenderErrorReason::Other("the loops go on for too long".to_owned()).into());
        }
        Ok(())
    }
}

/// handlebars looks for its hook in the registry, which all runs share; this one passes the question to the run.
struct AskTheRun;

impl HelperDef for AskTheRun {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        values: &'rc Context,
        context: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        match context.get_local_helper(MISSING) {
            Some(missing) => missing.call(helper, registry, values, context, out),
            None => Ok(()),
        }
    }
}

/// Called for each placeholder that would be printed and has no value.
struct Missing(Arc<Run>);

impl HelperDef for Missing {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        context: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        let path = full_path(helper.name(), context);
        let mut missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.len() < MOST_MISSING && !missing.contains(&path) {
            missing.push(path);
        }
        Ok(())
    }
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
        self.text.push_str(piece);
        Ok(())
    }
}
