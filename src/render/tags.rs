//! Reads a compiled template: refuses what we do not support and collects the placeholders it uses.

use handlebars::Template;
use handlebars::template::{BlockParam, HelperTemplate, Parameter, TemplateElement};

use super::localised::Localised;
use super::{Part, TemplateFault};

/// The helpers of a template, each with the least and the most arguments it takes.
pub(super) const HELPERS: [(&str, usize, usize); 15] = [
    ("if", 1, 1),
    ("unless", 1, 1),
    ("each", 1, 1),
    ("with", 1, 1),
    ("lookup", 2, 2),
    ("eq", 2, 2),
    ("ne", 2, 2),
    ("gt", 2, 2),
    ("gte", 2, 2),
    ("lt", 2, 2),
    ("lte", 2, 2),
    ("and", 1, 16),
    ("or", 1, 16),
    ("not", 1, 1),
    ("len", 1, 1),
];

/// handlebars copies what `lookup` finds, and that may be large.
const MOST_LOOKUPS: usize = 64;

/// Walks a compiled template and adds the top-level names it uses to `tags`, once each.
///
/// # Errors
/// When the template uses what we do not support.
pub(super) fn collect(part: Part, template: &Template, tags: &mut Vec<String>) -> Result<(), TemplateFault> {
    let mut walk = Walk { tags, scopes: Vec::new(), lookups: 0, line: None, column: None };
    walk.template(template).map_err(|message| TemplateFault {
        part,
        line: walk.line,
        column: walk.column,
        message,
    })
}

/// What a name means inside a block that moves the context, as `each` and `with` do.
struct Scope<'a> {
    block_names: Vec<&'a str>,
}

struct Walk<'a, 'tags> {
    tags: &'tags mut Vec<String>,
    scopes: Vec<Scope<'a>>,
    lookups: usize,
    line: Option<usize>,
    column: Option<usize>,
}

impl<'a> Walk<'a, '_> {
    fn template(&mut self, template: &'a Template) -> Result<(), String> {
        for (number, element) in template.elements.iter().enumerate() {
            // handlebars keeps no place for an `else if`; the block's own is near enough.
            if let Some(place) = template.mapping.get(number) {
                (self.line, self.column) = (Some(place.0), Some(place.1));
            }
            self.element(element)?;
        }
        Ok(())
    }

    fn element(&mut self, element: &'a TemplateElement) -> Result<(), String> {
        match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
            TemplateElement::Expression(expression) | TemplateElement::HtmlExpression(expression) => {
                self.expression(expression)
            }
            TemplateElement::HelperBlock(block) => self.block(block),
            _ => Err("partials and decorators are not supported".to_owned()),
        }
    }

    fn expression(&mut self, expression: &'a HelperTemplate) -> Result<(), String> {
        if !expression.params.is_empty() || !expression.hash.is_empty() {
            return self.call(expression);
        }
        match &expression.name {
            Parameter::Subexpression(_) => self.parameter(&expression.name),
            name => match name.as_name() {
                Some(name) if is_helper(name) => Err(format!("`{name}` is a helper and needs an argument")),
                Some("helperMissing" | "blockHelperMissing") => Err("this name is reserved".to_owned()),
                Some(path) => {
                    self.path(path);
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    fn block(&mut self, block: &'a HelperTemplate) -> Result<(), String> {
        self.call(block)?;
        let name = block.name.as_name().unwrap_or_default();
        if matches!(name, "lookup" | "len") || Localised::called(name).is_some() {
            return Err(format!("`{name}` has no block"));
        }
        let moves = matches!(name, "each" | "with");
        if moves {
            let block_names = match &block.block_param {
                Some(BlockParam::Single(one)) => one.as_name().into_iter().collect(),
                Some(BlockParam::Pair((one, two))) => {
                    one.as_name().into_iter().chain(two.as_name()).collect()
                }
                _ => Vec::new(),
            };
            self.scopes.push(Scope { block_names });
        }
        let inside = block.template.as_ref().map_or(Ok(()), |inside| self.template(inside));
        if moves {
            self.scopes.pop();
        }
        inside?;
        block.inverse.as_ref().map_or(Ok(()), |inverse| self.template(inverse))
    }

    fn call(&mut self, call: &'a HelperTemplate) -> Result<(), String> {
        let name = call.name.as_name().unwrap_or_default();
        if let Some(helper) = Localised::called(name) {
            helper.check(call)?;
            return self.parameters(call);
        }
        let Some((_, least, most)) = HELPERS.iter().find(|(helper, ..)| *helper == name) else {
            return Err(format!("there is no helper `{name}`"));
        };
        if !(*least..=*most).contains(&call.params.len()) {
            return Err(match (least, most) {
                (1, 1) => format!("`{name}` takes one argument"),
                (2, 2) => format!("`{name}` takes two arguments"),
                _ => format!("`{name}` takes {least} to {most} arguments"),
            });
        }
        self.lookups += usize::from(name == "lookup");
        if self.lookups > MOST_LOOKUPS {
            return Err(format!("`lookup` is used more than {MOST_LOOKUPS} times"));
        }
        self.parameters(call)
    }

    fn parameters(&mut self, call: &'a HelperTemplate) -> Result<(), String> {
        call.params.iter().chain(call.hash.values()).try_for_each(|parameter| self.parameter(parameter))
    }

    fn parameter(&mut self, parameter: &'a Parameter) -> Result<(), String> {
        match parameter {
            Parameter::Subexpression(inner) => self.element(inner.as_element()),
            other => {
                self.path(other.as_name().unwrap_or_default());
                Ok(())
            }
        }
    }

    /// Adds the first name of a path if the path starts at the top, and returns it.
    fn path(&mut self, raw: &str) {
        let (mut rest, mut depth) = match raw.strip_prefix("@root") {
            Some(rest) => (rest.trim_start_matches(['.', '/']), 0),
            None if raw.starts_with('@') => return,
            None => (raw, self.scopes.len()),
        };
        while let Some(up) = rest.strip_prefix("../").or_else(|| rest.strip_prefix("...")) {
            rest = up;
            depth = depth.saturating_sub(1);
        }
        rest = rest.strip_prefix("./").unwrap_or(rest);
        rest = rest
            .strip_prefix("this")
            .filter(|rest| rest.starts_with(['.', '/']) || rest.is_empty())
            .unwrap_or(rest);
        let first = first_name(rest.trim_start_matches(['.', '/']));
        let is_block_name = self.scopes.iter().any(|scope| scope.block_names.contains(&first));
        if depth > 0 || first.is_empty() || is_block_name {
            return;
        }
        if !self.tags.iter().any(|tag| tag == first) {
            self.tags.push(first.to_owned());
        }
    }
}

fn first_name(path: &str) -> &str {
    match path.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => path.split(['.', '/']).next().unwrap_or_default(),
    }
}

fn is_helper(name: &str) -> bool {
    HELPERS.iter().any(|(helper, ..)| *helper == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(source: &str) -> Result<Vec<String>, String> {
        let mut tags = Vec::new();
        let template = Template::compile(source).unwrap();
        collect(Part::Html, &template, &mut tags).map(|()| tags).map_err(|fault| fault.to_string())
    }

    #[test]
    fn tags_are_the_top_level_names_in_order_of_first_use() {
        for (source, expected) in [
            ("{{b}} {{a}} {{b}} {{{c}}}", vec!["b", "a", "c"]),
            ("{{shop.name}} {{[odd name]}} {{this.x}} {{./y}}", vec!["shop", "odd name", "x", "y"]),
            (
                "{{#each items}}{{name}} {{../shop}} {{@root.deep.er}} {{@index}} {{this}}{{/each}}",
                vec!["items", "shop", "deep"],
            ),
            (
                "{{#each items as |item|}}{{item.name}}{{#if item}}{{../x}}{{/if}}{{/each}}",
                vec!["items", "x"],
            ),
            (
                "{{#with a}}{{#with b}}{{../../c}} {{../d}}{{/with}}{{else}}{{e}}{{/with}}",
                vec!["a", "c", "e"],
            ),
            (
                "{{#if (eq kind \"x\")}}{{lookup names kind}}{{else if other}}{{/if}}",
                vec!["kind", "names", "other"],
            ),
            ("{{! no }}plain", vec![]),
        ] {
            assert_eq!(tags(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn unknown_helpers_and_wrong_arguments_are_refused() {
        for (source, expected) in [
            ("a\n{{log x}}", "html, line 2, column 1: there is no helper `log`"),
            ("{{#foo}}{{/foo}}", "html, line 1, column 1: there is no helper `foo`"),
            ("{{#if}}{{/if}}", "html, line 1, column 1: `if` takes one argument"),
            ("{{#if a b}}{{/if}}", "html, line 1, column 1: `if` takes one argument"),
            ("{{len}}", "html, line 1, column 1: `len` is a helper and needs an argument"),
            ("{{#len a}}{{/len}}", "html, line 1, column 1: `len` has no block"),
            ("{{#if (nope a)}}{{/if}}", "html, line 1, column 1: there is no helper `nope`"),
            ("{{#if a}}{{else if (nope b)}}{{/if}}", "html, line 1, column 1: there is no helper `nope`"),
            ("{{helperMissing}}", "html, line 1, column 1: this name is reserved"),
        ] {
            assert_eq!(tags(source).unwrap_err(), expected, "{source}");
        }
        assert!(tags(&"{{lookup a b}}".repeat(65)).unwrap_err().contains("64"));
    }
}
