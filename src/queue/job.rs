//! A job that is queued, and the lease of one that was fetched.

use std::sync::Arc;

use crate::mail::{Lane, MerchantId};

/// The most bytes in a job's id.
pub const LONGEST_ID: usize = 200;

/// A job that a worker is to run: its kind and the row that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedJob {
    /// Names the job and the row, as in `send_mail:0192…`. Any text of at most [`LONGEST_ID`] bytes; a queue does
    /// not look into it.
    pub id: String,
    /// Decides who goes first. A job that is known already keeps the lane that it was first enqueued in.
    pub lane: Lane,
    /// Whose turn it is within the lane.
    pub merchant: MerchantId,
    /// Where a mail comes from and goes to, which decides what it has to wait for.
    pub domains: Option<Arc<Domains>>,
}

impl QueuedJob {
    /// A job that is about no mail.
    pub fn new(id: impl Into<String>, lane: Lane, merchant: MerchantId) -> Self {
        Self { id: id.into(), lane, merchant, domains: None }
    }

    /// The same about a mail.
    #[must_use]
    pub fn with_domains(mut self, sender: &str, recipient: &str) -> Self {
        self.domains = Some(Arc::new(Domains { sender: sender.into(), recipient: recipient.into() }));
        self
    }
}

/// The domains of a mail's addresses, in lower case and as A-labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains {
    /// Of the sender.
    pub sender: Box<str>,
    /// Of the recipient.
    pub recipient: Box<str>,
}

/// A job that was fetched, and the right to finish it until the lease expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What to do.
    pub job: QueuedJob,
    /// Tells this lease from every other one of the same job.
    pub(super) token: u64,
    /// The line that it was fetched from, if any.
    pub(super) line: Option<Arc<str>>,
    /// It was at the front of the main line: its turn had come before.
    pub(super) was_at_the_front: bool,
}

impl Lease {
    /// What stands for a lease where a job was never in a queue: nobody can finish it there.
    pub fn of_no_queue(job: QueuedJob) -> Self {
        Self { job, token: 0, line: None, was_at_the_front: false }
    }

    /// The line that the job was fetched from; `None` for the main line.
    pub fn line(&self) -> Option<&str> {
        self.line.as_deref()
    }
}
