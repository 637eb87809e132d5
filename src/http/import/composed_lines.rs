//! Lines of an import that are stored with what belongs to them: partials, and templates that have some in them.

use serde_json::{Map, Value};

use super::{Import, TURN_RETRY_INTERVAL};
use crate::{
    http::{
        composed::{self, NotStored},
        error::fault,
    },
    mail::MerchantId,
    shop::ResourceKind,
    store::{Quota, StoreError},
};

impl Import<'_> {
    /// Stores a partial or a template that has some in it, which may stand in lines before it.
    pub(super) async fn store_composed(
        &mut self,
        merchant: &MerchantId,
        (line, kind, id): (usize, ResourceKind, &str),
        given: &Map<String, Value>,
    ) -> Result<(), StoreError> {
        let limits = &self.app.config.stored;
        for what in [Quota::Documents(kind), Quota::TemplateVersions] {
            if !self.store.reserve_quota(merchant, what, 1, limits.most(what)).await?
                && (what == Quota::TemplateVersions
                    || self.store.resource(merchant, kind, id).await?.is_none())
            {
                self.refuse(line, vec![fault("", "is one more than this merchant may have")]);
                return Ok(());
            }
        }
        loop {
            match composed::put(self.app, &self.store, merchant, (kind, id), given).await {
                Ok(_) => self.accepted += 1,
                Err(NotStored::Faults(faults)) => self.refuse(line, faults),
                Err(NotStored::Unsettled) => {
                    self.refuse(
                        line,
                        vec![fault("", "cannot be stored while its partials change; try again")],
                    );
                }
                Err(NotStored::Store(error)) => return Err(error),
                Err(NotStored::Busy) => {
                    tokio::time::sleep(TURN_RETRY_INTERVAL).await;
                    continue;
                }
            }
            return Ok(());
        }
    }
}
