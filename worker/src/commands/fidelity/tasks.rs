//! The mini tasks against what lm-evaluation-harness recorded, document by document.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, anyhow};
use assay_contest::Profile;
use assay_engine::{Device, Engine, Options};
use assay_tasks::{ChatTemplate, DocOutcome, JinjaTemplate, Limit, Response, Settings, TaskSet};
use serde::Deserialize;

use super::compare::{CODE_TIE, Note};
use super::why;
use crate::commands::logits;
use crate::evaluate::Voice;
use crate::grounds::Grounds;
use crate::outcome::{Planned, Scored, Work};
use crate::thinking::Thinking;
use crate::tokenizer::Codec;

/// Two answers closer than this may change places between correct implementations: in logits for a generated token, in
/// log-probability for a choice. bfloat16 runtimes differ from each other by more.
pub const NEAR_TIE: f64 = 0.05;

/// One task of one checkpoint.
pub struct TaskRow {
    pub checkpoint: String,
    pub profile: String,
    pub task: String,
    pub device: Device,
    pub documents: usize,
    pub same_prompts: usize,
    pub same_outcomes: usize,
    /// Documents with the same generated texts, or the same choices ahead.
    pub same_answers: usize,
    /// `metric,filter` and value over the documents compared.
    pub theirs: Vec<(String, f64)>,
    pub ours: Vec<(String, f64)>,
    pub differences: Vec<Difference>,
    pub note: Option<Note>,
}

/// Documents over every bound whose difference was looked into by hand, by checkpoint, task and number; the page says what was found.
pub const STUDIED: [(&str, &str, usize); 1] = [("w4a8", "mini_gsm", 36)];

/// A document with another outcome.
pub struct Difference {
    pub doc: usize,
    pub what: String,
    /// How far apart the two answers are, according to the reference.
    pub margin: Option<f64>,
}

impl Difference {
    /// Whether the difference is within what correct implementations differ by.
    pub fn is_near_tie(&self) -> bool {
        self.margin.is_some_and(|margin| margin < NEAR_TIE)
    }
}

impl TaskRow {
    /// What explains a difference, if anything does.
    pub fn reason(&self, difference: &Difference) -> Option<&'static str> {
        match self.note {
            _ if difference.is_near_tie() => Some("near-tie"),
            Some(Note::CacheScheme | Note::QuantizedInputs)
                if difference.margin.is_some_and(|margin| margin < CODE_TIE) =>
            {
                Some("within a few codes²³")
            }
            _ if self.is_studied(difference) => Some("studied⁴"),
            _ if self.device == Device::Fast => Some("the fast mode"),
            _ => None,
        }
    }

    /// Whether a difference is one of [`STUDIED`].
    pub fn is_studied(&self, difference: &Difference) -> bool {
        STUDIED.contains(&(self.checkpoint.as_str(), self.task.as_str(), difference.doc))
    }

    /// What misses its bound.
    pub fn failures(&self) -> Vec<String> {
        let what = format!("{} {} {} on {}", self.checkpoint, self.profile, self.task, self.device);
        let mut failures = Vec::new();
        if self.same_prompts != self.documents {
            failures.push(format!(
                "{what}: {} of {} prompts agree",
                self.same_prompts, self.documents
            ));
        }
        for difference in self
            .differences
            .iter()
            .filter(|difference| self.reason(difference).is_none())
        {
            failures.push(format!(
                "{what}: document {} is not explained: {}",
                difference.doc, difference.what
            ));
        }
        failures
    }
}

/// The harness's file.
#[derive(Deserialize)]
struct Recorded {
    tasks: BTreeMap<String, RecordedTask>,
}

#[derive(Deserialize)]
struct RecordedTask {
    docs: Vec<RecordedDoc>,
}

/// What the harness recorded of one document.
#[derive(Deserialize)]
struct RecordedDoc {
    doc_id: usize,
    prompt_hash: String,
    /// By filter, then metric.
    outcomes: BTreeMap<String, BTreeMap<String, f64>>,
    responses: Vec<Answer>,
}

/// A recorded response.
#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(untagged)]
pub enum Answer {
    Text(String),
    Choice(f64, bool),
}

/// One checkpoint with one profile.
pub struct Run<'a> {
    pub fixtures: &'a Path,
    pub checkpoint: &'a str,
    pub profile: &'a str,
    pub limit: Option<u32>,
    pub options: &'a Options,
    pub device: &'a Device,
}

impl Run<'_> {
    /// Runs the recorded tasks on the device and compares.
    pub fn compare(&self) -> anyhow::Result<Vec<TaskRow>> {
        let path = self
            .fixtures
            .join(format!("harness/{}.{}.json", self.checkpoint, self.profile));
        let recorded: Recorded = serde_json::from_slice(&std::fs::read(&path)?)?;
        let profile: Profile = self.profile.parse().map_err(|error: String| anyhow!(error))?;

        let base = self.fixtures.join("checkpoints/base");
        let template = JinjaTemplate::new(&std::fs::read_to_string(base.join("chat_template.jinja"))?)?;
        let names: Vec<String> = recorded.tasks.keys().cloned().collect();
        let mut grounds = Grounds::tasks(&self.fixtures.join("tasks").display().to_string())?;
        grounds.tasks = names;
        let settings = Settings {
            profile,
            limit: self.limit.map(|limit| Limit::Docs(limit as usize)),
            num_fewshot: None,
            seed: grounds.seed,
            chat: Some(&template as &dyn ChatTemplate),
            ..Settings::default()
        };
        let set = TaskSet::load(&grounds.tasks_dir, &grounds.tasks)?;

        let (mut engine, voice, note) = self.open(self.device.clone(), &base)?;
        let work = Work::prepare(set, &settings, &voice)?;
        let mut oracle = None;
        let mut rows = Vec::new();
        for planned in &work.planned {
            let responses = voice.ask(&mut engine, &planned.prepared, &mut |_, _| ControlFlow::Continue(()))?;
            let scored = work.score(planned, responses)?;
            let recorded = &recorded.tasks[work.task(planned).name()];
            let mut row = self.row(&scored, recorded, note);
            for difference in &mut row.differences {
                if oracle.is_none() {
                    oracle = Some(self.open(Device::Reference, &base)?.0);
                }
                let Some(oracle) = oracle.as_mut() else { continue };
                let theirs = &recorded.docs[difference.doc].responses;
                self.explain(difference, &voice, oracle, planned, &scored, theirs)?;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// The checkpoint on a device, and its note.
    fn open(&self, device: Device, base: &Path) -> anyhow::Result<(Engine, Voice, Option<Note>)> {
        let options = Options {
            device,
            ..self.options.clone()
        };
        let dir = self.fixtures.join("checkpoints").join(self.checkpoint);
        let mut note = None;
        let opened = logits::open_with(&dir, &options, true, |model| {
            note = Note::of(self.checkpoint, &model);
            model
        })?;
        let config = assay_checkpoint::Checkpoint::open(&dir)?.config().clone();
        let prefix = config
            .bos
            .or(config.eos.first().copied())
            .context("neither BOS nor EOS")?;
        let codec = Codec::from_bytes(&std::fs::read(base.join("tokenizer.json"))?, Some(prefix))?;
        let voice = Voice {
            codec: codec.into(),
            positions: config.max_positions,
            eos: opened.eos,
            prefix,
            thinking: Thinking::Off,
        };
        Ok((opened.engine, voice, note))
    }

    fn row(&self, scored: &Scored, recorded: &RecordedTask, note: Option<Note>) -> TaskRow {
        let outcome = &scored.outcome;
        let mut row = TaskRow {
            checkpoint: self.checkpoint.to_string(),
            profile: self.profile.to_string(),
            task: outcome.task.clone(),
            device: self.device.clone(),
            documents: outcome.n,
            same_prompts: 0,
            same_outcomes: 0,
            same_answers: 0,
            theirs: Vec::new(),
            ours: outcome
                .measures
                .iter()
                .map(|measure| (measure.key(), measure.value))
                .collect(),
            differences: Vec::new(),
            note,
        };
        let mut ours: BTreeMap<usize, Vec<&DocOutcome>> = BTreeMap::new();
        outcome
            .docs
            .iter()
            .for_each(|doc| ours.entry(doc.doc).or_default().push(doc));
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for doc in recorded.docs.iter().take(outcome.n) {
            let hash = scored
                .samples
                .rows
                .iter()
                .find(|row| row["doc_id"] == doc.doc_id)
                .map(|row| &row["prompt_hash"]);
            row.same_prompts += usize::from(hash.is_some_and(|hash| *hash == doc.prompt_hash.as_str()));
            let given = scored.responses.get(doc.doc_id).map(Vec::as_slice).unwrap_or_default();
            row.same_answers += usize::from(why::same_answer(given, &doc.responses));
            let mut changed = Vec::new();
            for (filter, metrics) in &doc.outcomes {
                let found = ours
                    .get(&doc.doc_id)
                    .and_then(|docs| docs.iter().find(|found| found.filter == *filter));
                for (metric, value) in metrics {
                    *sums.entry(format!("{metric},{filter}")).or_default() += value;
                    let found = found
                        .and_then(|found| found.scores.get(metric))
                        .and_then(|score| score.number());
                    if found != Some(*value) {
                        let found = found.map_or("none".to_string(), |found| found.to_string());
                        changed.push(format!("{metric},{filter} {value} there, {found} here"));
                    }
                }
            }
            if changed.is_empty() {
                row.same_outcomes += 1;
            } else {
                let what = changed.join("; ");
                row.differences.push(Difference {
                    doc: doc.doc_id,
                    what,
                    margin: None,
                });
            }
        }
        row.theirs = sums
            .into_iter()
            .map(|(name, sum)| (name, sum / outcome.n.max(1) as f64))
            .collect();
        row.ours.sort_by(|a, b| a.0.cmp(&b.0));
        row
    }

    /// Finds where the two answers part and how far apart they are there.
    fn explain(
        &self,
        difference: &mut Difference,
        voice: &Voice,
        oracle: &mut Engine,
        planned: &Planned,
        scored: &Scored,
        theirs: &[Answer],
    ) -> anyhow::Result<()> {
        let requests: Vec<usize> = (0..planned.instances.len())
            .filter(|index| planned.instances[*index].doc == difference.doc)
            .collect();
        let ours = scored
            .responses
            .get(difference.doc)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let prepared: Vec<_> = requests.iter().map(|index| &planned.prepared[*index]).collect();
        let found = match (ours, theirs) {
            ([Response::Text(ours)], [Answer::Text(theirs)]) => why::texts(voice, oracle, &prepared, ours, theirs)?,
            _ => why::choices(voice, oracle, &prepared, ours, theirs)?,
        };
        difference.what = format!("{}: {}", difference.what, found.what);
        difference.margin = found.margin;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fast_mode_may_flip_what_is_no_tie() {
        let row = |device: Device, margin: f64, same_prompts: usize| TaskRow {
            checkpoint: "a".into(),
            profile: "plain".into(),
            task: "b".into(),
            device,
            documents: 1,
            same_prompts,
            same_outcomes: 0,
            same_answers: 0,
            theirs: Vec::new(),
            ours: Vec::new(),
            differences: vec![Difference {
                doc: 0,
                what: "another".into(),
                margin: Some(margin),
            }],
            note: None,
        };
        let reason = |row: &TaskRow| row.reason(&row.differences[0]);
        assert_eq!(reason(&row(Device::Fast, 0.01, 1)), Some("near-tie"));
        assert_eq!(reason(&row(Device::Fast, 2.0, 1)), Some("the fast mode"));
        assert_eq!(reason(&row(Device::Cpu, 2.0, 1)), None);
        assert_eq!(row(Device::Cpu, 2.0, 1).failures().len(), 1);
        // prompts have nothing to do with a device
        assert_eq!(row(Device::Fast, 2.0, 0).failures().len(), 1);
    }
}
