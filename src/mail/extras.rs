//! What a request may give a mail beside its template's values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tags, metadata, headers and files of one mail. Most mails have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// What its merchant calls it, to find it again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What its merchant wants to have back in callbacks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Headers by name, with visible ASCII on one line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Files that go with it, in order. What is in them is stored beside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachedFile>,
    /// Whether a merchant tries a template out: the subject says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub test_send: bool,
}

/// A file that goes with a mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedFile {
    /// Its name, without a path.
    pub filename: String,
    /// Its media type (RFC 6838).
    pub content_type: String,
    /// An inline image's: the HTML shows it as `cid:` and this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
    /// Its size in bytes.
    pub size: usize,
    /// SHA-256 of its content, hex.
    pub hash: String,
}

impl Extras {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the mail is found by: its tags, and each `key=value` of its metadata.
    pub fn search_tags(&self) -> impl Iterator<Item = String> {
        let metadata = self.metadata.iter().map(|(key, value)| format!("{key}={value}"));
        self.tags.iter().cloned().chain(metadata)
    }
}
