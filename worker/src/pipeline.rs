//! Verify, weigh, load, evaluate, sample, report: what `grade` and the service do to a checkpoint, in one place.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use assay_checkpoint::config::ModelConfig;
use assay_checkpoint::{BaseModel, Checkpoint, Inspection, OpenError};
use assay_contest::wire::{Generation, Progress, Report, Stage};
use assay_contest::{Problem, Profile};
use assay_engine::{Answer, Device, ENGINE_VERSION, Engine, LoadError, Model, Options, executor};
use assay_tasks::{ChatTemplate, JinjaTemplate, Limit, Message, Response, Role, RunInfo, Settings, TaskSet};

use crate::commands::inspect::look;
use crate::evaluate::{PrepareError, Prepared, Voice};
use crate::grounds::Grounds;
use crate::halt::{self, Halt, broken, engine_failed, infra, open_failed, task_failed};
use crate::outcome::{Tally, Work, add_measures};
use crate::tokenizer::Codec;
use crate::{files, host, stops};

/// What to grade, on what, and where to leave the files.
pub struct Job {
    pub checkpoint: PathBuf,
    pub grounds: Grounds,
    pub device: Device,
    pub threads: usize,
    /// Gets `report.json`, `results.json` and `samples_<task>.jsonl`; must exist.
    pub out: PathBuf,
}

/// How the pipeline is watched and stopped from outside.
pub struct Watch {
    /// Set by anyone who wants the pipeline to stop.
    pub abort: Arc<AtomicBool>,
    /// Told at every change of stage, and often in between.
    pub report: Box<dyn FnMut(&Progress) + Send>,
}

/// What came of it.
pub enum Verdict {
    /// Every task ran.
    Graded(Box<Report>),
    /// Against the rules: it was not run.
    Rejected {
        problems: Vec<Problem>,
        report: Box<Report>,
    },
}

/// Runs the whole pipeline.
pub fn run(job: &Job, watch: &mut Watch) -> Result<Verdict, Halt> {
    host::reset_peak_memory();
    let mut run = Run::start(job, watch);
    let verdict = run.verdict()?;
    let (Verdict::Graded(report) | Verdict::Rejected { report, .. }) = &verdict;
    let json = serde_json::to_vec_pretty(report).map_err(|error| infra("report", error.to_string()))?;
    files::write_whole(&job.out.join("report.json"), &json).map_err(|error| infra("report.json", error.to_string()))?;
    Ok(verdict)
}

/// State of one grade.
struct Run<'a> {
    job: &'a Job,
    watch: &'a mut Watch,
    began: SystemTime,
    started: Instant,
    deadline: Option<Instant>,
    stage_started: Instant,
    progress: Progress,
    timings: BTreeMap<String, f64>,
}

impl<'a> Run<'a> {
    fn start(job: &'a Job, watch: &'a mut Watch) -> Run<'a> {
        let now = Instant::now();
        Run {
            job,
            watch,
            began: SystemTime::now(),
            started: now,
            deadline: job.grounds.wall().and_then(|wall| now.checked_add(wall)),
            stage_started: now,
            progress: Progress {
                stage: Stage::Verify,
                ..Progress::default()
            },
            timings: BTreeMap::new(),
        }
    }

    fn verdict(&mut self) -> Result<Verdict, Halt> {
        let grounds = &self.job.grounds;
        self.enter(Stage::Verify)?;
        let rules = grounds.rules.as_ref();
        let base = rules.map(|rules| BaseModel::read_dir(&rules.base)).transpose();
        let base = base.map_err(|error| infra("base", error.to_string()))?;
        let found = look(
            &self.job.checkpoint,
            base.as_ref(),
            rules.map(|rules| &rules.contest.checkpoint),
        );
        let found = found.map_err(halt::not_looked_at)?;

        self.enter(Stage::Weigh)?;
        self.progress.measures.insert("bytes".into(), found.bytes.total as f64);
        let mut report = Report {
            engine: ENGINE_VERSION.to_string(),
            profile: grounds.profile,
            contest_digest: grounds.digest(),
            submission: serde_json::to_value(&found).map_err(|error| infra("report", error.to_string()))?,
            measures: self.progress.measures.clone(),
            ..Report::default()
        };
        if !found.accepted() {
            return Ok(self.rejected(found, report));
        }

        self.enter(Stage::Load)?;
        let texts = grounds.texts_dir(&self.job.checkpoint).to_path_buf();
        let checkpoint = match Checkpoint::open(&self.job.checkpoint) {
            Err(OpenError::Rejected(problems)) => return Ok(self.rejected(Inspection { problems, ..found }, report)),
            opened => opened.map_err(open_failed)?,
        };
        let voice = voice(&texts, checkpoint.config(), base.as_ref())?;
        let template = template(&texts, grounds.profile)?;
        let settings = Settings {
            profile: grounds.profile,
            limit: grounds.limit.map(|limit| Limit::Docs(limit as usize)),
            num_fewshot: None,
            seed: grounds.seed,
            chat: template.as_ref().map(|template| template as &dyn ChatTemplate),
        };
        let work = self.prepare(&voice, &settings)?;
        let load_started = Instant::now();
        let mut engine = self.load(&checkpoint, &work)?;
        drop(checkpoint);
        let load_seconds = load_started.elapsed().as_secs_f64();
        self.progress.measures.insert("load_seconds".into(), load_seconds);
        report.device = engine.device();

        let tally = self.evaluate(&mut engine, &voice, &work, &settings, &mut report)?;
        self.samples(&mut engine, &voice, template.as_ref(), &mut report)?;

        self.enter(Stage::Report)?;
        self.finish(report, &tally)
    }

    fn rejected(&mut self, found: Inspection, mut report: Report) -> Verdict {
        self.close_stage();
        report.timings = self.timings.clone();
        Verdict::Rejected {
            problems: found.problems,
            report: Box::new(report),
        }
    }

    /// All prompts of all tasks, in one ordered pass: few-shot examples are drawn from one stream per task.
    fn prepare(&mut self, voice: &Voice, settings: &Settings<'_>) -> Result<Work, Halt> {
        let started = Instant::now();
        let grounds = &self.job.grounds;
        let set = TaskSet::load(&grounds.tasks_dir, &grounds.tasks).map_err(|error| task_failed(&error))?;
        let work = Work::prepare(set, settings, voice).map_err(|error| match error {
            PrepareError::Task(error) => task_failed(&error),
            error @ PrepareError::Encode { .. } => infra("tasks", error.to_string()),
            error @ PrepareError::NoRoom { .. } => halt::no_room(&error.to_string()),
        })?;
        self.timings.insert("prompts".into(), started.elapsed().as_secs_f64());
        Ok(work)
    }

    fn load(&mut self, checkpoint: &Checkpoint, work: &Work) -> Result<Engine, Halt> {
        let samples = self
            .job
            .grounds
            .rules
            .iter()
            .flat_map(|rules| &rules.contest.grading.samples);
        // A sample prompt is at most a few hundred tokens; its length is known only once it is encoded.
        let longest_sample = samples
            .map(|sample| sample.prompt.len() + sample.max_tokens as usize)
            .max()
            .unwrap_or(0);
        let defaults = Options::default();
        let options = Options {
            device: self.job.device.clone(),
            threads: self.job.threads,
            kv_tokens: defaults.kv_tokens.max(work.longest()).max(longest_sample),
            ..defaults
        };
        let model = Model::load(checkpoint).map_err(|error| match error {
            LoadError::Open(error) => open_failed(error),
            error @ (LoadError::Plan(_) | LoadError::Shape { .. }) => broken("cannot-load", &error.to_string()),
        })?;
        self.check()?;
        let executor = executor(Arc::new(model), &options).map_err(|error| infra("device", error.to_string()))?;
        Ok(Engine::new(executor, &options))
    }

    fn evaluate(
        &mut self,
        engine: &mut Engine,
        voice: &Voice,
        work: &Work,
        settings: &Settings<'_>,
        report: &mut Report,
    ) -> Result<Tally, Halt> {
        self.enter(Stage::Evaluate)?;
        let evaluating = Instant::now();
        self.progress.total = work.requests() as u64;
        let mut tally = Tally::default();
        for planned in &work.planned {
            self.progress.task = Some(work.task(planned).name().to_string());
            self.say();
            let before = self.progress.done;
            let (generated, asked) = (engine.stats().generated_tokens, Instant::now());
            let mut last_said = Instant::now();
            let mut done = 0;
            let mut on_done = |run: &mut Run<'_>, _: &Answer| {
                done += 1;
                if last_said.elapsed() > Duration::from_millis(200) {
                    last_said = Instant::now();
                    run.progress.done = before + done;
                    run.say();
                }
            };
            let responses = self.ask(engine, voice, &planned.prepared, &mut on_done)?;
            tally.generated += engine.stats().generated_tokens - generated;
            if planned.generates() {
                tally.generating += asked.elapsed();
            }
            self.progress.done = before + planned.prepared.len() as u64;
            let scored = work.score(planned, responses).map_err(|error| task_failed(&error))?;
            add_measures(&scored.report(), &mut self.progress.measures);
            self.write(
                &format!("samples_{}.jsonl", scored.outcome.task),
                scored.jsonl().as_bytes(),
            )?;
            tally.scored.push(scored);
            if let Some(speed) = tally.tokens_per_second() {
                self.progress.measures.insert("tokens_per_second".into(), speed);
            }
            self.say();
        }
        self.progress.task = None;
        report.tasks = tally.scored.iter().map(|scored| scored.report()).collect();
        report.groups = work.groups(&tally.scored);
        report
            .groups
            .iter()
            .for_each(|group| add_measures(group, &mut self.progress.measures));
        let run = RunInfo {
            model: self
                .job
                .checkpoint
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            model_args: None,
            device: Some(report.device.clone()),
            started: self.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            seconds: Some(evaluating.elapsed().as_secs_f64()),
            max_length: Some(voice.positions),
            engine: ENGINE_VERSION.to_string(),
        };
        let results = work.results(&tally.scored, settings, &run);
        let json = serde_json::to_vec_pretty(&results).map_err(|error| infra("report", error.to_string()))?;
        self.write("results.json", &json)?;
        Ok(tally)
    }

    fn samples(
        &mut self,
        engine: &mut Engine,
        voice: &Voice,
        template: Option<&JinjaTemplate>,
        report: &mut Report,
    ) -> Result<(), Halt> {
        let Some(rules) = &self.job.grounds.rules else {
            return Ok(());
        };
        let prompts = &rules.contest.grading.samples;
        self.enter(Stage::Samples)?;
        let mut prepared = Vec::new();
        for sample in prompts {
            let text = match template {
                Some(template) => {
                    let message = Message {
                        role: Role::User,
                        content: sample.prompt.clone(),
                    };
                    let text = template.render(&[message], true);
                    text.map_err(|error| infra("chat_template.jinja", error.to_string()))?
                }
                None => sample.prompt.clone(),
            };
            let request = voice.generate(&text, Arc::new([]), sample.max_tokens as usize);
            prepared.push(request.map_err(|error| halt::no_room(&error.to_string()))?);
        }
        let responses = self.ask(engine, voice, &prepared, &mut |_, _| {})?;
        for (sample, response) in prompts.iter().zip(responses) {
            let Response::Text(text) = response else { continue };
            let text = stops::whole_characters(&text).to_string();
            report.samples.push(Generation {
                kind: sample.kind.clone(),
                prompt: sample.prompt.clone(),
                text,
                base: sample.base.clone(),
            });
        }
        Ok(())
    }

    /// Runs requests under the wall clock and the abort flag.
    fn ask(
        &mut self,
        engine: &mut Engine,
        voice: &Voice,
        prepared: &[Prepared],
        on_done: &mut dyn FnMut(&mut Run<'_>, &Answer),
    ) -> Result<Vec<Response>, Halt> {
        let interrupt = engine.interrupt();
        let (abort, deadline) = (self.watch.abort.clone(), self.deadline);
        let over = AtomicBool::new(false);
        let answered = std::thread::scope(|scope| {
            // The engine looks at its switch before every step; this thread throws it.
            let guard = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if late || abort.load(Ordering::Relaxed) {
                        interrupt.store(true, Ordering::Relaxed);
                    }
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            });
            let _dismissed = Dismiss {
                over: &over,
                guard: guard.thread().clone(),
            };
            voice.ask(engine, prepared, &mut |_, answer| {
                on_done(self, answer);
                ControlFlow::Continue(())
            })
        });
        // An interrupted run is told apart by its cause, not by the engine's error.
        self.check()?;
        answered.map_err(engine_failed)
    }

    fn finish(&mut self, mut report: Report, tally: &Tally) -> Result<Verdict, Halt> {
        let measures = &mut self.progress.measures;
        if let Some(speed) = tally.tokens_per_second() {
            measures.insert("tokens_per_second".into(), speed);
            measures.insert("time_per_token".into(), 1.0 / speed);
        }
        if let Some(peak) = host::peak_memory() {
            measures.insert("peak_memory".into(), peak as f64);
        }
        measures.insert("wall_seconds".into(), self.started.elapsed().as_secs_f64());
        report.measures = measures.clone();
        self.close_stage();
        report.timings = self.timings.clone();
        Ok(Verdict::Graded(Box::new(report)))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Halt> {
        fs::write(self.job.out.join(name), bytes).map_err(|error| infra(name, error.to_string()))
    }

    fn enter(&mut self, stage: Stage) -> Result<(), Halt> {
        self.check()?;
        if self.progress.stage != stage {
            self.close_stage();
        }
        self.progress = Progress {
            stage,
            done: 0,
            total: 0,
            ..self.progress.clone()
        };
        self.say();
        Ok(())
    }

    fn close_stage(&mut self) {
        let seconds = self.stage_started.elapsed().as_secs_f64();
        self.timings.insert(self.progress.stage.name().to_string(), seconds);
        self.stage_started = Instant::now();
    }

    fn say(&mut self) {
        (self.watch.report)(&self.progress);
    }

    /// Whether to go on.
    fn check(&self) -> Result<(), Halt> {
        if self.watch.abort.load(Ordering::Relaxed) {
            return Err(Halt::Stopped);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(halt::too_slow(
                self.progress.stage,
                self.job.grounds.wall().unwrap_or_default(),
            )),
            _ => Ok(()),
        }
    }
}

/// Ends the guarding thread however the guarded call ends.
struct Dismiss<'a> {
    over: &'a AtomicBool,
    guard: std::thread::Thread,
}

impl Drop for Dismiss<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.guard.unpark();
    }
}

/// Tokenizer, context length and end-of-sequence ids: the base's where there is one.
fn voice(texts: &Path, config: &ModelConfig, base: Option<&BaseModel>) -> Result<Voice, Halt> {
    let base = match base {
        Some(base) => {
            let bytes = serde_json::to_vec(&base.config).map_err(|error| infra("config.json", error.to_string()))?;
            Some(ModelConfig::from_bytes(&bytes).map_err(|_| infra("config.json", "the base's config is not usable"))?)
        }
        None => None,
    };
    let special = base.as_ref().unwrap_or(config);
    let path = texts.join("tokenizer.json");
    let json = fs::read(&path).map_err(|error| infra("tokenizer.json", error.to_string()))?;
    let prefix = special.bos.or(special.eos.first().copied());
    let codec = Codec::from_bytes(&json, prefix).map_err(|error| infra("tokenizer.json", error.to_string()))?;
    Ok(Voice {
        codec: Arc::new(codec),
        positions: config.max_positions,
        eos: special.eos.clone(),
        prefix: prefix.unwrap_or(0),
    })
}

/// The chat template, where the profile has one.
fn template(texts: &Path, profile: Profile) -> Result<Option<JinjaTemplate>, Halt> {
    if profile == Profile::Plain {
        return Ok(None);
    }
    let source = fs::read_to_string(texts.join("chat_template.jinja"));
    let source = source.map_err(|error| infra("chat_template.jinja", error.to_string()))?;
    JinjaTemplate::new(&source)
        .map(Some)
        .map_err(|error| infra("chat_template.jinja", error.to_string()))
}
