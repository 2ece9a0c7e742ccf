//! The part of each document in a task's numbers, and the numbers over some of the documents.

use std::collections::{BTreeMap, BTreeSet};

use assay_contest::statistics::Pooled;
use assay_contest::wire::{ItemScores, TaskReport};

use crate::config::TaskConfig;
use crate::group::GroupOutcome;
use crate::metrics::Aggregation;
use crate::score::{Measure, TaskOutcome};
use crate::set::TaskSet;
use crate::stats;
use crate::task::Task;

/// Every document's value of each number of `outcome` that is a mean over documents, in the order of the numbers.
pub fn items(task: &Task, outcome: &TaskOutcome) -> Vec<ItemScores> {
    let means = outcome.measures.iter().filter(|m| is_mean(task.config(), &m.metric));
    means
        .map(|measure| {
            let mut values = vec![None; outcome.n];
            for doc in outcome.docs.iter().filter(|doc| doc.filter == measure.filter) {
                if let Some(value) = values.get_mut(doc.doc) {
                    *value = doc.scores.get(&measure.metric).and_then(|score| score.number());
                }
            }
            ItemScores {
                task: outcome.task.clone(),
                key: measure.key(),
                values,
            }
        })
        .collect()
}

fn is_mean(config: &TaskConfig, metric: &str) -> bool {
    let metric = config.metrics.iter().find(|m| m.name == metric);
    metric.is_some_and(|metric| metric.aggregation == Aggregation::Mean)
}

/// Every `metric,filter` of a task that is a mean over documents.
fn mean_keys(config: &TaskConfig) -> impl Iterator<Item = (&str, &str)> {
    let means = config.metrics.iter().filter(|m| m.aggregation == Aggregation::Mean);
    means.flat_map(|metric| {
        let filters = config.filters.iter();
        filters.map(|filter| (metric.name.as_str(), filter.name.as_str()))
    })
}

/// The numbers of tasks and groups over those documents alone that `keep` takes, by task and index in order of
/// evaluation: what scoring them alone would have given, to the bit. Tasks first, then groups, in the order of the set.
///
/// Only means over documents can be found again from `items`. A task without any is left out; so is what a group makes
/// of a task's number that is no such mean, and every number over no documents.
pub fn restrict(set: &TaskSet, items: &[ItemScores], keep: &dyn Fn(&str, usize) -> bool) -> Vec<TaskReport> {
    let outcomes: Vec<TaskOutcome> = set
        .tasks()
        .iter()
        .filter_map(|task| task_over(task, items, keep))
        .collect();
    let tasks = outcomes.iter().map(TaskOutcome::report);
    let groups = set.groups().iter().zip(set.group_outcomes(&outcomes));
    let groups = groups.filter_map(|(group, mut outcome)| {
        let tasks: Vec<&Task> = group.tasks.iter().filter_map(|name| set.task(name)).collect();
        let whole = |measure: &Measure| tasks.iter().all(|task| is_whole(task, measure, &outcomes));
        outcome.measures.retain(whole);
        (!outcome.measures.is_empty()).then(|| outcome.report())
    });
    tasks.chain(groups).collect()
}

/// Whether a task adds to the group's number all it would have added to it in a full run.
fn is_whole(task: &Task, measure: &Measure, outcomes: &[TaskOutcome]) -> bool {
    let config = task.config();
    let gives = config.metrics.iter().any(|m| m.name == measure.metric)
        && config.filters.iter().any(|f| f.name == measure.filter);
    let outcome = outcomes.iter().find(|outcome| outcome.task == task.name());
    !gives || outcome.is_some_and(|o| o.measure(&measure.metric, &measure.filter).is_some())
}

fn task_over(task: &Task, items: &[ItemScores], keep: &dyn Fn(&str, usize) -> bool) -> Option<TaskOutcome> {
    let own: BTreeMap<&str, &ItemScores> = items
        .iter()
        .filter(|item| item.task == task.name())
        .map(|item| (item.key.as_str(), item))
        .collect();
    let asked = own.values().map(|item| item.values.len()).max()?;
    let mut measures = Vec::new();
    // In the harness's order: filter by filter, each with its metrics.
    for filter in &task.config().filters {
        for metric in &task.config().metrics {
            let Some(item) = own.get(format!("{},{}", metric.name, filter.name).as_str()) else {
                continue;
            };
            let kept: Vec<f64> = item
                .only(|index| keep(task.name(), index))
                .values
                .into_iter()
                .flatten()
                .collect();
            if metric.aggregation == Aggregation::Mean && !kept.is_empty() {
                measures.push(Measure {
                    metric: metric.name.clone(),
                    filter: filter.name.clone(),
                    value: stats::mean(&kept),
                    stderr: stats::mean_stderr(&kept),
                    higher_is_better: metric.higher_is_better,
                });
            }
        }
    }
    Some(TaskOutcome {
        task: task.name().to_owned(),
        alias: task.alias().to_owned(),
        n: (0..asked).filter(|index| keep(task.name(), *index)).count(),
        docs: Vec::new(),
        measures,
    })
}

/// Names of the measures that [`restrict`] can find again: a contest with sealed documents has to score by these, beside
/// what does not depend on documents.
pub fn restrictable(set: &TaskSet) -> BTreeSet<String> {
    let two_documents: Vec<ItemScores> = set
        .tasks()
        .iter()
        .flat_map(|task| {
            mean_keys(task.config()).map(|(metric, filter)| ItemScores {
                task: task.name().to_owned(),
                key: format!("{metric},{filter}"),
                values: vec![Some(0.0), Some(1.0)],
            })
        })
        .collect();
    let mut measures = BTreeMap::new();
    for report in restrict(set, &two_documents, &|_, _| true) {
        report.add_measures(&mut measures);
    }
    measures.into_keys().collect()
}

/// The groups' measures that are means over documents, for resampling.
pub fn pooled(set: &TaskSet) -> Vec<Pooled> {
    let names = restrictable(set);
    let mut all = Vec::new();
    for group in set.groups() {
        let tasks: Vec<&Task> = group.tasks.iter().filter_map(|name| set.task(name)).collect();
        for aggregate in &group.aggregates {
            let keys: BTreeSet<(&str, &str)> = tasks.iter().flat_map(|task| mean_keys(task.config())).collect();
            let keys = keys.into_iter().filter(|(metric, _)| *metric == aggregate.metric);
            for (metric, filter) in keys {
                let measure = format!("acc.{}.{metric}.{filter}", group.name);
                let with = |task: &&&Task| mean_keys(task.config()).any(|key| key == (metric, filter));
                let listed = aggregate
                    .filters
                    .as_ref()
                    .is_none_or(|list| list.iter().any(|f| f == filter));
                if listed && names.contains(&measure) {
                    all.push(Pooled {
                        measure,
                        tasks: tasks.iter().filter(with).map(|task| task.name().to_owned()).collect(),
                        weight_by_size: aggregate.weight_by_size,
                    });
                }
            }
        }
    }
    all
}

impl TaskOutcome {
    /// What a report says about the task: its numbers, as far as they are finite.
    pub fn report(&self) -> TaskReport {
        report(&self.task, &self.alias, self.n, &self.measures)
    }
}

impl GroupOutcome {
    /// What a report says about the group: its numbers, as far as they are finite.
    pub fn report(&self) -> TaskReport {
        report(&self.group, &self.alias, self.n, &self.measures)
    }
}

fn report(task: &str, alias: &str, n: usize, measures: &[Measure]) -> TaskReport {
    let finite = |value: &f64| value.is_finite();
    let values = measures.iter().map(|m| (m.key(), m.value));
    let stderrs = measures.iter().filter_map(|m| Some((m.key(), m.stderr?)));
    TaskReport {
        task: task.to_owned(),
        alias: alias.to_owned(),
        n: n as u64,
        measures: values.filter(|(_, value)| finite(value)).collect(),
        stderr: stderrs.filter(|(_, value)| finite(value)).collect(),
    }
}
