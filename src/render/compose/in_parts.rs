//! A message from parts that lettre puts together: for messages with files, and for headers that replace one another. What
//! `one_pass` writes is tested against it.

use lettre::message::{
    MultiPart, SinglePart,
    header::{self, ContentType, HeaderName, HeaderValue},
};

use super::{
    attached::{self, AttachedContent},
    body::{body, encoded},
    encoded_words::{mailbox, subject},
    headers::Headers,
};
use crate::{
    mail::Message,
    render::{Content, RenderError},
};

pub(super) fn compose(
    headers: &Headers<'_>,
    content: &Content,
    files: Vec<AttachedContent<'_>>,
) -> Result<Message, RenderError> {
    let boundary = headers.boundary();
    let message = MultiPart::alternative()
        .boundary(boundary.clone())
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(encoded(body(&content.text))))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(encoded(body(&content.html))));
    let mut message = attached::with_files(message, &boundary, files)?;
    let block = message.headers_mut();
    let content_type = block.get::<ContentType>();
    block.clear();
    for (field, of) in headers.mailboxes() {
        block.insert_raw(ready(field, mailbox(field, of)));
    }
    block.insert_raw(ready("Subject", subject(&content.subject).into_owned()));
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
    Ok(Message::new(message.formatted()))
}

/// A header whose value is written as it travels already.
fn ready(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), String::new(), value)
}
