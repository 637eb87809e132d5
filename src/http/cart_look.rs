//! Whose look a cart's mails have: that of the brand which the document names, else that of the merchant's only brand.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use moka::sync::Cache;

use super::{error::Refusal, stored::document};
use crate::{
    app::App,
    mail::{MerchantId, WorkerId},
    shop::{ResourceKind, SingleLine, mailing::Brand},
    store::LookUps,
};

/// How long it is believed that a merchant has one brand, or not: it saves each mail a look-up.
const BELIEVED: Duration = Duration::from_secs(2);

/// The application, by its worker's id, and the merchant.
type Key = (WorkerId, MerchantId);

static ONLY_BRANDS: LazyLock<Cache<Key, Option<Arc<Brand>>>> =
    LazyLock::new(|| Cache::builder().max_capacity(10_000).time_to_live(BELIEVED).build());

/// The brand that a cart's mail looks like.
///
/// # Errors
/// 503 when the database does not answer.
pub(super) async fn brand_of(
    app: &App,
    look_ups: &LookUps,
    named: Option<&SingleLine>,
) -> Result<Option<Arc<Brand>>, Refusal> {
    if let Some(id) = named {
        let stored = look_ups.document(ResourceKind::Brands, id.as_str()).await?;
        return stored.as_ref().map(document).transpose().map(|brand| brand.map(Arc::new));
    }
    let key = (app.worker.id, look_ups.merchant().clone());
    if let Some(known) = ONLY_BRANDS.get(&key) {
        return Ok(known);
    }
    let brands = app.store.resources(look_ups.merchant(), ResourceKind::Brands, None, "", 2).await?;
    let only = match brands.as_slice() {
        [only] => Some(Arc::new(document(only)?)),
        _ => None,
    };
    ONLY_BRANDS.insert(key, only.clone());
    Ok(only)
}
