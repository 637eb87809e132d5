//! Reads a request for a batch as a stream: its users pass by one at a time.
//!
//! No more than one value is in memory at a time, and none that is larger than it may be: what goes on for longer is
//! not read further. What the values say is left to `users.rs`.

use std::{cell::Cell, fmt, io::Read};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// The longest field beside the users, and the most white space before a user, in bytes.
const LONGEST_FIELD: usize = 64 * 1024;

/// How large a request may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most users.
    pub(super) users: u64,
    /// The bytes of each.
    pub(super) user: usize,
}

/// What a body has beside the users.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) brand_id: Option<Value>,
    pub(super) template_id: Option<Value>,
    pub(super) webhook_url: Option<Value>,
    pub(super) coupon_id: Option<Value>,
    pub(super) send_at: Option<Value>,
    pub(super) expires_at: Option<Value>,
    pub(super) users: Users,
}

/// What stands where the users should.
#[derive(Default)]
pub(super) enum Users {
    #[default]
    Missing,
    Array,
    Wrong,
}

/// Why a body was not read to its end.
pub(super) enum Unread {
    /// It is not JSON, or nobody wants more of it.
    Json(serde_json::Error),
    /// A user is larger than it may be.
    User,
    /// The same of something else.
    Field,
}

/// What may be read of the value that is being read.
#[derive(Clone, Copy)]
struct Meter<'a> {
    left: &'a Cell<usize>,
    in_user: &'a Cell<bool>,
    user: usize,
}

impl Meter<'_> {
    fn begin_field(self) {
        self.in_user.set(false);
        self.left.set(LONGEST_FIELD);
    }

    /// What is thrown away as it is read may be of any size.
    fn begin_ignored(self) {
        self.left.set(usize::MAX);
    }

    fn begin_user(self) {
        self.in_user.set(true);
        self.left.set(self.user.saturating_add(LONGEST_FIELD));
    }
}

/// A reader that ends with an error where a value goes on for longer than it may.
struct Metered<'a, R> {
    reader: R,
    meter: Meter<'a>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.meter.left.get();
        if count > left {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.meter.left.set(left - count);
        Ok(count)
    }
}

/// Reads a body once and shows each user to `see`, until that wants no more. `None`: it is no object.
pub(super) fn for_each_user(
    reader: impl Read,
    limits: Limits,
    see: impl FnMut(Box<RawValue>) -> bool,
) -> Result<Option<Fields>, Unread> {
    let (left, in_user) = (Cell::new(LONGEST_FIELD), Cell::new(false));
    let meter = Meter { left: &left, in_user: &in_user, user: limits.user };
    let mut deserializer = serde_json::Deserializer::from_reader(Metered { reader, meter });
    let read = deserializer.deserialize_any(Body(see, meter)).and_then(|fields| {
        meter.begin_ignored();
        deserializer.end().map(|()| fields)
    });
    read.map_err(|error| match error.io_error_kind() {
        Some(std::io::ErrorKind::FileTooLarge) if in_user.get() => Unread::User,
        Some(std::io::ErrorKind::FileTooLarge) => Unread::Field,
        _ => Unread::Json(error),
    })
}

struct Body<'a, F>(F, Meter<'a>);

impl<'de, F: FnMut(Box<RawValue>) -> bool> Visitor<'de> for Body<'_, F> {
    type Value = Option<Fields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        self.1.begin_field();
        while let Some(key) = map.next_key::<String>()? {
            self.1.begin_field();
            match key.as_str() {
                "brand_id" => fields.brand_id = Some(map.next_value()?),
                "template_id" => fields.template_id = Some(map.next_value()?),
                "webhook_url" => fields.webhook_url = Some(map.next_value()?),
                "coupon_id" => fields.coupon_id = Some(map.next_value()?),
                "send_at" => fields.send_at = Some(map.next_value()?),
                "expires_at" => fields.expires_at = Some(map.next_value()?),
                "users" => {
                    let is_array = map.next_value_seed(Items(&mut self.0, self.1))?;
                    fields.users = match (is_array, fields.users) {
                        (true, Users::Missing) => Users::Array,
                        _ => Users::Wrong,
                    };
                }
                _ => {
                    self.1.begin_ignored();
                    map.next_value::<IgnoredAny>()?;
                }
            }
            self.1.begin_field();
        }
        Ok(Some(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        self.1.begin_ignored();
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

/// The items of an array; returns whether it is one.
struct Items<'a, F>(&'a mut F, Meter<'a>);

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
        self.1.begin_user();
        while let Some(json) = seq.next_element::<Box<RawValue>>()? {
            if !(self.0)(json) {
                return Err(serde::de::Error::custom("nobody wants more"));
            }
            self.1.begin_user();
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        self.1.begin_ignored();
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
