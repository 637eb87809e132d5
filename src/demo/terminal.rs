//! How the demonstration looks: lines as wide as the terminal, coloured there, the same words in a pipe, and objects, one a line,
//! for programs.

use std::{
    env,
    io::{self, IsTerminal, Stdout, Write},
};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::step::{Step, Tone};

/// Notes are wrapped here where nobody knows the terminal's width; nothing is cut off.
const WIDTH: usize = 80;
/// A line that is longer is hard to read.
const WIDEST: usize = 140;
/// A note gets at least so much, however narrow the terminal is.
const NARROWEST: usize = 12;
/// Where the note of a step begins.
const NOTE: usize = 28;

/// Standard output, and what it can show.
pub(super) struct Terminal {
    output: Stdout,
    look: Look,
    /// Whether a line can be drawn over.
    redraws: bool,
    /// Whether it is for programs.
    json: bool,
}

/// What a terminal can show.
#[derive(Clone, Copy)]
struct Look {
    colours: bool,
    unicode: bool,
    width: usize,
}

impl Terminal {
    /// For people, or with `json` for programs. Colours on a terminal unless `NO_COLOR` is set; signs beyond ASCII where the locale has them.
    pub(super) fn on_standard_output(json: bool) -> Self {
        let output = io::stdout();
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_default()
            .to_ascii_lowercase();
        let redraws = output.is_terminal() && !is_dumb && !json;
        let size = rustix::termios::tcgetwinsize(&output).ok().filter(|_| output.is_terminal());
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        let look = Look {
            colours: redraws && !is_set("NO_COLOR"),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            width: width.map_or(WIDTH, |width| width.min(WIDEST)),
        };
        Self { output, look, redraws, json }
    }

    /// Writes a line for people, or an object for programs.
    fn say(
        &mut self,
        people: impl FnOnce(Look) -> String,
        programs: impl FnOnce() -> Value,
    ) -> io::Result<()> {
        let line = if self.json { programs().to_string() } else { people(self.look) };
        writeln!(self.output, "{line}")?;
        self.output.flush()
    }

    /// Begins a line that [`Terminal::done`] completes.
    pub(super) fn begin(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        write!(self.output, "{text} ... ")?;
        self.output.flush()
    }

    /// Completes a line.
    pub(super) fn done(&mut self, text: &str) -> io::Result<()> {
        self.say(|look| look.paint(text, Tone::Good), || json!({"event": "ready", "text": text}))
    }

    /// An empty line and a line that stands out.
    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.say(
            |look| format!("\n{}", look.bold(&look.clean(text))),
            || json!({"event": "heading", "text": text}),
        )
    }

    /// Something with a name, as in a table.
    pub(super) fn entry(&mut self, name: &str, value: &str, note: &str) -> io::Result<()> {
        let object = || json!({"event": "entry", "name": name, "value": value, "note": note});
        self.say(|look| look.entry(name, value, note), object)
    }

    /// A line of a command, as it is: it shall be pasted.
    pub(super) fn command(&mut self, line: &str) -> io::Result<()> {
        self.say(|_| line.to_owned(), || json!({"event": "command", "text": line}))
    }

    /// What happens next.
    pub(super) fn comment(&mut self, text: &str) -> io::Result<()> {
        self.say(
            |look| format!("\n{}", look.dim(&format!("  # {}", look.clean(text)))),
            || json!({"event": "comment", "text": text}),
        )
    }

    /// A request, the status of its answer, and what it is for.
    pub(super) fn request(
        &mut self,
        method: &str,
        path: &str,
        status: StatusCode,
        note: &str,
    ) -> io::Result<()> {
        let object = || json!({"event": "request", "method": method, "path": path, "status": status.as_u16(), "note": note});
        self.say(|look| look.request(method, path, status, note), object)
    }

    /// A stage of a mail.
    pub(super) fn step(&mut self, step: &Step) -> io::Result<()> {
        let millis = format!("{} ms", step.after.as_millis());
        self.row(step.stage, step.tone, &millis, &step.note)
    }

    /// More about what was just shown.
    pub(super) fn remark(&mut self, name: &str, tone: Tone, note: &str) -> io::Result<()> {
        self.row(name, tone, "", note)
    }

    /// Whether [`Terminal::bar`] draws over the bar before.
    pub(super) fn redraws(&self) -> bool {
        self.redraws
    }

    /// How far something is, in cells that are full and cells in all: in the place of the bar before, or on a line of
    /// its own. The numbers must stay as long as they are.
    pub(super) fn bar(
        &mut self,
        name: &str,
        tone: Tone,
        time: &str,
        (full, cells): (usize, usize),
        numbers: &str,
    ) -> io::Result<()> {
        if self.json {
            let object = json!({"event": "progress", "name": name, "after": time, "text": numbers.trim()});
            return writeln!(self.output, "{object}");
        }
        let line = self.look.bar(name, tone, time, (full, cells), numbers);
        if !self.redraws {
            return writeln!(self.output, "{line}");
        }
        // A narrow terminal shows what fits; a line that wraps could not be drawn over.
        write!(self.output, "\r\x1b[?7l{line}\x1b[?7h")?;
        self.output.flush()
    }

    /// Leaves the last bar as it is.
    pub(super) fn leave_line(&mut self) -> io::Result<()> {
        if self.redraws { writeln!(self.output) } else { Ok(()) }
    }

    fn row(&mut self, name: &str, tone: Tone, time: &str, note: &str) -> io::Result<()> {
        let object =
            || json!({"event": "step", "name": name, "good": tone != Tone::Bad, "after": time, "note": note});
        self.say(|look| look.row(name, tone, time, note).join("\n"), object)
    }
}

impl Look {
    fn entry(self, name: &str, value: &str, note: &str) -> String {
        let value = format!("{:<27}", self.clean(value));
        format!("  {name:<10}{value} {}", self.dim(&self.clean(note))).trim_end().to_owned()
    }

    fn request(self, method: &str, path: &str, status: StatusCode, note: &str) -> String {
        let tone = if status.is_success() { Tone::Good } else { Tone::Bad };
        let arrow = if self.unicode { "→" } else { "->" };
        let status = self.paint(status.as_str(), tone);
        let note = self.dim(&self.clean(note));
        format!("  {method:<4} {} {arrow} {status}  {note}", self.clean(path)).trim_end().to_owned()
    }

    fn row(self, name: &str, tone: Tone, time: &str, note: &str) -> Vec<String> {
        let head = self.head(name, tone);
        let mut notes = wrap(&self.clean(note), self.width.saturating_sub(NOTE).max(NARROWEST)).into_iter();
        let first = notes.next().unwrap_or_default();
        let mut lines = vec![format!("       {head}{time:>7}  {first}").trim_end().to_owned()];
        lines.extend(notes.map(|rest| format!("{:NOTE$}{rest}", "")));
        lines
    }

    fn bar(self, name: &str, tone: Tone, time: &str, (full, cells): (usize, usize), numbers: &str) -> String {
        let head = self.head(name, tone);
        let (done, open) = if self.unicode { ("━", "─") } else { ("#", "-") };
        let done = self.paint(&done.repeat(full), tone);
        let open = self.dim(&open.repeat(cells.saturating_sub(full)));
        format!("       {head}{time:>7}  {done}{open}  {numbers}")
    }

    /// The sign and the name that a row begins with.
    fn head(self, name: &str, tone: Tone) -> String {
        let sign = match (tone, self.unicode) {
            (Tone::Plain, true) => "·",
            (Tone::Good, true) => "✓",
            (Tone::Waiting, true) => "…",
            (Tone::Bad, true) => "✗",
            (Tone::Plain, false) => "-",
            (Tone::Good, false) => "+",
            (Tone::Waiting, false) => "~",
            (Tone::Bad, false) => "x",
        };
        self.paint(&format!("{sign} {name:<10}"), tone)
    }

    /// Text from outside without what a terminal would obey, and without what it cannot show.
    fn clean(self, text: &str) -> String {
        let shown = |c: char| match c {
            c if c.is_control() => ' ',
            c if c.is_ascii() || self.unicode => c,
            _ => '?',
        };
        text.chars().map(shown).collect()
    }

    fn paint(self, text: &str, tone: Tone) -> String {
        match tone {
            Tone::Plain => text.to_owned(),
            Tone::Good => self.escape("32", text),
            Tone::Waiting => self.escape("33", text),
            Tone::Bad => self.escape("31", text),
        }
    }

    fn bold(self, text: &str) -> String {
        self.escape("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.escape("2", text)
    }

    fn escape(self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Breaks text between words so that lines are at most `width` long, unless a word is longer.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Look = Look { colours: false, unicode: false, width: WIDTH };
    const SCREEN: Look = Look { colours: true, unicode: true, width: WIDTH };

    #[test]
    fn a_long_note_is_wrapped_under_its_beginning_and_nothing_is_lost() {
        let note = "attempt 1: 451 4.7.1 Greylisted, try again in a little while; the next in 400 ms";
        let lines = PIPE.row("deferred", Tone::Waiting, "3 ms", note);
        assert!(lines.len() == 2 && lines.iter().all(|line| line.len() <= WIDTH), "{lines:#?}");
        assert_eq!(lines[0].find("attempt"), Some(NOTE));
        let words: Vec<_> = lines.iter().flat_map(|line| line.split_whitespace()).skip(4).collect();
        assert_eq!(words.join(" "), note);
        for width in [1, 20, 28, 60] {
            let narrow = Look { width, ..PIPE }.row("deferred", Tone::Waiting, "3 ms", note);
            assert!(narrow.iter().all(|line| line.len() <= width.max(NOTE + NARROWEST)), "{narrow:#?}");
        }
    }

    #[test]
    fn a_bar_is_as_long_at_its_end_as_at_its_beginning_and_fits() {
        let bar = |look: Look, full, numbers| look.bar("sending", Tone::Waiting, "1 ms", (full, 24), numbers);
        let begun = bar(PIPE, 0, "  0/500       0/s");
        let ended = bar(PIPE, 24, "500/500  12,345/s");
        assert_eq!(begun, format!("       ~ sending      1 ms  {}    0/500       0/s", "-".repeat(24)));
        assert!(begun.len() == ended.len() && ended.len() <= WIDTH, "{ended}");
        assert!(bar(SCREEN, 12, "").contains(&format!("\x1b[33m{}\x1b[0m", "━".repeat(12))));
    }

    #[test]
    fn a_pipe_gets_plain_ascii_and_a_screen_gets_colours() {
        assert_eq!(PIPE.request("POST", "/mail", StatusCode::OK, "a mail"), "  POST /mail -> 200  a mail");
        assert_eq!(SCREEN.request("POST", "/mail", StatusCode::OK, ""), "  POST /mail → \x1b[32m200\x1b[0m");
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(SCREEN.clean("a\x1b[2Jb\r\nü"), "a [2Jb  ü");
        assert_eq!(PIPE.clean("ü"), "?");
    }
}
