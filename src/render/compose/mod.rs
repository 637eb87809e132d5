//! Builds the bytes of a message (RFC 5322, RFC 2045) from headers and content.
//!
//! The same inputs give the same bytes: the boundary comes from the Message-ID. The result is ASCII with CRLF and
//! lines of at most 998 bytes, except for an address that needs SMTPUTF8. Whatever stands in a name or a subject, no
//! header comes of it.
//!
//! | file | is |
//! |---|---|
//! | `headers` | what stands in the headers |
//! | `encoded_words` | names and subjects as they are written |
//! | `body` | the text of a part as it is written |
//! | `one_pass` | writes a message from its start to its end; nearly all are written so |
//! | `in_parts`, `attached` | builds a message with files from parts, by lettre |

mod attached;
mod body;
mod encoded_words;
mod headers;
mod in_parts;
mod one_pass;
mod quoted_printable;

pub use attached::AttachedContent;
pub use headers::Headers;

use super::{Content, RenderError};
use crate::mail::Message;

/// Builds a message of two alternatives, text and HTML.
///
/// # Errors
/// [`RenderError::MessageId`] and [`RenderError::UnsubscribeLink`] when these are not what they should be.
pub fn compose(headers: &Headers<'_>, content: &Content) -> Result<Message, RenderError> {
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
) -> Result<Message, RenderError> {
    headers.check()?;
    if files.is_empty()
        && let Some(message) = one_pass::compose(headers, content)
    {
        return Ok(message);
    }
    in_parts::compose(headers, content, files)
}
