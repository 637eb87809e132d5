//! HTML pages for people: askama checks the templates when they are compiled, this escapes what is put into them.
//!
//! A page is a struct that derives [`Template`], and a file below `templates/`. Whatever a page shows is escaped unless
//! the template says `|safe`, which is for what another template has made.

use std::fmt;

use askama::{Template, filters::Escaper};

use crate::telemetry::chain;

/// Escapes text for HTML with the names that readers of a source know: `&lt;`. askama's own escaper writes `&#60;`.
///
/// For text between tags and for attributes in quotes, single or double.
#[derive(Clone, Copy, Debug)]
pub struct Named;

impl Escaper for Named {
    fn write_escaped_str<W: fmt::Write>(&self, mut destination: W, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(position) = rest.find(['&', '<', '>', '"', '\'']) {
            let (plain, special) = rest.split_at(position);
            destination.write_str(plain)?;
            destination.write_str(match special.as_bytes().first() {
                Some(b'&') => "&amp;",
                Some(b'<') => "&lt;",
                Some(b'>') => "&gt;",
                Some(b'"') => "&quot;",
                _ => "&#39;",
            })?;
            rest = special.get(1..).unwrap_or_default();
        }
        destination.write_str(rest)
    }
}

/// A page as text. None has a reason to fail; one that does is empty, and the log says why.
pub fn written(page: &impl Template) -> String {
    page.render().unwrap_or_else(|error| {
        tracing::error!(error = %chain(&error), "a page could not be written");
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(
        source = "<p title=\"{{ text }}\" id='{{ text }}'>{{ text }}{{ markup|safe }}</p>",
        ext = "html"
    )]
    struct Page<'a> {
        text: &'a str,
        markup: &'a str,
    }

    #[test]
    fn text_becomes_neither_markup_nor_a_placeholder() {
        let page = |text| written(&Page { text, markup: "<b>{{ text }}</b>" });
        for (text, escaped) in [
            (
                "\"><script>alert('1 & 2')</script>",
                "&quot;&gt;&lt;script&gt;alert(&#39;1 &amp; 2&#39;)&lt;/script&gt;",
            ),
            ("{{ markup }} {% if %} [[text]]", "{{ markup }} {% if %} [[text]]"),
            ("", ""),
            ("Tee ☂ &amp;", "Tee ☂ &amp;amp;"),
        ] {
            let expected =
                format!("<p title=\"{escaped}\" id='{escaped}'>{escaped}<b>{{{{ text }}}}</b></p>");
            assert_eq!(page(text), expected);
        }
    }
}
