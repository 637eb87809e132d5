//! Builds the bytes of a message (RFC 5322, RFC 2045) from headers and content.
//!
//! The same inputs give the same bytes: the boundary comes from the Message-ID. The result is ASCII with CRLF and
//! lines of at most 998 bytes, except for an address that needs SMTPUTF8. Whatever stands in a name or a subject, no
//! header comes of it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::message::header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailboxes, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use crate::mail::{Mail, Mailbox, Timestamp};

use super::attached::{self, AttachedContent};
use super::{Content, RenderError};

/// The longest display name that is written, in bytes; what is longer is cut.
const LONGEST_NAME: usize = 320;
/// The longest word that is written as it is: a line can be folded only between words.
const LONGEST_WORD: usize = 70;
/// The longest line of a body that is not encoded, in bytes without its end (RFC 5322, section 2.1.1).
const LONGEST_LINE: usize = 998;
/// How many bytes of text one encoded word holds (RFC 2047, section 2: 75 characters in all).
const ENCODED_WORD: usize = 45;

/// The headers of a message.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// `From`.
    pub sender: &'a Mailbox,
    /// `Reply-To`.
    pub reply_to: Option<&'a Mailbox>,
    /// `To`.
    pub recipient: &'a Mailbox,
    /// `Message-ID`, without angle brackets.
    pub message_id: &'a str,
    /// `Date`.
    pub date: Timestamp,
    /// `List-Unsubscribe` (RFC 2369): a URL that takes a POST with one click (RFC 8058).
    pub list_unsubscribe: Option<&'a str>,
    /// Those of the request, each with visible ASCII on one line.
    pub more: &'a [(String, String)],
}

impl<'a> Headers<'a> {
    /// Those of a mail that is on record.
    pub fn of(mail: &'a Mail) -> Self {
        Self {
            sender: &mail.sender,
            reply_to: mail.reply_to.as_ref(),
            recipient: &mail.recipient,
            message_id: &mail.message_id,
            date: mail.meant_for(),
            list_unsubscribe: None,
            more: mail.extras.as_ref().map_or(&[], |extras| extras.headers.as_slice()),
        }
    }

    /// The same with a link to unsubscribe, where there is one.
    pub const fn with_link(self, link: Option<&'a str>) -> Self {
        Self { list_unsubscribe: link, ..self }
    }
}

/// Builds a message of two alternatives, text and HTML.
///
/// # Errors
/// [`RenderError::MessageId`] and [`RenderError::UnsubscribeLink`] when these are not what they should be.
pub fn compose(headers: &Headers<'_>, content: &Content) -> Result<Vec<u8>, RenderError> {
    compose_with(headers, content, Vec::new())
}

/// Builds a message of two alternatives, text and HTML, with files.
///
/// # Errors
/// Those of [`compose`], and [`RenderError::Attachment`] when a media type is none.
pub fn compose_with(
    headers: &Headers<'_>,
    content: &Content,
    files: Vec<AttachedContent<'_>>,
) -> Result<Vec<u8>, RenderError> {
    if !is_message_id(headers.message_id) {
        return Err(RenderError::MessageId);
    }
    if headers.list_unsubscribe.is_some_and(|link| !is_link(link)) {
        return Err(RenderError::UnsubscribeLink);
    }
    let boundary = boundary(headers.message_id);
    let message = MultiPart::alternative()
        .boundary(boundary.clone())
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(encoded(body(&content.text))))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(encoded(body(&content.html))));
    let mut message = attached::with_files(message, &boundary, files)?;
    let block = message.headers_mut();
    let content_type = block.get::<ContentType>();
    block.clear();
    block.set(header::From::from(mailboxes(headers.sender)));
    block.set(header::To::from(mailboxes(headers.recipient)));
    if let Some(reply_to) = headers.reply_to {
        block.set(header::ReplyTo::from(mailboxes(reply_to)));
    }
    block.insert_raw(subject(&content.subject));
    block.insert_raw(ready("Date", headers.date.to_rfc5322()));
    block.insert_raw(ready("Message-ID", format!("<{}>", headers.message_id)));
    if let Some(link) = headers.list_unsubscribe {
        block.insert_raw(ready("List-Unsubscribe", format!("<{link}>")));
        block.insert_raw(ready("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    for (name, value) in headers.more {
        if let Ok(name) = HeaderName::new_from_ascii(name.clone()) {
            block.insert_raw(HeaderValue::dangerous_new_pre_encoded(name, String::new(), value.clone()));
        }
    }
    block.set(header::MIME_VERSION_1_0);
    if let Some(content_type) = content_type {
        block.set(content_type);
    }
    Ok(message.formatted())
}

/// A header whose value is visible ASCII on one line already.
fn ready(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), String::new(), value)
}

/// Whether it can stand between angle brackets on one line (RFC 5322, section 3.6.4).
fn is_message_id(id: &str) -> bool {
    let is_side = |side: &str| {
        !side.is_empty() && side.bytes().all(|b| b.is_ascii_graphic() && !b"<>@,;:\\\"()".contains(&b))
    };
    id.len() <= 250 && id.split_once('@').is_some_and(|(left, right)| is_side(left) && is_side(right))
}

/// Whether it can stand between angle brackets on one line (RFC 2369, section 2).
fn is_link(link: &str) -> bool {
    link.len() <= 900
        && ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
        && link.bytes().all(|b| b.is_ascii_graphic() && !b"<>,".contains(&b))
}

/// What separates the parts. `=_` occurs neither in quoted-printable nor in base64.
fn boundary(message_id: &str) -> String {
    let digest = Sha256::digest(message_id);
    format!("=_{}", base16ct::lower::encode_string(&digest[..16]))
}

fn mailboxes(mailbox: &Mailbox) -> Mailboxes {
    let name = mailbox.name.as_deref().map(|name| cut(visible(name).trim(), LONGEST_NAME).trim().to_owned());
    let address = lettre::Address::new_dangerous(mailbox.email.local(), mailbox.email.domain());
    lettre::message::Mailbox::new(name.filter(|name| !name.is_empty()), address).into()
}

/// ASCII is folded between its words; what cannot be folded or looks encoded already is encoded as a whole.
fn subject(subject: &str) -> HeaderValue {
    const NAME: &str = "Subject";
    let subject = visible(subject);
    let subject = subject.trim();
    let is_foldable = subject.is_ascii()
        && !subject.contains("=?")
        && subject.split(' ').all(|word| (1..=LONGEST_WORD).contains(&word.len()));
    if is_foldable {
        return HeaderValue::new(HeaderName::new_from_ascii_str(NAME), subject.to_owned());
    }
    let mut words = String::with_capacity(subject.len() * 2);
    let mut rest = subject;
    while !rest.is_empty() {
        let word = cut(rest, ENCODED_WORD);
        rest = &rest[word.len()..];
        let fold = if words.is_empty() { "" } else { "\r\n " };
        let _ = write!(words, "{fold}=?utf-8?b?{}?=", BASE64_STANDARD.encode(word));
    }
    ready(NAME, words)
}

/// The start of a text, at most so many bytes, without cutting a character.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A text on one line: each control character and line separator is a space.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}

/// Whether a control character other than the tab may begin with this byte: U+0080 to U+009F begin with 0xC2.
fn may_be_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f || byte == 0xc2
}

/// A body as it travels: ASCII in lines that SMTP carries stays readable as it is (RFC 5322, section 2.1.1), anything
/// else is encoded.
fn encoded(body: String) -> Body {
    let travels = body.is_ascii() && body.split("\r\n").all(|line| line.len() <= LONGEST_LINE);
    if travels {
        Body::dangerous_pre_encoded(body.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(body)
    }
}

/// A body with CRLF at each line's end and no other control character than the tab.
fn body(text: &str) -> String {
    let mut body = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some(at) = rest.bytes().position(may_be_control) {
        body.push_str(&rest[..at]);
        let character = rest[at..].chars().next().unwrap_or(' ');
        rest = &rest[at + character.len_utf8()..];
        match character {
            '\r' => {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                body.push_str("\r\n");
            }
            '\n' => body.push_str("\r\n"),
            other if other.is_control() => {}
            other => body.push(other),
        }
    }
    body.push_str(rest);
    body
}
