//! A list of identifiers, as long as a batch: one text instead of a million.

use serde::{Serialize, Serializer};

/// Identifiers in their order; serialized as an array of strings.
#[derive(Debug, Default)]
pub(super) struct Identifiers {
    /// One after the other.
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Identifiers {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| &self.text[start..end])
    }
}

impl<'a> Extend<&'a str> for Identifiers {
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, identifiers: I) {
        for identifier in identifiers {
            self.text.push_str(identifier);
            self.ends.push(self.text.len());
        }
    }
}

impl Serialize for Identifiers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_their_order_in_json() {
        let mut identifiers = Identifiers::default();
        assert_eq!(serde_json::to_string(&identifiers).unwrap(), "[]");
        identifiers.extend(["m1", "a \"name\"", "Zoë", "m1"]);
        assert_eq!(identifiers.len(), 4);
        assert_eq!(serde_json::to_string(&identifiers).unwrap(), r#"["m1","a \"name\"","Zoë","m1"]"#);
    }
}
