//! Builds the bytes of a message (RFC 5322, RFC 2045) from headers and content.
//!
//! The same inputs give the same bytes: the boundary comes from the Message-ID. The result is ASCII with CRLF and
//! lines of at most 998 bytes, except for an address that needs SMTPUTF8. Whatever stands in a name or a subject, no
//! header comes of it.

use lettre::message::header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use crate::mail::{Mail, Mailbox, Timestamp};

use super::attached::{self, AttachedContent};
use super::encoded_words::{mailbox, subject};
use super::{Content, RenderError};

/// The longest line of a body that is not encoded, in bytes without its end (RFC 5322, section 2.1.1).
const LONGEST_LINE: usize = 998;

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
    for (field, of) in
        [("From", Some(headers.sender)), ("To", Some(headers.recipient)), ("Reply-To", headers.reply_to)]
    {
        if let Some(of) = of {
            block.insert_raw(ready(field, mailbox(field, of)));
        }
    }
    block.insert_raw(ready("Subject", subject(&content.subject)));
    block.insert_raw(ready("Date", headers.date.to_rfc5322()));
    block.insert_raw(ready("Message-ID", format!("<{}>", headers.message_id)));
    // Nobody wrote it by hand, so no answering machine answers it (RFC 3834, section 5).
    block.insert_raw(ready("Auto-Submitted", "auto-generated".to_owned()));
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

/// A header whose value is written as it travels already.
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
