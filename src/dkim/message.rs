//! The header fields and the body of a message, and which fields are signed.

use memchr::memchr;

use super::canonical::{append_field, is_space};
use crate::mail::first_line;

/// Fields that are signed once more than they are there, so that a signature ends when someone adds another one: those
/// that mail programs show (RFC 6376, section 8.15).
const OVERSIGNED: [&str; 6] = ["From", "Subject", "To", "Reply-To", "Cc", "Date"];

/// Fields that are signed where they are there. Relays add, change or remove others on their way (`Received`,
/// `Return-Path`, most that begin with `X-`), and that must not cost the signature.
const SIGNED: [&str; 13] = [
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Language",
    "Sender",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "List-ID",
    // Mailbox providers want these two signed, or show no button (RFC 8058, section 4).
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
];

/// A message in its parts.
pub(super) struct Message<'a> {
    fields: Vec<Field<'a>>,
    pub(super) body: &'a [u8],
}

/// A header field; its value has its line ends.
struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl Field<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl<'a> Message<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Self {
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(16);
        let (mut rest, mut value_start) = (message, 0);
        loop {
            let (line, after) = first_line(rest);
            let start = message.len() - rest.len();
            rest = after.unwrap_or_default();
            if line.is_empty() {
                return Self { fields, body: rest };
            }
            if is_space(line[0]) {
                if let Some(field) = fields.last_mut() {
                    field.value = &message[value_start..start + line.len()];
                }
            } else if let Some(colon) = memchr(b':', line) {
                value_start = start + colon + 1;
                fields.push(Field { name: line[..colon].trim_ascii_end(), value: &line[colon + 1..] });
            }
        }
    }

    /// The names of the signed fields, in the order of `h=`, and the fields in canonical form, each with its line end
    /// (RFC 6376, section 3.7). Of several fields of one name the last one comes first (section 5.4.2).
    pub(super) fn signed_fields(&self) -> (Vec<&'static str>, Vec<u8>) {
        let (mut names, mut canonical) = (Vec::with_capacity(24), Vec::with_capacity(2_048));
        for name in OVERSIGNED.into_iter().chain(SIGNED) {
            for field in self.fields.iter().rev().filter(|field| field.is(name)) {
                names.push(name);
                append_field(name, field.value, &mut canonical);
                canonical.extend_from_slice(b"\r\n");
            }
            if OVERSIGNED.contains(&name) {
                names.push(name);
            }
        }
        (names, canonical)
    }
}
