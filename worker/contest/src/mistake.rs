//! What is wrong with a `contest.toml`: all of it, each with its line and column.

use std::fmt;

use crate::problem::{Problem, Text};

/// Most mistakes reported of one file. A file with more is not a contest; the rest shows once these are gone.
pub const MAX_MISTAKES: usize = 100;

/// One mistake in a `contest.toml`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key it is about, such as `grading.tasks[2]`; empty for the file as a whole.
    pub key: String,
    /// Stable, kebab-case.
    pub code: &'static str,
    /// What is the matter.
    pub message: Text,
    /// What makes it go away.
    pub fix: Text,
}

impl Mistake {
    /// The same as a [`Problem`], whose place is `contest.toml:<line>:<column>`.
    pub fn problem(&self) -> Problem {
        let place = format!("contest.toml:{}:{}", self.line, self.column);
        Problem::new(self.code, place, self.message.clone(), self.fix.clone())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "contest.toml:{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} [{}]", self.message, self.code)
    }
}

/// Everything that is wrong with a `contest.toml`, in the order of the file; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContestErrors {
    /// At least one, at most a hundred.
    pub mistakes: Vec<Mistake>,
}

impl ContestErrors {
    /// The mistakes as problems, for a page or a report.
    pub fn problems(&self) -> Vec<Problem> {
        self.mistakes.iter().map(Mistake::problem).collect()
    }
}

/// One line for each mistake, in English.
impl fmt::Display for ContestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ContestErrors {}
