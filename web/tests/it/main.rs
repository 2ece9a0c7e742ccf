//! The application as a whole, over HTTP: every test starts its own on a free port with its own database.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it expects by failing"
)]

mod accounts;
mod admin;
mod admin_contest;
mod admin_out;
mod admin_people;
mod admin_queue;
mod board;
mod commands;
mod compare;
mod crash;
mod csrf;
mod desk;
mod dispatch;
mod dispatch_fair;
mod dispatch_keys;
mod dispatch_machine;
mod dispatch_relay;
mod dispatch_retry;
mod errors;
mod events;
mod helpers;
mod ingest;
mod locale;
mod matrix;
mod metrics;
mod precheck;
mod sealed;
mod sessions;
mod storage;
mod teams;
mod uploads;
mod uploads_draft;
mod uploads_model;
mod uploads_tus;
