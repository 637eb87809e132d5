//! The question that statements about mails ask: is there a suppression in force that keeps this mail back?
//!
//! It is a part of the statement that records a mail and of the one that claims it, a look into one index, so that no
//! mail costs a round trip more.

/// The reason for which a mail is kept back, `NULL` where it may go. The columns are those of its merchant, its
/// recipient's key and whether it is promotional; `now` is a time.
fn reason_for(merchant: &str, key: &str, promotional: &str, now: &str) -> String {
    format!(
        "(SELECT suppressions.reason FROM suppressions WHERE suppressions.merchant_id = {merchant}
            AND suppressions.address_key = {key} AND (suppressions.scope = 'all' OR {promotional} = 1)
            AND (suppressions.expires_at IS NULL OR suppressions.expires_at > {now})
          ORDER BY suppressions.scope LIMIT 1)"
    )
}

/// A part of a statement that claims mails: the reason for which a row of `mails` is kept back.
pub(in crate::store) fn reason_of_mail(now: &str) -> String {
    reason_for("mails.merchant_id", "mails.recipient_key", "mails.promotional", now)
}

/// A part of a statement that records mails, before its SELECT: the table `recorded` of what they are recorded from. Besides
/// the columns that are unfolded, each has `suppressed`, the reason for which it is kept back, and `unsubscribe_token`,
/// that of its recipient. Materialized: else the reason is looked up again wherever the statement names it.
pub(in crate::store) fn with_recorded(columns: &str) -> String {
    let reason = reason_for("rows.merchant_id", "rows.recipient_key", "rows.promotional", "rows.recorded_at");
    format!(
        "WITH recorded AS {{materialized}} (SELECT rows.*, {reason} AS suppressed,
            CASE WHEN rows.unsubscribe_language IS NOT NULL THEN (
                SELECT links.token FROM unsubscribe_links AS links WHERE links.merchant_id = rows.merchant_id
                    AND links.address_key = rows.recipient_key AND links.language = rows.unsubscribe_language
            ) END AS unsubscribe_token
          FROM {{each: {columns}, promotional bigint, unsubscribe_language text}})"
    )
}

/// Why a mail is kept back, for people. In SQL it stands before the reason.
pub(in crate::store) const KEPT_BACK: &str = "the recipient is suppressed: ";
