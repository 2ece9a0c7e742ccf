//! Prompts, answers and scores of the tasks of one grade.

use std::collections::BTreeMap;
use std::time::Duration;

use assay_contest::measure;
use assay_contest::wire::TaskReport;
use assay_tasks::{
    Instance, InstanceKind, Measure, Response, RunInfo, Samples, Settings, Task, TaskError, TaskOutcome, TaskSet,
    results_json, samples, samples_jsonl,
};
use serde_json::Value;

use crate::evaluate::{PrepareError, Prepared, Voice};

/// Everything that will be asked, task by task.
pub struct Work {
    pub set: TaskSet,
    pub planned: Vec<Planned>,
}

/// The requests of one task.
pub struct Planned {
    /// Its place in the set.
    task: usize,
    pub instances: Vec<Instance>,
    /// One for each instance.
    pub prepared: Vec<Prepared>,
}

impl Planned {
    /// Whether it asks for text.
    pub fn generates(&self) -> bool {
        self.instances
            .iter()
            .any(|instance| matches!(instance.kind, InstanceKind::Generate { .. }))
    }
}

impl Work {
    /// Builds all prompts, in the order of the documents: few-shot examples are drawn from one stream per task.
    pub fn prepare(set: TaskSet, settings: &Settings<'_>, voice: &Voice) -> Result<Work, PrepareError> {
        let mut planned = Vec::new();
        for (index, task) in set.tasks().iter().enumerate() {
            let instances = task.instances(settings)?;
            let prepared = instances
                .iter()
                .map(|instance| voice.prepare(instance))
                .collect::<Result<_, _>>()?;
            planned.push(Planned {
                task: index,
                instances,
                prepared,
            });
        }
        Ok(Work { set, planned })
    }

    /// The task a plan is of.
    pub fn task(&self, planned: &Planned) -> &Task {
        &self.set.tasks()[planned.task]
    }

    /// Requests of all tasks.
    pub fn requests(&self) -> usize {
        self.planned.iter().map(|planned| planned.prepared.len()).sum()
    }

    /// Most tokens any request can come to hold.
    pub fn longest(&self) -> usize {
        let prepared = self.planned.iter().flat_map(|planned| &planned.prepared);
        prepared.map(Prepared::most).max().unwrap_or(0)
    }

    /// Scores the answers of one task, one for each of its requests.
    pub fn score(&self, planned: &Planned, responses: Vec<Response>) -> Result<Scored, TaskError> {
        let mut by_doc: Vec<Vec<Response>> = Vec::new();
        for (instance, response) in planned.instances.iter().zip(responses) {
            if by_doc.len() <= instance.doc {
                by_doc.resize(instance.doc + 1, Vec::new());
            }
            by_doc[instance.doc].push(response);
        }
        let task = self.task(planned);
        let outcome = task.score(&by_doc)?;
        let samples = samples(task, &planned.instances, &by_doc, &outcome)?;
        Ok(Scored {
            outcome,
            samples,
            responses: by_doc,
        })
    }

    /// The groups' numbers.
    pub fn groups(&self, scored: &[Scored]) -> Vec<TaskReport> {
        let outcomes: Vec<TaskOutcome> = scored.iter().map(|scored| scored.outcome.clone()).collect();
        let groups = self
            .set
            .group_outcomes(&outcomes)
            .into_iter()
            .filter(|group| !group.measures.is_empty());
        groups
            .map(|group| report(&group.group, &group.alias, group.n, &group.measures))
            .collect()
    }

    /// lm-evaluation-harness's results file.
    pub fn results(&self, scored: &[Scored], settings: &Settings<'_>, run: &RunInfo) -> Value {
        let outcomes: Vec<TaskOutcome> = scored.iter().map(|scored| scored.outcome.clone()).collect();
        let hashes: Vec<(String, String)> = scored
            .iter()
            .map(|scored| (scored.outcome.task.clone(), scored.samples.task_hash.clone()))
            .collect();
        results_json(&self.set, &outcomes, settings, run, &hashes)
    }
}

/// One task, answered and scored.
pub struct Scored {
    pub outcome: TaskOutcome,
    pub samples: Samples,
    /// By document.
    pub responses: Vec<Vec<Response>>,
}

impl Scored {
    /// What the report says about it.
    pub fn report(&self) -> TaskReport {
        report(
            &self.outcome.task,
            &self.outcome.alias,
            self.outcome.n,
            &self.outcome.measures,
        )
    }

    /// lm-evaluation-harness's samples file.
    pub fn jsonl(&self) -> String {
        samples_jsonl(&self.samples)
    }
}

fn report(task: &str, alias: &str, n: usize, measures: &[Measure]) -> TaskReport {
    let finite = |value: &f64| value.is_finite();
    TaskReport {
        task: task.to_string(),
        alias: alias.to_string(),
        n: n as u64,
        measures: measures
            .iter()
            .map(|m| (m.key(), m.value))
            .filter(|(_, value)| finite(value))
            .collect(),
        stderr: measures
            .iter()
            .filter_map(|m| Some((m.key(), m.stderr.filter(finite)?)))
            .collect(),
    }
}

/// Adds the flat measures of a task or group: `acc.<task>.<metric>.<filter>` and its standard error.
pub fn add_measures(report: &TaskReport, into: &mut BTreeMap<String, f64>) {
    let mut add = |prefix: &str, values: &BTreeMap<String, f64>| {
        for (key, value) in values {
            let (metric, filter) = key.split_once(',').unwrap_or((key, "none"));
            let name = format!("{prefix}.{}.{metric}.{filter}", report.task);
            // A task inside a group may have a name no formula can spell.
            if measure::Name::parse(&name).is_some() {
                into.insert(name, *value);
            }
        }
    };
    add("acc", &report.measures);
    add("acc_stderr", &report.stderr);
}

/// What the tasks came to so far.
#[derive(Default)]
pub struct Tally {
    pub scored: Vec<Scored>,
    /// Tokens generated for tasks.
    pub generated: u64,
    /// Time spent on tasks that generate: prompts included, loading not.
    pub generating: Duration,
}

impl Tally {
    /// Generated tokens by time spent on generating tasks. None where no task generates.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let speed = self.generated as f64 / self.generating.as_secs_f64();
        (self.generated > 0 && speed.is_finite()).then_some(speed)
    }
}
