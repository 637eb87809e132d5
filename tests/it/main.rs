//! What postroom promises, tried on the real binary, real databases, a real Redis and a real SMTP server.
//!
//! One file for each capability; `support/` starts what a test needs, private to it, and ends it again. A test written
//! in [`on_both!`](support) runs twice: on SQLite with the embedded queue, and on Postgres with Redis.
//!
//! ```text
//! tests/install && cargo test --test it             all
//! cargo test --test it -- retries::                 one file
//! cargo test --test it -- ::sqlite_memory           one of the two pairs of back ends
//! ```

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[macro_use]
mod support;

mod actions;
mod admin;
mod admission;
mod architecture;
mod audit;
mod auth;
mod batch_crash;
mod batch_ends;
mod batches;
mod bounds;
mod builtin_mails;
mod carts_and_passes;
mod command_line;
mod commands;
mod confinement;
mod connections;
mod crash;
mod crash_test;
mod credentials_cli;
mod dashboard;
mod dashboard_browser;
mod dashboard_pages;
mod demo;
mod dkim;
mod doctor;
mod documentation;
mod documented_commands;
mod drain;
mod envelopes;
mod extras;
mod first_mail;
mod full_disk;
mod hand_over;
mod hostile_bodies;
mod hostile_neighbour;
mod hostile_templates;
mod hung_store;
mod idempotency;
mod import;
mod json_bodies;
mod limits;
mod logs;
mod look_ups;
mod machines;
mod mailing;
mod messages;
mod metrics;
mod openapi;
mod orders;
mod outages;
mod partials;
mod pauses;
mod places;
mod power_cut;
mod preflight;
mod reasons;
mod recipients;
mod redis_setups;
mod relays;
mod reload;
mod replies;
mod resources;
mod retries;
mod rolling;
mod round_trips;
mod routes;
mod sandbox;
mod schedule;
mod scheduler;
mod service;
mod silent_database;
mod states;
mod store;
mod suppressions;
mod unsubscribe;
