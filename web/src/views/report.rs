//! The report of a submission: verdict, weight, measures, times, samples. Everything that made the score.

use super::certificate::CertificateView;
use super::filters::{self, Real};
use super::format;
use super::lineage::LineageFragment;
use super::measures::Cell;
use super::problem::ProblemView;
use super::sample::SampleView;
use super::time_track::TimeTrackView;
use super::weight::WeightFragment;
use crate::i18n::{self, Arg, Locale};
use askama::Template;

/// The report part of a submission's page, also sent alone by its events once there is one.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "fragments/report.html")]
pub struct ReportFragment {
    /// The language.
    pub locale: Locale,
    /// Only what is known so far of a grade that waits or goes on: weight and tasks, and nothing else.
    pub interim: bool,
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
    /// Exact weight by tensor group and ways to be smaller; `None` when it could not be weighed.
    pub weight: Option<WeightFragment>,
    /// How every matrix relates to the base's; `None` where they were not compared.
    pub lineage: Option<LineageFragment>,
    /// The score and how it came about; `None` without a grade.
    pub score: Option<ScoreView>,
    /// Per-task measures.
    pub tasks: Vec<TaskView>,
    /// Seconds by stage name, in order.
    pub timings: Vec<(String, f64)>,
    /// How long it took beside the base; `None` where the contest has no time track.
    pub time_track: Option<TimeTrackView>,
    /// What the run cost, by key (`tokens_per_second`, `peak_memory`, …).
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
    /// The certificate; `None` before there were any.
    pub certificate: Option<CertificateView>,
    /// Confidence of the intervals in percent: `95`.
    pub confidence: String,
    /// What the figures are of, in a contest with sealed documents.
    pub sealing: Sealing,
    /// Submissions to compare with: what they are called and the address.
    pub compare: Vec<(String, String)>,
    /// Files to download: name and address.
    pub outputs: Vec<(String, String)>,
}

/// Which documents the figures of a page are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealing {
    /// Of all; none are sealed.
    #[default]
    None,
    /// Of the public ones; the others are not revealed yet.
    Hidden,
    /// Of all, since they were revealed; those of the public ones are beside them.
    All,
    /// Of those that were sealed; those of the public ones are beside them.
    Sealed,
}

impl Sealing {
    /// The message that says so; `None` where there is nothing to say.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Sealing::None => None,
            Sealing::Hidden => Some("sealing-hidden"),
            Sealing::All => Some("sealing-all"),
            Sealing::Sealed => Some("sealing-sealed"),
        }
    }

    /// The same for a comparison, which has no figures of another part beside it.
    pub fn compare_key(&self) -> Option<&'static str> {
        match self {
            Sealing::None => None,
            Sealing::Hidden => Some("compare-sealing-hidden"),
            Sealing::All => Some("compare-sealing-all"),
            Sealing::Sealed => Some("compare-sealing-sealed"),
        }
    }

    /// Whether the figures of the public documents are shown beside those that count.
    pub fn both(&self) -> bool {
        matches!(self, Sealing::All | Sealing::Sealed)
    }
}

impl ReportFragment {
    /// Leaves the base's accuracy out: it is of all documents, so that its difference from figures of the public ones says nothing.
    pub fn forget_base(&mut self) {
        let rows = self.tasks.iter_mut().flat_map(|task| &mut task.rows);
        rows.for_each(|row| row.base = None);
    }
}

/// A fragment is written by its own template, which escapes; a page takes it as it is.
impl askama::filters::HtmlSafe for ReportFragment {}

/// The score and how it came about.
#[derive(Clone, Debug, Default)]
pub struct ScoreView {
    /// Decimals the contest shows scores with.
    pub decimals: u32,
    /// The score; `None` when it could not be computed.
    pub value: Option<f64>,
    /// The rank of the team's best submission, where this is it.
    pub rank: Option<u32>,
    /// The ranks it may really have, by the documents drawn.
    pub band: Option<(u32, u32)>,
    /// What the score is on the public documents alone, once the sealed ones are revealed.
    pub public: Option<f64>,
    /// Why it is not ranked, in the page's language; empty when it is.
    pub note: String,
    /// The contest's formula.
    pub formula: String,
    /// The measures the formula names, with this submission's values.
    pub inputs: Vec<(String, f64)>,
    /// The least and the greatest round behind the ratio of times, where it was measured.
    pub spread: Option<(f64, f64)>,
}

/// One task.
#[derive(Clone, Debug, Default)]
pub struct TaskView {
    /// The task's name.
    pub task: String,
    /// Number of documents.
    pub n: u64,
    /// How the answers went wrong: `truncated`, `no_answer`, `repetition`, as shares.
    pub rates: Vec<(String, f64)>,
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
    /// Of the public documents alone, once the sealed ones are revealed.
    pub public: Option<f64>,
    /// Whether the score formula or a floor reads it.
    pub counts: bool,
}

/// The small plot beside a measure: one standard error either side would be too narrow to judge by, so the bar is the
/// confidence interval. Positions in a drawing 144 wide that stands for the report's own range, [`ReportFragment::range`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// The value.
    pub value: String,
    /// The ends of the interval.
    pub interval: Option<(String, String)>,
    /// The base model's value.
    pub base: Option<String>,
}

impl ScoreView {
    fn shown(&self, value: impl Real) -> String {
        format::score(value.real(), self.decimals)
    }

    /// What stands beside one of the inputs.
    fn beside(&self, key: &str) -> Option<(f64, f64)> {
        self.spread.filter(|_| key == "time_ratio")
    }

    fn band(&self) -> Option<String> {
        self.band.filter(|(best, worst)| best < worst).map(format::ranks)
    }
}

impl TaskMeasure {
    /// The filter, unless it is the harness's word for "no filter".
    fn filter(&self) -> Option<&str> {
        Some(self.filter.as_str()).filter(|filter| !filter.is_empty() && *filter != "none")
    }

    /// This submission minus the base, with its sign.
    fn difference(&self) -> Option<String> {
        Some(format::signed(self.cell.value? - self.base?))
    }

    /// The ends of the interval, for measures that have a place on the plot's axis.
    fn interval(&self) -> Option<(f64, f64)> {
        self.unit_value()?;
        self.cell.interval
    }

    /// The value, for measures between 0 and 1; others have no place on the plot's axis.
    fn unit_value(&self) -> Option<f64> {
        self.cell.value.filter(|value| (0.0..=1.0).contains(value))
    }

    fn unit_base(&self) -> Option<f64> {
        self.base.filter(|base| (0.0..=1.0).contains(base))
    }

    /// The plot on an axis from `range.0` to `range.1`.
    fn plot(&self, range: &(f64, f64)) -> Option<Plot> {
        // A margin on both sides, so that a dot on the end of the axis is whole.
        let at = |value: f64| format!("{:.2}", 6.0 + (value - range.0) / (range.1 - range.0) * 132.0);
        Some(Plot {
            value: at(self.unit_value()?),
            interval: self.interval().map(|(from, to)| (at(from), at(to))),
            base: self.unit_base().map(at),
        })
    }
}

impl ReportFragment {
    /// The axis of the plots: tenths around everything drawn, so that small differences are seen and no axis starts at a
    /// number made up for one row.
    fn range(&self) -> (f64, f64) {
        let rows = || self.tasks.iter().flat_map(|task| &task.rows);
        let ends = rows()
            .filter_map(TaskMeasure::interval)
            .flat_map(|(from, to)| [from, to]);
        let all = ends
            .chain(rows().filter_map(TaskMeasure::unit_value))
            .chain(rows().filter_map(TaskMeasure::unit_base));
        let (low, high) = all.fold((1.0, 0.0), |(low, high): (f64, f64), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = ((low * 10.0).floor() / 10.0, (high * 10.0).ceil() / 10.0);
        if low < high { (low, high) } else { (0.0, 1.0) }
    }

    fn duration(&self, seconds: impl Real) -> String {
        format::seconds(self.locale, seconds.real())
    }

    /// The name of a part of the certificate.
    fn fact(&self, name: &str) -> String {
        self.known("fact", name)
    }

    /// The name of a stage's time.
    fn stage(&self, name: &str) -> String {
        self.known("stage", name)
    }

    /// The name of a way in which answers go wrong.
    fn rate(&self, name: &str) -> String {
        self.known("rate", name)
    }

    /// The name of a kind of prompts; a contest may have others than ours.
    fn sample_kind(&self, name: &str) -> String {
        self.known("sample-kind", name)
    }

    /// The name of a measure that is not an accuracy.
    fn measure_label(&self, key: &str) -> String {
        self.known("measure", key)
    }

    /// A measure in its own unit.
    fn measure_value(&self, key: &str, value: &f64) -> String {
        format::in_unit(self.locale, key, *value)
    }

    fn known(&self, family: &str, name: &str) -> String {
        let key = format!("{family}-{}", name.replace('_', "-"));
        if i18n::has(self.locale, &key) {
            self.locale.t(&key)
        } else {
            name.to_owned()
        }
    }

    /// The message `key`.
    pub fn t(&self, key: impl AsRef<str>) -> String {
        self.locale.t(key.as_ref())
    }

    /// The message `key` with one argument.
    pub fn t1(&self, key: &str, name: &str, value: impl Arg) -> String {
        i18n::t(self.locale, key, &[(name, &value)])
    }
}
