//! Prompts, answers and scores of the tasks of one grade.

use std::collections::BTreeMap;

use assay_contest::measure;
use assay_contest::wire::{ItemScores, TaskReport};
use assay_engine::Answer;
use assay_tasks::{
    Instance, Response, RunInfo, Samples, Settings, Task, TaskError, TaskOutcome, TaskSet, items, results_json,
    samples, samples_jsonl,
};
use serde_json::Value;

use crate::evaluate::{PrepareError, Prepared, Voice};
use crate::rates::Rates;
use crate::record::Shard;

/// Fewest documents that an interim accuracy is said of.
const FEWEST: usize = 8;
/// Bootstrap replicates of an interim standard error, where a metric needs any: rough is enough.
const REPLICATES: usize = 100;

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
    /// Only the requests of the documents in a shard.
    fn restrict(&mut self, shard: Shard) {
        let mine: Vec<bool> = self.instances.iter().map(|instance| shard.has(instance.doc)).collect();
        let mut keep = mine.iter();
        self.instances.retain(|_| keep.next() == Some(&true));
        let mut keep = mine.iter();
        self.prepared.retain(|_| keep.next() == Some(&true));
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

    /// The same with only the requests of a shard. The prompts stay those of the whole.
    pub fn restrict(mut self, shard: Option<Shard>) -> Work {
        if let Some(shard) = shard {
            self.planned.iter_mut().for_each(|planned| planned.restrict(shard));
        }
        self
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
            generated: 0,
            rates: None,
        })
    }

    /// What the task comes to so far: of the first documents, up to the first that is not answered. `None` while those are
    /// few, or cannot be scored; what is wrong then is said of the whole. For all requests of a task, not for a shard's.
    pub fn interim(&self, planned: &Planned, responses: &[Option<Response>]) -> Option<TaskReport> {
        let mut by_doc: Vec<Vec<Response>> = Vec::new();
        for (instance, response) in planned.instances.iter().zip(responses) {
            let Some(response) = response else {
                // Its other requests may be answered: it is not.
                by_doc.truncate(instance.doc);
                break;
            };
            if by_doc.len() <= instance.doc {
                by_doc.resize(instance.doc + 1, Vec::new());
            }
            by_doc.get_mut(instance.doc)?.push(response.clone());
        }
        if by_doc.len() < FEWEST || by_doc.iter().any(Vec::is_empty) {
            return None;
        }
        let outcome = self.task(planned).score_with(&by_doc, REPLICATES).ok()?;
        Some(outcome.report())
    }

    /// As [`score`](Self::score) from the answers themselves, which tell more than the responses made of them.
    pub fn score_answers(&self, planned: &Planned, voice: &Voice, answers: &[Answer]) -> Result<Scored, TaskError> {
        let mut scored = self.score(planned, voice.responses(answers, &planned.prepared))?;
        let tokens = answers.iter().map(|answer| match answer {
            Answer::Generated { tokens, .. } => tokens.len() as u64,
            Answer::Scored { .. } => 0,
        });
        scored.generated = tokens.sum();
        let unanswered = self.task(planned).unanswered(&scored.responses)?;
        scored.rates = unanswered.map(|unanswered| Rates::of(answers, unanswered, scored.outcome.n));
        Ok(scored)
    }

    /// What each document gave to the measures that are means over documents.
    pub fn items(&self, scored: &Scored) -> Vec<ItemScores> {
        let Some(task) = self.set.task(&scored.outcome.task) else {
            return Vec::new();
        };
        items(task, &scored.outcome)
    }

    /// The groups' numbers.
    pub fn groups(&self, scored: &[Scored]) -> Vec<TaskReport> {
        let outcomes: Vec<TaskOutcome> = scored.iter().map(|scored| scored.outcome.clone()).collect();
        let groups = self
            .set
            .group_outcomes(&outcomes)
            .into_iter()
            .filter(|group| !group.measures.is_empty());
        groups.map(|group| group.report()).collect()
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
    /// Tokens generated for it.
    pub generated: u64,
    /// None of a task that generates nothing.
    pub rates: Option<Rates>,
}

impl Scored {
    /// What the report says about it.
    pub fn report(&self) -> TaskReport {
        self.outcome.report()
    }

    /// Adds `rate.<rate>.<task>`.
    pub fn add_rates(&self, into: &mut BTreeMap<String, f64>) {
        for (rate, value) in self.rates.iter().flat_map(Rates::named) {
            put(into, format!("rate.{rate}.{}", self.outcome.task), value);
        }
    }

    /// lm-evaluation-harness's samples file.
    pub fn jsonl(&self) -> String {
        samples_jsonl(&self.samples)
    }
}

/// A task inside a group may have a name no formula can spell: it has no measures.
fn put(into: &mut BTreeMap<String, f64>, name: String, value: f64) {
    if measure::Name::parse(&name).is_some() {
        into.insert(name, value);
    }
}
