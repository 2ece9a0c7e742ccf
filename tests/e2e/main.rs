//! The whole of Assay, with nothing replaced: the built `assay-web` and `assay-worker`, a real Postgres, a real browser.
//!
//! `ASSAY_TEST_DATABASE_URL` names a Postgres in which databases may be created; `tests/run` provides one.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod clients;
mod deployment;
mod dispatch;
mod kills;
mod organizer;
mod pages;
mod proxy;
mod uploads;
