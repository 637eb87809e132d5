//! Which versions of partials a version of a template was made with.

use std::collections::BTreeMap;

/// The versions of partials, by name, as a version of a template pins them.
pub(super) fn pinned(names: Vec<String>, versions: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let pin = |name: String| {
        let version = versions.get(&name).cloned().unwrap_or_default();
        (name, version)
    };
    names.into_iter().map(pin).collect()
}
