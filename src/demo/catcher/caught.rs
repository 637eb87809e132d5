//! A mail that was caught: its envelope, its bytes as they came, and what a mail program reads in them.

use std::sync::OnceLock;

use bytes::Bytes;
use mail_parser::{MessageParser, MimeHeaders, PartType};

use crate::mail::Timestamp;

/// A mail as the catcher took it for one recipient; a message to three recipients is three caught mails with the same bytes.
#[derive(Debug)]
pub struct CaughtMail {
    /// Counts the catcher's mails from 1; no number is ever used twice.
    pub number: u64,
    /// When it was taken, just before the final reply.
    pub at: Timestamp,
    /// The envelope's sender; empty for the null reverse path.
    pub sender: String,
    /// The envelope's recipient.
    pub recipient: String,
    /// The name that the client gave with EHLO or HELO.
    pub helo: String,
    /// Whether the mail came over TLS, from the start or by STARTTLS.
    pub tls: bool,
    /// The user name that the client logged in with.
    pub authenticated_as: Option<String>,
    /// The id in the final reply, `queued as <id>`; the same for all recipients of one message.
    pub queue_id: String,
    /// Whether the final reply was to be sent; false after `drop-after-data`, and when the client left before it.
    pub answered: bool,
    /// Whether MAIL declared `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// Whether MAIL declared `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// Which of the catcher's connections brought it, counted from 1.
    pub connection: u64,
    /// The message as it was sent, without the dots of the dialogue's transparency (RFC 5321, section 4.5.2).
    pub bytes: Bytes,
    pub(super) content: OnceLock<Content>,
}

/// What a mail program reads in the message.
#[derive(Debug, Default)]
pub(super) struct Content {
    subject: String,
    from: String,
    to: String,
    message_id: Option<String>,
    html: Option<String>,
    text: Option<String>,
    headers: Vec<(String, String)>,
    attachments: Vec<Attachment>,
}

/// A part of the message that is neither its text nor its HTML.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Attachment {
    /// The file name, or a dash where the part has none.
    pub name: String,
    /// The media type, for example `application/pdf`.
    pub media_type: String,
    /// Its length in bytes, decoded.
    pub size: usize,
}

impl CaughtMail {
    /// The decoded subject; empty when the message has none.
    pub fn subject(&self) -> &str {
        &self.content().subject
    }

    /// The `From` header as a mail program shows it; the envelope's sender when the message has none.
    pub fn from(&self) -> &str {
        [&self.content().from, &self.sender]
            .into_iter()
            .find(|from| !from.is_empty())
            .map_or("", String::as_str)
    }

    /// The `To` header as a mail program shows it; the envelope's recipient when the message has none.
    pub fn to(&self) -> &str {
        if self.content().to.is_empty() { &self.recipient } else { &self.content().to }
    }

    /// The message id without its angle brackets.
    pub fn message_id(&self) -> Option<&str> {
        self.content().message_id.as_deref()
    }

    /// The decoded HTML part.
    pub fn html(&self) -> Option<&str> {
        self.content().html.as_deref()
    }

    /// The decoded text part.
    pub fn text(&self) -> Option<&str> {
        self.content().text.as_deref()
    }

    /// All headers of the message in their order, unfolded but not decoded.
    pub fn headers(&self) -> &[(String, String)] {
        &self.content().headers
    }

    /// The first header of that name, in any case, unfolded but not decoded.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The parts that are neither text nor HTML.
    pub fn attachments(&self) -> &[Attachment] {
        &self.content().attachments
    }

    fn content(&self) -> &Content {
        self.content.get_or_init(|| Content::read(&self.bytes))
    }
}

impl Content {
    fn read(bytes: &[u8]) -> Self {
        let Some(message) = MessageParser::default().parse(bytes) else {
            return Self::default();
        };
        let html = message.html_bodies().find_map(|part| match &part.body {
            PartType::Html(html) => Some(html.to_string()),
            _ => None,
        });
        let text = message.text_bodies().find_map(|part| match &part.body {
            PartType::Text(text) => Some(text.to_string()),
            _ => None,
        });
        let attachments = message.attachments().map(|part| Attachment {
            name: part.attachment_name().unwrap_or("–").to_owned(),
            media_type: part.content_type().map_or_else(
                || "application/octet-stream".to_owned(),
                |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("*")),
            ),
            size: part.len(),
        });
        Self {
            subject: message.subject().unwrap_or_default().to_owned(),
            from: message.from().map(people).unwrap_or_default(),
            to: message.to().map(people).unwrap_or_default(),
            message_id: message.message_id().map(str::to_owned),
            html,
            text,
            headers: message.headers_raw().map(|(name, value)| (name.to_owned(), unfold(value))).collect(),
            attachments: attachments.collect(),
        }
    }
}

/// Writes addresses as a mail program shows them: `Anna Müller <anna@example.com>, ben@example.com`.
fn people(addresses: &mail_parser::Address<'_>) -> String {
    let shown = addresses.iter().map(|person| match (person.name(), person.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Takes a header's value out of its folding (RFC 5322, section 2.2.3).
fn unfold(value: &str) -> String {
    value.trim().replace(['\r', '\n'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> Content {
        Content::read(message.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn a_mail_is_read_as_a_mail_program_reads_it() {
        let content = read(
            "From: =?utf-8?q?Anna_M=C3=BCller?= <anna@shop.test>\nTo: a@x.test, Ben <b@x.test>\n\
             Subject: =?utf-8?b?R3LDvMOfZQ==?=\n again\nMessage-ID: <1@shop.test>\nMIME-Version: 1.0\n\
             Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe\n--b\n\
             Content-Type: text/html; charset=utf-8\n\n<p>Gruß</p>\n--b--\n",
        );
        assert_eq!(content.from, "Anna Müller <anna@shop.test>");
        assert_eq!(content.to, "a@x.test, Ben <b@x.test>");
        assert_eq!(content.subject, "Grüße again");
        assert_eq!(content.message_id.as_deref(), Some("1@shop.test"));
        assert_eq!(content.text.as_deref().map(str::trim), Some("Grüße"));
        assert_eq!(content.html.as_deref().map(str::trim), Some("<p>Gruß</p>"));
        assert_eq!(content.headers[2], ("Subject".into(), "=?utf-8?b?R3LDvMOfZQ==?= again".into()));
        assert!(content.attachments.is_empty());
    }

    #[test]
    fn a_part_that_is_missing_is_not_made_up_from_the_other() {
        let text = read("Content-Type: text/plain\n\nhello\n");
        assert_eq!((text.html, text.text.as_deref().map(str::trim)), (None, Some("hello")));
        let html = read("Content-Type: text/html\n\n<p>hello</p>\n");
        assert_eq!((html.html.as_deref().map(str::trim), html.text), (Some("<p>hello</p>"), None));
    }

    #[test]
    fn a_message_that_makes_no_sense_is_still_readable_bytes() {
        for bytes in
            [&b""[..], b"\0\xff\xfe", b":::\r\n", b"Subject", b"Content-Type: multipart/mixed\r\n\r\n--"]
        {
            let _ = Content::read(bytes);
        }
    }
}
