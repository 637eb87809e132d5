//! What is asked of a search, and what it answers.

use crate::{
    mail::{
        MailId, MerchantId, Timestamp,
        search::{MailCount, Query},
    },
    store::mails::look_up::MailRecord,
};

/// Which page of which mails.
#[derive(Clone, Debug, Default)]
pub struct MailSearch {
    /// What they are like.
    pub query: Query,
    /// Of this merchant; `None`: of all, for operators.
    pub merchant: Option<MerchantId>,
    /// The page after this cursor, in the order of the answer.
    pub after: Option<MailId>,
    /// Only mails whose ids are before this one: none that were recorded later.
    pub before: Option<MailId>,
    /// The maximum number of mails.
    pub limit: u32,
    /// Oldest first instead of newest first.
    pub oldest_first: bool,
    /// Whether to count all mails that fit; only with the first page.
    pub count: bool,
}

/// A page of mails.
#[derive(Clone, Debug, Default)]
pub struct FoundMails {
    /// The mails, in order.
    pub mails: Vec<MailRecord>,
    /// The cursor of the next page, where there may be one.
    pub next: Option<MailId>,
    /// Mails that were recorded beyond this time were not looked at: the page ends here, not the mails.
    pub searched_to: Option<Timestamp>,
    /// How many fit in all.
    pub count: Option<MailCount>,
    /// About how many fit, to two digits, where `count` says that there are more.
    pub estimate: Option<u64>,
}
