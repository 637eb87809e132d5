//! Whether the rules of a tag depend on the values that fill the template.

use crate::render::html_tokenizer::{Piece, Tag, VOID, is_one_of, pieces};
use crate::render::syntax::{Mustache, Role, inner};

use super::selectors::Asked;

/// Elements whose end tag may be left out.
const OPTIONAL_END: [&str; 12] =
    ["p", "li", "tr", "td", "th", "dt", "dd", "option", "thead", "tbody", "tfoot", "colgroup"];

/// Whether the page as it is rendered may have other rules at its tags than the template has: selectors ask for siblings and
/// there are loops or conditions, or for attributes that a mustache makes up, or for ancestors and a condition opens
/// elements that it does not close.
pub(super) fn depends_on_values(html: &str, masked: &str, mustaches: &[Mustache], asked: Asked) -> bool {
    let mut walk = Walk { html, mustaches, next: 0, asked, open: [0, 0], blocks: Vec::new() };
    let mut pieces = pieces(masked);
    loop {
        let start = pieces.at();
        let Some(piece) = pieces.next() else { return false };
        let inside = walk.mustaches_until(pieces.at());
        let depends = match &piece {
            Piece::Start(tag) => {
                walk.count(tag.name, 1);
                inside.iter().any(|mustache| walk.decides_on(tag, mustache))
            }
            Piece::End(name) => {
                walk.count(name, -1);
                false
            }
            Piece::Text(_) => inside.iter().any(|mustache| walk.moves(mustache)),
            Piece::Raw(..) | Piece::Other(_) => false,
        };
        if depends {
            return true;
        }
        if pieces.at() == start {
            return false;
        }
    }
}

struct Walk<'a> {
    html: &'a str,
    mustaches: &'a [Mustache],
    /// The next mustache that was not seen.
    next: usize,
    asked: Asked,
    /// How many elements are open: those that must be closed, and those that need not.
    open: [i64; 2],
    /// How many were when each block began, and whether it is a loop.
    blocks: Vec<([i64; 2], bool)>,
}

impl<'a> Walk<'a> {
    fn mustaches_until(&mut self, end: usize) -> &'a [Mustache] {
        let rest = &self.mustaches[self.next..];
        let count = rest.iter().take_while(|mustache| mustache.range.start < end).count();
        self.next += count;
        &rest[..count]
    }

    fn count(&mut self, name: &str, by: i64) {
        if !is_one_of(&VOID, name) {
            self.open[usize::from(is_one_of(&OPTIONAL_END, name))] += by;
        }
    }

    /// Whether a mustache in a tag makes up what selectors ask for.
    fn decides_on(&self, tag: &Tag<'_>, mustache: &Mustache) -> bool {
        if mustache.role == Role::Comment {
            return false;
        }
        let holds =
            |it: &&crate::render::html_tokenizer::Attribute<'_>| it.value.contains(&mustache.range.start);
        match tag.attributes.iter().find(holds) {
            Some(attribute) if attribute.name.eq_ignore_ascii_case("style") => false,
            Some(attribute)
                if ["class", "id"].iter().any(|name| attribute.name.eq_ignore_ascii_case(name)) =>
            {
                self.asked.names || self.asked.attributes
            }
            Some(_) => self.asked.attributes,
            None => self.asked.names || self.asked.attributes,
        }
    }

    /// Whether a mustache between tags changes what stands beside or around an element.
    fn moves(&mut self, mustache: &Mustache) -> bool {
        let source = &self.html[mustache.range.clone()];
        match mustache.role {
            Role::Comment | Role::Partial | Role::OpenPartial => false, // partials are in their places by now
            Role::Print => self.asked.siblings && (source.starts_with("{{{") || source.starts_with("{{&")),
            Role::Open => {
                self.blocks.push((self.open, inner(source).starts_with("each")));
                self.asked.siblings
            }
            Role::Else => self.blocks.last().is_some_and(|block| self.is_unbalanced(block)),
            Role::Close => self.blocks.pop().is_some_and(|block| self.is_unbalanced(&block)),
        }
    }

    fn is_unbalanced(&self, (open, is_loop): &([i64; 2], bool)) -> bool {
        self.asked.ancestors && (self.open[0] != open[0] || (!is_loop && self.open[1] != open[1]))
    }
}
