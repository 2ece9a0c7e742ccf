//! Contest rules as data: `contest.toml`, the score formula, ranking, and the messages between web and worker.
//!
//! Nothing here touches a file, a socket, a clock or a database: everything is a pure function of its arguments, so the
//! web, the worker and the command line read the same rules and reach the same scores.
//!
//! - [`rules`]: [`Contest`], what `contest.toml` says, once it has been checked
//! - [`formula`]: the score formula, an expression over named measures
//! - [`measure`]: the vocabulary of measures
//! - [`sealed`]: which documents are kept back, chosen by a key
//! - [`rank`]: the leaderboard, a pure function of rules and outcomes
//! - [`statistics`]: what the outcomes say about the models, and what they do not
//! - [`ready_made`]: formulas to start from
//! - [`wire`]: what web and worker say to each other, as JSON
//! - [`problem`]: [`Text`] and [`Problem`], how anything is told to a person

mod canonical;
mod certificate;
pub mod formula;
pub mod measure;
mod mistake;
mod nearest;
mod parse;
pub mod problem;
pub mod rank;
pub mod ready_made;
pub mod rules;
#[cfg(test)]
mod sample;
mod schedule;
pub mod sealed;
pub mod statistics;
pub mod wire;

pub use certificate::Certificate;
pub use formula::{Formula, FormulaError, ScoreError};
pub use measure::Measures;
pub use mistake::{ContestErrors, Mistake};
pub use problem::{Problem, Text};
pub use rank::{Entry, Row, Standing, board};
pub use rules::{
    Base, CacheRule, CheckpointRules, Contest, Deployment, Device, Floor, Grading, Judge, LineageRule, Order, Phase,
    Profile, Quota, RecipeRule, Reference, Revealed, SamplePrompt, Score, Sealed, Workload,
};
