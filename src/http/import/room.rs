//! What a merchant has no room for is left out of an import.

use std::collections::{HashMap, HashSet};

use super::Import;
use crate::{
    http::error::fault,
    mail::MerchantId,
    store::{NewSuppression, Quota, ResourceRow, StoreError},
};

impl Import<'_> {
    /// Leaves out what would be more of a kind than a merchant may have; what replaces something stays.
    pub(super) async fn with_room(
        &mut self,
        merchant: &MerchantId,
        rows: Vec<(usize, ResourceRow)>,
    ) -> Result<Vec<ResourceRow>, StoreError> {
        let (store, limits) = (&self.app.store, &self.app.config.stored);
        let mut by_kind: HashMap<Quota, u64> = HashMap::new();
        for (_, row) in &rows {
            *by_kind.entry(Quota::Documents(row.kind)).or_default() += 1;
            *by_kind.entry(Quota::TemplateVersions).or_default() += u64::from(row.version.is_some());
        }
        let mut full = HashSet::new();
        for (what, more) in by_kind {
            if more > 0 && !store.reserve_quota(merchant, what, more, limits.most(what)).await? {
                full.insert(what);
            }
        }
        let mut kept = Vec::with_capacity(rows.len());
        for (line, row) in rows {
            let what = Quota::Documents(row.kind);
            // Near the limit one by one.
            let has_room = !full.contains(&what)
                || store.reserve_quota(merchant, what, 1, limits.most(what)).await?
                || store.resource(merchant, row.kind, &row.id).await?.is_some();
            let versions = Quota::TemplateVersions;
            let has_room = has_room
                && (row.version.is_none()
                    || !full.contains(&versions)
                    || store.reserve_quota(merchant, versions, 1, limits.most(versions)).await?);
            if has_room {
                kept.push(row);
            } else {
                self.refuse(line, vec![fault("", "is one more than this merchant may have")]);
            }
        }
        Ok(kept)
    }

    /// The same for suppressions; near the limit all of a chunk are left out.
    pub(super) async fn suppressions_with_room(
        &mut self,
        merchant: &MerchantId,
        given: Vec<(usize, NewSuppression)>,
    ) -> Result<Vec<NewSuppression>, StoreError> {
        let (what, more) = (Quota::Suppressions, given.len() as u64);
        let most = self.app.config.stored.most(what);
        if more == 0 || self.app.store.reserve_quota(merchant, what, more, most).await? {
            return Ok(given.into_iter().map(|(_, suppression)| suppression).collect());
        }
        for (line, _) in given {
            self.refuse(line, vec![fault("", "is one more than this merchant may have")]);
        }
        Ok(Vec::new())
    }
}
