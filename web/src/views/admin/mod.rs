//! The organizer's desk: queue, workers, submissions, rules, people, and what was done.

mod audit;
mod confirm;
mod contest;
mod people;
mod queue;
mod submissions;
mod workers;

pub use audit::{AuditPage, AuditRow};
pub use confirm::{ConfirmPage, ReasonField};
pub use contest::{ContestPage, Difference, Move, PreviewPage, VersionPage, VersionRow};
pub(crate) use people::role_key;
pub use people::{PersonRow, TeamLine, TeamPage as AdminTeamPage, TeamsPage, UsersPage};
pub use queue::{AttemptLine, JobPage, QueuePage, StateCount};
pub use submissions::{DisqualifiedRow, SubmissionLine, SubmissionsDeskPage};
pub use workers::WorkersPage;

use super::filters;
use super::format;
use super::page::{Page, When};
use super::problem::ProblemView;
use super::stages::SubmissionState;
use askama::Template;

/// GET `/admin`. Forms: POST `/admin/submissions/{id}/rerun` (`csrf`), POST `/admin/enrol` (`csrf`), and a [`SealView`]'s.
#[derive(Debug, Template)]
#[template(path = "admin/desk.html")]
pub struct AdminPage {
    /// What every page carries.
    pub page: Page,
    /// How many submissions there are in each state, in the order of their way.
    pub counts: Vec<(SubmissionState, u64)>,
    /// Live jobs (queued and running), oldest first.
    pub queue: Vec<JobRow>,
    /// Jobs that ended, newest first, as many as fit a page.
    pub recent: Vec<JobRow>,
    /// Enrolled workers.
    pub workers: Vec<WorkerRow>,
    /// A fresh one-time enrolment token, shown once after it was made.
    pub enrolment: Option<EnrolmentView>,
    /// The sealed documents of the contest, if it has any.
    pub seal: Option<SealView>,
    /// Age of the oldest queued job in seconds.
    pub oldest_wait: Option<f64>,
    /// Jobs set aside that an organizer has to look at.
    pub set_aside: u64,
    /// Workers that have not spoken for longer than their lease.
    pub silent: u64,
}

/// What every list of the desk ends with: where it goes on.
#[derive(Clone, Debug, Default)]
pub struct Pager {
    /// The address of the first page, unless this is it.
    pub first: Option<String>,
    /// The address of the next page.
    pub next: Option<String>,
}

/// The sealed documents of the contest. Form: POST `/admin/reveal` (`csrf`, `confirm`: the contest's name).
#[derive(Clone, Debug, Default)]
pub struct SealView {
    /// The contest's slug, which has to be typed to confirm.
    pub contest: String,
    /// How many documents are sealed.
    pub documents: u64,
    /// Share of each task's documents.
    pub share: f64,
    /// The digest announced in the rules.
    pub digest: String,
    /// Whether all documents count once they are revealed, or only the sealed ones.
    pub all: bool,
    /// When they were revealed.
    pub revealed: Option<When>,
    /// What was wrong with the confirmation.
    pub wrong: Option<String>,
}

impl SealView {
    fn share(&self) -> String {
        format::share(self.share)
    }
}

/// One job.
#[derive(Clone, Debug, Default)]
pub struct JobRow {
    /// The job's UUID.
    pub job: String,
    /// The job's state: queued, running, succeeded, failed, cancelled or quarantined.
    pub job_state: String,
    /// Higher goes first.
    pub priority: i16,
    /// Someone has called it off; its worker has not answered yet.
    pub stopping: bool,
    /// Earliest time a worker may take it, while that is still to come.
    pub not_before: Option<When>,
    /// The class of the latest attempt's error.
    pub class: Option<String>,
    /// The submission's UUID.
    pub submission: String,
    /// The submission's title.
    pub title: String,
    /// The team's name.
    pub team: String,
    /// The submission's state.
    pub state: SubmissionState,
    /// The worker's stage by wire name; empty when none has it.
    pub stage: String,
    /// How far the stage is.
    pub done: u64,
    /// Of how many; 0 = not known.
    pub total: u64,
    /// Attempts made.
    pub attempts: u32,
    /// Attempts allowed.
    pub max_attempts: u32,
    /// The worker that has (or had) it.
    pub worker: Option<String>,
    /// When it was received.
    pub received: Option<When>,
    /// Seconds since it was queued (live) or that it took (ended).
    pub seconds: Option<f64>,
    /// Why it failed or was rejected.
    pub problem: Option<ProblemView>,
    /// Whether a re-run may be asked for now.
    pub can_rerun: bool,
}

impl JobRow {
    /// The title, or the end of the submission's id.
    fn heading(&self) -> &str {
        format::heading(&self.title, &self.submission)
    }

    fn stage_key(&self) -> String {
        format!("stage-{}", self.stage)
    }

    /// How far the stage is, in percent.
    fn percent(&self) -> Option<u64> {
        (self.total > 0).then(|| (self.done.saturating_mul(100) / self.total).min(100))
    }

    fn live(&self) -> bool {
        matches!(self.job_state.as_str(), "queued" | "running")
    }

    fn set_aside(&self) -> bool {
        self.job_state == "quarantined" && self.can_rerun
    }

    fn up(&self) -> i16 {
        self.priority.saturating_add(1)
    }

    fn down(&self) -> i16 {
        self.priority.saturating_sub(1)
    }

    /// What the submission came to by this job, where it is the one that decided it.
    fn came_to(&self) -> Option<SubmissionState> {
        (self.job_state == "succeeded" && self.can_rerun).then_some(self.state)
    }

    fn tone(&self) -> &'static str {
        job_tone(&self.job_state)
    }
}

/// The tone of a job's state.
fn job_tone(state: &str) -> &'static str {
    match state {
        "queued" => "warn",
        "running" => "live",
        "succeeded" => "good",
        "failed" | "quarantined" | "lost" => "bad",
        _ => "plain",
    }
}

/// The message key of a job's or an attempt's state.
pub(crate) fn job_key(state: &str) -> &'static str {
    match state {
        "queued" => "job-queued",
        "running" => "job-running",
        "succeeded" => "job-succeeded",
        "failed" => "job-failed",
        "quarantined" => "job-quarantined",
        "lost" => "job-lost",
        "released" => "job-released",
        _ => "job-cancelled",
    }
}

/// One worker.
#[derive(Clone, Debug, Default)]
pub struct WorkerRow {
    /// UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its device: `cpu · 2 threads`.
    pub device: String,
    /// When it last spoke.
    pub seen: Option<When>,
    /// Seconds since it last spoke.
    pub silent_seconds: Option<f64>,
    /// The title of what it works on.
    pub job: Option<String>,
    /// The address of that job.
    pub job_href: Option<String>,
    /// The stage it is in, by wire name; empty when it has none.
    pub stage: String,
    /// How far the stage is.
    pub done: u64,
    /// Of how many; 0 = not known.
    pub total: u64,
    /// The driver of its device.
    pub driver: String,
    /// When it was let in.
    pub enrolled: Option<When>,
    /// Grades it brought to an end.
    pub succeeded: u64,
    /// Attempts that failed or were lost since its last success.
    pub failures: u64,
    /// It takes no new work, whatever else it does.
    pub drained: bool,
    /// Where it stands.
    pub status: WorkerStatus,
}

/// Where a worker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerStatus {
    /// It asks for work.
    #[default]
    Idle,
    /// It has a job.
    Busy,
    /// It finishes what it has and takes no more.
    Draining,
    /// It has not spoken for longer than its lease.
    Silent,
    /// Its key is no longer valid.
    Revoked,
}

impl WorkerStatus {
    /// The word used in `data-status` and in message keys.
    pub fn code(&self) -> &'static str {
        match self {
            WorkerStatus::Idle => "idle",
            WorkerStatus::Busy => "busy",
            WorkerStatus::Draining => "draining",
            WorkerStatus::Silent => "silent",
            WorkerStatus::Revoked => "revoked",
        }
    }

    /// The message key of its name.
    fn key(&self) -> String {
        format!("worker-{}", self.code())
    }

    /// The tone of its stamp.
    fn tone(&self) -> &'static str {
        match self {
            WorkerStatus::Idle => "good",
            WorkerStatus::Busy => "live",
            WorkerStatus::Draining => "warn",
            WorkerStatus::Silent => "bad",
            WorkerStatus::Revoked => "plain",
        }
    }
}

impl WorkerRow {
    fn stage_key(&self) -> String {
        format!("stage-{}", self.stage)
    }

    fn percent(&self) -> Option<u64> {
        (self.total > 0).then(|| (self.done.saturating_mul(100) / self.total).min(100))
    }

    fn short_id(&self) -> &str {
        format::short_id(&self.id)
    }
}

/// A fresh enrolment token.
#[derive(Clone, Debug, Default)]
pub struct EnrolmentView {
    /// The token.
    pub token: String,
    /// The command to type on the worker machine.
    pub command: String,
    /// Until when it is valid.
    pub expires: Option<When>,
}
