//! Where each stretch of an expanded part comes from, so that a fault names a place that its author knows.

use crate::render::syntax::fault_at;
use crate::render::{Part, TemplateFault};

/// A text that somebody wrote: a template's part, or a partial and where the template calls it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) source: &'a str,
    /// Of a partial: its name, and the byte of the template that leads to it.
    pub(super) partial: Option<(&'a str, usize)>,
}

/// From a byte of the expanded part on, the text is that of an origin.
struct Stretch<'a> {
    at: usize,
    origin: Origin<'a>,
    from: usize,
    /// Whether byte follows byte; else all of it comes from one place.
    is_copied: bool,
}

/// The stretches of an expanded part, in order.
pub(super) struct Origins<'a> {
    template: &'a str,
    stretches: Vec<Stretch<'a>>,
}

impl<'a> Origins<'a> {
    pub(super) fn new(template: &'a str) -> Self {
        Self { template, stretches: Vec::new() }
    }

    /// Says where what is written from `at` on comes from.
    pub(super) fn note(&mut self, at: usize, origin: Origin<'a>, from: usize, is_copied: bool) {
        self.stretches.push(Stretch { at, origin, from, is_copied });
    }

    /// The fault at a byte of an origin.
    pub(super) fn fault(&self, part: Part, origin: Origin<'_>, byte: usize, message: &str) -> TemplateFault {
        let Some((name, call)) = origin.partial else {
            return fault_at(part, origin.source, byte, message);
        };
        let inside = fault_at(part, origin.source, byte, message);
        let place = inside.line.zip(inside.column);
        let place = place.map(|(line, column)| format!(", line {line} column {column}")).unwrap_or_default();
        fault_at(part, self.template, call, &format!("in the partial `{name}`{place}: {message}"))
    }

    /// A fault of the expanded text, at the place in what was written.
    pub(super) fn placed(&self, expanded: &str, fault: TemplateFault) -> TemplateFault {
        let Some(byte) = fault.line.and_then(|line| byte_at(expanded, line, fault.column.unwrap_or(1)))
        else {
            return fault;
        };
        let Some(stretch) = self.stretches.iter().rev().find(|stretch| stretch.at <= byte) else {
            return fault;
        };
        let from = stretch.from + if stretch.is_copied { byte - stretch.at } else { 0 };
        self.fault(fault.part, stretch.origin, from, &fault.message)
    }
}

/// The byte at a line and a column, both counted from 1, the column in characters.
fn byte_at(text: &str, line: usize, column: usize) -> Option<usize> {
    let start = match line {
        0 | 1 => 0,
        _ => text.match_indices('\n').nth(line - 2)?.0 + 1,
    };
    let inside = text[start..].char_indices().nth(column.saturating_sub(1)).map_or(0, |(at, _)| at);
    Some(start + inside)
}
