//! From what a worker reported to what a page shows.

use super::certificate::CertificateView;
use super::format;
use super::lineage::LineageFragment;
use super::measures::{Cell, spread};
use super::problem::{ProblemView, string};
use super::report::{ReportFragment, ScoreView, TaskMeasure, TaskView};
use super::sample::SampleView;
use super::time_track::TimeTrackView;
use super::weight::WeightFragment;
use crate::i18n::Locale;
use crate::outcomes::{Measured, Shown};
use crate::scoreboard;
use assay_contest::measure::{Kind, Name, RATES};
use assay_contest::wire::{Report, TaskReport};
use assay_contest::{Contest, Measures};
use serde_json::Value;
use std::collections::BTreeMap;

/// The stages whose times are shown, in order; a report may have others, they follow.
const STAGES: [&str; 9] = [
    "fetch", "verify", "weigh", "load", "prompts", "evaluate", "samples", "time", "report",
];
/// What a run cost, in the order shown; the rest is in the tables above.
const SHOWN: [&str; 12] = [
    "generated_tokens",
    "tokens_per_second",
    "time_per_token",
    "item_seconds_mean",
    "item_seconds_p50",
    "item_seconds_p90",
    "item_seconds_p99",
    "load_seconds",
    "wall_seconds",
    "peak_memory",
    "peak_device_memory",
    "energy_joules",
];

impl ReportFragment {
    /// A graded submission's report. `outputs`, `sealing`, `compare`, and the score's `rank`, `band` and `note` are the
    /// caller's to fill: they are not in a report.
    pub fn from_report(locale: Locale, contest: &Contest, shown: &Shown) -> ReportFragment {
        let report = &shown.report;
        let scope = contest.scope(&Measures(report.measures.clone()));
        let counting: Vec<String> = scoreboard::counting(contest);
        let figures = Figures {
            intervals: scoreboard::intervals(contest, &report.measures),
            public: shown.public.as_ref(),
            counting: &counting,
            scope: &scope,
        };
        let cost = |key: &&str| report.measures.get(*key).map(|value| ((*key).to_owned(), *value));
        let of_public = |measures: &Measured| contest.score_of(&Measures(measures.clone())).ok();
        ReportFragment {
            score: Some(ScoreView {
                public: shown.public.as_ref().and_then(of_public),
                ..score(contest, report, &scope, &counting)
            }),
            tasks: report
                .tasks
                .iter()
                .chain(&report.groups)
                .map(|task| figures.task(task))
                .filter(|task| !task.rows.is_empty())
                .collect(),
            timings: timings(report),
            time_track: report
                .time_track
                .as_ref()
                .and_then(|track| TimeTrackView::new(locale, track)),
            measures: SHOWN.iter().filter_map(cost).collect(),
            samples: report
                .samples
                .iter()
                .map(|sample| SampleView {
                    kind: sample.kind.clone(),
                    prompt: sample.prompt.clone(),
                    text: sample.text.clone(),
                    base: sample.base.clone(),
                })
                .collect(),
            certificate: report.certificate.as_ref().map(CertificateView::new),
            confidence: format::confidence(contest.score.confidence),
            engine: report.engine.clone(),
            device: report.device.clone(),
            profile: report.profile.name().to_owned(),
            contest_digest: report.contest_digest.clone(),
            ..ReportFragment::from_inspection(locale, Some(contest.base.bytes), &report.submission)
        }
    }

    /// What is known so far of a grade that waits or goes on: the weight of its inspection and, after the first accuracy, the
    /// tasks. `None` before anything is.
    pub fn from_interim(
        locale: Locale,
        contest: &Contest,
        inspection: Option<&Value>,
        measures: &Measured,
    ) -> Option<ReportFragment> {
        let scope = contest.scope(&Measures(measures.clone()));
        let counting = scoreboard::counting(contest);
        let figures = Figures {
            intervals: scoreboard::intervals(contest, measures),
            public: None,
            counting: &counting,
            scope: &scope,
        };
        let tasks: Vec<TaskView> = interim_tasks(measures).iter().map(|task| figures.task(task)).collect();
        let weight =
            inspection.and_then(|found| WeightFragment::from_inspection(locale, Some(contest.base.bytes), found));
        (!tasks.is_empty() || weight.is_some()).then(|| ReportFragment {
            locale,
            interim: true,
            tasks,
            weight,
            confidence: format::confidence(contest.score.confidence),
            ..ReportFragment::default()
        })
    }

    /// An inspection alone: a rejected submission, or a precheck. `base_bytes` is the base model's weight.
    pub fn from_inspection(locale: Locale, base_bytes: Option<u64>, inspection: &Value) -> ReportFragment {
        ReportFragment {
            locale,
            accepted: inspection["verdict"] == "accepted",
            format: string(&inspection["format"]),
            scheme: string(&inspection["scheme"]),
            problems: ProblemView::list_from_json(locale, &inspection["problems"]),
            findings: ProblemView::list_from_json(locale, &inspection["findings"]),
            weight: WeightFragment::from_inspection(locale, base_bytes, inspection),
            lineage: LineageFragment::from_inspection(locale, inspection),
            ..ReportFragment::default()
        }
    }
}

/// Flat measures as tasks again, in the order of their names.
fn interim_tasks(measures: &Measured) -> Vec<TaskReport> {
    let mut tasks: BTreeMap<&str, TaskReport> = BTreeMap::new();
    for (key, value) in measures {
        let Some(Kind::Accuracy { task, metric, filter }) = Name::parse(key).map(|name| name.kind) else {
            continue;
        };
        let report = tasks.entry(task).or_insert_with(|| TaskReport {
            task: task.to_owned(),
            alias: task.to_owned(),
            n: measures.get(&format!("items.{task}")).map_or(0, |n| *n as u64),
            ..TaskReport::default()
        });
        let name = format!("{metric},{filter}");
        if let Some(stderr) = measures.get(&key.replacen("acc.", "acc_stderr.", 1)) {
            report.stderr.insert(name.clone(), *stderr);
        }
        report.measures.insert(name, *value);
    }
    tasks.into_values().collect()
}

fn score(contest: &Contest, report: &Report, scope: &Measures, counting: &[String]) -> ScoreView {
    ScoreView {
        decimals: contest.score.decimals,
        value: contest.score_of(&Measures(report.measures.clone())).ok(),
        formula: contest.score.formula.clone(),
        inputs: counting
            .iter()
            .filter_map(|name| scope.0.get(name).map(|value| (name.clone(), *value)))
            .collect(),
        spread: spread("time_ratio", &report.measures),
        ..ScoreView::default()
    }
}

/// What a task's rows are drawn from, beside the task itself.
struct Figures<'a> {
    intervals: BTreeMap<String, (f64, f64)>,
    public: Option<&'a Measured>,
    counting: &'a [String],
    scope: &'a Measures,
}

impl Figures<'_> {
    fn task(&self, task: &TaskReport) -> TaskView {
        let rows = task.measures.iter().map(|(name, value)| {
            let (metric, filter) = name.split_once(',').unwrap_or((name, "none"));
            let key = format!("acc.{}.{metric}.{filter}", task.task);
            TaskMeasure {
                metric: metric.to_owned(),
                filter: filter.to_owned(),
                cell: Cell {
                    value: Some(*value),
                    stderr: task.stderr.get(name).copied(),
                    interval: self.intervals.get(&key).copied(),
                },
                base: self.scope.0.get(&format!("base.{key}")).copied(),
                public: self.public.and_then(|measures| measures.get(&key)).copied(),
                counts: self.counting.contains(&key),
            }
        });
        let rate = |rate: &&str| {
            let share = self.scope.0.get(&format!("rate.{rate}.{}", task.task))?;
            Some(((*rate).to_owned(), *share))
        };
        TaskView {
            task: task.task.clone(),
            n: task.n,
            rates: RATES.iter().filter_map(rate).collect(),
            rows: rows.collect(),
        }
    }
}

fn timings(report: &Report) -> Vec<(String, f64)> {
    let known = STAGES
        .iter()
        .filter_map(|stage| Some(((*stage).to_owned(), *report.timings.get(*stage)?)));
    let others = report
        .timings
        .iter()
        .filter(|(stage, _)| !STAGES.contains(&stage.as_str()));
    known
        .chain(others.map(|(stage, seconds)| (stage.clone(), *seconds)))
        .collect()
}
