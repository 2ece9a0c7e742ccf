//! The report of a submission: verdict, weight, measures, times, samples. Everything that made the score.

use super::filters;
use super::measures::Cell;
use super::problem::ProblemView;
use super::weight::WeightView;
use crate::i18n::{self, Arg, Locale};
use askama::Template;

/// The report part of a submission's page, also sent alone by its events once there is one.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "fragments/report.html")]
pub struct ReportFragment {
    /// The language.
    pub locale: Locale,
    /// Whether the checkpoint was accepted.
    pub accepted: bool,
    /// The format's name: `pack-quantized`.
    pub format: String,
    /// `W4A16 g128 sym`.
    pub scheme: String,
    /// What breaks a rule; empty when accepted.
    pub problems: Vec<ProblemView>,
    /// What is worth knowing and breaks no rule.
    pub findings: Vec<ProblemView>,
    /// Ways to be smaller, most bytes first.
    pub hints: Vec<HintView>,
    /// Exact weight by tensor group; `None` when it could not be weighed.
    pub weight: Option<WeightView>,
    /// The score and how it came about; `None` without a grade.
    pub score: Option<ScoreView>,
    /// Per-task measures.
    pub tasks: Vec<TaskView>,
    /// Seconds by stage name, in order.
    pub timings: Vec<(String, f64)>,
    /// Other measures by key (`tokens_per_second`, `peak_memory`, …).
    pub measures: Vec<(String, f64)>,
    /// What the model wrote.
    pub samples: Vec<SampleView>,
    /// `assay-engine 0.1.0`.
    pub engine: String,
    /// What it ran on.
    pub device: String,
    /// The harness profile.
    pub profile: String,
    /// Digest of the contest's rules it was graded under (sha256, hex).
    pub contest_digest: String,
    /// Files to download: name and address.
    pub outputs: Vec<(String, String)>,
}

/// One hint.
#[derive(Clone, Debug, Default)]
pub struct HintView {
    /// Stable kebab-case code.
    pub code: String,
    /// How many bytes it would save.
    pub saves: u64,
    /// What to do.
    pub message: String,
}

/// The score and how it came about.
#[derive(Clone, Debug, Default)]
pub struct ScoreView {
    /// The score; `None` when it could not be computed.
    pub value: Option<f64>,
    /// The rank of the team's best submission, where this is it.
    pub rank: Option<u32>,
    /// Why it is not ranked, in the page's language; empty when it is.
    pub note: String,
    /// The contest's formula.
    pub formula: String,
    /// The measures the formula names, with this submission's values.
    pub inputs: Vec<(String, f64)>,
}

/// One task.
#[derive(Clone, Debug, Default)]
pub struct TaskView {
    /// The task's name.
    pub task: String,
    /// Number of documents.
    pub n: u64,
    /// One row a metric and filter.
    pub rows: Vec<TaskMeasure>,
}

/// One metric of a task.
#[derive(Clone, Debug, Default)]
pub struct TaskMeasure {
    /// `exact_match`.
    pub metric: String,
    /// `flexible-extract`; `none` is shown as nothing.
    pub filter: String,
    /// This submission.
    pub cell: Cell,
    /// The base model.
    pub base: Option<f64>,
    /// Whether the score formula or a floor reads it.
    pub counts: bool,
}

/// One sample generation.
#[derive(Clone, Debug, Default)]
pub struct SampleView {
    /// The prompt's kind, as the contest names it.
    pub kind: String,
    /// The prompt.
    pub prompt: String,
    /// What the model wrote.
    pub text: String,
}

impl ReportFragment {
    /// The message `key`.
    pub fn t(&self, key: &str) -> String {
        self.locale.t(key)
    }

    /// The message `key` with one argument.
    pub fn t1(&self, key: &str, name: &str, value: impl Arg) -> String {
        i18n::t(self.locale, key, &[(name, &value)])
    }
}
