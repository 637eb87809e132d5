//! Signatures as a receiver verifies them: written after RFC 6376 and without any code of the signer.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    digest::{SHA256, digest},
    signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey},
};

/// One character for each byte, so that texts of any encoding can be cut as strings.
fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes(characters: &str) -> Vec<u8> {
    characters.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

/// What a receiver gets of a message: all line ends are CRLF, and there is one at the end.
pub(super) fn received(message: &[u8]) -> Vec<u8> {
    let text = characters(message).replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
    let end = if text.ends_with("\r\n") { "" } else { "\r\n" };
    bytes(&(text + end))
}

/// The fields of a received message with their line ends, and its body.
pub(super) fn parts(message: &[u8]) -> (Vec<String>, String) {
    let text = characters(message);
    let (block, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut fields: Vec<String> = Vec::new();
    for line in block.split("\r\n").filter(|line| !line.is_empty()) {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => *field += &format!("\r\n{line}"),
            _ => fields.push(line.to_owned()),
        }
    }
    (fields, body.to_owned())
}

fn name(field: &str) -> String {
    field.split(':').next().unwrap().trim_end().to_ascii_lowercase()
}

fn single_spaces(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            ' ' | '\t' if out.ends_with(' ') => {}
            ' ' | '\t' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

fn relaxed_field(field: &str) -> String {
    let value = field.split_once(':').unwrap().1.replace("\r\n", "");
    format!("{}:{}\r\n", name(field), single_spaces(&value).trim_matches(' '))
}

fn relaxed_body(body: &str) -> String {
    let lines: Vec<_> =
        body.split("\r\n").map(|line| single_spaces(line).trim_end_matches(' ').to_owned()).collect();
    let text = lines.join("\r\n");
    let text = text.trim_end_matches("\r\n");
    if text.is_empty() { String::new() } else { format!("{text}\r\n") }
}

/// The tags of a signature, without white space.
pub(super) fn tags(field: &str) -> BTreeMap<String, String> {
    let list = field.split_once(':').unwrap().1;
    list.split(';')
        .filter_map(|tag| tag.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.split_ascii_whitespace().collect()))
        .collect()
}

/// The signatures of a message, from above.
pub(super) fn signatures(message: &[u8]) -> Vec<String> {
    parts(message).0.into_iter().filter(|field| name(field) == "dkim-signature").collect()
}

/// What the key of a signature signs (RFC 6376, section 3.7).
pub(super) fn signed_bytes(message: &[u8], signature: &str) -> Vec<u8> {
    let (mut fields, mut text) = (parts(message).0, String::new());
    for wanted in tags(signature)["h"].split(':') {
        if let Some(last) = fields.iter().rposition(|field| name(field) == wanted.to_ascii_lowercase()) {
            text += &relaxed_field(&fields.remove(last));
        }
    }
    let start = signature.rfind("b=").unwrap() + 2;
    bytes((text + &relaxed_field(&signature[..start])).trim_end_matches("\r\n"))
}

/// Whether a signature is good, for a key as it stands in `p=`.
pub(super) fn is_good(message: &[u8], signature: &str, public_key: &str) -> bool {
    let tags = tags(signature);
    let body = bytes(&relaxed_body(&parts(message).1));
    if tags["bh"] != BASE64_STANDARD.encode(digest(&SHA256, &body)) {
        return false;
    }
    let (signed, value) = (signed_bytes(message, signature), BASE64_STANDARD.decode(&tags["b"]).unwrap());
    let public_key = BASE64_STANDARD.decode(public_key).unwrap();
    match tags["a"].as_str() {
        "rsa-sha256" => {
            let key = rsa_public_key(&public_key);
            UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, key)
                .verify(&signed, &value)
                .is_ok()
        }
        "ed25519-sha256" => {
            let hash = digest(&SHA256, &signed);
            UnparsedPublicKey::new(&ED25519, public_key).verify(hash.as_ref(), &value).is_ok()
        }
        other => panic!("{other}"),
    }
}

/// Takes the RSAPublicKey out of a SubjectPublicKeyInfo.
fn rsa_public_key(info: &[u8]) -> &[u8] {
    let at = info.windows(3).position(|window| window == [5, 0, 3]).unwrap() + 3;
    let length = if info[at] & 0x80 == 0 { 1 } else { 1 + usize::from(info[at] & 0x7f) };
    &info[at + length + 1..]
}
