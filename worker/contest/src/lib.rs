//! Contest rules as data: `contest.toml`, the score formula, ranking, and the messages between web and worker.
//!
//! Nothing here touches a file, a socket, a clock or a database: everything is a pure function of its arguments, so the
//! web, the worker and the command line read the same rules and reach the same scores.
//!
//! - [`rules`]: [`Contest`], what `contest.toml` says, once it has been checked
//! - [`formula`]: the score formula, an expression over named measures
//! - [`measure`]: the vocabulary of measures
//! - [`rank`]: the leaderboard, a pure function of rules and outcomes
//! - [`ready_made`]: formulas to start from
//! - [`wire`]: what web and worker say to each other, as JSON
//! - [`problem`]: [`Text`] and [`Problem`], how anything is told to a person

pub mod problem;
pub mod rules;
pub mod wire;

pub use problem::{Problem, Text};
pub use rules::{
    Base, CheckpointRules, Contest, Floor, Grading, Order, Phase, Profile, Quota, RecipeRule, SamplePrompt, Score,
};
