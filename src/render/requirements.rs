//! What a template needs: the names it prints, its conditions and its loops. From this follows what filling it in would
//! miss.
//!
//! The ingress asks this of every mail, and filling in costs it more than all the rest.

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use serde_json::Value;

/// Loops over more are filled in: how long that takes is bounded there.
const MOST_ROUNDS: usize = 1_000;

/// A template that is made of nothing but text, plain placeholders, `if`, `unless` and loops that have no loops in them.
pub(super) struct Requirements {
    elements: Vec<Element>,
    has_blocks: bool,
}

enum Element {
    /// A placeholder's name.
    Printed(String),
    Condition {
        on: String,
        yes: Vec<Element>,
        no: Vec<Element>,
    },
    Loop {
        over: String,
        body: Vec<Element>,
        none: Vec<Element>,
    },
}

impl Requirements {
    /// The requirements of all parts; `None` when they contain anything else.
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a Template>) -> Option<Self> {
        let elements: Vec<_> = parts.map(|part| elements(part, true)).collect::<Option<Vec<_>>>()?;
        let elements: Vec<_> = elements.into_iter().flatten().collect();
        let has_blocks = elements.iter().any(|element| !matches!(element, Element::Printed(_)));
        Some(Self { elements, has_blocks })
    }

    /// The placeholders that would be printed and have no value, once each in order of first use; `None` where only
    /// filling in can tell.
    pub(super) fn missing(&self, values: &Value) -> Option<Vec<String>> {
        if has_all(&self.elements, values) {
            return Some(Vec::new());
        }
        if self.has_blocks {
            return None;
        }
        let mut missing: Vec<String> = Vec::new();
        for element in &self.elements {
            if let Element::Printed(name) = element
                && values.get(name).is_none()
                && !missing.contains(name)
            {
                missing.push(name.clone());
            }
        }
        Some(missing)
    }
}

fn elements(template: &Template, may_loop: bool) -> Option<Vec<Element>> {
    let is_text = |element: &&TemplateElement| {
        matches!(element, TemplateElement::RawString(_) | TemplateElement::Comment(_))
    };
    template.elements.iter().filter(|element| !is_text(element)).map(|it| element(it, may_loop)).collect()
}

fn element(element: &TemplateElement, may_loop: bool) -> Option<Element> {
    match element {
        TemplateElement::Expression(expression) | TemplateElement::HtmlExpression(expression) => {
            let is_call = !expression.params.is_empty() || !expression.hash.is_empty();
            plain(&expression.name).filter(|_| !is_call).map(Element::Printed)
        }
        TemplateElement::HelperBlock(block) => self::block(block, may_loop),
        _ => None,
    }
}

fn block(block: &HelperTemplate, may_loop: bool) -> Option<Element> {
    let [about] = &*block.params else { return None };
    if !block.hash.is_empty() || block.block_param.is_some() {
        return None;
    }
    let about = plain(about)?;
    let branch = |branch: &Option<Template>, may_loop| match branch {
        Some(branch) => elements(branch, may_loop),
        None => Some(Vec::new()),
    };
    let inverse = branch(&block.inverse, may_loop)?;
    match block.name.as_name()? {
        "if" => Some(Element::Condition { on: about, yes: branch(&block.template, may_loop)?, no: inverse }),
        "unless" => {
            Some(Element::Condition { on: about, yes: inverse, no: branch(&block.template, may_loop)? })
        }
        "each" if may_loop => {
            Some(Element::Loop { over: about, body: branch(&block.template, false)?, none: inverse })
        }
        _ => None,
    }
}

/// A name that leads to a value right where it stands.
fn plain(name: &Parameter) -> Option<String> {
    let name = name.as_name()?;
    let is_plain = name != "this" && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_plain.then(|| name.to_owned())
}

/// Whether every placeholder that may be printed has a value.
fn has_all(elements: &[Element], values: &Value) -> bool {
    elements.iter().all(|element| match element {
        Element::Printed(name) => values.get(name).is_some(),
        Element::Condition { on, yes, no } => match truth(values.get(on)) {
            Some(true) => has_all(yes, values),
            Some(false) => has_all(no, values),
            None => has_all(yes, values) && has_all(no, values),
        },
        Element::Loop { over, body, none } => match values.get(over) {
            None | Some(Value::Null) => has_all(none, values),
            Some(Value::Array(rounds)) if rounds.is_empty() => has_all(none, values),
            Some(Value::Array(rounds)) => {
                rounds.len() <= MOST_ROUNDS
                    && rounds.iter().all(|round| round.is_object() && has_all(body, round))
            }
            Some(_) => false,
        },
    })
}

/// What handlebars takes a condition for; `None` where it may be either.
fn truth(value: Option<&Value>) -> Option<bool> {
    match value {
        None | Some(Value::Null) => Some(false),
        Some(Value::Bool(value)) => Some(*value),
        Some(Value::String(text)) => Some(!text.is_empty()),
        Some(Value::Array(items)) => Some(!items.is_empty()),
        Some(Value::Object(fields)) => Some(!fields.is_empty()),
        Some(Value::Number(_)) => None,
    }
}
