//! From what a worker reported to what a page shows.

use super::measures::Cell;
use super::problem::{ProblemView, string, text};
use super::report::{HintView, ReportFragment, SampleView, ScoreView, TaskMeasure, TaskView};
use super::weight::WeightView;
use crate::i18n::Locale;
use assay_contest::wire::{Report, TaskReport};
use assay_contest::{Contest, Formula, Measures};
use serde_json::Value;

/// The stages whose times are shown, in order; a report may have others, they follow.
const STAGES: [&str; 8] = [
    "fetch", "verify", "weigh", "load", "prompts", "evaluate", "samples", "report",
];
/// Measures shown beside the times: the rest are in the tables above or are times themselves.
const SHOWN: [&str; 3] = ["tokens_per_second", "time_per_token", "peak_memory"];

impl ReportFragment {
    /// A graded submission's report. `outputs` and the score's `rank` and `note` are the caller's to fill: they are not in a report.
    pub fn from_report(locale: Locale, contest: &Contest, report: &Report) -> ReportFragment {
        let scope = contest.scope(&Measures(report.measures.clone()));
        let counting: Vec<String> = counting(contest);
        let shown = |key: &&str| report.measures.get(*key).map(|value| ((*key).to_owned(), *value));
        ReportFragment {
            score: Some(score(contest, report, &scope, &counting)),
            tasks: report
                .tasks
                .iter()
                .chain(&report.groups)
                .map(|task| task_view(task, &scope, &counting))
                .filter(|task| !task.rows.is_empty())
                .collect(),
            timings: timings(report),
            measures: SHOWN.iter().filter_map(shown).collect(),
            samples: report
                .samples
                .iter()
                .map(|sample| SampleView {
                    kind: sample.kind.clone(),
                    prompt: sample.prompt.clone(),
                    text: sample.text.clone(),
                })
                .collect(),
            engine: report.engine.clone(),
            device: report.device.clone(),
            profile: report.profile.name().to_owned(),
            contest_digest: report.contest_digest.clone(),
            ..ReportFragment::from_inspection(locale, Some(contest.base.bytes), &report.submission)
        }
    }

    /// An inspection alone: a rejected submission, or a precheck. `base_bytes` is the base model's weight.
    pub fn from_inspection(locale: Locale, base_bytes: Option<u64>, inspection: &Value) -> ReportFragment {
        let hints = inspection["hints"].as_array().map(Vec::as_slice).unwrap_or_default();
        ReportFragment {
            locale,
            accepted: inspection["verdict"] == "accepted",
            format: string(&inspection["format"]),
            scheme: string(&inspection["scheme"]),
            problems: ProblemView::list_from_json(locale, &inspection["problems"]),
            findings: ProblemView::list_from_json(locale, &inspection["findings"]),
            hints: hints
                .iter()
                .map(|hint| HintView {
                    code: string(&hint["code"]),
                    saves: hint["saves"].as_u64().unwrap_or(0),
                    message: text(locale, &hint["message"]),
                })
                .collect(),
            weight: WeightView::from_json(&inspection["bytes"], base_bytes),
            ..ReportFragment::default()
        }
    }
}

/// Every measure that the formula or a floor reads.
fn counting(contest: &Contest) -> Vec<String> {
    let formula = Formula::parse(&contest.score.formula)
        .map(|formula| formula.measures())
        .unwrap_or_default();
    formula
        .into_iter()
        .chain(contest.score.floors.iter().map(|floor| floor.measure.clone()))
        .collect()
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
        ..ScoreView::default()
    }
}

fn task_view(task: &TaskReport, scope: &Measures, counting: &[String]) -> TaskView {
    let rows = task.measures.iter().map(|(name, value)| {
        let (metric, filter) = name.split_once(',').unwrap_or((name, "none"));
        let key = format!("acc.{}.{metric}.{filter}", task.task);
        TaskMeasure {
            metric: metric.to_owned(),
            filter: filter.to_owned(),
            cell: Cell {
                value: Some(*value),
                stderr: task.stderr.get(name).copied(),
            },
            base: scope.0.get(&format!("base.{key}")).copied(),
            counts: counting.contains(&key),
        }
    });
    TaskView {
        task: task.task.clone(),
        n: task.n,
        rows: rows.collect(),
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
