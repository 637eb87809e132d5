//! Inlines the CSS of pages as they are rendered, for templates where the rules of a tag depend on the values.

use std::sync::Arc;

use moka::sync::Cache;

use super::Page;

/// The bytes of skeletons and their rules that are kept for a template.
const MOST_KEPT: u64 = 1 << 20;

/// Knows which rules the tags of a template's last pages have. Pages with the same skeleton share the answer, so most mails
/// are not parsed.
pub(in crate::render) struct Rendered {
    known: Cache<String, Arc<Vec<Vec<u32>>>>,
}

/// How long inlining may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::render) enum Effort {
    /// Nothing is inlined.
    None,
    /// Microseconds: only what is known from another mail.
    Known,
    /// Milliseconds, a second or two for a hostile page.
    All,
}

impl Rendered {
    pub(in crate::render) fn new() -> Self {
        let weigh = |skeleton: &String, rules: &Arc<Vec<Vec<u32>>>| {
            let numbers: usize = rules.iter().map(|rules| 32 + rules.len() * 4).sum();
            u32::try_from(skeleton.len() + numbers).unwrap_or(u32::MAX)
        };
        Self { known: Cache::builder().max_capacity(MOST_KEPT).weigher(weigh).build() }
    }

    /// The page with its styles written into its tags; as it is where they cannot be, or would make it larger than
    /// `most_bytes`. `None` where it takes more than the effort.
    pub(in crate::render) fn inline(
        &self,
        html: String,
        most_bytes: usize,
        effort: Effort,
    ) -> Option<String> {
        if effort == Effort::None {
            return Some(html);
        }
        let Ok(page) = Page::read(&html, &[]) else { return Some(html) };
        let Ok(skeleton) = page.skeleton() else { return Some(html) };
        let rules = match self.known.get(&skeleton.html) {
            Some(rules) => rules,
            None if effort == Effort::Known => return None,
            None => {
                // What cannot be inlined for one mail is not tried again for the next.
                let rules = Arc::new(skeleton.rules().unwrap_or_default());
                self.known.insert(skeleton.html.clone(), Arc::clone(&rules));
                rules
            }
        };
        let written = page.write(&skeleton, &rules, most_bytes);
        Some(written.unwrap_or(html))
    }
}
