//! Sizes as people write them.

use serde::{Deserialize, Deserializer, de::Error};

/// A number of bytes: `1048576`, `"512KiB"`, `"8MiB"`, `"1GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(usize),
            Text(String),
        }
        let written = Written::deserialize(deserializer)
            .map_err(|_| D::Error::custom("a size is a number of bytes or text as in \"8MiB\""))?;
        match written {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => parse(&text).ok_or_else(|| {
                D::Error::custom("a size is a number, alone or with KiB, MiB or GiB, as in \"8MiB\"")
            }),
        }
    }
}

fn parse(text: &str) -> Option<Size> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit).map(Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse("8MiB"), Some(Size(8 << 20)));
        assert_eq!(parse("1000"), Some(Size(1000)));
        assert_eq!(["", "MiB", "8MB", "-1", "99999999999999GiB"].map(parse), [None; 5]);
    }
}
