//! Writes a part anew, with the text of its partials where they are called.

use std::{cell::Cell, ops::Range, rc::Rc};

use crate::render::syntax::{self, Mustache, Role, inner};
use crate::render::{Part, TemplateFault};
use crate::shop::{Partial, Partials};

use super::arguments::{Argument, Depth, filled, meaning};
use super::call::{BLOCK, Call, is_literal};
use super::origin::{Origin, Origins};

/// How deep partials may use each other.
const DEEPEST: usize = 8;
/// How many partials may be put into one part.
const MOST_INSERTIONS: usize = 500;

/// Who expands: a template, or a partial that is checked by itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::render) enum Owner<'a> {
    Template,
    /// The partial of this name. A place for content stays empty in it.
    Partial(&'a str),
}

/// A text and its mustaches.
#[derive(Clone)]
struct Source<'a> {
    origin: Origin<'a>,
    mustaches: Rc<Vec<Mustache>>,
}

/// What names and `@partial-block` mean in a text.
struct Scope<'a> {
    arguments: Vec<Argument>,
    block: Option<Rc<Block<'a>>>,
    /// How deep the text begins, in blocks that move the context: as it is written, and where it is put.
    depth: Depth,
}

/// What a layout is given.
struct Block<'a> {
    source: Source<'a>,
    range: Range<usize>,
    /// Of the first mustache in it.
    first: usize,
    scope: Rc<Scope<'a>>,
    /// How deep it begins.
    depth: Depth,
    is_printed: Cell<bool>,
}

/// One part as it is written anew.
pub(super) struct Expansion<'a, 'used> {
    part: Part,
    owner: Owner<'a>,
    partials: &'a Partials,
    most_bytes: usize,
    used: &'used mut Vec<String>,
    text: String,
    origins: Origins<'a>,
    /// The partials around what is being written.
    around: Vec<&'a str>,
    insertions: usize,
    /// Whether white space that comes next is left out.
    trims: bool,
}

impl<'a, 'used> Expansion<'a, 'used> {
    pub(super) fn new(
        part: Part,
        owner: Owner<'a>,
        partials: &'a Partials,
        most_bytes: usize,
        used: &'used mut Vec<String>,
    ) -> Self {
        let around = match owner {
            Owner::Template => Vec::new(),
            Owner::Partial(name) => vec![name],
        };
        let (text, origins) = (String::new(), Origins::new(""));
        Self { part, owner, partials, most_bytes, used, text, origins, around, insertions: 0, trims: false }
    }

    pub(super) fn run(
        mut self,
        source: &'a str,
        mustaches: Vec<Mustache>,
    ) -> Result<(String, Origins<'a>), TemplateFault> {
        self.origins = Origins::new(source);
        let source = Source { origin: Origin { source, partial: None }, mustaches: Rc::new(mustaches) };
        let scope = Scope { arguments: Vec::new(), block: None, depth: Depth { written: 0, real: 0 } };
        let whole = 0..source.origin.source.len();
        self.write(&source, whole, 0, &Rc::new(scope))?;
        Ok((self.text, self.origins))
    }

    /// Writes a stretch of a text, from its mustache of this number on.
    fn write(
        &mut self,
        source: &Source<'a>,
        range: Range<usize>,
        first: usize,
        scope: &Rc<Scope<'a>>,
    ) -> Result<(), TemplateFault> {
        let text = source.origin.source;
        let mut open: Vec<bool> = Vec::new();
        let (mut done, mut next) = (range.start, first);
        while let Some(mustache) = source.mustaches.get(next).filter(|it| it.range.end <= range.end) {
            let inside = open.iter().filter(|moves| **moves).count();
            let depth = Depth { written: scope.depth.written + inside, real: scope.depth.real + inside };
            let (at, written) = (mustache.range.clone(), &text[mustache.range.clone()]);
            next += 1;
            match mustache.role {
                Role::Partial => {
                    self.copy(source, done..at.start)?;
                    self.call(source, &at, None, scope, depth)?;
                    done = at.end;
                }
                Role::OpenPartial => {
                    let close = self.closing(source, next, &at)?;
                    let end = source.mustaches[close].range.clone();
                    self.copy(source, done..at.start)?;
                    self.call(source, &at, Some((at.end..end.start, next)), scope, depth)?;
                    self.trims |= text[end.clone()].ends_with("~}}");
                    done = end.end;
                    next = close + 1;
                }
                role => {
                    if !scope.arguments.is_empty()
                        && let Some(filled) =
                            filled(written, role, &scope.arguments, depth, self.part == Part::Html)
                    {
                        self.copy(source, done..at.start)?;
                        self.put(&filled, source.origin, at.start)?;
                        done = at.end;
                    }
                    track(&mut open, role, inner(written));
                }
            }
        }
        self.copy(source, done..range.end)
    }

    /// The number of the mustache that closes the block which opens before `next`.
    fn closing(
        &self,
        source: &Source<'a>,
        next: usize,
        opening: &Range<usize>,
    ) -> Result<usize, TemplateFault> {
        let mut open = 1_usize;
        for (number, mustache) in source.mustaches.iter().enumerate().skip(next) {
            match mustache.role {
                Role::Open | Role::OpenPartial => open += 1,
                Role::Close => open -= 1,
                _ => {}
            }
            if open == 0 {
                let name = |range: &Range<usize>| {
                    let words = inner(&source.origin.source[range.clone()]);
                    words.split_whitespace().next().unwrap_or_default().trim_matches(['"', '\''])
                };
                let (opened, closed) = (name(opening), name(&mustache.range));
                if opened != closed {
                    let message = format!("`{opened}` was opened, but `{closed}` is closing");
                    return Err(self.fault(source, mustache.range.start, &message));
                }
                return Ok(number);
            }
        }
        Err(self.fault(source, opening.start, "this block is not closed"))
    }

    fn call(
        &mut self,
        source: &Source<'a>,
        at: &Range<usize>,
        block: Option<(Range<usize>, usize)>,
        scope: &Rc<Scope<'a>>,
        depth: Depth,
    ) -> Result<(), TemplateFault> {
        let text = source.origin.source;
        let written = &text[at.clone()];
        let call = Call::read(inner(written)).map_err(|why| self.fault(source, at.start, why))?;
        if written.starts_with("{{~") {
            self.text.truncate(self.text.trim_end().len());
        }
        if call.name == BLOCK {
            self.content(source, at, block, scope, depth)?;
        } else {
            let block = block.map(|(range, first)| {
                let (source, scope) = (source.clone(), Rc::clone(scope));
                let real = depth.real + usize::from(call.context.is_some());
                let depth = Depth { real, ..depth };
                Rc::new(Block { source, range, first, scope, depth, is_printed: Cell::new(false) })
            });
            let is_lost = block.clone();
            self.partial(source, at, &call, block, scope, depth)?;
            if is_lost.is_some_and(|block| !block.is_printed.get()) {
                let message = format!(
                    "`{}` has no `{{{{> {BLOCK}}}}}`, so what the block says would be lost",
                    call.name
                );
                return Err(self.fault(source, at.start, &message));
            }
        }
        // A partial that ends its last line does not end that of the call as well.
        if text[at.end..].starts_with(['\n', '\r']) && self.text.ends_with('\n') {
            self.text.pop();
        }
        self.trims |= written.ends_with("~}}");
        Ok(())
    }

    /// What the layout was given, or else its own words in place of it.
    fn content(
        &mut self,
        source: &Source<'a>,
        at: &Range<usize>,
        default: Option<(Range<usize>, usize)>,
        scope: &Rc<Scope<'a>>,
        depth: Depth,
    ) -> Result<(), TemplateFault> {
        if let Some(block) = &scope.block {
            block.is_printed.set(true);
            self.count(source, at)?;
            let inside = Scope {
                arguments: block.scope.arguments.clone(),
                block: block.scope.block.clone(),
                depth: Depth { written: block.depth.written, real: block.depth.real + depth.real },
            };
            return self.write(&block.source.clone(), block.range.clone(), block.first, &Rc::new(inside));
        }
        match (default, self.owner, source.origin.partial) {
            (Some((range, first)), ..) => {
                let inside = Scope { arguments: scope.arguments.clone(), block: None, depth };
                self.write(source, range, first, &Rc::new(inside))
            }
            (None, Owner::Partial(_), None) => Ok(()),
            (None, _, Some((name, _))) => {
                let message =
                    format!("has a place for content: call it as `{{{{#> {name}}}}}…{{{{/{name}}}}}`");
                Err(self.fault(source, at.start, &message))
            }
            (None, Owner::Template, None) => {
                Err(self.fault(source, at.start, "a place for content makes sense in a partial alone"))
            }
        }
    }

    fn partial(
        &mut self,
        source: &Source<'a>,
        at: &Range<usize>,
        call: &Call<'_>,
        block: Option<Rc<Block<'a>>>,
        scope: &Rc<Scope<'a>>,
        depth: Depth,
    ) -> Result<(), TemplateFault> {
        let name = call.name;
        let Some((name, partial)) = self.partials.get_key_value(name) else {
            return Err(self.fault(source, at.start, &format!("there is no partial `{name}`")));
        };
        if let Some(first) = self.around.iter().position(|around| around == name) {
            let circle = [&self.around[first..], &[name.as_str()]].concat().join(" → ");
            return Err(self.fault(
                source,
                at.start,
                &format!("partials use each other in a circle: {circle}"),
            ));
        }
        if self.around.len() >= DEEPEST {
            let message = format!("partials are nested deeper than {DEEPEST}");
            return Err(self.fault(source, at.start, &message));
        }
        self.count(source, at)?;
        let Some(text) = text_of(partial, self.part) else {
            let message = format!("the partial `{name}` has no `text`, and this part is text");
            return Err(self.fault(source, at.start, &message));
        };
        if !self.used.contains(name) {
            self.used.push(name.clone());
        }
        let root = source.origin.partial.map_or(at.start, |(_, root)| root);
        let origin = Origin { source: text, partial: Some((name, root)) };
        let mustaches = syntax::with_partials(self.part, text).map_err(|fault| {
            self.fault(source, at.start, &format!("in the partial `{name}`: {}", fault.message))
        })?;
        let context = call
            .context
            .map(|context| meaning(context, &scope.arguments, depth).unwrap_or(context.to_owned()));
        let arguments = call.arguments.iter().map(|(name, value)| {
            let means = meaning(value, &scope.arguments, depth).unwrap_or((*value).to_owned());
            let up =
                if context.is_some() && !is_literal(&means) && !means.starts_with('@') { "../" } else { "" };
            Argument { name: (*name).to_owned(), means: format!("{up}{means}") }
        });
        let inside = Scope { arguments: arguments.collect(), block, depth: Depth { written: 0, real: 0 } };
        if let Some(context) = &context {
            self.put(&format!("{{{{#with {context}}}}}"), source.origin, at.start)?;
        }
        self.around.push(name);
        self.write(&Source { origin, mustaches: Rc::new(mustaches) }, 0..text.len(), 0, &Rc::new(inside))?;
        self.around.pop();
        if context.is_some() {
            self.put("{{/with}}", source.origin, at.start)?;
        }
        Ok(())
    }

    fn count(&mut self, source: &Source<'a>, at: &Range<usize>) -> Result<(), TemplateFault> {
        self.insertions += 1;
        if self.insertions > MOST_INSERTIONS {
            let message = format!("more than {MOST_INSERTIONS} partials are put in");
            return Err(self.fault(source, at.start, &message));
        }
        Ok(())
    }

    fn copy(&mut self, source: &Source<'a>, mut range: Range<usize>) -> Result<(), TemplateFault> {
        if self.trims {
            let text = &source.origin.source[range.clone()];
            range.start += text.len() - text.trim_start().len();
        }
        if range.is_empty() {
            return Ok(());
        }
        self.trims = false;
        self.origins.note(self.text.len(), source.origin, range.start, true);
        self.text.push_str(&source.origin.source[range.clone()]);
        self.check_size(source, range.start)
    }

    fn put(&mut self, text: &str, origin: Origin<'a>, from: usize) -> Result<(), TemplateFault> {
        self.trims = false;
        self.origins.note(self.text.len(), origin, from, false);
        self.text.push_str(text);
        self.check_size(&Source { origin, mustaches: Rc::default() }, from)
    }

    fn check_size(&self, source: &Source<'a>, at: usize) -> Result<(), TemplateFault> {
        if self.text.len() <= self.most_bytes {
            return Ok(());
        }
        let message = format!("with its partials this part is larger than {} bytes", self.most_bytes);
        Err(self.fault(source, at, &message))
    }

    fn fault(&self, source: &Source<'a>, byte: usize, message: &str) -> TemplateFault {
        self.origins.fault(self.part, source.origin, byte, message)
    }
}

fn text_of(partial: &Partial, part: Part) -> Option<&str> {
    match part {
        Part::Html => Some(&partial.html),
        Part::Subject | Part::Text => partial.text.as_deref(),
    }
}

/// Follows the blocks that are open, and whether each moves the context.
fn track(open: &mut Vec<bool>, role: Role, inner: &str) {
    let word =
        |text: &str| text.split([' ', '\t', '\n', '\r', '~', '(']).next().unwrap_or_default().to_owned();
    let moves = |text: &str| matches!(word(text).as_str(), "each" | "with");
    match role {
        Role::Open => open.push(moves(inner)),
        Role::Else => {
            if let Some(last) = open.last_mut() {
                *last = moves(inner.trim_start_matches("else").trim_start());
            }
        }
        Role::Close => {
            open.pop();
        }
        _ => {}
    }
}
