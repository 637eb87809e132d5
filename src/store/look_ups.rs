//! The documents that one request needs, looked up by their keys.
//!
//! Which they are is known one after the other: an order names its store, and that its templates. But requests are alike. So
//! with the first document those are asked for too that the request before, of the same merchant and kind, went on to need. A
//! wrong guess costs the rows that nobody needs; what it missed is asked for then. Nothing is remembered but names: every
//! answer was read for this request.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::sync::Cache;

use super::{
    documents::{AnyDocument, Key, Stored},
    error::StoreError,
    group_read::GroupRead,
};
use crate::{mail::MerchantId, shop::ResourceKind};

/// The most documents that are asked for on a guess.
const MOST_GUESSED: usize = 8;
/// The most kinds of requests, of all merchants, whose needs are remembered.
const MOST_REMEMBERED: u64 = 10_000;
/// They are forgotten when nobody made such a request for so long.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What requests went on to need, by merchant and kind of request.
#[derive(Clone)]
pub(super) struct Guesses(Cache<(MerchantId, &'static str), Arc<[Key]>>);

impl Default for Guesses {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MOST_REMEMBERED).time_to_idle(FORGOTTEN).build())
    }
}

/// The look-ups of one request of a merchant.
pub struct LookUps {
    documents: GroupRead<AnyDocument>,
    guesses: Guesses,
    merchant: MerchantId,
    kind_of_request: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was asked for, and what there is of it: without what others asked for in the same moment.
    answers: Vec<(Key, Option<AnyDocument>)>,
    /// What was needed after the first document.
    needed: Vec<Key>,
    /// Whether that is another guess than the one before.
    is_news: bool,
}

impl State {
    fn has(&self, key: &Key) -> bool {
        self.answers.iter().any(|(asked, _)| asked == key)
    }

    fn get(&self, key: &Key) -> Option<&AnyDocument> {
        self.answers.iter().find(|(asked, _)| asked == key)?.1.as_ref()
    }
}

impl LookUps {
    pub(super) fn new(
        documents: GroupRead<AnyDocument>,
        guesses: Guesses,
        merchant: MerchantId,
        kind_of_request: &'static str,
    ) -> Self {
        Self { documents, guesses, merchant, kind_of_request, state: Mutex::default() }
    }

    /// Whose they are.
    pub fn merchant(&self) -> &MerchantId {
        &self.merchant
    }

    /// Finds a document that is no template.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn document(&self, kind: ResourceKind, id: &str) -> Result<Option<Stored>, StoreError> {
        let key = Key::new(&self.merchant, kind, id);
        self.ask_for(std::slice::from_ref(&key)).await?;
        Ok(self.state().get(&key).and_then(AnyDocument::document).cloned())
    }

    /// The newest version of the first of these templates that the merchant has.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn newest_version_of(&self, ids: &[&str]) -> Result<Option<String>, StoreError> {
        let keys: Vec<_> =
            ids.iter().map(|id| Key::new(&self.merchant, ResourceKind::Templates, id)).collect();
        self.ask_for(&keys).await?;
        let state = self.state();
        Ok(keys.iter().find_map(|key| state.get(key)?.template()?.version.clone()))
    }

    /// Asks for those of these that were not asked for yet, and the first time also for what will probably be needed.
    async fn ask_for(&self, keys: &[Key]) -> Result<(), StoreError> {
        let (is_first, missing) = self.missing(keys);
        let guess = is_first.then(|| self.guesses.0.get(&self.name())).flatten();
        let guess = guess.iter().flat_map(|guess| guess.iter()).filter(|key| !missing.contains(key));
        let asked: Vec<_> = missing.iter().chain(guess).cloned().collect();
        if !asked.is_empty() {
            let found = self.documents.find(asked.clone()).await?;
            let answer = |key| {
                let found = found.get(&key).cloned();
                (key, found)
            };
            self.state().answers.extend(asked.into_iter().map(answer));
        }
        if !is_first {
            let mut state = self.state();
            state.needed.extend(keys.iter().cloned());
            state.is_news |= !missing.is_empty();
        }
        Ok(())
    }

    /// Whether nothing was asked for yet, and which of these were not, each once.
    fn missing(&self, keys: &[Key]) -> (bool, Vec<Key>) {
        let state = self.state();
        let mut missing: Vec<Key> = Vec::with_capacity(keys.len());
        for key in keys {
            if !state.has(key) && !missing.contains(key) {
                missing.push(key.clone());
            }
        }
        (state.answers.is_empty(), missing)
    }

    fn name(&self) -> (MerchantId, &'static str) {
        (self.merchant.clone(), self.kind_of_request)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LookUps {
    fn drop(&mut self) {
        let State { needed, is_news, .. } = std::mem::take(&mut *self.state());
        if is_news {
            let guess = needed.into_iter().take(MOST_GUESSED).collect();
            self.guesses.0.insert(self.name(), guess);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ResourceRow, Store, webhooks_fixture as fixture};

    async fn put(store: &Store, merchant: &MerchantId, kind: ResourceKind, id: &str, body: &str) {
        let body = serde_json::value::RawValue::from_string(format!("\"{body}\"")).unwrap();
        let row = ResourceRow { kind, id: id.to_owned(), brand_id: None, status: None, version: None, body };
        store.put_resource(merchant, row).await.unwrap();
    }

    /// What a request for an order of this store finds, and whether it asked for it with the order.
    async fn request(store: &Store, merchant: &MerchantId, of: &str) -> (Option<String>, bool) {
        let look_ups = store.look_ups(merchant, "order");
        assert!(look_ups.document(ResourceKind::Orders, "o1").await.unwrap().is_some());
        let is_asked = look_ups.state().has(&Key::new(merchant, ResourceKind::Stores, of));
        let found = look_ups.document(ResourceKind::Stores, of).await.unwrap();
        assert_eq!(look_ups.newest_version_of(&["a", "b", "a"]).await.unwrap(), None);
        (found.map(|found| found.body), is_asked)
    }

    #[tokio::test]
    async fn documents_that_earlier_requests_needed_are_guessed_and_read_anew() {
        let (store, _folder) = fixture::open().await;
        let merchant = fixture::tea();
        fixture::fill(&store, &merchant).await;
        put(&store, &merchant, ResourceKind::Orders, "o1", "order").await;
        put(&store, &merchant, ResourceKind::Stores, "main", "first").await;
        let found = |body: &str| Some(format!("\"{body}\""));
        assert_eq!(request(&store, &merchant, "main").await, (found("first"), false), "nothing is known yet");
        assert_eq!(request(&store, &merchant, "main").await, (found("first"), true));
        put(&store, &merchant, ResourceKind::Stores, "main", "second").await;
        assert_eq!(
            request(&store, &merchant, "main").await,
            (found("second"), true),
            "names alone are remembered"
        );
        assert_eq!(request(&store, &merchant, "none").await, (None, false), "the guess was wrong");
        assert_eq!(request(&store, &merchant, "none").await, (None, true), "and is another one now");
        let other: MerchantId = "oak".parse().unwrap();
        assert!(store.guesses.0.get(&(other, "order")).is_none(), "each merchant's are its own");
    }

    #[tokio::test]
    async fn a_request_that_needs_less_leaves_the_guess_as_it_is() {
        let (store, _folder) = fixture::open().await;
        let merchant = fixture::tea();
        fixture::fill(&store, &merchant).await;
        put(&store, &merchant, ResourceKind::Orders, "o1", "order").await;
        request(&store, &merchant, "main").await;
        drop(store.look_ups(&merchant, "order"));
        let refused = store.look_ups(&merchant, "order");
        assert!(refused.document(ResourceKind::Orders, "o2").await.unwrap().is_none());
        drop(refused);
        assert_eq!(request(&store, &merchant, "main").await, (None, true));
    }
}
