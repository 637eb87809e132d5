//! Mails and their attempts: record, claim, give back, settle, and reading them back for people;
//! which are due (for the scheduler) and which lost their worker (for the rescuer).

mod bounce;
mod claim;
mod content;
mod due;
mod expire;
mod facts;
mod follow;
mod forget;
mod give_back;
mod look_up;
mod lost;
mod moves;
mod overview;
mod precondition;
mod record;
mod search;
mod settle;
mod stop;
mod withdraw;

pub use claim::Claim;
pub(super) use due::DUE;
pub use due::DueMail;
pub use expire::ExpiredMail;
pub(super) use expire::is_any as is_any_expired;
pub use give_back::GivenBack;
pub use look_up::{Attempt, MailFilter, MailRecord};
pub use lost::TakenMails;
pub use moves::Moved;
pub use overview::FailedMail;
pub use precondition::{Precondition, Replacement};
pub use record::{Recorded, Recording};
pub use search::{FoundMails, MailSearch};
pub use settle::{Settled, Settlement};
pub use stop::Stop;
