//! Files that go with a message (RFC 2183): inline images beside the HTML (RFC 2387), and the others after it.

use lettre::message::{
    Attachment, Body, MultiPart, SinglePart,
    header::{ContentTransferEncoding, ContentType},
};

use crate::render::RenderError;

/// A file with its content.
#[derive(Clone, Debug)]
pub struct AttachedContent<'a> {
    /// Its name; what is not ASCII is encoded (RFC 2231).
    pub filename: &'a str,
    /// Its media type.
    pub content_type: &'a str,
    /// By which the HTML shows it, where it is inline.
    pub content_id: Option<&'a str>,
    /// What is in it.
    pub content: Vec<u8>,
}

/// The message's text and HTML with its files around them; `boundary` makes boundaries of their own.
pub(super) fn with_files(
    text_and_html: MultiPart,
    boundary: &str,
    files: Vec<AttachedContent<'_>>,
) -> Result<MultiPart, RenderError> {
    let (inline, attached): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.content_id.is_some());
    let mut message = text_and_html;
    for (files, kind) in [(inline, "related"), (attached, "mixed")] {
        if files.is_empty() {
            continue;
        }
        let around = if kind == "related" { MultiPart::related() } else { MultiPart::mixed() };
        let mut around = around.boundary(format!("{boundary}-{kind}")).multipart(message);
        for file in files {
            around = around.singlepart(part(file)?);
        }
        message = around;
    }
    Ok(message)
}

fn part(file: AttachedContent<'_>) -> Result<SinglePart, RenderError> {
    let content_type = ContentType::parse(file.content_type).map_err(|_| RenderError::Attachment)?;
    let filename = file.filename.to_owned();
    let attachment = match file.content_id {
        Some(id) => Attachment::new_inline_with_name(id.to_owned(), filename),
        None => Attachment::new(filename),
    };
    // Whatever it looks like, it arrives byte for byte.
    let content = Body::new_with_encoding(file.content, ContentTransferEncoding::Base64);
    Ok(attachment.body(content.map_err(|_| RenderError::Attachment)?, content_type))
}
