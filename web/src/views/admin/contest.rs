//! The rules: what is in force, what would change, what was.

use askama::Template;

use super::super::page::{Page, When};
use super::super::problem::ProblemView;

/// GET `/admin/contest`. Form: POST `/admin/contest/preview` (`csrf`, `source`).
#[derive(Debug, Default, Template)]
#[template(path = "admin/contest.html")]
pub struct ContestPage {
    /// What every page carries.
    pub page: Page,
    /// The contest's slug.
    pub id: String,
    /// Its title in the page's language.
    pub title: String,
    /// The version in force.
    pub version: u32,
    /// The digest of the rules in force.
    pub digest: String,
    /// What is in the editor.
    pub source: String,
    /// What is wrong with it: line, column, problem.
    pub mistakes: Vec<(u64, u64, ProblemView)>,
    /// What was in force, newest first.
    pub versions: Vec<VersionRow>,
    /// Lines in the editor.
    pub lines: usize,
}

/// A version of the rules.
#[derive(Clone, Debug, Default)]
pub struct VersionRow {
    /// Its number.
    pub version: u32,
    /// The digest of its rules.
    pub digest: String,
    /// When it came into force.
    pub at: Option<When>,
    /// Who adopted it; `None` for the command line.
    pub by: Option<String>,
}

/// GET `/admin/contest/versions/{n}`.
#[derive(Debug, Default, Template)]
#[template(path = "admin/version.html")]
pub struct VersionPage {
    /// What every page carries.
    pub page: Page,
    /// Which.
    pub row: VersionRow,
    /// contest.toml as it was.
    pub source: String,
    /// What differs from the version in force, in words.
    pub differences: Vec<Difference>,
}

/// What would change. Form: POST `/admin/contest/adopt` (`csrf`, `source`, `digest`: of the rules in force when this was drawn).
#[derive(Debug, Default, Template)]
#[template(path = "admin/preview.html")]
pub struct PreviewPage {
    /// What every page carries.
    pub page: Page,
    /// What is to be adopted.
    pub source: String,
    /// The digest of the rules in force.
    pub digest: String,
    /// Rules that change.
    pub differences: Vec<Difference>,
    /// Teams whose rank or score changes.
    pub moves: Vec<Move>,
    /// Teams that stay where they are.
    pub still: u64,
    /// What was wrong with the answer.
    pub wrong: Option<String>,
}

/// One rule that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Its name in the page's language.
    pub label: String,
    /// Its key in contest.toml.
    pub key: String,
    /// As it is; `None` where it is not there.
    pub before: Option<String>,
    /// As it would be.
    pub after: Option<String>,
}

/// One team that moves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Move {
    /// The team.
    pub team: String,
    /// Rank and score now, as shown.
    pub before: (Option<u32>, String),
    /// Rank and score then.
    pub after: (Option<u32>, String),
    /// Why it would not be ranked.
    pub note: String,
}

impl Move {
    /// Where it goes: `up`, `down`, `in`, `out` or `same`.
    pub fn direction(&self) -> &'static str {
        match (self.before.0, self.after.0) {
            (Some(before), Some(after)) if after < before => "up",
            (Some(before), Some(after)) if after > before => "down",
            (None, Some(_)) => "in",
            (Some(_), None) => "out",
            _ => "same",
        }
    }

    fn direction_key(&self) -> &'static str {
        match self.direction() {
            "up" => "move-up",
            "down" => "move-down",
            "in" => "move-in",
            "out" => "move-out",
            _ => "move-same",
        }
    }

    fn tone(&self) -> &'static str {
        match self.direction() {
            "up" | "in" => "good",
            "down" | "out" => "warn",
            _ => "plain",
        }
    }
}
