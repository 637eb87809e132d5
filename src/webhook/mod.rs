//! What an event and a delivery are and how they may move: values and pure rules, no clock, no network, no database.
//!
//! `store/events.rs` records deliveries of what happened, `callback/` posts them, `store/webhooks/` moves them.
//!
//! | file | is |
//! |---|---|
//! | `event.rs` | the events, and the JSON body of each |
//! | `topics.rs` | which events an endpoint listens to |
//! | `delivery.rs` | the states of a delivery, and what a receiver's reply means for it |
//! | `schedule.rs` | when a callback that was not taken is tried again |

mod delivery;
pub mod event;
mod schedule;
mod topics;

pub use delivery::{CallbackOutcome, CallbackReply, CallbackVerdict, DeliveryEvent, DeliveryState};
pub use event::EventKind;
pub use schedule::judge;
pub use topics::Topics;
