//! Addresses that get no mail, or no promotional mail; and the links with which recipients unsubscribe.
//!
//! | file | what |
//! |---|---|
//! | `record.rs` | a suppression as it is stored |
//! | `look_up.rs` | finding and listing them |
//! | `change.rs` | storing, importing and removing them |
//! | `merge.rs` | what becomes of one when another is stored for the same address and scope |
//! | `in_force.rs` | the question that statements about mails ask of this table |
//! | `bad_addresses.rs` | relays that say there is no such address, and what follows |
//! | `links.rs` | unsubscribe links: made with mails, followed by recipients |
//!
//! An address has at most one row of each scope. Where both are in force, the one of scope `all` is shown: it stops
//! more. What the recipient asked for stays beneath it and outlives it. In one scope it is the other way round: what the
//! merchant says stays beneath an unsubscription.

mod bad_addresses;
mod change;
mod in_force;
mod links;
mod look_up;
mod merge;
mod record;

pub use links::{UnsubscribeLink, Unsubscribed};
pub use look_up::SuppressionCursor;
pub use record::{NewSuppression, SuppressionRecord};

pub(super) use bad_addresses::{AddressReply, WAS_REFUSED, judge_replies};
pub(super) use change::wholly_suppressed;
pub(super) use in_force::{KEPT_BACK, reason_of_mail, with_recorded};
pub(super) use links::insert_links;
pub(super) use merge::add;
