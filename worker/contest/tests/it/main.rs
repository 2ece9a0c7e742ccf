//! The statistics of a board against an independent computation on what lm-evaluation-harness recorded.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod page;
mod recorded;
mod significance;
