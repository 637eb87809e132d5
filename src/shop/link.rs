//! Links that shoppers are sent.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use url::Url;

/// The longest link, in bytes.
const LONGEST_LINK: usize = 2048;

/// A link that may stand in a mail: `http` or `https`, without credentials. It is shown to its merchant as it was given
/// and to shoppers as browsers write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    given: String,
    url: Url,
}

impl Link {
    /// Takes a link.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn new(given: String) -> Result<Self, &'static str> {
        if given.len() > LONGEST_LINK {
            return Err("must have at most 2048 bytes");
        }
        if given.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("must not contain spaces or control characters");
        }
        let url = Url::parse(&given).map_err(|_| "must be a URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with http:// or https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain a user name or password");
        }
        Ok(Self { given, url })
    }

    /// The link as it goes into a mail: ASCII, international names and other characters encoded (RFC 3986).
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The link, taken apart.
    pub const fn url(&self) -> &Url {
        &self.url
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.given)
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_kept_as_given_and_mailed_as_browsers_write_it() {
        let link = Link::new("https://bücher.example/ä?a=1&b=\"2\"".to_owned()).unwrap();
        assert_eq!(link.as_str(), "https://xn--bcher-kva.example/%C3%A4?a=1&b=%222%22");
        assert_eq!(serde_json::to_string(&link).unwrap(), r#""https://bücher.example/ä?a=1&b=\"2\"""#);
    }

    #[test]
    fn a_link_that_a_mail_must_not_have_is_refused() {
        for text in [
            "",
            "shop.example/cart",
            "//shop.example/cart",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://shop.example/",
            "https://",
            "https://ann:tea@shop.example/",
            "https://ann@shop.example/",
            "https://shop.example/a b",
            "java\nscript:alert(1)",
            "https://shop.example/\r\nBcc:x",
            " https://shop.example/",
        ] {
            assert!(Link::new(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(Link::new(format!("https://shop.example/{}", "x".repeat(2048))).is_err());
    }
}
