//! Batches: recording one whole, making its mails chunk by chunk, keeping its counts, and stopping it.
//!
//! | file | does |
//! |---|---|
//! | `record.rs` | users are staged in chunks, then the batch is recorded with its answer in one transaction |
//! | `members.rs` | looks members up by the thousand |
//! | `make.rs` | turns a chunk into mails, once |
//! | `counts.rs` | follows the mails in the transactions that move them; the last one to settle closes the batch |
//! | `close.rs` | the end of each, whose webhook is recorded once |
//! | `moves.rs` | pause, resume, cancel, failing, and taking back what was not sent |
//! | `look_up.rs` | reading them back, for merchants and operators |
//! | `due.rs` | what the scheduler asks |
//!
//! A transaction that locks mails and batches locks the batches last, and several in the order of their ids.

mod close;
mod counts;
mod due;
mod look_up;
mod make;
mod members;
mod moves;
mod record;

pub use due::DueBatch;
pub use look_up::BatchRecord;
pub use make::{Chunk, MadeMail, Making};
pub use moves::{BatchMoved, TakenBack};
pub use record::{BatchRecorded, NewBatch, StagedChunk};

pub(super) use counts::{BatchMove, follow};
pub(super) use due::DUE;
