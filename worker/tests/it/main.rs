//! The built `assay-worker`, run as people and the service run it.

mod cli;
mod grade;
mod logits;
mod server;
mod service;
mod support;
