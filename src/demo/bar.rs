//! How far many mails are, on one line: drawn anew in its place on a terminal, a line now and then in a pipe.

use std::{io, time::Instant};

use super::{step::Tone, terminal::Terminal};

/// Cells of the bar.
const CELLS: u64 = 24;
/// Lines of a pipe before the last.
const LINES: u64 = 4;

/// Some mails on their way.
pub(super) struct Bar {
    total: u64,
    done: u64,
    began: Instant,
    /// How many quarters were told of in a pipe.
    told: u64,
}

impl Bar {
    /// Nothing is done yet; the clock starts.
    pub(super) fn of(total: u64) -> Self {
        Self { total, done: 0, began: Instant::now(), told: 0 }
    }

    /// So many are done.
    pub(super) fn show(&mut self, terminal: &mut Terminal, done: u64) -> io::Result<()> {
        self.done = done.min(self.total);
        let quarter = self.done * LINES / self.total.max(1);
        if terminal.redraws() {
            return self.draw(terminal, "sending", Tone::Waiting);
        }
        if (self.told..LINES).contains(&quarter) {
            self.told = quarter + 1;
            self.draw(terminal, "sending", Tone::Waiting)?;
        }
        Ok(())
    }

    /// It will not go on: says how far it came, and leaves the line.
    pub(super) fn end(self, terminal: &mut Terminal) -> io::Result<()> {
        let (name, tone) = if self.done == self.total { ("sent", Tone::Good) } else { ("ended", Tone::Bad) };
        self.draw(terminal, name, tone)?;
        terminal.leave_line()
    }

    fn draw(&self, terminal: &mut Terminal, name: &str, tone: Tone) -> io::Result<()> {
        let elapsed = self.began.elapsed();
        let rate = self.done as f64 / elapsed.as_secs_f64().max(0.001);
        let full = self.done * CELLS / self.total.max(1);
        let digits = self.total.to_string().len();
        let numbers = format!("{:>digits$}/{}  {rate:>6.0}/s", self.done, self.total);
        let millis = format!("{} ms", elapsed.as_millis());
        terminal.bar(name, tone, &millis, (full as usize, CELLS as usize), &numbers)
    }
}
