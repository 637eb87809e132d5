//! A header field that is written in lines of at most 76 characters, where its words allow that.

/// The longest line, in characters without its end.
const WIDTH: usize = 76;
const FOLD: &str = "\r\n ";

/// A header field, as far as it is written.
pub(super) struct Folded {
    text: String,
    /// How many characters the last line has.
    column: usize,
}

impl Folded {
    /// Begins with this, on one line.
    pub(super) fn new(start: &str) -> Self {
        let mut text = String::with_capacity(1_024);
        text.push_str(start);
        Self { text, column: start.len() }
    }

    /// Adds a word after a space, or on the next line.
    pub(super) fn word(&mut self, word: &str) {
        if self.column + 1 + word.len() > WIDTH {
            self.fold();
        } else {
            self.append(" ");
        }
        self.append(word);
    }

    /// Adds a piece of the last word, and the sign at its end; a line may end before it.
    pub(super) fn piece(&mut self, piece: &str, sign: &str) {
        if self.column + piece.len() + sign.len() > WIDTH {
            self.fold();
        }
        self.append(piece);
        self.append(sign);
    }

    /// Adds text to the last word that may be divided anywhere.
    pub(super) fn divisible(&mut self, mut text: &str) {
        while !text.is_empty() {
            let room = WIDTH.saturating_sub(self.column);
            if room == 0 {
                self.fold();
                continue;
            }
            let (now, later) = text.split_at(room.min(text.len()));
            self.append(now);
            text = later;
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    fn fold(&mut self) {
        self.text.push_str(FOLD);
        self.column = 1;
    }

    fn append(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
    }
}
