//! What mail programs read of a mail: JSON-LD with the words of schema.org.

use serde_json::{Value, json};

/// A document for a `<script type="application/ld+json">`, where it is not escaped: nothing in it ends the element.
pub(super) fn script(document: &Value) -> String {
    let escape = |text: String, (character, escaped)| text.replace(character, escaped);
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
        .into_iter()
        .fold(document.to_string(), escape)
}

/// A mail with a page to go to: programs show a button with its name beside the subject
/// (<https://developers.google.com/workspace/gmail/markup/reference/go-to-action>).
pub(super) fn view_action(publisher: &str, name: &str, url: &str) -> String {
    script(&json!({
        "@context": "http://schema.org",
        "@type": "EmailMessage",
        "description": name,
        "publisher": {"@type": "Organization", "name": publisher},
        "potentialAction": {"@type": "ViewAction", "name": name, "url": url, "target": url},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_it_ends_its_element() {
        let written = view_action("</script>", "Tea & Co", "https://shop.example/?a=1&b=2");
        assert!(!written.contains(['<', '>', '&']), "{written}");
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["publisher"]["name"], "</script>");
        assert_eq!(read["potentialAction"]["target"], "https://shop.example/?a=1&b=2");
    }
}
