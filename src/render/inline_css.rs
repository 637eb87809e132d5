//! Inlines CSS when a template is stored: many mail programs ignore `<style>`.
//!
//! css-inline works on a parsed document and writes it anew, and an HTML parser moves what it finds in the wrong
//! place: `{{#each rows}}<tr>` inside a table would land before it. So css-inline is never given the template. It
//! gets a skeleton of it: each start tag with a number, without mustaches and without `style`. What it computes for a
//! number is then written into the `style` of that tag in the template, and nothing else of the template changes:
//! a fragment stays a fragment, `<style>` with its media queries stays, and a template without `<style>` is untouched.
//!
//! A placeholder in a style sheet is inlined too, counted from `@root`, because the element may stand in a loop. A
//! sheet with other mustaches (conditions) is left in `<style>` only, and so is what an element gets by a class that
//! a mustache makes up.

use std::fmt::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use css_inline::CSSInliner;

use super::html_tokenizer::{Piece, SILENT, Tag, pieces};
use super::stylesheet::{self, Sheet};
use super::syntax::{self, Mustache, Role};
use super::{Part, TemplateFault};

/// Stands for each byte of a mustache that prints something.
const PRINTED: u8 = 0x02;

/// The attribute that numbers the tags of the skeleton.
const NUMBER: &str = "data-n";
/// How many elements may be open at once; an HTML parser's work grows with them.
const MOST_OPEN: usize = 1000;
/// The same for elements such as `<b>`, which a parser opens again and again where they are not closed.
const MOST_OPEN_FORMATTING: usize = 50;
/// The bound on rules times elements.
const MOST_WORK: usize = 4_000_000;

/// How many attributes of a tag selectors may ask for; a parser compares each with all before it.
const MOST_ATTRIBUTES: usize = 100;

const FORMATTING: [&str; 14] =
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"];
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];

/// The HTML part with its style sheets written into its tags.
///
/// # Errors
/// When a style sheet is broken, or the document is too deep or too large to be worked on.
pub(super) fn inline(html: &str) -> Result<String, TemplateFault> {
    let mustaches = syntax::mustaches(Part::Html, html)?;
    let masked = mask(html, &mustaches);
    let mut sheets = Vec::new();
    for piece in &pieces(&masked).collect::<Vec<_>>() {
        if let Piece::Raw(name, range) = piece
            && name.eq_ignore_ascii_case("style")
        {
            sheets.push(stylesheet::read(html, range.clone(), &mustaches)?);
        }
    }
    if sheets.is_empty() {
        return Ok(html.to_owned());
    }
    let skeleton = Skeleton::of(&masked, &sheets)?;
    let inlined = catch_unwind(AssertUnwindSafe(|| {
        CSSInliner::options().load_remote_stylesheets(false).build().inline(&skeleton.html)
    }))
    .map_err(|_| fault("the CSS cannot be inlined"))?
    .map_err(|error| fault(&format!("the CSS cannot be inlined: {error}")))?;
    Ok(write_styles(html, &skeleton.tags, styles_by_number(&inlined, skeleton.tags.len()), &sheets))
}

fn fault(message: &str) -> TemplateFault {
    TemplateFault { part: Part::Html, line: None, column: None, message: message.to_owned() }
}

/// The template with each mustache blotted out, byte for byte, so that places stay the same.
fn mask(html: &str, mustaches: &[Mustache]) -> String {
    let mut masked = String::with_capacity(html.len());
    for Mustache { range, role } in mustaches {
        masked.push_str(&html[masked.len()..range.start]);
        let blot = if *role == Role::Print { PRINTED } else { SILENT };
        masked.extend(range.clone().map(|_| char::from(blot)));
    }
    masked.push_str(&html[masked.len()..]);
    masked
}

/// Where a style goes in a tag of the template.
struct Target {
    name_end: usize,
    /// The value of its own `style`, without and with quotes.
    own: Option<(Range<usize>, Range<usize>)>,
}

/// What css-inline is given.
struct Skeleton {
    html: String,
    tags: Vec<Target>,
}

impl Skeleton {
    fn of(masked: &str, sheets: &[Sheet]) -> Result<Self, TemplateFault> {
        let mut skeleton = Self { html: String::with_capacity(masked.len() * 2), tags: Vec::new() };
        let mut css = sheets.iter();
        let mut open = Open::default();
        for piece in pieces(masked) {
            match piece {
                Piece::Text(text) => skeleton.text(text),
                Piece::Start(tag) => {
                    open.start(tag.name).map_err(fault)?;
                    skeleton.start(masked, &tag);
                }
                Piece::End(name) => {
                    open.end(name);
                    let _ = write!(skeleton.html, "</{name}>");
                }
                Piece::Raw(name, _) if name.eq_ignore_ascii_case("style") => {
                    skeleton.html.push_str(css.next().map_or("", |sheet| &sheet.inlinable));
                }
                Piece::Other(doctype)
                    if doctype.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("<!doctype")) =>
                {
                    skeleton.html.push_str(doctype);
                }
                Piece::Raw(..) | Piece::Other(_) => {}
            }
        }
        let rules: usize = sheets.iter().map(|sheet| sheet.weight).sum();
        if rules.saturating_mul(skeleton.tags.len()) > MOST_WORK {
            return Err(fault("there are too many CSS rules for so many elements"));
        }
        Ok(skeleton)
    }

    fn text(&mut self, masked: &str) {
        self.html.extend(masked.chars().filter(|&c| c != char::from(SILENT)));
    }

    fn start(&mut self, masked: &str, tag: &Tag<'_>) {
        let _ = write!(self.html, "<{} {NUMBER}=\"{}\"", tag.name, self.tags.len());
        for attribute in tag.attributes.iter().take(MOST_ATTRIBUTES) {
            let value = &masked[attribute.value.clone()];
            if !attribute.name.eq_ignore_ascii_case("style") && !attribute.name.eq_ignore_ascii_case(NUMBER) {
                let _ = write!(self.html, " {}=\"{}\"", attribute.name, value.replace('"', "&quot;"));
            }
        }
        self.html.push('>');
        let own = tag.attribute("style").map(|style| (style.value.clone(), style.quoted.clone()));
        self.tags.push(Target { name_end: tag.name_end, own });
    }
}

/// Counts open elements roughly: an end tag closes one, whatever its name.
#[derive(Default)]
struct Open {
    all: usize,
    formatting: usize,
}

impl Open {
    fn start(&mut self, name: &str) -> Result<(), &'static str> {
        self.all += usize::from(!is_one_of(&VOID, name));
        self.formatting += usize::from(is_one_of(&FORMATTING, name));
        if self.all > MOST_OPEN || self.formatting > MOST_OPEN_FORMATTING {
            return Err("too many elements are open at once; close them");
        }
        Ok(())
    }

    fn end(&mut self, name: &str) {
        self.all = self.all.saturating_sub(1);
        self.formatting = self.formatting.saturating_sub(usize::from(is_one_of(&FORMATTING, name)));
    }
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// What css-inline made of each numbered tag, as it stands between double quotes.
fn styles_by_number(inlined: &str, tags: usize) -> Vec<Option<&str>> {
    let mut styles = vec![None; tags];
    for piece in pieces(inlined) {
        if let Piece::Start(tag) = piece
            && let (Some(number), Some(style)) = (tag.attribute(NUMBER), tag.attribute("style"))
            && let Ok(number) = inlined[number.value.clone()].parse::<usize>()
            && let Some(slot @ None) = styles.get_mut(number)
        {
            *slot = Some(inlined[style.value.clone()].trim());
        }
    }
    styles
}

/// The template with the styles written into its tags. What a tag says itself comes last, so it wins.
fn write_styles(html: &str, tags: &[Target], styles: Vec<Option<&str>>, sheets: &[Sheet]) -> String {
    let mut written = String::with_capacity(html.len() * 2);
    let mut done = 0;
    for (target, style) in tags.iter().zip(styles) {
        let Some(style) = style.filter(|style| !style.is_empty()) else { continue };
        let style = stylesheet::with_placeholders(style, sheets);
        let style = style.trim_end_matches(';');
        match &target.own {
            None => {
                written.push_str(&html[done..target.name_end]);
                let _ = write!(written, " style=\"{style}\"");
                done = target.name_end;
            }
            Some((value, quoted)) => {
                written.push_str(&html[done..quoted.start]);
                let own = &html[value.clone()];
                if html[quoted.clone()].starts_with('\'') {
                    let _ = write!(written, "'{}; {own}'", style.replace('\'', "&#39;"));
                } else {
                    let _ = write!(written, "\"{style}; {own}\"");
                }
                done = quoted.end;
            }
        }
    }
    written.push_str(&html[done..]);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inlined(html: &str) -> String {
        inline(html).unwrap()
    }

    #[test]
    fn rows_of_a_loop_stay_in_their_table() {
        let html = "<style>td { color: red }</style><table>{{#each rows}}<tr><td>{{name}}</td></tr>{{/each}}</table>";
        assert_eq!(
            inlined(html),
            "<style>td { color: red }</style><table>{{#each rows}}<tr><td style=\"color: red\">{{name}}</td></tr>{{/each}}</table>"
        );
    }

    #[test]
    fn a_template_without_style_is_left_byte_for_byte() {
        for html in ["<P CLASS=a>{{x}}<br></p>\r\n", "", "no markup", "<table>{{#each a}}<tr>{{/each}}"] {
            assert_eq!(inlined(html), html);
        }
    }

    #[test]
    fn what_a_tag_says_itself_comes_last() {
        let css = "<style>p{margin:0;font-family:\"A B\"}</style>";
        for (tag, expected) in [
            (
                "<p style=\"color:{{c}};{{#if w}}width:1px{{/if}}\">",
                "<p style=\"margin: 0;font-family: 'A B'; color:{{c}};{{#if w}}width:1px{{/if}}\">",
            ),
            ("<p style='a:b'>", "<p style='margin: 0;font-family: &#39;A B&#39;; a:b'>"),
            ("<p style=a:b>", "<p style=\"margin: 0;font-family: 'A B'; a:b\">"),
            (
                "<p {{#if x}}id=\"a\"{{/if}} {{y}}>",
                "<p style=\"margin: 0;font-family: 'A B'\" {{#if x}}id=\"a\"{{/if}} {{y}}>",
            ),
        ] {
            assert_eq!(inlined(&format!("{css}{tag}")), format!("{css}{expected}"));
        }
    }

    #[test]
    fn placeholders_survive_wherever_they_stand() {
        let css = "<style>.a { color: {{brand.color}}; width: {{w}}px } .{{b}} { color: red }</style>";
        let body = "<a class=\"a {{#if p}}b{{/if}}\" href={{url}}>{{lookup m \"<p>\"}}</a><!-- {{c}} --><p class=\"a\">{{{d}}}";
        let expected =
            body.replace(" class", " style=\"color: {{@root.brand.color}};width: {{@root.w}}px\" class");
        assert_eq!(inlined(&format!("{css}{body}")), format!("{css}{expected}"));
    }

    #[test]
    fn a_style_sheet_with_conditions_stays_in_style_only() {
        let html = "<style>{{#if x}}p{color:red}{{/if}}</style><style media=print>p{color:blue}</style><p>";
        assert_eq!(inlined(html), html);
    }

    #[test]
    fn media_queries_stay_and_are_not_inlined() {
        let html = "<html><head><style>p{color:red}@media (max-width:600px){p{color:blue !important}}</style></head><body><p>a</p></body></html>";
        assert_eq!(inlined(html), html.replace("<p>a", "<p style=\"color: red\">a"));
    }

    #[test]
    fn a_linked_style_sheet_is_not_loaded() {
        let html = "<link rel=stylesheet href=\"/etc/passwd\"><link rel=stylesheet href=\"http://127.0.0.1:1/\"><style>p{color:red}@import url(http://127.0.0.1:1/);</style><p>";
        assert_eq!(inlined(html), html.replace("<p>", "<p style=\"color: red\">"));
    }

    #[test]
    fn a_document_that_would_take_forever_is_refused() {
        let css = "<style>p{color:red}</style>";
        assert!(inline(&format!("{css}{}", "<div>".repeat(1001))).is_err());
        assert!(inline(&format!("{css}{}", "<b>".repeat(51))).is_err());
        let rules = "p{color:red}".repeat(2000);
        assert!(inline(&format!("<style>{rules}</style>{}", "<p></p>".repeat(2000))).is_err());
        let properties: String = (0..600).map(|number| format!("a{number}:b;")).collect();
        assert!(inline(&format!("<style>p{{{properties}}}</style><p>")).is_err());
        assert!(inline(&format!("{css}{}", "<p>a</p>".repeat(20_000))).is_ok());
    }
}
