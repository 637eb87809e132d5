//! Tells whether two bodies say the same: a digest of a JSON value, whatever its white space and the order of its keys.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    io::{self, Read},
};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

/// The most memory that the keys of the objects under way take; a body that needs more stands for itself.
const MOST_OF_KEYS: usize = 8 << 20;
/// About what a key takes beside its bytes.
const PER_KEY: usize = 96;
/// Whole numbers from the first to before the second fit into 64 bits, with a sign and without one.
const I64_START: f64 = -9_223_372_036_854_775_808.0;
const U64_END: f64 = 18_446_744_073_709_551_616.0;
/// The longest string or number of a body that is read piece by piece.
const LONGEST_TOKEN: usize = 8 << 20;

/// The fingerprint of a request with this query and this body, in hex. A body that is not JSON stands for itself.
pub(super) fn of(query: &str, body: &[u8]) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = digest(&mut deserializer).and_then(|digest| deserializer.end().map(|()| digest));
    let value = value.map_or_else(|_| Sha256::digest(body).into(), |ValueDigest(digest)| digest);
    with_query(query, value)
}

/// The same for a body that is read piece by piece; `None` when it is not JSON, or too large in one place to be kept: then
/// it stands for itself, see [`of_raw`].
pub(super) fn of_reader(query: &str, body: impl Read) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_reader(ShortTokens::of(body));
    let ValueDigest(value) = digest(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(with_query(query, value))
}

/// The fingerprint of a body that stands for itself, byte by byte.
///
/// # Errors
/// When the reader fails; what was read until then is of no use.
pub(super) fn of_raw(query: &str, mut body: impl Read) -> io::Result<String> {
    let (mut digest, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match body.read(&mut piece) {
            Ok(0) => return Ok(with_query(query, digest.finalize().into())),
            Ok(length) => digest.update(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ValueDigest, D::Error> {
    DigestVisitor { room: &Cell::new(MOST_OF_KEYS) }.deserialize(deserializer)
}

/// JSON whose strings and numbers are short: the parser keeps each of them whole.
struct ShortTokens<R> {
    inner: R,
    length: usize,
    is_text: bool,
    is_escaped: bool,
}

impl<R> ShortTokens<R> {
    fn of(inner: R) -> Self {
        Self { inner, length: 0, is_text: false, is_escaped: false }
    }

    fn pass(&mut self, byte: u8) {
        self.length += 1;
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'"' {
            (self.is_text, self.length) = (!self.is_text, 0);
        } else if self.is_text {
            self.is_escaped = byte == b'\\';
        } else if matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}') || byte.is_ascii_whitespace() {
            self.length = 0;
        }
    }
}

impl<R: Read> Read for ShortTokens<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        for &byte in &buffer[..length] {
            self.pass(byte);
            if self.length > LONGEST_TOKEN {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(length)
    }
}

fn with_query(query: &str, body: [u8; 32]) -> String {
    let mut digest = Sha256::new();
    digest.update(body);
    digest.update(query);
    base16ct::lower::encode_string(&digest.finalize())
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

/// Digests a value; its keys take from the room that is left for those of all objects under way.
#[derive(Clone, Copy)]
struct DigestVisitor<'a> {
    room: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for DigestVisitor<'_> {
    type Value = ValueDigest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ValueDigest, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DigestVisitor<'_> {
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

    /// `15.0` is the same number as `15`.
    fn visit_f64<E: Error>(self, value: f64) -> Result<ValueDigest, E> {
        let is_whole = value.fract() == 0.0;
        if is_whole && (0.0..U64_END).contains(&value) {
            return self.visit_u64(value as u64);
        }
        if is_whole && (I64_START..0.0).contains(&value) {
            return self.visit_i64(value as i64);
        }
        Ok(ValueDigest::of(b'f', &value.to_bits().to_be_bytes()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<ValueDigest, E> {
        Ok(ValueDigest::of(b's', value.as_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ValueDigest, A::Error> {
        let mut digest = Sha256::new();
        digest.update(b"[");
        while let Some(ValueDigest(element)) = elements.next_element_seed(self)? {
            digest.update(element);
        }
        Ok(ValueDigest(digest.finalize().into()))
    }

    /// Of a key that stands twice the last value counts, as for the readers of bodies.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ValueDigest, A::Error> {
        let mut sorted: BTreeMap<String, ValueDigest> = BTreeMap::new();
        let room = self.room.get();
        while let Some(key) = fields.next_key::<String>()? {
            let left = self.room.get().checked_sub(PER_KEY + key.len());
            self.room.set(left.ok_or_else(|| A::Error::custom("too many keys"))?);
            let value = fields.next_value_seed(self)?;
            sorted.insert(key, value);
        }
        self.room.set(room);
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
    fn a_number_is_the_same_with_and_without_zeros_behind_its_point() {
        for (one, other, is_same) in [
            ("15", "15.0", true),
            ("15", "1.5e1", true),
            ("-15", "-15.00", true),
            ("0", "-0.0", true),
            ("9007199254740992", "9007199254740992.0", true),
            ("-9223372036854775808", "-9223372036854775808.0", true),
            ("1e300", "1.0e300", true),
            ("15", "15.5", false),
            ("15", "-15.0", false),
            ("18446744073709551615", "18446744073709551616.0", false),
        ] {
            let [one, other] = [one, other].map(|number| format!("{{\"n\":{number}}}"));
            assert_eq!(of("", one.as_bytes()) == of("", other.as_bytes()), is_same, "{one} {other}");
        }
    }

    #[test]
    fn bodies_that_say_something_else_have_other_fingerprints() {
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
    fn a_body_that_would_take_much_memory_is_its_own_fingerprint() {
        let keys: String = (0..100_000).map(|key| format!("\"{key}\":0,")).collect();
        let objects = format!("[{}{{}}]", r#"{"a":"\\\"","b":1},"#.repeat(200_000));
        for (body, is_read) in [
            (format!("{{{keys}\"x\":0}}"), false),
            (format!("[\"{}\"]", "x".repeat(LONGEST_TOKEN + 1)), false),
            (format!("[{}]", "9".repeat(LONGEST_TOKEN + 1)), false),
            (r#"{"x":1e999}"#.to_owned(), false),
            (objects, true),
        ] {
            assert_eq!(of_reader("", body.as_bytes()).is_some(), is_read, "{body:.20}");
            let raw = of_raw("", body.as_bytes()).unwrap();
            assert_ne!(raw, of_raw("", format!("{body} ").as_bytes()).unwrap());
        }
    }

    #[test]
    fn the_query_counts() {
        assert_ne!(of("reason=a", b"{}"), of("reason=b", b"{}"));
    }
}
