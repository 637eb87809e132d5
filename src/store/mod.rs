//! RECORDED: all SQL. One [`Store`] over SQLite (embedded) and Postgres (many processes), the same API for both.
//!
//! Methods are named for the intent, not the statement. What must be true together is one transaction in one method;
//! none stays open across SMTP or HTTP. A change of state is a guarded `UPDATE` whose states come from the state table
//! (`states`), and its zero rows are an answer with a type. What all rows share that workers claim is in `claimable`. What many callers write at the same moment (`record`, `claim`, `settle`) goes through the group commit, and what
//! they look up by key (documents, orders) through the group reads.
//!
//! Imports inside run one way. At the bottom are `error`, `dialect` and what reads and writes rows (`row`, `statement`,
//! `target`, `writer`, `group_commit`, `group_read`); then the [`Store`] itself (`database`) and `claimable`; then the tables.
//! Among these recipients and actions stand above mails, mails above orders and batches, which follow them, and all of them above events and webhooks. What
//! two tables share stands in a file below both.

mod actions;
mod activity;
mod attachments;
mod audit;
mod backlog;
mod batches;
mod carts;
mod cells;
mod claimable;
mod connection;
mod connections;
mod credentials;
mod database;
mod dialect;
mod disabled_endpoints;
mod documents;
mod drained_routes;
mod due;
mod embedded;
mod error;
mod events;
mod flusher;
mod gather;
mod group;
mod group_commit;
mod group_read;
mod idempotency;
mod kept_connection;
mod kept_plans;
mod lane_backlogs;
mod look_ups;
mod mail_row;
mod mails;
mod merchants;
mod opened_file;
mod operators;
mod order_traces;
mod orders;
mod partial_uses;
mod partials;
mod passes;
mod pauses;
mod pending_write;
mod quotas;
mod readers;
mod recipients;
mod resources;
mod rounds;
mod route_uses;
mod row;
mod sessions;
mod sql;
mod statement;
mod states;
mod steps;
mod suppressions;
mod target;
mod template_lists;
mod templates;
mod value;
mod webhooks;
mod workers;
mod writer;
mod writer_thread;

pub use actions::{ActionMoved, ActionRecord, DueAction, MailResult, NewAction, Selected, StepTaken};
pub use activity::{Activity, ActivitySpan, RefusedRequests};
pub use attachments::{AttachmentsStored, NewAttachment};
pub use audit::{AuditFilter, AuditRecord};
pub use backlog::{Backlog, Depth};
pub use batches::{
    BatchMoved, BatchRecord, BatchRecorded, Chunk, DueBatch, MadeMail, Making, NewBatch, StagedChunk,
    TakenBack,
};
pub use carts::{CartsPage, ReminderRecord};
pub use connections::Pool;
pub use credentials::{Account, AccountRecord, TokenEntry, TokenRecord};
pub use database::{DatabaseSettings, Store};
pub use disabled_endpoints::DisabledEndpoint;
pub use documents::{Stored, TemplateHead};
pub use due::DueLanes;
pub use error::StoreError;
pub use idempotency::{Answer, KeyHolder, Reservation};
pub use lane_backlogs::{LaneBacklog, MOST_COUNTED};
pub use look_ups::LookUps;
pub use mails::{
    Attempt, Claim, DueMail, ExpiredMail, FailedMail, FoundMails, GivenBack, MailFilter, MailRecord,
    MailSearch, Moved, Precondition, Recorded, Recording, Replacement, Settled, Settlement, Stop, TakenMails,
};
pub use merchants::{Merchant, MerchantChange, NewMerchant};
pub use operators::OperatorRecord;
pub use order_traces::{NewOrderEmail, OrderEmail, WorkflowRow};
pub use orders::{AuditEntry, NewAuditEntry, OrderRecord, OrderStep, WorkflowStep};
pub use partials::{Composed, Composition, Seen};
pub use passes::{NewPass, Pass};
pub use pauses::PauseRecord;
pub use pending_write::{WriteProgress, WriteWatch};
pub use quotas::{Quota, StoredLimits};
pub use recipients::{Erased, Trace};
pub use resources::{MailingSubjects, ResourceRow};
pub use route_uses::{RouteUse, RouteUses};
pub use sessions::{NewSession, SessionRecord, SignedIn};
pub use suppressions::{NewSuppression, SuppressionCursor, SuppressionRecord, UnsubscribeLink, Unsubscribed};
pub use template_lists::{TemplateVersionRecord, WrittenVersion};
pub use templates::NewTemplateVersion;
pub use webhooks::{
    Callback, CallbackClaim, CallbackSettled, CallbackSettlement, DeliveryAbout, DeliveryAttempt,
    DeliveryRecord, Destination, DueDelivery, Endpoint, EndpointChange, EndpointSecrets, MOST_ENDPOINTS,
    NewCallback, NewEndpoint, Registered, Replayed, Tested,
};
pub use workers::{OddHeartbeats, WorkerRecord};

#[cfg(test)]
pub(crate) use webhooks::fixture as webhooks_fixture;
