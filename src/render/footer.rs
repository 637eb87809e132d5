//! The line below a promotional mail that leads to unsubscribing, where its template prints no such link.

use super::Content;

/// How the line looks: small, beside what the mail is about.
const STYLE: &str = "margin:0;padding:24px 16px;text-align:center;font:12px/1.5 sans-serif;color:#666666";

/// Adds a line with the link to each part that does not have the link already. The words are the link's text.
pub fn with_footer(mut content: Content, words: &str, link: &str) -> Content {
    if !content.html.contains(link) {
        let line = format!(
            "<p style=\"{STYLE}\"><a href=\"{}\" style=\"color:#666666\">{}</a></p>\n",
            escaped(link),
            escaped(words)
        );
        content.html.insert_str(end_of_body(&content.html), &line);
    }
    if !content.text.contains(link) {
        let end = content.text.trim_end().len();
        content.text.truncate(end);
        content.text.push_str(&format!("\n\n-- \n{words}: {link}\n"));
    }
    content
}

/// Where the body ends: before its end tag, else at the end.
fn end_of_body(html: &str) -> usize {
    let is_end = |at: &usize| {
        let name = html.as_bytes().get(at + 2..at + 6);
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"body"))
    };
    html.rmatch_indices("</").map(|(at, _)| at).find(is_end).unwrap_or(html.len())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://post.example/u/abcdefghijklmnopqrstuv";

    fn footed(html: &str, text: &str) -> Content {
        let content = Content { subject: "s".to_owned(), html: html.to_owned(), text: text.to_owned() };
        with_footer(content, "Unsubscribe <now>", LINK)
    }

    #[test]
    fn the_line_stands_at_the_end_of_each_part_that_has_no_link() {
        for (html, before) in [
            ("<html><body><p>Tea</p></BODY></html>", "<html><body><p>Tea</p>"),
            ("<p>Tea</p>", "<p>Tea</p>"),
            ("", ""),
            ("</b", "</b"),
        ] {
            let content = footed(html, "Tea\n\n");
            assert!(content.html.starts_with(&format!("{before}<p style=")), "{}", content.html);
            assert!(
                content.html.contains(&format!("href=\"{LINK}\""))
                    && content.html.contains(">Unsubscribe &lt;now></a>")
            );
            assert_eq!(content.text, format!("Tea\n\n-- \nUnsubscribe <now>: {LINK}\n"));
        }
    }

    #[test]
    fn a_part_that_has_the_link_stays_as_it_is() {
        let html = format!("<a href=\"{LINK}\">no more</a>");
        let content = footed(&html, "Tea");
        assert_eq!(content.html, html);
        assert!(content.text.ends_with(&format!("{LINK}\n")));
        assert_eq!(footed("", LINK).text, LINK);
    }
}
