//! The helpers that compare two values: `eq`, `ne`, `gt`, `gte`, `lt`, `lte`.

use std::cmp::Ordering;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, Renderable, ScopedJson,
};
use serde_json::{Number, Value};

use super::work::{charged, size};

/// An argument of a helper; `null` where it was not given.
pub(super) fn argument<'a>(helper: &'a Helper<'_>, index: usize) -> &'a Value {
    helper.param(index).map_or(&Value::Null, |argument| argument.value())
}

/// `eq` and the like, alone, as an argument or as a block.
pub(super) struct Comparison(pub(super) Holds);

/// Whether it holds between two values.
pub(super) type Holds = fn(&Value, &Value) -> bool;

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

/// Whether two values are the same; of numbers also `1` and `1.0`.
pub(super) fn is_equal(x: &Value, y: &Value) -> bool {
    match (x, y) {
        (Value::Number(x), Value::Number(y)) => compare_numbers(x, y) == Some(Ordering::Equal),
        _ => x == y,
    }
}

/// The order of two numbers, texts or truths, exact where an integer is compared with a fraction; a text is taken for a
/// number where the other is one.
pub(super) fn compare(x: &Value, y: &Value) -> Option<Ordering> {
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
