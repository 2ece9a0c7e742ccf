//! All teams' submissions, and which are out of the ranking.

use askama::Template;

use super::super::format;
use super::super::page::{Page, When};
use super::super::stages::SubmissionState;
use super::Pager;

/// GET `/admin/submissions`.
#[derive(Debug, Default, Template)]
#[template(path = "admin/submissions.html")]
pub struct SubmissionsDeskPage {
    /// What every page carries.
    pub page: Page,
    /// Newest first.
    pub rows: Vec<SubmissionLine>,
    /// What is out of the ranking now.
    pub disqualified: Vec<DisqualifiedRow>,
    /// The words asked for.
    pub search: String,
    /// The state asked for.
    pub state: String,
    /// Only what is out of the ranking.
    pub only_out: bool,
    /// States to choose from.
    pub states: Vec<SubmissionState>,
    /// Where the list goes on.
    pub pager: Pager,
}

/// One submission.
#[derive(Clone, Debug, Default)]
pub struct SubmissionLine {
    /// UUID.
    pub id: String,
    /// The team's title for it; may be empty.
    pub title: String,
    /// The team's name.
    pub team: String,
    /// The team's UUID.
    pub team_id: String,
    /// Where it stands.
    pub state: SubmissionState,
    /// When it was received.
    pub received: Option<When>,
    /// The score as shown.
    pub score: Option<String>,
    /// Its rank, where it is its team's best.
    pub rank: Option<u32>,
    /// Why it is disqualified itself.
    pub own: Option<String>,
    /// Why its whole team is.
    pub whole: Option<String>,
}

impl SubmissionLine {
    pub(super) fn heading(&self) -> &str {
        format::heading(&self.title, &self.id)
    }
}

/// What is out of the ranking.
#[derive(Clone, Debug, Default)]
pub struct DisqualifiedRow {
    /// The submission's heading and address; `None` when it is the whole team.
    pub submission: Option<(String, String)>,
    /// The team's name.
    pub team: String,
    /// The team's UUID.
    pub team_id: String,
    /// Why.
    pub reason: String,
    /// Who decided it.
    pub by: Option<String>,
    /// When.
    pub at: Option<When>,
    /// The address that takes it back.
    pub undo: String,
}
