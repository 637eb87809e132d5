//! Makes the text part from rendered HTML, in one pass: fast enough to do it for each mail.
//!
//! Links keep their address (`Open your cart <https://…>`), images their `alt`; items of lists get a dash or their number
//! and are moved in, cells of one row stay on one line. Nothing is drawn. Never fails; what the HTML hides (`hidden`,
//! `display:none`, `max-height:0` and the like) stays hidden.

mod lists;
mod looks;
mod page;
mod references;
mod rows;

#[cfg(test)]
mod tests;

use super::html_tokenizer::{Piece, pieces};
use looks::{Ends, Hidden, Styled, looks};
use page::{Page, Space};

/// The text of an HTML document.
pub(super) fn from_html(html: &str) -> String {
    let mut page = Page::of(html);
    let mut hidden: Option<Hidden<'_>> = None;
    let mut styled = Styled::default();
    let mut is_pre = false;
    for piece in pieces(html) {
        match hidden.as_mut().map_or(Ends::Before, |it| it.take(&piece)) {
            Ends::No => continue,
            Ends::With => {
                hidden = None;
                continue;
            }
            Ends::Before => hidden = None,
        }
        match piece {
            Piece::Text(text) if is_pre => page.text(text, Space::Kept),
            Piece::Text(text) if styled.keeps_lines() => page.text(text, Space::Lines),
            Piece::Text(text) => page.text(text, Space::Flow),
            Piece::Start(tag) => {
                let looks = looks(html, &tag);
                if looks.is_hidden {
                    hidden = Some(Hidden::of(tag.name));
                    continue;
                }
                is_pre |= tag.name.eq_ignore_ascii_case("pre");
                styled.start(tag.name, looks);
                page.start(&tag, looks.is_block);
            }
            Piece::End(name) => {
                is_pre &= !name.eq_ignore_ascii_case("pre");
                page.end(name);
                if styled.end(name) {
                    page.leave(1);
                }
            }
            Piece::Raw(..) | Piece::Other(_) => {}
        }
    }
    page.finish()
}
