//! What filling a template costs, charged before it is done.
//!
//! Work is counted in units of about a nanosecond: for each element that is visited, for each byte that is written,
//! compared or copied. So what a template may do does not depend on the machine or its load, and what the ingress let
//! pass, a worker can send. A run stays on its thread: what is left to it is kept there.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
};

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderErrorReason, Template,
    template::{HelperTemplate, Parameter, Subexpression, TemplateElement},
};
use serde_json::Value;

/// The name of the helper that charges for a body; its space is there so that a template cannot spell it.
pub(super) const STEP: &str = "loop step";
/// Visiting an element.
const PER_ELEMENT: u64 = 200;
/// Looking a name up.
const PER_NAME: u64 = 100;
/// Beginning a pass of a loop.
const PER_PASS: u64 = 500;
/// Each byte that is written: rendered, escaped, copied.
pub(super) const PER_WRITTEN_BYTE: u64 = 4;
/// A value in a list or an object, beside its bytes.
const PER_VALUE: u64 = 64;
/// What `lookup` finds is copied, and copied again where it becomes a block's context.
pub(super) const COPIES_OF_LOOKUP: u64 = 4;
thread_local! {
    /// What the run on this thread may still do.
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Gives the run that begins on this thread so much to do.
pub(super) fn allow(units: u64) {
    LEFT.set(units);
}

/// What the run on this thread may still do.
pub(super) fn left() -> u64 {
    LEFT.get()
}

/// Takes units from the run on this thread; `false` when it has no more.
pub(super) fn charge(units: u64) -> bool {
    let left = LEFT.get().saturating_sub(units);
    LEFT.set(left);
    left > 0
}

pub(super) fn charged(units: u64) -> Result<(), handlebars::RenderError> {
    if charge(units) {
        return Ok(());
    }
    Err(RenderErrorReason::Other("the template takes too much work".to_owned()).into())
}

/// About how many bytes a value has in memory.
pub(super) fn size(value: &Value) -> u64 {
    PER_VALUE
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len() as u64,
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(fields) => fields.iter().map(|(key, value)| key.len() as u64 + size(value)).sum(),
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
pub(super) struct Step;

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
