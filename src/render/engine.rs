//! Fills one compiled template in: missing values are noted, output and work are bounded.
//!
//! Work is charged before it is done, in units of about a nanosecond: for each element that is visited, for each byte
//! that is written, compared or copied. So what a template may do does not depend on the machine or its load, and what
//! the ingress let pass, a worker can send. handlebars gives a helper no way to the run it belongs to, but a run stays
//! on its thread: what is left is kept there.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderErrorReason,
    Renderable, ScopedJson, Template, no_escape,
};
use serde_json::{Number, Value};

use super::{Part, RenderError};

/// The name of the helper that charges for a body; its space is there so that a template cannot spell it.
const STEP: &str = "loop step";
/// Visiting an element.
const PER_ELEMENT: u64 = 200;
/// Looking a name up.
const PER_NAME: u64 = 100;
/// Beginning a pass of a loop.
const PER_PASS: u64 = 500;
/// Each byte that is written: rendered, escaped, copied.
const PER_WRITTEN_BYTE: u64 = 4;
/// A value in a list or an object, beside its bytes.
const PER_VALUE: u64 = 64;
/// What `lookup` finds is copied, and copied again where it becomes a block's context.
const COPIES_OF_LOOKUP: u64 = 4;
/// More names than anyone reads.
pub(super) const MOST_MISSING: usize = 100;

thread_local! {
    /// What the run on this thread may still do.
    static LEFT: Cell<u64> = const { Cell::new(0) };
    /// What it missed.
    static MISSED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Takes units from the run on this thread; `false` when it has no more.
fn charge(units: u64) -> bool {
    let left = LEFT.get().saturating_sub(units);
    LEFT.set(left);
    left > 0
}

fn charged(units: u64) -> Result<(), handlebars::RenderError> {
    if charge(units) {
        return Ok(());
    }
    Err(RenderErrorReason::Other("the template takes too much work".to_owned()).into())
}

/// About how many bytes a value has in memory.
fn size(value: &Value) -> u64 {
    PER_VALUE
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len() as u64,
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(fields) => fields.iter().map(|(key, value)| key.len() as u64 + size(value)).sum(),
        }
}

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
        escaping.register_helper("helperMissing", Box::new(Missing));
        escaping.register_helper(STEP, Box::new(Step));
        escaping.register_helper("lookup", Box::new(Lookup));
        let comparisons: [(&str, Holds); 6] = [
            ("eq", |x, y| x == y),
            ("ne", |x, y| x != y),
            ("gt", |x, y| compare(x, y) == Some(Ordering::Greater)),
            ("gte", |x, y| compare(x, y).is_some_and(Ordering::is_ge)),
            ("lt", |x, y| compare(x, y) == Some(Ordering::Less)),
            ("lte", |x, y| compare(x, y).is_some_and(Ordering::is_le)),
        ];
        for (name, holds) in comparisons {
            escaping.register_helper(name, Box::new(Comparison(holds)));
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
        template: &Template,
        values: &Context,
        most_bytes: usize,
        work: &mut u64,
        missing: &mut Vec<String>,
    ) -> Result<String, RenderError> {
        let registry = if part == Part::Html { &self.escaping } else { &self.verbatim };
        LEFT.set(*work);
        MISSED.replace(std::mem::take(missing));
        let mut out = Bounded { text: String::new(), limit: most_bytes, is_full: false };
        let result = template.render(registry, values, &mut RenderContext::new(None), &mut out);
        *missing = MISSED.take();
        *work = LEFT.get();
        match result {
            Ok(()) => Ok(out.text),
            Err(_) if out.is_full => Err(RenderError::TooLarge { part, limit: most_bytes }),
            Err(_) if *work == 0 => Err(RenderError::TooLong { part }),
            Err(cause) => Err(RenderError::Helper { part, cause: Box::new(cause) }),
        }
    }
}

/// Puts what charges for it at the start of a template and of each body in it that is run more than once or with
/// another context; returns how many elements there are.
pub(super) fn charge_for(template: &mut Template) -> usize {
    charge_for_body(template, 0)
}

fn charge_for_body(body: &mut Template, once: u64) -> usize {
    let mut weight = Weight { units: once, names: 0 };
    weight.add(body);
    let elements = charge_for_inner(body);
    let step = Subexpression::new(
        Parameter::Name(STEP.to_owned()),
        vec![Parameter::Literal(weight.units.into()), Parameter::Literal(weight.names.into())],
        HashMap::new(),
    );
    body.elements.insert(0, *step.element);
    if let Some(place) = body.mapping.first().cloned() {
        body.mapping.insert(0, place);
    }
    elements
}

fn charge_for_inner(template: &mut Template) -> usize {
    let mut elements = template.elements.len();
    for element in &mut template.elements {
        let TemplateElement::HelperBlock(block) = element else { continue };
        let moves = moves_the_context(block);
        if let Some(body) = &mut block.template {
            elements += if moves { charge_for_body(body, PER_PASS) } else { charge_for_inner(body) };
        }
        if let Some(inverse) = &mut block.inverse {
            elements += charge_for_inner(inverse);
        }
    }
    elements
}

fn moves_the_context(block: &HelperTemplate) -> bool {
    matches!(block.name.as_name(), Some("each" | "with"))
}

/// What one pass of a body costs at most, without the bodies that charge for themselves.
struct Weight {
    /// Whatever the values are.
    units: u64,
    /// The names that are looked up: where the context is a copy, each copies what it finds.
    names: u64,
}

impl Weight {
    fn add(&mut self, template: &Template) {
        for element in &template.elements {
            self.units += PER_ELEMENT;
            match element {
                TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => self.call(call),
                TemplateElement::HelperBlock(block) => {
                    self.call(block);
                    if moves_the_context(block) {
                        self.names += 2; // the context is copied where it was a copy already
                    } else if let Some(body) = &block.template {
                        self.add(body);
                    }
                    if let Some(inverse) = &block.inverse {
                        self.add(inverse);
                    }
                }
                _ => {}
            }
        }
    }

    fn call(&mut self, call: &HelperTemplate) {
        [&call.name]
            .into_iter()
            .chain(&call.params)
            .chain(call.hash.values())
            .for_each(|it| self.parameter(it));
    }

    fn parameter(&mut self, parameter: &Parameter) {
        match parameter {
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(call) => {
                    self.units += PER_ELEMENT;
                    self.call(call);
                }
                _ => self.units += PER_ELEMENT,
            },
            Parameter::Literal(_) => self.units += PER_NAME,
            name => {
                self.names += 1;
                // The name is copied a few times on the way.
                self.units += PER_NAME + name.as_name().map_or(0, str::len) as u64;
            }
        }
    }
}

/// Called at the start of a body.
struct Step;

impl HelperDef for Step {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        context: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        let number = |index| helper.param(index).and_then(|number| number.value().as_u64()).unwrap_or(1);
        let copied = copied_by_each_name(context);
        charged(number(0).saturating_add((number(1) + 1).saturating_mul(copied)))
    }
}

/// The bytes that looking a name up copies at most: the path of the context from the top, and where a context or a key
/// is not a part of the values but a copy, all of it.
fn copied_by_each_name(context: &mut RenderContext<'_, '_>) -> u64 {
    let path =
        context.block().map_or(0, |block| block.base_path().iter().map(|name| 16 + name.len() as u64).sum());
    let blocks = context.replace_blocks(VecDeque::new());
    let of_key = |key: Option<&Value>| key.and_then(Value::as_str).map_or(0, str::len) as u64;
    let copies = blocks
        .iter()
        .map(|block| block.base_value().map_or(0, size) + of_key(block.get_local_var("key")))
        .sum::<u64>();
    context.replace_blocks(blocks);
    path + copies
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

fn argument<'a>(helper: &'a Helper<'_>, index: usize) -> &'a Value {
    helper.param(index).map_or(&Value::Null, |argument| argument.value())
}

/// `eq` and the like, alone, as an argument or as a block.
struct Comparison(Holds);

/// Whether it holds between two values.
type Holds = fn(&Value, &Value) -> bool;

impl Comparison {
    fn holds(&self, helper: &Helper<'_>) -> Result<bool, handlebars::RenderError> {
        let (x, y) = (argument(helper, 0), argument(helper, 1));
        charged(size_to_compare(x, y))?;
        Ok((self.0)(x, y))
    }
}

impl HelperDef for Comparison {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, handlebars::RenderError> {
        self.holds(helper).map(|holds| Value::from(holds).into())
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        values: &'rc Context,
        context: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let holds = self.holds(helper)?;
        if !helper.is_block() {
            return Ok(out.write(if holds { "true" } else { "false" })?);
        }
        match if holds { helper.template() } else { helper.inverse() } {
            Some(branch) => branch.render(registry, values, context, out),
            None => Ok(()),
        }
    }
}

/// The bytes that comparing two values may look at; values of two kinds are told apart at once, but for numbers
/// written as text.
fn size_to_compare(x: &Value, y: &Value) -> u64 {
    match (x, y) {
        (Value::String(x), Value::String(y)) => x.len() as u64 + y.len() as u64,
        (Value::String(text), Value::Number(_)) | (Value::Number(_), Value::String(text)) => {
            text.len() as u64
        }
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => size(x) + size(y),
        _ => 0,
    }
}

/// The order of two numbers, texts or truths, exact where an integer is compared with a fraction; a text is taken for a
/// number where the other is one.
fn compare(x: &Value, y: &Value) -> Option<Ordering> {
    match (x, y) {
        (Value::Number(x), Value::Number(y)) => compare_numbers(x, y),
        (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        (Value::Bool(x), Value::Bool(y)) => Some(x.cmp(y)),
        (Value::Number(x), Value::String(y)) => compare_numbers(x, &y.parse().ok()?),
        (Value::String(x), Value::Number(y)) => compare_numbers(&x.parse().ok()?, y),
        _ => None,
    }
}

fn compare_numbers(x: &Number, y: &Number) -> Option<Ordering> {
    match (x.as_i128(), y.as_i128()) {
        (Some(x), Some(y)) => Some(x.cmp(&y)),
        (Some(x), None) => compare_with_fraction(x, y.as_f64()?),
        (None, Some(y)) => compare_with_fraction(y, x.as_f64()?).map(Ordering::reverse),
        (None, None) => x.as_f64()?.partial_cmp(&y.as_f64()?),
    }
}

fn compare_with_fraction(integer: i128, fraction: f64) -> Option<Ordering> {
    if fraction.is_nan() {
        return None;
    }
    // What is beyond the range becomes its end, and no integer of JSON is there.
    let whole = fraction.trunc();
    match integer.cmp(&(whole as i128)) {
        Ordering::Equal => 0.0.partial_cmp(&(fraction - whole)),
        order => Some(order),
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
        let path = full_path(helper.name(), context);
        MISSED.with_borrow_mut(|missing| {
            charged((1 + missing.len() as u64).saturating_mul(16 + path.len() as u64 / 8))?;
            if missing.len() < MOST_MISSING && !missing.contains(&path) {
                missing.push(path);
            }
            Ok(())
        })
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
        if !charge(PER_WRITTEN_BYTE * piece.len() as u64) {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        self.text.push_str(piece);
        Ok(())
    }
}
