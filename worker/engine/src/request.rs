//! What can be asked, what comes back, and why nothing might.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::StepError;

/// Told all tokens generated so far after each one; `true` ends the generation.
pub type Stop = Box<dyn FnMut(&[u32]) -> bool + Send>;

/// What can be asked.
pub enum Request {
    /// Continue greedily.
    Generate {
        /// token ids; at least one
        prompt: Vec<u32>,
        /// at most this many new tokens
        max_tokens: usize,
        /// any of these ends the generation; it stands last in the answer
        eos: Vec<u32>,
        /// ends the generation after any token
        stop: Stop,
    },
    /// The log-probability of a given continuation.
    Score {
        /// token ids; at least one
        context: Vec<u32>,
        /// token ids
        continuation: Vec<u32>,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// the request's stop function said so
    Stop,
    /// `max_tokens` were generated
    Length,
    /// an end-of-sequence token was generated
    Eos,
}

/// What comes back. Written as an object with the variant's fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// to [`Request::Generate`]
    Generated {
        /// the new tokens; the last is the end-of-sequence token if `finish` is [`Finish::Eos`]
        tokens: Vec<u32>,
        /// why it ended
        finish: Finish,
    },
    /// to [`Request::Score`]
    Scored {
        /// natural logarithms, one for each continuation token
        logprobs: Vec<f64>,
        /// whether every continuation token is the most likely one in its place
        greedy: bool,
    },
}

/// When a request was worked on, counted from the start of its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// its first row went into a step
    pub began: Duration,
    /// its answer was there
    pub ended: Duration,
}

/// Why a run ended without all answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// nothing to predict from
    #[error("request {request} has an empty prompt")]
    EmptyPrompt {
        /// index of the request
        request: usize,
    },
    /// a token the model does not have
    #[error("request {request} has token id {token}; the model has {vocab}")]
    UnknownToken {
        /// index of the request
        request: usize,
        /// the offending id
        token: u32,
        /// ids are below this
        vocab: usize,
    },
    /// more tokens than the model has positions for
    #[error("request {request} may reach {tokens} tokens; the model has {positions} positions")]
    TooLong {
        /// index of the request
        request: usize,
        /// prompt and what may be generated
        tokens: usize,
        /// the model's limit
        positions: usize,
    },
    /// more tokens than the cache holds
    #[error("request {request} may reach {tokens} tokens; the key/value cache holds {capacity}")]
    TooLongForCache {
        /// index of the request
        request: usize,
        /// prompt and what may be generated
        tokens: usize,
        /// the cache's size in tokens
        capacity: usize,
    },
    /// the model computed something that is not a number
    #[error("request {request}: the model's logits after {tokens} tokens are not all finite numbers")]
    NotFinite {
        /// index of the request
        request: usize,
        /// tokens up to and including the one whose output failed
        tokens: usize,
    },
    /// stopped from outside
    #[error("stopped before all requests were answered")]
    Cancelled,
    /// the executor refused a step
    #[error(transparent)]
    Step(StepError),
}

/// Counters since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// steps run
    pub steps: u64,
    /// prompt tokens computed (recomputed ones after a preemption included)
    pub prompt_tokens: u64,
    /// prompt tokens taken from the cache
    pub cached_tokens: u64,
    /// tokens generated
    pub generated_tokens: u64,
    /// continuation tokens scored
    pub scored_tokens: u64,
    /// sequences that had to start again for want of pages
    pub preemptions: u64,
    /// pages copied to continue a shared beginning
    pub copied_pages: u64,
    /// time in which the executor was waited for; what the host does while a card computes is not in it
    pub step_time: Duration,
}
