//! A table: as wide as the terminal on a terminal, tab-separated in a pipe.

use super::screen::{Screen, clean};

/// Between two columns.
const GAP: usize = 2;
/// A column that does not fit keeps at least this.
const NARROWEST: usize = 4;

/// How a cell looks where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Tone {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
        }
    }

    /// Text in this tone, where there are colours.
    pub(super) fn paint(self, text: &str, colours: bool) -> String {
        match self.code().filter(|_| colours && !text.is_empty()) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }
}

/// What stands in one place of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn of(text: impl ToString, tone: Tone) -> Self {
        Self { text: clean(&text.to_string()), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::of(text, Tone::Plain)
    }
}

/// Builds a row: `row![id, name, Cell::of("paused", Tone::Warning)]`.
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($crate::cli::table::Cell::from($cell)),+] };
}
pub(super) use row;

/// Rows below a head.
#[derive(Debug)]
pub(super) struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns; the last may be cut first.
    pub(super) fn new(head: &'static [&'static str]) -> Self {
        Self { head, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.head.len());
        self.rows.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text for a screen, each line with its end.
    pub(super) fn on(&self, screen: Screen) -> String {
        if !screen.is_terminal {
            return self.separated_by_tabs();
        }
        let widths = self.widths(screen.width);
        let mut text = String::new();
        let head = self.head.iter().map(|name| ((*name).to_owned(), Some("1")));
        line(&mut text, head, &widths, screen.colours);
        for row in &self.rows {
            let cells = row.iter().map(|cell| (cell.text.clone(), cell.tone.code()));
            line(&mut text, cells, &widths, screen.colours);
        }
        text
    }

    fn separated_by_tabs(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(|cell| cell.text.as_str()).collect();
            text.push_str(&cells.join("\t"));
            text.push('\n');
        }
        text
    }

    /// How wide each column is: as its widest cell, but all of them no wider than the screen. The widest give way first. Columns
    /// that do not fit at all have no width.
    fn widths(&self, screen: usize) -> Vec<usize> {
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width_of(&cell.text));
            cells.chain([width_of(self.head[column])]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.head.len()).map(widest).collect();
        loop {
            let shown = widths.iter().filter(|width| **width > 0).count();
            let in_all = widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1);
            if in_all <= screen {
                return widths;
            }
            let most = widths.iter().copied().max().unwrap_or(0);
            let Some(last) = widths.iter().rposition(|width| *width == most) else { return widths };
            if most > NARROWEST {
                widths[last] =
                    (most - (in_all - screen).min(most - NARROWEST)).max(second(&widths)).min(most - 1);
            } else if let Some(rightmost) = widths.iter().rposition(|width| *width > 0).filter(|_| shown > 1)
            {
                widths[rightmost] = 0;
            } else {
                widths[last] = screen.max(1);
                return widths;
            }
        }
    }
}

/// The second of the different widths, from the widest on, or the least that a column keeps.
fn second(widths: &[usize]) -> usize {
    let most = widths.iter().copied().max().unwrap_or(0);
    widths.iter().copied().filter(|width| *width < most).max().unwrap_or(0).max(NARROWEST)
}

fn line(
    text: &mut String,
    cells: impl Iterator<Item = (String, Option<&'static str>)>,
    widths: &[usize],
    colours: bool,
) {
    let (mut gap, mut plain_end) = (0, text.len());
    for ((cell, code), width) in cells.zip(widths.iter().copied()).filter(|(_, width)| *width > 0) {
        let cell = cut(&cell, width);
        let missing = width - width_of(&cell);
        text.push_str(&" ".repeat(gap));
        match code.filter(|_| colours && !cell.is_empty()) {
            Some(code) => text.push_str(&format!("\x1b[{code}m{cell}\x1b[0m")),
            None => text.push_str(&cell),
        }
        if !cell.is_empty() {
            plain_end = text.len();
        }
        gap = missing + GAP;
    }
    text.truncate(plain_end);
    text.push('\n');
}

/// The text, at most so wide; what is cut off is an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// How many places a text takes. A character takes one; those that take two are rare in what tables show.
pub(super) fn width_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "STATE", "ERROR"]);
        table.add(row!["0192", Cell::of("failed", Tone::Bad), "550 5.1.1 no such\tuser\x1b[2J here"]);
        table.add(row!["0193", "sent", ""]);
        table
    }

    fn screen(width: usize, is_terminal: bool, colours: bool) -> Screen {
        Screen { is_terminal, redraws: is_terminal, colours, width, height: 24 }
    }

    #[test]
    fn a_pipe_gets_tabs_and_a_terminal_columns_and_a_head() {
        let piped = table().on(screen(80, false, false));
        assert_eq!(piped, "0192\tfailed\t550 5.1.1 no such user [2J here\n0193\tsent\t\n");
        let shown = table().on(screen(80, true, false));
        assert_eq!(shown, "ID    STATE   ERROR\n0192  failed  550 5.1.1 no such user [2J here\n0193  sent\n");
        let coloured = table().on(screen(80, true, true));
        assert!(coloured.contains("\x1b[31mfailed\x1b[0m  550") && coloured.starts_with("\x1b[1mID\x1b[0m"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_however_narrow_it_is() {
        for width in 1..60 {
            let shown = table().on(screen(width, true, false));
            assert!(shown.lines().all(|line| width_of(line) <= width), "{width}:\n{shown}");
        }
        assert_eq!(table().on(screen(20, true, false)).lines().nth(1), Some("0192  failed  550 5…"));
    }
}
