//! Makes the text part from rendered HTML, in one pass: fast enough to do it for each mail.
//!
//! Links keep their address (`Open your cart <https://…>`), images their `alt`; items of lists get a dash or their number
//! and are moved in, cells of one row stay on one line. Nothing is drawn. Never fails; what the HTML hides (`hidden`,
//! `display:none`, `max-height:0` and the like) stays hidden.

mod hidden;
mod lists;
mod page;
mod references;
mod rows;

#[cfg(test)]
mod tests;

use super::html_tokenizer::{Piece, pieces};
use hidden::is_hidden;
use page::Page;

/// The text of an HTML document.
pub(super) fn from_html(html: &str) -> String {
    let mut page = Page::of(html);
    let mut hidden: Option<(&str, usize)> = None;
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
            Piece::Start(tag) if is_hidden(html, &tag) => hidden = Some((tag.name, 1)),
            Piece::Start(tag) => {
                is_pre |= tag.name.eq_ignore_ascii_case("pre");
                page.start(&tag);
            }
            Piece::End(name) => {
                is_pre &= !name.eq_ignore_ascii_case("pre");
                page.end(name);
            }
            Piece::Raw(..) | Piece::Other(_) => {}
        }
    }
    page.finish()
}
