//! The built `assay-worker`, run as people and the service run it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench;
mod bits;
mod certificate;
mod cli;
mod diff;
mod doorbell;
mod fidelity;
mod formats;
mod grade;
mod logits;
mod profile;
mod server;
mod service;
mod support;
mod survey;
mod time_track;
