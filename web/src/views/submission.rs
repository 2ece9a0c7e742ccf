//! One submission: its stages live, then its report.

use super::filters;
use super::format;
use super::page::{Page, When};
use super::report::ReportFragment;
use super::stages::{StagesFragment, SubmissionState};
use askama::Template;

/// GET `/submissions/{id}`.
#[derive(Debug, Template)]
#[template(path = "submission.html")]
pub struct SubmissionPage {
    /// What every page carries.
    pub page: Page,
    /// UUID.
    pub id: String,
    /// The team's title for it; may be empty.
    pub title: String,
    /// The team's name.
    pub team: String,
    /// When it was received.
    pub received: Option<When>,
    /// The uploaded files.
    pub files: Vec<FileRow>,
    /// The stages.
    pub stages: StagesFragment,
    /// The report, once there is one (also for a rejected submission: its problems are there).
    pub report: Option<ReportFragment>,
    /// The address of the page's events; `None` when nothing more will happen.
    pub events_url: Option<String>,
}

/// One uploaded file.
#[derive(Clone, Debug, Default)]
pub struct FileRow {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// How much of it is safe on the server.
    pub received: u64,
    /// Its digest (hex).
    pub sha256: String,
}

impl SubmissionPage {
    /// The title, or the end of the id.
    pub fn heading(&self) -> &str {
        format::heading(&self.title, &self.id)
    }

    /// Length of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// The data of one event of `/submissions/{id}/events`: a JSON object `{state, done, stages, report}` where `stages` and `report`
/// are HTML in the viewer's language (`report` null while there is none). Every event is a full snapshot, so none can be
/// missed; event name `snapshot`. After `done: true` the client closes the stream.
pub fn snapshot(stages: &StagesFragment, report: Option<&ReportFragment>) -> Result<String, askama::Error> {
    let report = report.map(Template::render).transpose()?;
    Ok(serde_json::json!({
        "state": stages.facts.state.code(),
        "done": stages.facts.state.finished(),
        "stages": stages.render()?,
        "report": report,
    })
    .to_string())
}
