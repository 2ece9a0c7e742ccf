//! The named stages of a submission, as they happen.

use super::filters::Real;
use super::format;
use super::page::When;
use super::problem::ProblemView;
use crate::i18n::{self, Arg, Locale};
use askama::Template;

/// Where a submission stands: the `submissions.state` column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubmissionState {
    /// Files are still being uploaded.
    #[default]
    Draft,
    /// Accepted in time; lasts for a moment.
    Received,
    /// Waits for a worker.
    Queued,
    /// A worker grades it.
    Running,
    /// It has a score.
    Graded,
    /// It breaks a rule; the problems say which.
    Rejected,
    /// Grading did not end; the problem says why.
    Failed,
    /// Withdrawn.
    Cancelled,
}

impl SubmissionState {
    /// Reads the database's word; an unknown one is `Draft`.
    pub fn parse(word: &str) -> SubmissionState {
        use SubmissionState::*;
        [Received, Queued, Running, Graded, Rejected, Failed, Cancelled]
            .into_iter()
            .find(|state| state.code() == word)
            .unwrap_or(Draft)
    }

    /// The database's word.
    pub fn code(&self) -> &'static str {
        match self {
            SubmissionState::Draft => "draft",
            SubmissionState::Received => "received",
            SubmissionState::Queued => "queued",
            SubmissionState::Running => "running",
            SubmissionState::Graded => "graded",
            SubmissionState::Rejected => "rejected",
            SubmissionState::Failed => "failed",
            SubmissionState::Cancelled => "cancelled",
        }
    }

    /// The message key of its name.
    pub fn key(&self) -> &'static str {
        match self {
            SubmissionState::Draft => "state-draft",
            SubmissionState::Received => "state-received",
            SubmissionState::Queued => "state-queued",
            SubmissionState::Running => "state-running",
            SubmissionState::Graded => "state-graded",
            SubmissionState::Rejected => "state-rejected",
            SubmissionState::Failed => "state-failed",
            SubmissionState::Cancelled => "state-cancelled",
        }
    }

    /// The tone of its stamp.
    pub fn tone(&self) -> &'static str {
        match self {
            SubmissionState::Draft | SubmissionState::Cancelled => "plain",
            SubmissionState::Received | SubmissionState::Queued => "warn",
            SubmissionState::Running => "live",
            SubmissionState::Graded => "good",
            SubmissionState::Rejected | SubmissionState::Failed => "bad",
        }
    }

    /// Whether nothing more will happen by itself.
    pub fn finished(&self) -> bool {
        matches!(self, Self::Graded | Self::Rejected | Self::Failed | Self::Cancelled)
    }
}

/// The steps shown, in order. `Received` and `Queued` are the service's own; the others are the worker's stages, by their wire names.
pub const STEPS: [&str; 10] = [
    "received", "queued", "fetch", "verify", "weigh", "load", "evaluate", "samples", "time", "report",
];

/// What is known about a submission's way; [`StagesFragment::new`] turns it into steps.
#[derive(Clone, Debug, Default)]
pub struct StageFacts {
    /// The submission's state.
    pub state: SubmissionState,
    /// When it was received.
    pub received: Option<When>,
    /// When it was finished.
    pub finished: Option<When>,
    /// How many submissions are before it in the queue; `Some(0)` = it is next.
    pub queue_ahead: Option<u64>,
    /// The worker's present (or last) stage by its wire name: `fetch`, `verify`, … Empty before a worker has it.
    pub stage: String,
    /// Whether the contest has a time track: the step is not shown where it has none.
    pub timed: bool,
    /// The task being evaluated.
    pub task: Option<String>,
    /// How far the stage is, in the stage's own unit.
    pub done: u64,
    /// Of how many; 0 = not known.
    pub total: u64,
    /// Seconds until a worker is expected to take it up, where that can be said.
    pub wait: Option<f64>,
    /// Which attempt this is, from 1; 0 before the first.
    pub attempt: u32,
    /// How many attempts there may be.
    pub max_attempts: u32,
    /// The worker's name.
    pub worker: Option<String>,
    /// Seconds each stage took, by wire name, where known.
    pub timings: Vec<(String, f64)>,
    /// Why it was rejected or failed.
    pub problem: Option<ProblemView>,
    /// Why the organizers took it out of the ranking.
    pub disqualified: Option<DisqualifiedView>,
}

/// Why the organizers took something out of the ranking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisqualifiedView {
    /// In an organizer's words.
    pub reason: String,
    /// The whole team, not this submission alone.
    pub team: bool,
    /// When.
    pub at: Option<When>,
}

/// The stage list of a submission's page, also sent alone by its events.
#[derive(Clone, Debug, Template)]
#[template(path = "fragments/stages.html")]
pub struct StagesFragment {
    /// The language.
    pub locale: Locale,
    /// What is known.
    pub facts: StageFacts,
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name in [`STEPS`].
    pub name: &'static str,
    /// Where it stands.
    pub status: StepStatus,
    /// How long it took.
    pub seconds: Option<f64>,
}

/// A fragment is written by its own template, which escapes; a page takes it as it is.
impl askama::filters::HtmlSafe for StagesFragment {}

impl Step {
    /// The message key of its name.
    fn key(&self) -> String {
        format!("stage-{}", self.name)
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// Not begun.
    Waiting,
    /// Happening now.
    Running,
    /// Over.
    Done,
    /// It ended the way: rejected or failed here.
    Stopped,
    /// It will not happen any more.
    Skipped,
}

impl StepStatus {
    /// The word used in `data-status` and in message keys.
    pub fn code(&self) -> &'static str {
        match self {
            StepStatus::Waiting => "waiting",
            StepStatus::Running => "running",
            StepStatus::Done => "done",
            StepStatus::Stopped => "stopped",
            StepStatus::Skipped => "skipped",
        }
    }

    /// The message key of its name.
    fn key(&self) -> String {
        format!("step-{}", self.code())
    }
}

impl StagesFragment {
    /// Works out every step from the facts.
    pub fn new(locale: Locale, facts: StageFacts) -> StagesFragment {
        use SubmissionState as S;
        let position = STEPS.iter().position(|step| *step == facts.stage);
        // The step that is happening now, or at which the way ended.
        let here = match facts.state {
            S::Draft | S::Received => 0,
            S::Queued => 1,
            S::Running => position.unwrap_or(2),
            // A checkpoint that breaks a rule is found out in `verify`, whatever the last heartbeat said.
            S::Rejected => position.map_or(3, |at| at.max(3)),
            // One that a worker had and never spoke of did not end in the queue.
            S::Failed | S::Cancelled => position.unwrap_or(if facts.attempt > 0 { 2 } else { 1 }),
            S::Graded => STEPS.len(),
        };
        let status = |at: usize| match (at.cmp(&here), facts.state) {
            (std::cmp::Ordering::Less, _) => StepStatus::Done,
            (std::cmp::Ordering::Equal, S::Rejected | S::Failed | S::Cancelled) => StepStatus::Stopped,
            (std::cmp::Ordering::Equal, S::Draft) => StepStatus::Waiting,
            (std::cmp::Ordering::Equal, _) => StepStatus::Running,
            (std::cmp::Ordering::Greater, state) if state.finished() => StepStatus::Skipped,
            (std::cmp::Ordering::Greater, _) => StepStatus::Waiting,
        };
        let seconds = |name: &str| {
            facts
                .timings
                .iter()
                .find(|(stage, _)| stage == name)
                .map(|(_, seconds)| *seconds)
        };
        let steps = STEPS
            .into_iter()
            .enumerate()
            .filter(|(_, name)| *name != "time" || facts.timed)
            .map(|(at, name)| {
                let status = status(at);
                // Times of an earlier attempt say nothing about a step that has not happened in this one.
                Step {
                    name,
                    status,
                    seconds: seconds(name).filter(|_| matches!(status, StepStatus::Done | StepStatus::Stopped)),
                }
            })
            .collect();
        StagesFragment { locale, facts, steps }
    }

    /// The message `key`.
    pub fn t(&self, key: impl AsRef<str>) -> String {
        self.locale.t(key.as_ref())
    }

    /// The message `key` with one argument.
    pub fn t1(&self, key: &str, name: &str, value: impl Arg) -> String {
        i18n::t(self.locale, key, &[(name, &value)])
    }

    /// The message `key` with two arguments.
    pub fn t2(&self, key: &str, name1: &str, value1: impl Arg, name2: &str, value2: impl Arg) -> String {
        i18n::t(self.locale, key, &[(name1, &value1), (name2, &value2)])
    }

    fn duration(&self, seconds: impl Real) -> String {
        format::seconds(self.locale, seconds.real())
    }

    /// How long it is expected to wait, while it does.
    fn wait(&self) -> Option<String> {
        let waits = matches!(self.facts.state, SubmissionState::Queued | SubmissionState::Received);
        let seconds = self.facts.wait.filter(|_| waits)?;
        // Nobody knows it to the second.
        let minutes = (seconds / 60.0).ceil().max(1.0) as u64;
        Some(self.t1("now-wait", "minutes", minutes))
    }

    /// The step that is happening now or at which the way ended; the last one when it ended well.
    fn here(&self) -> &'static str {
        self.steps
            .iter()
            .find(|step| matches!(step.status, StepStatus::Running | StepStatus::Stopped))
            .map_or(
                if self.facts.state.finished() {
                    "report"
                } else {
                    "received"
                },
                |step| step.name,
            )
    }

    fn here_key(&self) -> String {
        format!("stage-{}", self.here())
    }

    /// The message key of how it ended.
    fn end_key(&self) -> String {
        format!("end-{}", self.facts.state.code())
    }

    /// One sentence about what happens now, with figures where there are any.
    fn now(&self) -> String {
        let facts = &self.facts;
        match (facts.state, facts.queue_ahead) {
            (SubmissionState::Draft, _) => self.t("now-draft"),
            (SubmissionState::Queued | SubmissionState::Received, Some(0)) => self.t("now-queued-next"),
            (SubmissionState::Queued | SubmissionState::Received, Some(ahead)) => self.t1("now-queued", "n", ahead),
            (SubmissionState::Queued | SubmissionState::Received, None) => self.t("now-queued-plain"),
            _ => {
                let mut sentence = self.t(format!("now-{}", self.here()));
                if let Some(task) = &facts.task {
                    sentence = format!("{sentence} {task}");
                }
                if facts.total > 0 {
                    let show = |n: u64| {
                        if facts.stage == "fetch" {
                            format::size(n)
                        } else {
                            format::grouped(n)
                        }
                    };
                    sentence = format!(
                        "{sentence} · {} / {}",
                        show(facts.done.min(facts.total)),
                        show(facts.total)
                    );
                }
                sentence
            }
        }
    }

    /// How far the running stage is, in whole percent; `None` when its length is not known.
    pub fn percent(&self) -> Option<u64> {
        (self.facts.total > 0).then(|| self.facts.done.min(self.facts.total).saturating_mul(100) / self.facts.total)
    }
}
