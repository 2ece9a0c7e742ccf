//! A person's team: make one, join one, see who is in it.

use super::account::{FieldError, error_of};
use super::page::{Page, When};
use askama::Template;

/// GET `/team`, and the answer to a failed POST `/team` (`csrf`, `name`) or POST `/team/join` (`csrf`, `code`).
#[derive(Debug, Template)]
#[template(path = "team.html")]
pub struct TeamPage {
    /// What every page carries.
    pub page: Page,
    /// The viewer's team; `None` shows the two forms.
    pub team: Option<TeamInfo>,
    /// As typed into the first form.
    pub name: String,
    /// As typed into the second form.
    pub code: String,
    /// Errors of `name` or `code`.
    pub errors: Vec<FieldError>,
}

/// The viewer's team.
#[derive(Clone, Debug, Default)]
pub struct TeamInfo {
    /// Its name.
    pub name: String,
    /// The code that lets another person join.
    pub invite_code: String,
    /// Its members, the captain first.
    pub members: Vec<MemberRow>,
}

/// One member.
#[derive(Clone, Debug, Default)]
pub struct MemberRow {
    /// Display name.
    pub name: String,
    /// Whether this person made the team.
    pub captain: bool,
    /// Whether this is the viewer.
    pub you: bool,
    /// Since when.
    pub joined: Option<When>,
}

impl TeamPage {
    /// The first error of `field`.
    pub fn error(&self, field: &str) -> Option<&str> {
        error_of(&self.errors, field)
    }
}
