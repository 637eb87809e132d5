//! The signatures of a message: one for each key of a domain.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};

use super::{
    canonical,
    folded::Folded,
    message::Message,
    private_key::{NoSignature, PrivateKey},
    record::TxtRecord,
};
use crate::mail::Timestamp;

const NAME: &str = "DKIM-Signature";

/// The keys of one domain. RSA keys sign first: some receivers look at the first signature only, and not all know
/// Ed25519.
#[derive(Debug)]
pub struct Signer {
    domain: String,
    keys: Vec<(String, PrivateKey)>,
}

impl Signer {
    /// Signs for a domain, in the form of [`Address::domain`](crate::mail::Address::domain), with the keys of these
    /// selectors.
    pub fn new(domain: String, mut keys: Vec<(String, PrivateKey)>) -> Self {
        keys.sort_by_key(|(_, key)| key.algorithm());
        Self { domain, keys }
    }

    /// The records of the keys, for the DNS.
    pub fn records(&self) -> Vec<TxtRecord> {
        self.keys.iter().map(|(selector, key)| TxtRecord::of(&self.domain, selector, key)).collect()
    }

    /// The message with its signatures before it. Takes about a millisecond for an RSA key: not for an async thread.
    ///
    /// # Errors
    /// When the system gives no random numbers, or a signature is wrong because the machine miscalculates.
    pub fn sign(&self, message: &[u8], signed_at: Timestamp) -> Result<Vec<u8>, NoSignature> {
        let parsed = Message::parse(message);
        let body_hash = BASE64_STANDARD.encode(digest(&SHA256, &canonical::body(parsed.body)));
        let (names, mut canonical) = parsed.signed_fields();
        let fields = canonical.len();
        let mut signed = Vec::with_capacity(message.len() + 1_024 * self.keys.len());
        for (selector, key) in &self.keys {
            let mut field = self.unsigned(selector, key, signed_at, &names, &body_hash);
            canonical.truncate(fields);
            let value = &field.as_str().as_bytes()[NAME.len() + 1..];
            canonical::append_field(NAME, value, &mut canonical);
            field.divisible(&BASE64_STANDARD.encode(key.sign(&canonical)?));
            signed.extend_from_slice(field.as_str().as_bytes());
            signed.extend_from_slice(b"\r\n");
        }
        signed.extend_from_slice(message);
        Ok(signed)
    }

    /// The field as it is signed: up to `b=` (RFC 6376, section 3.5).
    fn unsigned(
        &self,
        selector: &str,
        key: &PrivateKey,
        signed_at: Timestamp,
        names: &[&str],
        body_hash: &str,
    ) -> Folded {
        let mut field = Folded::new("DKIM-Signature: v=1;");
        field.word(&format!("a={};", key.algorithm().tag()));
        field.word("c=relaxed/relaxed;");
        field.word(&format!("d={};", self.domain));
        field.word(&format!("s={selector};"));
        field.word(&format!("t={};", signed_at.millis() / 1_000));
        let (last, others) = names.split_last().unwrap_or((&"From", &[]));
        field.word("h=");
        for name in others {
            field.piece(name, ":");
        }
        field.piece(last, ";");
        field.word(&format!("bh={body_hash};"));
        field.word("b=");
        field
    }
}
