//! Tells whether two bodies say the same: a digest of a JSON value, whatever its white space and the order of its keys.

use std::{collections::BTreeMap, fmt, io::Read};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use super::auth::to_hex;

/// The fingerprint of a request with this query and this body, in hex. A body that is not JSON stands for itself.
pub(super) fn of(query: &str, body: &[u8]) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value =
        ValueDigest::deserialize(&mut deserializer).and_then(|digest| deserializer.end().map(|()| digest));
    let value = value.map_or_else(|_| Sha256::digest(body).into(), |ValueDigest(digest)| digest);
    with_query(query, value)
}

/// The same for a body that is read piece by piece; `None` when it is not JSON.
pub(super) fn of_reader(query: &str, body: impl Read) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_reader(body);
    let ValueDigest(value) = ValueDigest::deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(with_query(query, value))
}

fn with_query(query: &str, body: [u8; 32]) -> String {
    let mut digest = Sha256::new();
    digest.update(body);
    digest.update(query);
    to_hex(&digest.finalize())
}

/// The digest of one value; equal for equal values.
struct ValueDigest([u8; 32]);

impl ValueDigest {
    fn of(kind: u8, content: &[u8]) -> Self {
        let mut digest = Sha256::new();
        digest.update([kind]);
        digest.update(content);
        Self(digest.finalize().into())
    }
}

impl<'de> Deserialize<'de> for ValueDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DigestVisitor)
    }
}

impl<'de> DeserializeSeed<'de> for DigestVisitor {
    type Value = ValueDigest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ValueDigest, D::Error> {
        deserializer.deserialize_any(self)
    }
}

struct DigestVisitor;

impl<'de> Visitor<'de> for DigestVisitor {
    type Value = ValueDigest;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<ValueDigest, E> {
        Ok(ValueDigest::of(b'n', b""))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<ValueDigest, E> {
        Ok(ValueDigest::of(b'b', &[value.into()]))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ValueDigest, E> {
        Ok(ValueDigest::of(b'i', &value.to_be_bytes()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ValueDigest, E> {
        Ok(ValueDigest::of(b'u', &value.to_be_bytes()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ValueDigest, E> {
        Ok(ValueDigest::of(b'f', &value.to_bits().to_be_bytes()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<ValueDigest, E> {
        Ok(ValueDigest::of(b's', value.as_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ValueDigest, A::Error> {
        let mut digest = Sha256::new();
        digest.update(b"[");
        while let Some(ValueDigest(element)) = elements.next_element()? {
            digest.update(element);
        }
        Ok(ValueDigest(digest.finalize().into()))
    }

    /// Of a key that stands twice the last value counts, as for the readers of bodies.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ValueDigest, A::Error> {
        let mut sorted: BTreeMap<String, ValueDigest> = BTreeMap::new();
        while let Some((key, value)) = fields.next_entry()? {
            sorted.insert(key, value);
        }
        let mut digest = Sha256::new();
        digest.update(b"{");
        for (key, ValueDigest(value)) in sorted {
            digest.update((key.len() as u64).to_be_bytes());
            digest.update(key);
            digest.update(value);
        }
        Ok(ValueDigest(digest.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_the_order_of_keys_do_not_matter() {
        let one = of("", br#"{"a": [1, {"x": null, "y": "z"}], "b": true}"#);
        assert_eq!(one, of("", br#" {"b":true,"a":[1,{"y":"z","x":null}]}"#));
        assert_eq!(Some(one), of_reader("", &br#"{"b":true,"a":[1,{"y":"z","x":null}]} "#[..]));
    }

    #[test]
    fn what_says_something_else_is_told_apart() {
        let bodies: [&[u8]; 10] = [
            b"",
            b"{}",
            b"[]",
            b"null",
            br#"{"a":1}"#,
            br#"{"a":"1"}"#,
            br#"{"a":[1]}"#,
            br#"[1,[2]]"#,
            br#"[[1],2]"#,
            br#"{"a":1"#,
        ];
        let mut seen: Vec<_> = bodies.iter().map(|body| of("", body)).collect();
        seen.push(of("reason=x", b"{}"));
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn the_query_counts() {
        assert_ne!(of("reason=a", b"{}"), of("reason=b", b"{}"));
    }
}
