//! What a template needs: the names it prints, its conditions and its loops. From this follows what filling it in would
//! miss.
//!
//! The ingress asks this of every mail, and filling in costs it more than all the rest.

use std::collections::HashSet;

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use serde_json::Value;

use super::run::MOST_MISSING;

/// Elements looked at; what has more is filled in: how long that takes is bounded there.
const MOST_LOOKED_AT: usize = 10_000;

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

    /// The names of the placeholders, where there is nothing but placeholders and text.
    pub(super) fn into_names(self) -> Option<Vec<String>> {
        let names = self.elements.into_iter().map(|element| match element {
            Element::Printed(name) => Some(name),
            Element::Condition { .. } | Element::Loop { .. } => None,
        });
        names.collect()
    }

    /// The placeholders that would be printed and have no value, once each in order of first use; `None` where only
    /// filling in can tell.
    pub(super) fn missing(&self, values: &Value) -> Option<Vec<String>> {
        let mut left = MOST_LOOKED_AT;
        if has_all(&self.elements, values, &mut left)? {
            return Some(Vec::new());
        }
        if self.has_blocks || self.elements.len() > left {
            return None;
        }
        let (mut missing, mut seen) = (Vec::new(), HashSet::new());
        for element in &self.elements {
            if let Element::Printed(name) = element
                && values.get(name).is_none()
                && seen.insert(name)
            {
                missing.push(name.clone());
                if missing.len() == MOST_MISSING {
                    break;
                }
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

/// Whether every placeholder that may be printed has a value; `None` when that takes looking at more than `left`.
fn has_all(elements: &[Element], values: &Value, left: &mut usize) -> Option<bool> {
    for element in elements {
        *left = left.checked_sub(1)?;
        let has = match element {
            Element::Printed(name) => values.get(name).is_some(),
            Element::Condition { on, yes, no } => match truth(values.get(on)) {
                Some(true) => has_all(yes, values, left)?,
                Some(false) => has_all(no, values, left)?,
                None => has_all(yes, values, left)? && has_all(no, values, left)?,
            },
            Element::Loop { over, body, none } => match values.get(over) {
                None | Some(Value::Null) => has_all(none, values, left)?,
                Some(Value::Array(rounds)) if rounds.is_empty() => has_all(none, values, left)?,
                Some(Value::Array(rounds)) => have_all(rounds, body, left)?,
                Some(_) => false,
            },
        };
        if !has {
            return Some(false);
        }
    }
    Some(true)
}

/// The same for each round of a loop.
fn have_all(rounds: &[Value], body: &[Element], left: &mut usize) -> Option<bool> {
    for round in rounds {
        *left = left.checked_sub(1)?;
        if !round.is_object() || !has_all(body, round, left)? {
            return Some(false);
        }
    }
    Some(true)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_takes_long_to_look_at_is_left_to_filling() {
        let template = Template::compile("{{#each l}}{{b}}{{b}}{{/each}}").unwrap();
        let requirements = Requirements::of([&template].into_iter()).unwrap();
        for (rounds, missing) in [(1_000, Some(Vec::new())), (4_000, None)] {
            let values = json!({"l": vec![json!({"b": 1}); rounds]});
            assert_eq!(requirements.missing(&values), missing, "{rounds}");
        }
    }
}
