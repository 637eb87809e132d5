//! The users of a request for a batch: judged all before one is taken, then taken a chunk at a time.

use std::io::Read;

use serde_json::value::RawValue;

use super::{
    seen::Seen,
    user_stream::{Limits, Unread, Users, for_each_user},
};
use crate::{
    http::{
        body,
        error::{FieldError, Refusal, fault},
        fields::{LONGEST_IDENTIFIER, optional_text, text},
        json_bounds, json_nul, schedule,
    },
    mail::Schedule,
    shop::identifier_in,
    store::StagedChunk,
};

/// The most users in one chunk.
const CHUNK: usize = StagedChunk::USERS;
/// A chunk with so many bytes of users is full: its mails are made together.
const CHUNK_BYTES: usize = 1 << 20;
/// The longest URL, in characters.
const LONGEST_URL: usize = 2_048;
/// What a request says beside its users.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) brand_id: String,
    pub(super) template_id: String,
    pub(super) webhook_url: Option<String>,
    pub(super) coupon_id: Option<String>,
    pub(super) schedule: Schedule,
}

/// Users that are taken together.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Those that come for the first time.
    pub(super) users: Vec<User>,
    /// The identifiers of those that came before.
    pub(super) repeated: Vec<String>,
}

/// A user as it came.
#[derive(Debug)]
pub(super) struct User {
    pub(super) identifier: String,
    pub(super) json: Box<RawValue>,
}

/// Judges a body whole. Wrong syntax is the graver fault, wherever it stands.
pub(super) fn judge(reader: impl Read, limits: Limits) -> Result<Head, Refusal> {
    let most_users = limits.users;
    let (mut count, mut first_fault) = (0_u64, None);
    let fields = for_each_user(reader, limits, |json| {
        let index = count;
        count += 1;
        if index < most_users && first_fault.is_none() {
            first_fault = judge_user(&json, index, limits.user).err();
        }
        true
    });
    let fields = fields.map_err(|error| match error {
        Unread::Json(error) => body::not_json(&error),
        Unread::User => {
            Refusal::invalid(vec![first_fault.take().unwrap_or_else(|| too_large(count, limits.user))])
        }
        Unread::Field => Refusal::field("", "has a field that is too large"),
    })?;
    let Some(fields) = fields else { return Err(Refusal::field("", "must be an object").about_form()) };
    let mut faults = Vec::new();
    let head = Head {
        brand_id: text("brand_id", fields.brand_id, &mut faults),
        template_id: text("template_id", fields.template_id, &mut faults),
        webhook_url: optional_text("webhook_url", fields.webhook_url, LONGEST_URL, &mut faults),
        coupon_id: optional_text("coupon_id", fields.coupon_id, LONGEST_IDENTIFIER, &mut faults),
        schedule: schedule::read(fields.send_at, fields.expires_at, &mut faults),
    };
    let texts = [
        ("brand_id", Some(&head.brand_id)),
        ("template_id", Some(&head.template_id)),
        ("webhook_url", head.webhook_url.as_ref()),
        ("coupon_id", head.coupon_id.as_ref()),
    ];
    let with_nul = texts.into_iter().filter(|(_, text)| text.is_some_and(|text| text.contains('\0')));
    faults.extend(with_nul.map(|(path, _)| fault(path, json_nul::REFUSED)));
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

/// Reads the users of a judged body, a chunk at a time, each identifier once, until `take` wants no more.
pub(super) fn read(
    reader: impl Read,
    limits: Limits,
    mut take: impl FnMut(Chunk) -> bool,
) -> Result<(), Refusal> {
    let (mut seen, mut chunk, mut bytes): (Seen, Chunk, usize) = Default::default();
    let mut fault = None;
    let mut wanted = true;
    let passed = for_each_user(reader, limits, |json| {
        match identifier_of(&json, 0) {
            Ok(identifier) if seen.insert(&identifier) => {
                bytes += json.get().len();
                chunk.users.push(User { identifier, json });
            }
            Ok(identifier) => chunk.repeated.push(identifier),
            Err(error) => fault = Some(error),
        }
        if chunk.users.len() + chunk.repeated.len() == CHUNK || bytes >= CHUNK_BYTES {
            bytes = 0;
            wanted = take(std::mem::take(&mut chunk));
        }
        wanted
    });
    // The receiver of a request that has gone wants no more, and the body was judged whole before.
    if wanted && let Err(error) = passed {
        return Err(match error {
            Unread::Json(error) => body::not_json(&error),
            Unread::User | Unread::Field => Refusal::unavailable(),
        });
    }
    if let Some(fault) = fault {
        return Err(Refusal::invalid(vec![fault]).about_form());
    }
    if wanted && !(chunk.users.is_empty() && chunk.repeated.is_empty()) {
        take(chunk);
    }
    Ok(())
}

fn too_large(index: u64, max_user: usize) -> FieldError {
    let path = format!("users.{index}");
    fault(&path, &format!("The {path} field may be at most {max_user} bytes."))
}

/// A user whose mail can be made: of a size and a depth that may be, and with values that can be held.
fn judge_user(json: &RawValue, index: u64, max_user: usize) -> Result<(), FieldError> {
    identifier_of(json, index)?;
    if json.get().len() > max_user {
        return Err(too_large(index, max_user));
    }
    let path = || format!("users.{index}");
    json_bounds::measure(json.get().as_bytes(), json_bounds::DEEPEST)
        .map(drop)
        .map_err(|why| fault(&path(), &format!("The {} field {}.", path(), why.message)))
}

fn identifier_of(json: &RawValue, index: u64) -> Result<String, FieldError> {
    let path = format!("users.{index}");
    if !json.get().starts_with('{') {
        return Err(fault(&path, &format!("The {path} field must be an object.")));
    }
    let given =
        identifier_in(json).map_err(|_| fault(&path, &format!("The {path} field cannot be read.")))?;
    if let Some(inner) = json_nul::find(json.get().as_bytes()) {
        let path = if inner.is_empty() { path } else { format!("{path}.{inner}") };
        return Err(fault(&path, json_nul::REFUSED));
    }
    let mut faults = Vec::new();
    let identifier = text(&format!("{path}.identifier"), given, &mut faults);
    faults.pop().map_or(Ok(identifier), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(body: &str) -> Result<Head, (u16, Vec<String>)> {
        judge(body.as_bytes(), Limits { users: 3, user: 1_000 }).map_err(|refusal| {
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
            ("[{\"identifier\":\"a\\u0000\"}]", "users.0.identifier"),
            ("[{\"identifier\":\"a\"},{\"identifier\":\"b\",\"x\":[\"\\u0000\"]}]", "users.1.x.0"),
            (
                "[{\"identifier\":\"a\"},{\"identifier\":\"b\"},{\"identifier\":\"c\"},{\"identifier\":\"d\"}]",
                "users",
            ),
        ] {
            assert_eq!(judged(&with(users)).unwrap_err(), fault(path), "{users}");
        }
        let head = "{\"brand_id\":\"\\u0000\",\"template_id\":\"t\",\"coupon_id\":\"c\\u0000\",\"users\":[{\"identifier\":\"a\"}]}";
        assert_eq!(judged(head).unwrap_err(), (422, vec!["brand_id".to_owned(), "coupon_id".to_owned()]));
        assert_eq!(judged("[{}]").unwrap_err(), fault(""));
        assert_eq!(judged("7").unwrap_err(), fault(""));
        assert_eq!(judged(&with("[5,{\"identifier\":}]")).unwrap_err().0, 400);
        assert_eq!(judged("{\"users\":[{\"identifier\":\"a\"}]} x").unwrap_err().0, 400);
    }

    #[test]
    fn a_user_that_cannot_be_read_is_named() {
        let second =
            |user: &str| with(&format!("[{{\"identifier\":\"a\"}},{user},{{\"identifier\":\"c\"}}]"));
        let user = |value: &str| format!("{{\"identifier\":\"b\",\"x\":{value}}}");
        assert!(judged(&second(&user(&format!("{}1{}", "[".repeat(31), "]".repeat(31))))).is_ok());
        for value in [
            format!("{}1{}", "[".repeat(32), "]".repeat(32)),
            format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)),
            "1e999".to_owned(),
            "9".repeat(500),
            "\"\\ud800\"".to_owned(),
            format!("\"{}\"", "x".repeat(1_000)),
        ] {
            assert_eq!(
                judged(&second(&user(&value))).unwrap_err(),
                (422, vec!["users.1".to_owned()]),
                "{value}"
            );
        }
        let long = format!("{{\"identifier\":\"{}\"}}", "b".repeat(256));
        assert_eq!(judged(&second(&long)).unwrap_err(), (422, vec!["users.1.identifier".to_owned()]));
    }

    #[test]
    fn a_value_that_never_ends_is_not_read_to_its_end() {
        for (start, expected) in [
            ("{\"users\":[{\"identifier\":\"a\"},{\"identifier\":\"", "users.1"),
            ("{\"users\":[{\"identifier\":\"a\",\"x\":[\"", "users.0"),
            ("{\"brand_id\":\"", ""),
            ("{\"", ""),
        ] {
            let endless = start.as_bytes().chain(std::io::repeat(b'x'));
            let refusal = judge(endless, Limits { users: 3, user: 1_000 }).unwrap_err();
            assert_eq!((refusal.status.as_u16(), &*refusal.errors[0].path), (422, expected), "{start}");
        }
    }

    #[test]
    fn an_identifier_passes_once_by_its_first_entry() {
        let body =
            with("[{\"identifier\":\"a\",\"n\":1},{\"identifier\":\"b\"},{\"n\":2,\"identifier\":\"a\"}]");
        let (mut users, mut repeated) = (Vec::new(), Vec::new());
        read(body.as_bytes(), Limits { users: 3, user: 1_000 }, |chunk| {
            repeated.extend(chunk.repeated);
            users.extend(chunk.users.into_iter().map(|user| user.json.get().to_owned()));
            true
        })
        .unwrap();
        assert_eq!(users, ["{\"identifier\":\"a\",\"n\":1}", "{\"identifier\":\"b\"}"]);
        assert_eq!(repeated, ["a"]);
    }
}
