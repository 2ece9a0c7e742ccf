//! Accuracy tasks in lm-evaluation-harness's own YAML, scored as its version 0.4.13 scores them. Prompts are those of
//! the same version too, but for the profile `chat-single-0.4.9`, whose requests are 0.4.9.2's.
//!
//! A tasks folder is read by [`TaskSet::load`]; a [`Task`] gives the requests to a model ([`Task::instances`]) and makes
//! outcomes of the responses ([`Task::score`]); [`results_json`] and [`samples_jsonl`] write them as the harness does.
//! The model, the tokenizer and the clock stay outside: the same folder, settings and responses give the same bytes.
//!
//! Nothing here runs Python, reaches for the network, or reads outside the tasks folder. `!function` is answered with an
//! error that names it; templates and patterns are bounded in steps and output.
//!
//! - [`yaml`], [`python`], [`pattern`], [`random`]: CPython and PyYAML, as far as scores depend on them
//! - [`set`], [`group`], [`task`], [`config`]: what is asked
//! - [`filters`], [`metrics`], [`score`], [`stats`]: what is made of the answers
//! - [`items`]: every document's part in it, and the numbers over some of the documents
//! - [`chat`], [`encode`]: conversations and tokens
//! - [`results`]: the harness's files

mod answered;
pub mod chat;
pub mod config;
mod data;
pub mod encode;
pub mod error;
mod fields;
pub mod filters;
pub mod group;
mod index;
pub mod items;
pub mod metrics;
pub mod pattern;
mod prompt;
pub mod python;
pub mod random;
mod reader;
pub mod results;
mod sampler;
pub mod score;
pub mod set;
mod source;
pub mod stats;
pub mod task;
mod template;
pub mod yaml;

pub use chat::{ChatTemplate, ChatTemplateError, JinjaTemplate, Message, Role};
pub use config::OutputType;
pub use encode::{EncodeError, encode_pair, encode_pair_after};
pub use error::{Fault, Place, TaskError};
pub use group::{Group, GroupOutcome};
pub use items::{items, pooled, restrict, restrictable};
pub use results::{RunInfo, Samples, results_json, samples, samples_jsonl};
pub use score::{DocOutcome, Measure, Response, TaskOutcome};
pub use set::TaskSet;
pub use task::{Instance, InstanceKind, Limit, Settings, Task};
