//! From what the model said to the files of a grade: the one way that running, rescoring and merging end in.
//!
//! Everything written here is a function of the grounds, the tasks, the record and the outputs; only `timings.json`, and
//! what the report quotes from it, differs from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use assay_contest::wire::{Generation, Report};
use assay_engine::Answer;
use assay_tasks::RunInfo;
use serde::Serialize;

use crate::evaluate::Prepared;
use crate::files;
use crate::grounds::Grounds;
use crate::halt::{Halt, infra, task_failed};
use crate::outcome::{Planned, Scored, Work};
use crate::outputs::{self, Line};
use crate::record::{GENERATIONS, Kept, RECORD, Record, TIMES};
use crate::texts::Texts;
use crate::times::Times;

/// A grade being put together.
pub struct Assembly<'a> {
    /// Gets the files; without it nothing is written.
    pub out: Option<&'a Path>,
    pub grounds: &'a Grounds,
    pub texts: &'a Texts,
    pub work: &'a Work,
    pub record: Record,
    scored: Vec<Scored>,
    generations: Vec<Generation>,
}

impl<'a> Assembly<'a> {
    /// An assembly without any outputs yet. `record` says what is run; what it says of outputs is forgotten.
    pub fn new(
        out: Option<&'a Path>,
        grounds: &'a Grounds,
        texts: &'a Texts,
        work: &'a Work,
        record: Record,
    ) -> Assembly<'a> {
        let samples = grounds
            .rules
            .as_ref()
            .map(|rules| rules.contest.grading.samples.clone());
        Assembly {
            out,
            grounds,
            texts,
            work,
            record: Record {
                tasks: Vec::new(),
                generations: None,
                certificate: None,
                samples: samples.unwrap_or_default(),
                ..record
            },
            scored: Vec::new(),
            generations: Vec::new(),
        }
    }

    /// Takes the answers of one task, one for each of its requests, and scores them. A shard's answers are only kept.
    pub fn task(&mut self, planned: &Planned, answers: &[Answer]) -> Result<Option<&Scored>, Halt> {
        let name = self.work.task(planned).name();
        let stem = self.stem(name);
        let lines = planned.instances.iter().zip(&planned.prepared).zip(answers);
        let lines: Vec<Line> = lines
            .map(|((instance, asked), answer)| Line {
                doc: instance.doc,
                index: instance.index,
                repeat: instance.repeat,
                prompt: outputs::digest(asked, &self.texts.voice.eos),
                answer: answer.clone(),
            })
            .collect();
        let kept = self.keep(name, format!("outputs_{stem}.jsonl"), &lines)?;
        self.record.tasks.push(kept);
        if self.record.shard.is_some() {
            return Ok(None);
        }
        let scored = self.work.score_answers(planned, &self.texts.voice, answers);
        let scored = scored.map_err(|error| task_failed(&error))?;
        self.write(&format!("samples_{stem}.jsonl"), scored.jsonl().as_bytes())?;
        self.scored.push(scored);
        Ok(self.scored.last())
    }

    /// Takes the continuations of the contest's sample prompts.
    pub fn samples(&mut self, asked: &[Prepared], answers: &[Answer]) -> Result<(), Halt> {
        let lines: Vec<Line> = (asked.iter().zip(answers).enumerate())
            .map(|(doc, (asked, answer))| Line {
                doc,
                index: 0,
                repeat: 0,
                prompt: outputs::digest(asked, &self.texts.voice.eos),
                answer: answer.clone(),
            })
            .collect();
        self.record.generations = Some(self.keep("", GENERATIONS.to_string(), &lines)?);
        let said = self.record.samples.iter().zip(asked).zip(answers);
        let said = said.filter_map(|((sample, asked), answer)| self.texts.generation(sample, asked, answer));
        self.generations = said.collect();
        Ok(())
    }

    /// Writes what is left and gives the report; none of a shard.
    pub fn finish(mut self, times: &Times) -> Result<Option<Report>, Halt> {
        self.write_json(TIMES, times)?;
        if self.record.shard.is_some() {
            self.write_json(RECORD, &self.record)?;
            return Ok(None);
        }
        let certificate = self.record.certify(self.work);
        self.record.certificate = Some(certificate.clone());
        self.write_json(RECORD, &self.record)?;

        let mut report = Report {
            engine: self.record.engine.clone(),
            device: self.record.device.clone(),
            profile: self.grounds.profile,
            contest_digest: self.grounds.digest(),
            submission: self.record.submission.clone(),
            tasks: self.scored.iter().map(Scored::report).collect(),
            groups: self.work.groups(&self.scored),
            items: self.scored.iter().flat_map(|scored| self.work.items(scored)).collect(),
            samples: std::mem::take(&mut self.generations),
            certificate: Some(certificate),
            time_track: times.track.clone(),
            timings: times.stages.clone(),
            ..Report::default()
        };
        report.measures = self.measures(&report, times);
        self.write_json("results.json", &self.results(times))?;
        self.write_json("report.json", &report)?;
        Ok(Some(report))
    }

    fn measures(&self, report: &Report, times: &Times) -> BTreeMap<String, f64> {
        let mut measures = BTreeMap::new();
        if let Some(bytes) = self
            .record
            .submission
            .pointer("/bytes/total")
            .and_then(|total| total.as_f64())
        {
            measures.insert("bytes".to_string(), bytes);
        }
        report
            .tasks
            .iter()
            .chain(&report.groups)
            .for_each(|task| task.add_measures(&mut measures));
        let generated: u64 = self.scored.iter().map(|scored| scored.generated).sum();
        measures.insert("generated_tokens".to_string(), generated as f64);
        self.scored.iter().for_each(|scored| scored.add_rates(&mut measures));
        // A task that the rules no longer name has no part in the times of items.
        let asked: BTreeSet<&str> = self.scored.iter().map(|scored| scored.outcome.task.as_str()).collect();
        let mut times = times.clone();
        times.tasks.retain(|task, _| asked.contains(task.as_str()));
        for scored in &self.scored {
            if let Some(task) = times.tasks.get_mut(&scored.outcome.task) {
                task.items.retain(|doc, _| *doc < scored.outcome.n);
            }
        }
        times.measures(&mut measures);
        measures
    }

    /// lm-evaluation-harness's results file.
    fn results(&self, times: &Times) -> serde_json::Value {
        let run = RunInfo {
            model: self.record.checkpoint.name.clone(),
            model_args: None,
            device: Some(self.record.device.clone()),
            started: times.started,
            seconds: times.stages.get("evaluate").copied(),
            max_length: Some(self.record.positions),
            engine: self.record.engine.clone(),
        };
        self.work
            .results(&self.scored, &self.texts.settings(self.grounds), &run)
    }

    /// A task's name as part of a file's: one that no other task has.
    fn stem(&self, task: &str) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        };
        let mut stem: String = task.chars().map(plain).take(100).collect();
        while self
            .record
            .tasks
            .iter()
            .any(|kept| kept.file == format!("outputs_{stem}.jsonl"))
        {
            stem.push('_');
        }
        stem
    }

    fn keep(&self, task: &str, file: String, lines: &[Line]) -> Result<Kept, Halt> {
        let bytes = outputs::to_bytes(lines).map_err(|error| infra(&file, error.to_string()))?;
        self.write(&file, &bytes)?;
        Ok(Kept {
            task: task.to_string(),
            sha256: files::sha256(&bytes),
            requests: lines.len(),
            file,
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Halt> {
        match self.out {
            Some(out) => fs::write(out.join(name), bytes).map_err(|error| infra(name, error.to_string())),
            None => Ok(()),
        }
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Halt> {
        let Some(out) = self.out else { return Ok(()) };
        let json = serde_json::to_vec_pretty(value).map_err(|error| infra(name, error.to_string()))?;
        files::write_whole(&out.join(name), &json).map_err(|error| infra(name, error.to_string()))
    }
}
