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

/// A template that is made of nothing but text, plain placeholders, `if`, `unless` and loops that have no loops in them;
/// in a loop also `this`, `@first` and `@last`.
pub(super) struct Requirements {
    elements: Vec<Element>,
    has_blocks: bool,
}

enum Element {
    /// A placeholder's name.
    Printed(String),
    /// What a loop goes through, printed itself.
    Item,
    Condition {
        on: String,
        yes: Vec<Element>,
        no: Vec<Element>,
    },
    /// A condition on where a loop is.
    Place {
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
        let elements: Vec<_> =
            parts.map(|part| elements(part, Inside::Nothing)).collect::<Option<Vec<_>>>()?;
        let elements: Vec<_> = elements.into_iter().flatten().collect();
        let has_blocks = elements.iter().any(|element| !matches!(element, Element::Printed(_)));
        Some(Self { elements, has_blocks })
    }

    /// The names of the placeholders, where there is nothing but placeholders and text.
    pub(super) fn into_names(self) -> Option<Vec<String>> {
        let names = self.elements.into_iter().map(|element| match element {
            Element::Printed(name) => Some(name),
            _ => None,
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

/// What an element stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    Loop,
}

fn elements(template: &Template, inside: Inside) -> Option<Vec<Element>> {
    let is_text = |element: &&TemplateElement| {
        matches!(element, TemplateElement::RawString(_) | TemplateElement::Comment(_))
    };
    template.elements.iter().filter(|element| !is_text(element)).map(|it| element(it, inside)).collect()
}

fn element(element: &TemplateElement, inside: Inside) -> Option<Element> {
    match element {
        TemplateElement::Expression(expression) | TemplateElement::HtmlExpression(expression) => {
            if !expression.params.is_empty() || !expression.hash.is_empty() {
                return None;
            }
            match expression.name.as_name() {
                Some("this") if inside == Inside::Loop => Some(Element::Item),
                _ => plain(&expression.name).map(Element::Printed),
            }
        }
        TemplateElement::HelperBlock(block) => self::block(block, inside),
        _ => None,
    }
}

fn block(block: &HelperTemplate, inside: Inside) -> Option<Element> {
    let [about] = &*block.params else { return None };
    if !block.hash.is_empty() || block.block_param.is_some() {
        return None;
    }
    let branch = |branch: &Option<Template>, inside| match branch {
        Some(branch) => elements(branch, inside),
        None => Some(Vec::new()),
    };
    let (then, otherwise) = (|| branch(&block.template, inside), || branch(&block.inverse, inside));
    let is_place = matches!(about.as_name(), Some("@first" | "@last")) && inside == Inside::Loop;
    match block.name.as_name()? {
        "if" | "unless" if is_place => Some(Element::Place { yes: then()?, no: otherwise()? }),
        "if" => Some(Element::Condition { on: plain(about)?, yes: then()?, no: otherwise()? }),
        "unless" => Some(Element::Condition { on: plain(about)?, yes: otherwise()?, no: then()? }),
        "each" if inside == Inside::Nothing => Some(Element::Loop {
            over: plain(about)?,
            body: branch(&block.template, Inside::Loop)?,
            none: otherwise()?,
        }),
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
            Element::Item => true,
            Element::Condition { on, yes, no } => match truth(values.get(on)) {
                Some(true) => has_all(yes, values, left)?,
                Some(false) => has_all(no, values, left)?,
                None => have_both(yes, no, values, left)?,
            },
            Element::Place { yes, no } => have_both(yes, no, values, left)?,
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

/// The same where either may be printed.
fn have_both(yes: &[Element], no: &[Element], values: &Value, left: &mut usize) -> Option<bool> {
    Some(has_all(yes, values, left)? && has_all(no, values, left)?)
}

/// The same for each round of a loop. Names lead into objects, and into arrays, which only filling looks into.
fn have_all(rounds: &[Value], body: &[Element], left: &mut usize) -> Option<bool> {
    for round in rounds {
        *left = left.checked_sub(1)?;
        if matches!(round, Value::Array(_) | Value::Null) || !has_all(body, round, left)? {
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
    use crate::{
        render::compiled_template::CompiledTemplate,
        shop::{
            builtin_mails::{self, BuiltinMail},
            language::Language,
        },
    };

    #[test]
    fn builtin_mails_are_looked_at_and_filled_once() {
        for &mail in BuiltinMail::ALL {
            for &language in Language::OF_BUILTIN_MAILS {
                let source = builtin_mails::template(mail, language);
                let compiled = CompiledTemplate::compile(&source, Some(language.as_str())).unwrap();
                let values = Value::Object(builtin_mails::sample_values(mail));
                assert_eq!(compiled.missing_at_a_glance(&values), Some(Vec::new()), "{mail} {language}");
            }
        }
    }

    #[test]
    fn requirements_leave_values_that_take_long_to_filling() {
        let template = Template::compile("{{#each l}}{{b}}{{b}}{{/each}}").unwrap();
        let requirements = Requirements::of([&template].into_iter()).unwrap();
        for (rounds, missing) in [(1_000, Some(Vec::new())), (4_000, None)] {
            let values = json!({"l": vec![json!({"b": 1}); rounds]});
            assert_eq!(requirements.missing(&values), missing, "{rounds}");
        }
    }
}
