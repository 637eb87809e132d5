//! postroom: a durable e-mail job daemon for merchants.
//!
//! **SQL is the truth, the queue only wakes workers.** Every mail is a row; the queue carries jobs (a name and the row's
//! id) that wake a worker; a worker claims the row, acts and settles it. A job may come twice or get lost, and nothing is
//! lost or sent twice by that.
//!
//! # The way of a mail
//!
//! | stage | where | afterwards it is true that |
//! |---|---|---|
//! | request | [`http`] | we know who asks, and the body is well-formed |
//! | validated | [`shop`], [`mail`] | the rules of the family allow it; a [`mail::NewMail`] exists and cannot hold a bad address |
//! | recorded | [`store`] | the rows are committed: mail, idempotency answer |
//! | enqueued | [`queue`] | a worker is awake |
//! | admitted | [`admission`] | a route works, a connection is free or soon will be, and the route's rate allows one more; until then the mail waits in the queue |
//! | claimed | [`store`] | this worker alone has the mail |
//! | rendered | [`jobs`] → [`render`] | subject, HTML, text and headers; the same inputs give the same bytes |
//! | signed | [`jobs`] → [`signing`] → [`dkim`] | the message has the signatures of its sender's domain, if that has keys |
//! | delivered | [`jobs`] → [`smtp`] | the attempt and the relay's reply are on record |
//! | deferred | [`mail`], [`scheduler`] | if the relay said "not now", the row says when the next attempt is due, and the scheduler enqueues it then |
//! | callback | [`jobs`] → [`callback`] | the merchant's receiver took it, or we know why not |
//!
//! The [`scheduler`] enqueues rows that are due (retries, callbacks, batches) and rows whose job was lost; the
//! [`rescuer`] takes rows from workers that died.

pub mod http;

pub mod mail;
pub mod shop;
pub mod webhook;

pub mod store;
mod systemd;

pub mod queue;

pub mod limits;

#[path = "../jobs/mod.rs"]
pub mod jobs;

pub mod render;

pub mod dkim;

pub mod smtp;

pub mod callback;

pub mod cpu_pool;

pub mod dashboard;

pub mod admission;
pub mod app;
pub mod audit;
pub mod auth;
pub mod certificates;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod heartbeat;
pub mod html;
pub mod keyed_hash;
pub mod reload;
pub mod rescuer;
pub mod sampler;
pub mod scheduler;
pub mod signing;
pub mod telemetry;
pub mod templates;
pub mod worker;
