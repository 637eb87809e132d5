//! Reads a request for a batch as a stream: its users pass by one at a time.

use std::{collections::HashSet, fmt, io::Read};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::super::{
    body,
    error::{FieldError, Refusal},
    mailing::{fault, optional_text, text},
};
use crate::store::StagedChunk;

/// Users in one chunk.
const CHUNK: usize = StagedChunk::USERS;

/// What a request says beside its users.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) brand_id: String,
    pub(super) template_id: String,
    pub(super) webhook_url: Option<String>,
    pub(super) coupon_id: Option<String>,
}

/// A user as it came.
#[derive(Debug)]
pub(super) struct User {
    pub(super) identifier: String,
    pub(super) json: Box<RawValue>,
}

/// Judges a body whole. Wrong syntax is the graver fault, wherever it stands.
pub(super) fn judge(reader: impl Read, most_users: u64) -> Result<Head, Refusal> {
    let (mut count, mut first_fault) = (0_u64, None);
    let fields = pass(reader, |json| {
        let index = count;
        count += 1;
        if index < most_users && first_fault.is_none() {
            first_fault = identifier_of(&json, index).err();
        }
        true
    })?;
    let Some(fields) = fields else { return Err(Refusal::field("", "must be an object").about_form()) };
    let mut faults = Vec::new();
    let head = Head {
        brand_id: text("brand_id", fields.brand_id, &mut faults),
        template_id: text("template_id", fields.template_id, &mut faults),
        webhook_url: optional_text("webhook_url", fields.webhook_url, &mut faults),
        coupon_id: optional_text("coupon_id", fields.coupon_id, &mut faults),
    };
    let texts =
        [Some(&head.brand_id), Some(&head.template_id), head.webhook_url.as_ref(), head.coupon_id.as_ref()];
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        faults.push(fault("", "must not contain the character U+0000"));
    }
    match (fields.users, count) {
        (Users::Array, 0) | (Users::Missing, _) => {
            faults.push(fault("users", "The users field is required."));
        }
        (Users::Wrong, _) => faults.push(fault("users", "The users field must be an array, given once.")),
        (Users::Array, count) if count > most_users => {
            faults.push(fault(
                "users",
                &format!("The users field must not have more than {most_users} items."),
            ));
        }
        (Users::Array, _) => faults.extend(first_fault),
    }
    if faults.is_empty() { Ok(head) } else { Err(Refusal::invalid(faults).about_form()) }
}

/// Reads the users of a judged body, `CHUNK` at a time, each identifier once, until `take` wants no more.
pub(super) fn read(reader: impl Read, mut take: impl FnMut(Vec<User>) -> bool) -> Result<(), Refusal> {
    let (mut seen, mut chunk): (HashSet<[u8; 16]>, Vec<User>) = (HashSet::new(), Vec::with_capacity(CHUNK));
    let mut fault = None;
    let mut wanted = true;
    pass(reader, |json| {
        match identifier_of(&json, 0) {
            Ok(identifier) if seen.insert(hash(&identifier)) => chunk.push(User { identifier, json }),
            Ok(_) => {}
            Err(error) => fault = Some(error),
        }
        if chunk.len() == CHUNK {
            wanted = take(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)));
        }
        wanted
    })?;
    if let Some(fault) = fault {
        return Err(Refusal::invalid(vec![fault]).about_form());
    }
    if wanted && !chunk.is_empty() {
        take(chunk);
    }
    Ok(())
}

fn hash(identifier: &str) -> [u8; 16] {
    let digest = Sha256::digest(identifier.as_bytes());
    std::array::from_fn(|index| digest[index])
}

fn identifier_of(json: &RawValue, index: u64) -> Result<String, FieldError> {
    let path = format!("users.{index}");
    if !json.get().starts_with('{') {
        return Err(fault(&path, &format!("The {path} field must be an object.")));
    }
    let given = serde_json::Deserializer::from_str(json.get())
        .deserialize_map(Identifier)
        .map_err(|_| fault(&path, &format!("The {path} field cannot be read.")))?;
    if memchr::memmem::find(json.get().as_bytes(), b"\\u0000").is_some()
        && body::has_nul(json.get().as_bytes())
    {
        return Err(fault(&path, "must not contain the character U+0000"));
    }
    let mut faults = Vec::new();
    let identifier = text(&format!("{path}.identifier"), given, &mut faults);
    faults.pop().map_or(Ok(identifier), Err)
}

/// The `identifier` of an object; of several the last, as everywhere.
struct Identifier;

impl<'de> Visitor<'de> for Identifier {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut identifier = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "identifier" {
                identifier = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(identifier)
    }
}

/// What a body has beside the users.
#[derive(Default)]
struct Fields {
    brand_id: Option<Value>,
    template_id: Option<Value>,
    webhook_url: Option<Value>,
    coupon_id: Option<Value>,
    users: Users,
}

#[derive(Default)]
enum Users {
    #[default]
    Missing,
    Array,
    Wrong,
}

/// Reads a body once and shows each user to `see`, until that wants no more. `None`: it is no object.
fn pass(mut reader: impl Read, see: impl FnMut(Box<RawValue>) -> bool) -> Result<Option<Fields>, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_reader(&mut reader);
    let fields = deserializer.deserialize_any(Body(see)).map_err(|error| body::not_json(&error))?;
    deserializer.end().map_err(|error| body::not_json(&error))?;
    Ok(fields)
}

struct Body<F>(F);

impl<'de, F: FnMut(Box<RawValue>) -> bool> Visitor<'de> for Body<F> {
    type Value = Option<Fields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "brand_id" => fields.brand_id = Some(map.next_value()?),
                "template_id" => fields.template_id = Some(map.next_value()?),
                "webhook_url" => fields.webhook_url = Some(map.next_value()?),
                "coupon_id" => fields.coupon_id = Some(map.next_value()?),
                "users" => {
                    let is_array = map.next_value_seed(Items(&mut self.0))?;
                    fields.users = match (is_array, fields.users) {
                        (true, Users::Missing) => Users::Array,
                        _ => Users::Wrong,
                    };
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The items of an array; tells whether it is one.
struct Items<'a, F>(&'a mut F);

impl<'de, F: FnMut(Box<RawValue>) -> bool> DeserializeSeed<'de> for Items<'_, F> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Box<RawValue>) -> bool> Visitor<'de> for Items<'_, F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while let Some(json) = seq.next_element::<Box<RawValue>>()? {
            if !(self.0)(json) {
                return Err(serde::de::Error::custom("nobody wants more"));
            }
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(body: &str) -> Result<Head, (u16, Vec<String>)> {
        judge(body.as_bytes(), 3).map_err(|refusal| {
            (refusal.status.as_u16(), refusal.errors.into_iter().map(|error| error.path).collect())
        })
    }

    fn with(users: &str) -> String {
        format!("{{\"users\":{users},\"brand_id\":\"b\",\"template_id\":\"t\",\"other\":[1,{{}}]}}")
    }

    #[test]
    fn the_first_faulty_user_is_named_and_wrong_syntax_is_graver() {
        let fault = |path: &str| (422, vec![path.to_owned()]);
        assert!(judged(&with("[{\"identifier\":\"a\",\"x\":{\"y\":[1]}}]")).is_ok());
        for (users, path) in [
            ("[]", "users"),
            ("null", "users"),
            ("{\"identifier\":\"a\"}", "users"),
            ("\"all\"", "users"),
            ("[{\"identifier\":\"a\"},{\"identifier\":\"\"},5]", "users.1.identifier"),
            ("[{\"identifier\":\"a\"},{\"name\":\"x\"}]", "users.1.identifier"),
            ("[{\"identifier\":5}]", "users.0.identifier"),
            ("[5]", "users.0"),
            ("[{\"identifier\":\"a\\u0000\"}]", "users.0"),
            (
                "[{\"identifier\":\"a\"},{\"identifier\":\"b\"},{\"identifier\":\"c\"},{\"identifier\":\"d\"}]",
                "users",
            ),
        ] {
            assert_eq!(judged(&with(users)).unwrap_err(), fault(path), "{users}");
        }
        assert_eq!(judged("[{}]").unwrap_err(), fault(""));
        assert_eq!(judged("7").unwrap_err(), fault(""));
        assert_eq!(judged(&with("[5,{\"identifier\":}]")).unwrap_err().0, 400);
        assert_eq!(judged("{\"users\":[{\"identifier\":\"a\"}]} x").unwrap_err().0, 400);
    }

    #[test]
    fn an_identifier_passes_once_by_its_first_entry() {
        let body =
            with("[{\"identifier\":\"a\",\"n\":1},{\"identifier\":\"b\"},{\"n\":2,\"identifier\":\"a\"}]");
        let mut users = Vec::new();
        read(body.as_bytes(), |chunk| {
            users.extend(chunk.into_iter().map(|user| user.json.get().to_owned()));
            true
        })
        .unwrap();
        assert_eq!(users, ["{\"identifier\":\"a\",\"n\":1}", "{\"identifier\":\"b\"}"]);
    }
}
