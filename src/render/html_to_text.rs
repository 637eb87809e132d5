//! Makes the text part from rendered HTML, in one pass: fast enough to do it for each mail.
//!
//! Links keep their address (`Open your cart <https://…>`), images their `alt`, list items get a dash, cells of one
//! row stay on one line. Nothing is drawn. Never fails; what the HTML hides (`display:none`) stays hidden.

use mail_parser::decoders::html::add_html_token;

use super::html_tokenizer::{Piece, Tag, pieces};

/// The width at which lines are broken, in characters.
const WIDTH: usize = 78;

/// The text of an HTML document.
pub(super) fn from_html(html: &str) -> String {
    let mut page = Page { text: String::with_capacity(html.len() / 3), ..Page::default() };
    let mut hidden: Option<(String, usize)> = None;
    let mut is_pre = false;
    for piece in pieces(html) {
        if let Some((name, depth)) = &mut hidden {
            match &piece {
                Piece::Start(tag) if tag.name.eq_ignore_ascii_case(name) => *depth += 1,
                Piece::End(end) if end.eq_ignore_ascii_case(name) => *depth -= 1,
                _ => {}
            }
            if *depth == 0 {
                hidden = None;
            }
            continue;
        }
        match piece {
            Piece::Text(text) => page.text(text, is_pre),
            Piece::Start(tag) if is_hidden(html, &tag) => hidden = Some((tag.name.to_owned(), 1)),
            Piece::Start(tag) => {
                is_pre |= tag.name.eq_ignore_ascii_case("pre");
                page.start(html, &tag);
            }
            Piece::End(name) => {
                is_pre &= !name.eq_ignore_ascii_case("pre");
                page.end(&name.to_ascii_lowercase());
            }
            Piece::Raw(..) | Piece::Other(_) => {}
        }
    }
    page.finish()
}

const VOID: [&str; 8] = ["img", "br", "hr", "input", "meta", "link", "col", "wbr"];

fn is_hidden(html: &str, tag: &Tag<'_>) -> bool {
    let Some(style) =
        tag.attribute("style").filter(|_| !VOID.iter().any(|void| void.eq_ignore_ascii_case(tag.name)))
    else {
        return false;
    };
    html[style.value.clone()].split(';').any(|declaration| {
        declaration.split_once(':').is_some_and(|(name, value)| {
            let value = value.trim();
            name.trim().eq_ignore_ascii_case("display")
                && value.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("none"))
        })
    })
}

/// The text as it grows, and what must be written before the next word.
#[derive(Default)]
struct Page {
    text: String,
    /// Characters on the current line.
    column: usize,
    /// A gap was seen since the last word.
    space: bool,
    /// Line ends to be written.
    newlines: usize,
    /// A list item has begun.
    dash: bool,
    /// The link that is open: where it goes and where its text began.
    link: Option<(String, usize)>,
}

impl Page {
    fn start(&mut self, html: &str, tag: &Tag<'_>) {
        let value = |name| tag.attribute(name).map(|attribute| decode(&html[attribute.value.clone()]));
        match tag.name.to_ascii_lowercase().as_str() {
            "a" => {
                self.close_link();
                if let Some(target) =
                    value("href").filter(|target| !target.is_empty() && !target.starts_with('#'))
                {
                    self.link = Some((target, self.text.len()));
                }
            }
            "img" => {
                if let Some(alternative) = value("alt") {
                    self.words(&alternative);
                }
            }
            "br" => self.line_break(),
            "hr" => {
                self.leave(2);
                self.word("---");
                self.leave(2);
            }
            "li" => {
                self.leave(1);
                self.dash = true;
            }
            "td" | "th" => self.space = true,
            name => self.leave(gap(name)),
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "a" => self.close_link(),
            "li" => {
                self.leave(1);
                self.dash = false;
            }
            name => self.leave(gap(name)),
        }
    }

    fn text(&mut self, raw: &str, is_pre: bool) {
        if !is_pre {
            return self.words(raw);
        }
        for (number, line) in raw.split('\n').enumerate() {
            if number > 0 {
                self.line_break();
            }
            if !line.trim().is_empty() {
                self.word(&decode(line.trim_end()));
            }
        }
    }

    /// Adds text whose white space means nothing but a gap between words.
    fn words(&mut self, raw: &str) {
        let mut rest = raw;
        while !rest.is_empty() {
            let gap = rest.len() - rest.trim_start_matches(is_gap).len();
            self.space |= gap > 0;
            rest = &rest[gap..];
            let length = rest.find(is_gap).unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            if word.contains('&') {
                self.decoded(&decode(word));
            } else if !word.is_empty() {
                self.word(word);
            }
            rest = after;
        }
    }

    /// Adds a word that was written with character references, which may be white space themselves.
    fn decoded(&mut self, text: &str) {
        for (number, word) in text.split(is_gap).enumerate() {
            self.space |= number > 0;
            if !word.is_empty() {
                self.word(word);
            }
        }
    }

    fn word(&mut self, word: &str) {
        let length = word.chars().count();
        if self.text.is_empty() {
            (self.newlines, self.space) = (0, false);
        }
        if self.newlines == 0 && self.space && self.column + 1 + length > WIDTH && self.column > 0 {
            self.newlines = 1;
        }
        if self.newlines > 0 {
            self.text.extend(std::iter::repeat_n('\n', self.newlines));
            self.column = 0;
        } else if self.space && self.column > 0 {
            self.text.push(' ');
            self.column += 1;
        }
        if self.dash {
            self.text.push_str("- ");
            self.column += 2;
        }
        (self.newlines, self.space, self.dash) = (0, false, false);
        self.text.push_str(word);
        self.column += length;
    }

    /// Leaves at least so many line ends before the next word; a paragraph does not part an item from its dash.
    fn leave(&mut self, newlines: usize) {
        if !self.dash {
            self.newlines = self.newlines.max(newlines);
        }
    }

    fn line_break(&mut self) {
        self.newlines = (self.newlines + 1).min(2);
    }

    fn close_link(&mut self) {
        if let Some((target, start)) = self.link.take() {
            let text = self.text.get(start..).unwrap_or_default().trim();
            let shown = target.strip_prefix("mailto:").unwrap_or(&target);
            if text != shown && text != target {
                self.space = true;
                self.word(&format!("<{target}>"));
            }
        }
    }

    fn finish(mut self) -> String {
        self.close_link();
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text
    }
}

/// How many line ends stand before and after an element.
fn gap(name: &str) -> usize {
    match name {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "dl" | "table" | "blockquote"
        | "pre" => 2,
        "div" | "tr" | "section" | "header" | "footer" | "article" | "main" | "center" | "dt" | "dd"
        | "address" | "body" | "form" | "caption" | "nav" | "aside" | "figure" => 1,
        _ => 0,
    }
}

/// White space, and the invisible characters with which previews are padded.
fn is_gap(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{200b}' | '\u{200c}' | '\u{34f}' | '\u{feff}' | '\u{ad}')
}

/// Resolves character references; one without its semicolon stays as it is.
fn decode(raw: &str) -> String {
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start..];
        let length =
            rest[1..].bytes().take(32).take_while(|b| b.is_ascii_alphanumeric() || *b == b'#').count();
        let end = 1 + length;
        if rest.as_bytes().get(end) == Some(&b';') {
            add_html_token(&mut decoded, &rest.as_bytes()[..=end], false);
            rest = &rest[end + 1..];
        } else {
            decoded.push('&');
            rest = &rest[1..];
        }
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn html_becomes_text_as_a_person_would_write_it() {
        for (html, expected) in [
            ("<h1>A</h1><p>b\n c</p>  <div>d</div><div>e</div>", "A\n\nb c\n\nd\ne\n"),
            ("a<br>b<br/><br>c", "a\nb\n\nc\n"),
            ("<ul><li>a</li><li><p>b</p></li></ul>c", "- a\n- b\n\nc\n"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
            (
                "<a href=\"https://x.example/?a=1&amp;b=2\">Go <b>on</b></a>.",
                "Go on <https://x.example/?a=1&b=2>.\n",
            ),
            ("<a href='https://x.example'>https://x.example</a>", "https://x.example\n"),
            ("<a href=\"mailto:a@b.example\">a@b.example</a> <a href=#top>up</a>", "a@b.example up\n"),
            ("<a href=https://x.example><img src=a.png alt=\"A cup\"></a>", "A cup <https://x.example>\n"),
            ("<a href=https://x.example><img src=a.png></a>", "<https://x.example>\n"),
            ("<a href=https://x.example>open", "open <https://x.example>\n"),
            ("<title>t</title><style>p{}</style><script>x</script><!-- c -->a", "a\n"),
            ("<div style=\"color:red; DISPLAY: none !important\"><div>x</div>y</div>z", "z\n"),
            ("&euro;&nbsp;5 &#x26; &lt;b&gt; &bogus; R&D &amp", "€ 5 & <b> &bogus; R&D &amp\n"),
            ("a&zwnj;&nbsp;&zwnj;&nbsp;&shy;b", "a b\n"),
            ("a<hr>b", "a\n\n---\n\nb\n"),
            ("<pre>a  b\n  c</pre>d", "a  b\n  c\n\nd\n"),
            ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2\n"),
            ("", ""),
        ] {
            assert_eq!(from_html(html), expected, "{html}");
        }
    }

    #[test]
    fn lines_are_broken_before_column_78() {
        let text = from_html(&format!(
            "<p>{}</p><a href=\"https://x.example/{}\">x</a>",
            "word ".repeat(100),
            "y".repeat(200)
        ));
        assert!(
            text.lines().filter(|line| !line.contains("https")).all(|line| line.chars().count() <= WIDTH)
        );
        assert!(text.contains(&format!("<https://x.example/{}>", "y".repeat(200))));
    }

    proptest! {
        #[test]
        fn any_html_becomes_text_without_a_panic_and_without_losing_a_link(pieces in prop::collection::vec(prop::sample::select(vec![
            "<a href=u>", "</a>", "<p>", "</p>", "<li>", "<b style='display:none'>", "</b>", "<pre>", "</pre>", "&", "&amp;", "&#0;", "&#xD800;",
            "&#99999999;", ";", "é", "日 ", " ", "\n", "<br>", "<", ">", "<td>", "<!--", "-->", "x", "<img alt='", "'>", "<a href=\"&eacute;\">",
        ]), 0..40)) {
            from_html(&pieces.concat());
            let visible: Vec<_> = pieces.into_iter().filter(|piece| ["<p>", "</p>", "</a>", "x", "<a href=u>", "<li>", "<td>"].contains(piece)).collect();
            let text = from_html(&visible.concat());
            prop_assert_eq!(text.matches("<u>").count(), visible.iter().filter(|piece| **piece == "<a href=u>").count());
        }
    }
}
