//! A team's submissions, and the page that uploads a new one.

use super::filters::{self, Count, Real};
use super::format;
use super::page::{Page, When};
use super::stages::{DisqualifiedView, SubmissionState};
use crate::i18n;
use askama::Template;
use serde::Serialize;

/// GET `/submissions`: the viewer's team's submissions, newest first.
#[derive(Debug, Template)]
#[template(path = "submissions.html")]
pub struct SubmissionsPage {
    /// What every page carries.
    pub page: Page,
    /// Decimals the contest shows scores with.
    pub decimals: u32,
    /// Newest first.
    pub rows: Vec<SubmissionRow>,
    /// Why the whole team is out of the ranking, where it is.
    pub out: Option<DisqualifiedView>,
    /// How much of today's quota is left.
    pub quota: Option<QuotaView>,
}

/// One submission of the list.
#[derive(Clone, Debug, Default)]
pub struct SubmissionRow {
    /// UUID.
    pub id: String,
    /// The team's title for it; may be empty.
    pub title: String,
    /// Where it stands.
    pub state: SubmissionState,
    /// When it was received; `None` while it is a draft.
    pub received: Option<When>,
    /// When it was made.
    pub created: Option<When>,
    /// `W4A16 g128 sym`.
    pub scheme: String,
    /// Length of all weight files together.
    pub bytes: Option<u64>,
    /// The published score.
    pub score: Option<f64>,
    /// Why it is out of the ranking by itself, where it is.
    pub out: Option<DisqualifiedView>,
}

impl SubmissionsPage {
    fn score(&self, score: impl Real) -> String {
        format::score(score.real(), self.decimals)
    }

    fn exact(&self, bytes: impl Count) -> String {
        format::grouped(bytes.count())
    }
}

impl SubmissionRow {
    /// The title, or the end of the id.
    fn heading(&self) -> &str {
        format::heading(&self.title, &self.id)
    }
}

/// How much of today's quota is left.
#[derive(Clone, Debug)]
pub struct QuotaView {
    /// Scores published today.
    pub used: u32,
    /// Scores a team may have published in a day.
    pub per_day: u32,
    /// When the count starts again.
    pub resets: Option<When>,
}

/// GET `/submissions/new`.
#[derive(Debug, Template)]
#[template(path = "submission_new.html")]
pub struct NewSubmissionPage {
    /// What every page carries.
    pub page: Page,
    /// Whether the viewer may submit now.
    pub gate: SubmitGate,
    /// The contest's limits, shown before anything is chosen.
    pub limits: Option<UploadLimits>,
    /// How much of today's quota is left.
    pub quota: Option<QuotaView>,
    /// The team's uploads that were begun and not sent, newest first.
    pub drafts: Vec<DraftView>,
}

/// An upload that was begun and not sent.
#[derive(Clone, Debug, Default)]
pub struct DraftView {
    /// UUID of the submission.
    pub id: String,
    /// The team's title for it; may be empty.
    pub title: String,
    /// When it was begun.
    pub created: Option<When>,
    /// Its manifest with what has arrived.
    pub files: Vec<DraftFile>,
}

/// One declared file of a [`DraftView`]; serialized, it is what the upload script compares a folder with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DraftFile {
    /// Its name in the folder.
    pub name: String,
    /// Declared length in bytes.
    pub bytes: u64,
    /// Bytes that are safe on the server.
    pub received: u64,
    /// Declared sha256, lowercase hex.
    pub sha256: String,
}

impl DraftView {
    /// The title, or the end of the id.
    fn heading(&self) -> &str {
        format::heading(&self.title, &self.id)
    }

    /// Declared bytes of all files.
    pub fn total(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Bytes of all files that are safe on the server.
    pub fn received(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.received))
    }

    /// The files as JSON, for the script.
    fn manifest(&self) -> String {
        serde_json::to_string(&self.files).unwrap_or_default()
    }
}

/// Whether the viewer may submit now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubmitGate {
    /// Yes.
    #[default]
    Open,
    /// The viewer has no team yet.
    NoTeam,
    /// No phase of the contest is open.
    Closed,
    /// No contest was imported.
    NoContest,
}

/// The contest's limits on a submission.
#[derive(Clone, Debug, Default)]
pub struct UploadLimits {
    /// Longest sum of all files, in bytes.
    pub max_bytes: u64,
    /// Most files.
    pub max_files: u32,
    /// Allowed formats by name.
    pub formats: Vec<String>,
    /// Length of the base model's weight files, for comparison.
    pub base_bytes: Option<u64>,
}

impl NewSubmissionPage {
    /// `63.0 % is here: 1.20 GB of 1.90 GB`.
    fn arrived(&self, draft: &DraftView) -> String {
        let (received, total) = (draft.received(), draft.total());
        let (percent, done, of) = (
            format::percent(received, total),
            format::size(received),
            format::size(total),
        );
        let args: [(&str, &dyn i18n::Arg); 3] = [("percent", &percent), ("done", &done), ("total", &of)];
        i18n::t(self.page.locale, "upload-draft-state", &args)
    }

    /// The sentences the upload panel's script needs, as one JSON object: every message whose key begins with `up-`, with
    /// `{name}` left where an argument goes.
    pub fn strings(&self) -> String {
        let names = [
            "name", "n", "total", "done", "size", "bytes", "speed", "left", "code", "percent", "limit",
        ];
        let placeholders: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
        let args: Vec<(&str, &dyn i18n::Arg)> = names
            .iter()
            .zip(&placeholders)
            .map(|(name, hole)| (*name, hole as &dyn i18n::Arg))
            .collect();
        let table: serde_json::Map<String, serde_json::Value> = i18n::keys(self.page.locale)
            .filter(|key| key.starts_with("up-"))
            .map(|key| (key.to_owned(), i18n::t(self.page.locale, key, &args).into()))
            .collect();
        serde_json::Value::Object(table).to_string()
    }
}
