//! Runs Exaone models: from token ids to greedy continuations and log-probabilities. No tokenizer, no text, no files but the checkpoint.
//!
//! The seam is the *step* ([`exec::Executor`]): a ragged batch of tokens goes in, an argmax or the log-probability of a target comes out.
//! [`numerics`] says what every executor computes, down to the order of additions, so that a row's result never depends on the
//! batch it ran in. [`pages`] and [`schedule`] decide what runs when, and can therefore change speed but no bit of an answer.
//!
//! | file | idea |
//! |---|---|
//! | [`plan`] | the model as an executor needs it: sizes, which layer has RoPE, a window, where the norms sit |
//! | [`model`] | the weights, checked against the plan |
//! | [`numerics`] | every rounding rule, every constant, every order of addition |
//! | [`batch`] | what a step is given and what it gives back |
//! | [`pages`] | the key/value cache's pages: sharing, copying, eviction |
//! | [`schedule`] | which tokens run in the next step |
//! | [`request`] | what can be asked, what comes back |
//! | [`engine`] | the loop over steps; `task` keeps one request's progress |
//! | [`exec`] | the executors: `reference` (the oracle), `cpu` and `gpu` |

pub mod batch;
pub mod engine;
pub mod exec;
pub mod model;
pub mod numerics;
pub mod pages;
pub mod plan;
pub mod request;
pub mod schedule;
mod task;

pub use batch::{Limits, Output, Segment, StepBatch, StepError, StepOutput, Want};
pub use engine::Engine;
pub use exec::{Chosen, Device, DeviceClass, Executor, ExecutorError, Options, Pipeline, executor};
pub use model::{LayerParts, LoadError, Model, Parts};
pub use numerics::Precision;
pub use request::{Answer, EngineError, Finish, Request, Span, Stats, Stop};
pub use schedule::Order;

/// The version that stands in every report: a score is a function of (checkpoint, tasks, engine version, device class).
pub const ENGINE_VERSION: &str = concat!("assay-engine ", env!("CARGO_PKG_VERSION"), " numerics ", "4");
