//! The queue, and one job of it.

use askama::Template;

use super::super::filters;
use super::super::page::{Page, When};
use super::super::problem::ProblemView;
use super::{JobRow, Pager, job_key};

/// GET `/admin/queue`.
#[derive(Debug, Default, Template)]
#[template(path = "admin/queue.html")]
pub struct QueuePage {
    /// What every page carries.
    pub page: Page,
    /// Every state with its number of jobs and its address; the first is "all".
    pub states: Vec<StateCount>,
    /// Error classes to choose from, with how many jobs have each.
    pub classes: Vec<(String, u64)>,
    /// Workers to choose from: id and name.
    pub workers: Vec<(String, String)>,
    /// The state asked for; empty for all.
    pub state: String,
    /// The class asked for.
    pub class: String,
    /// The worker asked for.
    pub worker: String,
    /// The words asked for.
    pub search: String,
    /// Minutes asked for.
    pub older: String,
    /// Jobs that match, this page's.
    pub rows: Vec<JobRow>,
    /// How many jobs are set aside.
    pub set_aside: u64,
    /// Whether the oldest come first.
    pub oldest_first: bool,
    /// Where the list goes on.
    pub pager: Pager,
    /// The address of the confirmation that grades all that match again.
    pub rerun: String,
    /// This page's own address: where acts come back to.
    pub here: String,
}

/// A state of jobs.
#[derive(Clone, Debug)]
pub struct StateCount {
    /// The state; empty for all.
    pub state: String,
    /// How many.
    pub n: u64,
    /// Its address.
    pub href: String,
    /// It is the one shown.
    pub chosen: bool,
    /// Age of the oldest of those that wait or run.
    pub oldest: Option<f64>,
}

impl StateCount {
    fn key(&self) -> &'static str {
        if self.state.is_empty() {
            "queue-all"
        } else {
            job_key(&self.state)
        }
    }
}

/// GET `/admin/jobs/{id}`.
#[derive(Debug, Template)]
#[template(path = "admin/job.html")]
pub struct JobPage {
    /// What every page carries.
    pub page: Page,
    /// The job.
    pub job: JobRow,
    /// The job again, as the one row of its table.
    pub rows: Vec<JobRow>,
    /// Its tries, newest first.
    pub attempts: Vec<AttemptLine>,
    /// This page's address: where acts come back to.
    pub here: String,
}

/// One try at a job.
#[derive(Clone, Debug, Default)]
pub struct AttemptLine {
    /// Its number.
    pub fence: u64,
    /// The worker's name.
    pub worker: String,
    /// running, succeeded, failed, lost, released or cancelled.
    pub state: String,
    /// The class of its error.
    pub class: Option<String>,
    /// What it ended with.
    pub problem: Option<ProblemView>,
    /// A worker's own words.
    pub note: Option<String>,
    /// The stage it was in; empty before the first word.
    pub stage: String,
    /// How far the stage was.
    pub done: u64,
    /// Of how many; 0 = not known.
    pub total: u64,
    /// When it began.
    pub started: Option<When>,
    /// How long it took.
    pub seconds: f64,
    /// Seconds since it was heard of, while it runs.
    pub silent: Option<f64>,
}

impl AttemptLine {
    fn stage_key(&self) -> String {
        format!("stage-{}", self.stage)
    }
}
