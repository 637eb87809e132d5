//! What a request for one mail may give it beside the template's values: attached files, tags, metadata, headers, and an
//! address for replies. Each fault is named by its path.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    http::error::{FieldError, fault},
    mail::{Address, AttachedFile, Extras, Mailbox},
    store::NewAttachment,
};

/// The most files of one mail, and the most bytes of all of them together.
pub(in crate::http) const MOST_FILES: usize = 10;
pub(in crate::http) const MOST_BYTES: usize = 10_000_000;
/// The most of each: tags, metadata, headers.
const MOST_TAGS: usize = 10;
const MOST_METADATA: usize = 20;
const MOST_HEADERS: usize = 20;
/// The longest of each, in characters.
const LONGEST_TAG: usize = 128;
const LONGEST_KEY: usize = 40;
const LONGEST_VALUE: usize = 500;
const LONGEST_FILENAME: usize = 200;
const LONGEST_TYPE: usize = 127;

/// The fields as they come.
#[derive(Default, Deserialize, ToSchema)]
pub(in crate::http) struct ExtraFields {
    /// At most 10 files, 10 MB together.
    #[schema(value_type = Option<Vec<AttachmentField>>)]
    attachments: Option<Value>,
    /// The address for replies, in place of the brand's.
    #[schema(value_type = Option<String>)]
    reply_to: Option<Value>,
    /// Refused: a mail has one recipient.
    #[schema(ignore)]
    cc: Option<Value>,
    #[schema(ignore)]
    bcc: Option<Value>,
    /// `X-…`, `References` and `In-Reply-To` by name, each with visible ASCII on one line.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<Value>,
    /// At most 10 words to find the mail by, as in `tag:spring`.
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Value>,
    /// At most 20 texts by key, which come back in callbacks; found as in `tag:key=value`.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<Value>,
}

/// A file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read as it comes")]
pub(in crate::http) struct AttachmentField {
    /// Its name, without a path.
    filename: String,
    /// Base64.
    content: String,
    /// Its media type; `application/octet-stream` where absent.
    content_type: Option<String>,
    /// Makes it an inline image, which the HTML shows as `<img src="cid:…">`.
    content_id: Option<String>,
}

/// What was read.
#[derive(Debug, Default)]
pub(in crate::http) struct Given {
    pub(in crate::http) reply_to: Option<Mailbox>,
    pub(in crate::http) extras: Extras,
    pub(in crate::http) files: Vec<NewAttachment>,
    pub(in crate::http) faults: Vec<FieldError>,
}

impl ExtraFields {
    /// Whether there are files: reading them takes long.
    pub(in crate::http) fn has_files(&self) -> bool {
        self.attachments.as_ref().is_some_and(|files| !files.is_null())
    }

    pub(in crate::http) fn read(self) -> Given {
        let mut given = Given::default();
        for (field, value) in [("cc", &self.cc), ("bcc", &self.bcc)] {
            if value.as_ref().is_some_and(|value| !value.is_null()) {
                let why = "A mail has one recipient, so that each has its own state, retries and unsubscribe link: \
                           send it once more for each further recipient.";
                given.fault(field, &format!("The {field} field is not supported. {why}"));
            }
        }
        given.take_reply_to(self.reply_to);
        given.take_tags(self.tags);
        given.take_metadata(self.metadata);
        given.take_headers(self.headers);
        given.take_files(self.attachments);
        given
    }
}

impl Given {
    fn fault(&mut self, path: &str, message: &str) {
        self.faults.push(fault(path, message));
    }

    fn must(&mut self, path: &str, be: &str) {
        self.fault(path, &format!("The {path} field must be {be}."));
    }

    fn take_reply_to(&mut self, given: Option<Value>) {
        match given {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => match text.trim().parse::<Address>() {
                Ok(email) if email.needs_smtputf8() => {
                    self.must("reply_to", "an address with only ASCII characters before the @");
                }
                Ok(email) => self.reply_to = Some(Mailbox { name: None, email }),
                Err(why) => self.fault("reply_to", &format!("The reply_to field is not an address: {why}.")),
            },
            Some(_) => self.must("reply_to", "a string"),
        }
    }

    fn take_tags(&mut self, given: Option<Value>) {
        let Some(tags) = self.list("tags", given, MOST_TAGS) else { return };
        for (index, tag) in tags.into_iter().enumerate() {
            match tag {
                Value::String(tag) if is_line(&tag, LONGEST_TAG) => {
                    if !self.extras.tags.contains(&tag) {
                        self.extras.tags.push(tag);
                    }
                }
                _ => self.must(&format!("tags.{index}"), &line(LONGEST_TAG)),
            }
        }
    }

    fn take_metadata(&mut self, given: Option<Value>) {
        let Some(metadata) = self.object("metadata", given, MOST_METADATA) else { return };
        for (key, value) in metadata {
            let path = format!("metadata.{}", cut(&key));
            match value {
                _ if !is_line(&key, LONGEST_KEY) => {
                    self.fault(&path, &format!("A key of metadata must be {}.", line(LONGEST_KEY)));
                }
                Value::String(value) if value.chars().count() <= LONGEST_VALUE && !value.contains('\0') => {
                    self.extras.metadata.insert(key, value);
                }
                _ => self.must(&path, &format!("a string of at most {LONGEST_VALUE} characters")),
            }
        }
    }

    fn take_headers(&mut self, given: Option<Value>) {
        let Some(headers) = self.object("headers", given, MOST_HEADERS) else { return };
        for (name, value) in headers {
            let path = format!("headers.{}", cut(&name));
            if !is_allowed_header(&name) {
                self.fault(&path, "Only headers X-…, References and In-Reply-To can be given.");
                continue;
            }
            let is_again = self.extras.headers.iter().any(|(before, _)| before.eq_ignore_ascii_case(&name));
            match value {
                _ if is_again => self.fault(&path, "This header is given twice."),
                Value::String(value) if is_header_value(&value) => self.extras.headers.push((name, value)),
                _ => self
                    .must(&path, &format!("visible ASCII on one line, at most {LONGEST_VALUE} characters")),
            }
        }
    }

    fn take_files(&mut self, given: Option<Value>) {
        let Some(files) = self.list("attachments", given, MOST_FILES) else { return };
        let mut total = 0;
        for (index, file) in files.into_iter().enumerate() {
            let path = format!("attachments.{index}");
            let Value::Object(mut file) = file else {
                self.must(&path, "an object");
                continue;
            };
            let faults_before = self.faults.len();
            let filename = self.filename(&path, file.remove("filename"));
            let content_type = self.content_type(&path, file.remove("content_type"));
            let content_id = self.content_id(&path, file.remove("content_id"));
            let content = self.content(&path, file.remove("content"));
            total += content.len();
            if self.faults.len() > faults_before || total > MOST_BYTES {
                continue;
            }
            let hash = base16ct::lower::encode_string(&Sha256::digest(&content));
            let (size, base64) = (content.len(), BASE64_STANDARD.encode(&content));
            self.files.push(NewAttachment { hash: hash.clone(), base64, size });
            self.extras.attachments.push(AttachedFile { filename, content_type, content_id, size, hash });
        }
        if total > MOST_BYTES {
            let message =
                format!("The attachments may have at most {MOST_BYTES} bytes together, these have {total}.");
            self.fault("attachments", &message);
        }
    }

    fn filename(&mut self, path: &str, given: Option<Value>) -> String {
        match given {
            Some(Value::String(name)) if is_filename(&name) => return name,
            None | Some(Value::Null) => {
                self.fault(&format!("{path}.filename"), &format!("The {path}.filename field is required."))
            }
            Some(_) => self.must(
                &format!("{path}.filename"),
                &format!("a file's name without a path, 1 to {LONGEST_FILENAME} characters on one line"),
            ),
        }
        String::new()
    }

    fn content_type(&mut self, path: &str, given: Option<Value>) -> String {
        match given {
            None | Some(Value::Null) => return "application/octet-stream".to_owned(),
            Some(Value::String(text)) if is_media_type(&text) => return text,
            Some(_) => self.must(
                &format!("{path}.content_type"),
                "a media type such as application/pdf, and neither multipart nor message",
            ),
        }
        String::new()
    }

    fn content_id(&mut self, path: &str, given: Option<Value>) -> Option<String> {
        match given? {
            Value::Null => None,
            Value::String(id) if is_content_id(&id) => {
                let is_again =
                    self.extras.attachments.iter().any(|file| file.content_id.as_ref() == Some(&id));
                if is_again {
                    self.fault(&format!("{path}.content_id"), "Another file has this content_id.");
                }
                Some(id)
            }
            _ => {
                self.must(
                    &format!("{path}.content_id"),
                    "1 to 100 letters, digits, dots, hyphens, underscores or @",
                );
                None
            }
        }
    }

    fn content(&mut self, path: &str, given: Option<Value>) -> Vec<u8> {
        let path = format!("{path}.content");
        match given {
            Some(Value::String(mut text)) if !text.trim().is_empty() => {
                // As encoders break lines.
                text.retain(|character| !character.is_ascii_whitespace());
                match BASE64_STANDARD.decode(&text) {
                    Ok(content) => return content,
                    Err(_) => self.must(&path, "base64 (RFC 4648, section 4)"),
                }
            }
            None | Some(Value::Null | Value::String(_)) => {
                self.fault(&path, &format!("The {path} field is required."))
            }
            Some(_) => self.must(&path, "base64 (RFC 4648, section 4)"),
        }
        Vec::new()
    }

    fn list(&mut self, path: &str, given: Option<Value>, most: usize) -> Option<Vec<Value>> {
        match given? {
            Value::Null => None,
            Value::Array(list) if list.len() <= most => Some(list),
            Value::Array(_) => {
                self.fault(path, &format!("The {path} field must not have more than {most} items."));
                None
            }
            _ => {
                self.must(path, "an array");
                None
            }
        }
    }

    fn object(&mut self, path: &str, given: Option<Value>, most: usize) -> Option<Map<String, Value>> {
        match given? {
            Value::Null => None,
            Value::Object(object) if object.len() <= most => Some(object),
            Value::Object(_) => {
                self.fault(path, &format!("The {path} field must not have more than {most} keys."));
                None
            }
            _ => {
                self.must(path, "an object");
                None
            }
        }
    }
}

fn cut(key: &str) -> String {
    key.chars().filter(|each| !each.is_control()).take(LONGEST_KEY).collect()
}

fn line(longest: usize) -> String {
    format!("1 to {longest} characters on one line")
}

fn is_line(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.contains(char::is_control)
}

fn is_filename(name: &str) -> bool {
    is_line(name, LONGEST_FILENAME) && !name.contains(['/', '\\']) && !matches!(name.trim(), "." | "..")
}

/// `type/subtype` (RFC 6838, section 4.2), without parameters. A part that has parts of its own could hold anything.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.len() <= LONGEST_TYPE
        && text.split_once('/').is_some_and(|(kind, subtype)| {
            is_name(kind)
                && is_name(subtype)
                && !matches!(kind.to_ascii_lowercase().as_str(), "multipart" | "message")
        })
}

fn is_content_id(id: &str) -> bool {
    (1..=100).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte))
}

fn is_allowed_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_own = lower.strip_prefix("x-").is_some_and(|rest| {
        (1..=70).contains(&rest.len())
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    is_own || matches!(lower.as_str(), "references" | "in-reply-to")
}

fn is_header_value(value: &str) -> bool {
    !value.trim().is_empty()
        && value.len() <= LONGEST_VALUE
        && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

#[cfg(test)]
mod tests;
