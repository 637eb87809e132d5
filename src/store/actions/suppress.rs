//! Suppresses the recipients of the mails that an action has come to.

use std::collections::{BTreeMap, HashSet};

use crate::{
    mail::{Address, MailId, MerchantId, SuppressionReason, SuppressionScope, Timestamp},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::StoreError,
        mails::MailRecord,
        suppressions::{self, NewSuppression},
    },
};

/// Suppresses the recipients, those of each merchant for that merchant; returns for each mail whether its recipient got
/// mails before.
pub(super) async fn suppress_recipients(
    dialect: Dialect,
    on: &mut Connection,
    mails: &[&MailRecord],
    now: Timestamp,
) -> Result<Vec<(MailId, bool)>, StoreError> {
    let mut by_merchant: BTreeMap<&MerchantId, Vec<&MailRecord>> = BTreeMap::new();
    for mail in mails {
        by_merchant.entry(&mail.merchant).or_default().push(mail);
    }
    let mut results = Vec::with_capacity(mails.len());
    for (merchant, mails) in by_merchant {
        let addresses: Vec<Address> = mails.iter().filter_map(|mail| mail.recipient.parse().ok()).collect();
        let mut known = suppressions::wholly_suppressed(dialect, on, merchant, &addresses, now).await?;
        let mut seen = HashSet::new();
        let fresh: Vec<_> = addresses
            .iter()
            .filter(|address| !known.contains(&address.search_key()) && seen.insert(address.search_key()))
            .map(|address| NewSuppression {
                address: address.clone(),
                reason: SuppressionReason::Manual,
                scope: SuppressionScope::All,
                note: None,
                expires_at: None,
                created_at: None,
            })
            .collect();
        suppressions::add(dialect, on, merchant, &fresh, now).await?;
        results.extend(mails.iter().map(|mail| (mail.id, is_new(mail, &mut known))));
    }
    Ok(results)
}

/// Whether this mail is the first whose recipient was not known before.
fn is_new(mail: &MailRecord, known: &mut HashSet<String>) -> bool {
    let address: Option<Address> = mail.recipient.parse().ok();
    address.is_some_and(|address| known.insert(address.search_key()))
}
