//! The life of rows that wait for a worker, for any table that has one: mails, deliveries and batches.
//!
//! | file | who asks | what happens to a row |
//! |---|---|---|
//! | `due.rs` | the scheduler | it is due, so a job is to be enqueued for it |
//! | `claim.rs` | a job | it is one worker's, and nobody else's |
//! | `settle.rs` | a job | that worker moves it on, and the attempt is on record |
//! | `lost.rs` | the rescuer | its worker is gone, and so is its claim |
//!
//! Such a table has `id`, `merchant_id`, `state` and `wake_at`, the time at which the scheduler enqueues a row (again);
//! `NULL`: nobody needs to be woken. One whose rows are claimed has `worker`, `attempt`, `claimed_at`, `due_at` and
//! `settled_at` too; worker and attempt number are the fence. What a table has besides is said where its statements are
//! made, beside its methods. Giving a claim back is left to the tables: only mails know it.

mod claim;
mod due;
mod lost;
mod settle;

pub(super) use claim::{Claims, ClaimsOf};
pub(super) use due::{Due, DueOf};
pub(super) use lost::{Lost, LostOf, LostRow};
pub(super) use settle::{Attempted, Settling, SettlingOf};
