//! What a mail program does not show: preheaders above all.

use crate::render::html_tokenizer::Tag;

/// Elements without content, which can hide none.
const VOID: [&str; 8] = ["img", "br", "hr", "input", "meta", "link", "col", "wbr"];
/// How far behind an element's start a link is looked for.
const FAR: usize = 2048;

/// Whether an element and all that is in it are hidden by its own attributes.
pub(super) fn is_hidden(html: &str, tag: &Tag<'_>) -> bool {
    if VOID.iter().any(|void| void.eq_ignore_ascii_case(tag.name)) {
        return false;
    }
    let is_hidden_by = |name: &str, value: &str| {
        name.eq_ignore_ascii_case("hidden") || (name.eq_ignore_ascii_case("style") && hides(html, tag, value))
    };
    tag.name.eq_ignore_ascii_case("template")
        || tag.attributes.iter().any(|it| is_hidden_by(it.name, &html[it.value.clone()]))
}

/// Whether a style hides its element; of several declarations of a property the last one holds.
fn hides(html: &str, tag: &Tag<'_>, style: &str) -> bool {
    let mut display = false;
    let mut visibility = false;
    let mut height = false;
    let mut opacity = false;
    let mut in_outlook = false;
    for declaration in style.split(';') {
        // Few properties begin so: most are passed over at their first letter.
        let declaration = declaration.trim_start();
        if !declaration.starts_with(['d', 'D', 'v', 'V', 'm', 'M', 'o', 'O']) {
            continue;
        }
        let Some((name, value)) = declaration.split_once(':') else { continue };
        let (name, value) = (name.trim_end(), value.split('!').next().unwrap_or_default().trim());
        let is = |property: &str| name.eq_ignore_ascii_case(property);
        if is("display") {
            display = value.eq_ignore_ascii_case("none");
        } else if is("visibility") {
            visibility = value.eq_ignore_ascii_case("hidden");
        } else if is("max-height") {
            height = is_zero(value);
        } else if is("opacity") {
            opacity = is_zero(value);
        } else if is("mso-hide") {
            in_outlook = value.eq_ignore_ascii_case("all");
        }
    }
    display || visibility || height || opacity || (in_outlook && !is_button(html, tag))
}

fn is_zero(value: &str) -> bool {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    number.parse::<f32>().is_ok_and(|number| number == 0.0)
}

/// Whether it is a link or has one in it. Buttons are hidden from Outlook for Windows alone, which is given another.
fn is_button(html: &str, tag: &Tag<'_>) -> bool {
    if tag.name.eq_ignore_ascii_case("a") {
        return true;
    }
    let rest = &html[tag.name_end..];
    let rest = &rest[..rest.floor_char_boundary(FAR)];
    let is_end = |at: usize| {
        rest.as_bytes()
            .get(at + 2..at + 2 + tag.name.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(tag.name.as_bytes()))
    };
    let end = rest.match_indices("</").map(|(at, _)| at).find(|at| is_end(*at)).unwrap_or(rest.len());
    rest[..end].contains("href")
}
