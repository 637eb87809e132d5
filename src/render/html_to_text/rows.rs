//! Tables: the cells of a row stay on one line where each of them is one line.

/// The tables that are open.
#[derive(Default)]
pub(super) struct Tables(Vec<Table>);

#[derive(Default)]
struct Table {
    /// The length of the text when its row began.
    row: usize,
    cell: Option<Cell>,
    /// The line ends that a cell of its row asked for and that come after the row.
    after: usize,
}

/// A cell that is open.
pub(super) struct Cell {
    /// The length of the text when it began.
    start: usize,
    /// The number of the line that its first word is on.
    line: usize,
    /// It goes on on the line of the cell before it.
    is_joined: bool,
    has_table: bool,
    /// How many lists were open when it began.
    pub(super) lists: usize,
}

impl Cell {
    /// Whether it has words, all on one line.
    pub(super) fn is_one_line(&self, length: usize, line: usize) -> bool {
        length > self.start && line == self.line && !self.has_table
    }
}

impl Tables {
    /// A table begins.
    pub(super) fn start(&mut self, length: usize) {
        if let Some(cell) = self.0.last_mut().and_then(|table| table.cell.as_mut()) {
            cell.has_table = true;
        }
        self.0.push(Table { row: length, ..Table::default() });
    }

    /// The innermost table ends.
    pub(super) fn end(&mut self) {
        self.0.pop();
    }

    /// A row begins.
    pub(super) fn start_row(&mut self, length: usize) {
        if let Some(table) = self.0.last_mut() {
            table.row = length;
        }
    }

    /// A row ends; returns the line ends that its cells asked for.
    pub(super) fn end_row(&mut self) -> usize {
        self.0.last_mut().map_or(0, |table| std::mem::take(&mut table.after))
    }

    /// A cell begins, with so many line ends to come before its first word.
    pub(super) fn start_cell(&mut self, length: usize, line: usize, newlines: usize, lists: usize) {
        if let Some(table) = self.0.last_mut() {
            let is_joined = length > table.row && newlines == 0;
            table.cell = Some(Cell { start: length, line, is_joined, has_table: false, lists });
        }
    }

    /// The cell that ends.
    pub(super) fn end_cell(&mut self) -> Option<Cell> {
        self.0.last_mut()?.cell.take()
    }

    /// Keeps line ends for after the row.
    pub(super) fn put_off(&mut self, newlines: usize) {
        if let Some(table) = self.0.last_mut() {
            table.after = table.after.max(newlines);
        }
    }

    /// Whether nothing is written yet of a cell that goes on on the line of the one before it.
    pub(super) fn is_joining(&self, length: usize) -> bool {
        self.0
            .last()
            .and_then(|table| table.cell.as_ref())
            .is_some_and(|it| it.is_joined && it.start == length)
    }

    /// A word is written on this line.
    pub(super) fn note_word(&mut self, length_before: usize, line: usize) {
        if let Some(cell) = self.0.last_mut().and_then(|table| table.cell.as_mut())
            && cell.start == length_before
        {
            cell.line = line;
        }
    }
}
