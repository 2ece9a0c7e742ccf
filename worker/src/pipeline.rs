//! Verify, weigh, load, evaluate, sample, time, report: what `grade` and the service do to a checkpoint, in one place.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use assay_checkpoint::{BaseModel, Checkpoint, Inspection, OpenError};
use assay_contest::wire::{Progress, Report, Stage};
use assay_contest::{LineageRule, Problem};
use assay_engine::{Answer, ENGINE_VERSION, Engine, Options, executor};
use assay_tasks::{Response, Settings, TaskSet};

use crate::assemble::Assembly;
use crate::commands::inspect::look;
use crate::energy::Meter;
use crate::evaluate::{PrepareError, Prepared, Voice};
use crate::grounds::Grounds;
use crate::halt::{self, Halt, engine_failed, infra, open_failed, task_failed};
use crate::outcome::{Planned, Work};
use crate::record::{Asked, CheckpointFiles, Record, Shard};
use crate::texts::{Texts, base_config};
use crate::time_track::Track;
use crate::times::{TaskTimes, Times};
use crate::{files, host, models};

/// How often the answers of a running task are scored: scoring a thousand takes milliseconds, and heartbeats are no more
/// frequent than once a second.
const INTERIM: Duration = Duration::from_secs(2);

/// What to grade, on what, and where to leave the files.
pub struct Job {
    pub checkpoint: PathBuf,
    pub grounds: Grounds,
    /// How to compute: the cache grows where the prompts need it.
    pub options: Options,
    /// Only a share of the items: their outputs are kept, to be merged with those of the other shares.
    pub shard: Option<Shard>,
    /// Gets `report.json`, `results.json`, `samples_<task>.jsonl`, and what they are made of: `outputs.json`,
    /// `outputs_<task>.jsonl`, `generations.jsonl` and `timings.json`. Must exist.
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
    /// Every item of the shard was answered.
    Shared,
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
    if let Verdict::Rejected { report, .. } = &verdict {
        let json = serde_json::to_vec_pretty(report).map_err(|error| infra("report", error.to_string()))?;
        let written = files::write_whole(&job.out.join("report.json"), &json);
        written.map_err(|error| infra("report.json", error.to_string()))?;
    }
    Ok(verdict)
}

/// State of one grade.
struct Run<'a> {
    job: &'a Job,
    watch: &'a mut Watch,
    started: Instant,
    deadline: Option<Instant>,
    stage_started: Instant,
    progress: Progress,
    times: Times,
}

impl<'a> Run<'a> {
    fn start(job: &'a Job, watch: &'a mut Watch) -> Run<'a> {
        let now = Instant::now();
        Run {
            job,
            watch,
            started: now,
            deadline: job.grounds.wall().and_then(|wall| now.checked_add(wall)),
            stage_started: now,
            progress: Progress {
                stage: Stage::Verify,
                ..Progress::default()
            },
            times: Times {
                started: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs_f64(),
                ..Times::default()
            },
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
            rules.map(|rules| rules.base.as_path()),
            rules.map(|rules| &rules.contest.checkpoint),
        );
        let found = found.map_err(halt::not_looked_at)?;

        self.enter(Stage::Weigh)?;
        self.progress.measures.insert("bytes".into(), found.bytes.total as f64);
        if !found.accepted() {
            return self.rejected(found);
        }

        if found.lineage.is_none()
            && rules.is_some_and(|rules| rules.contest.checkpoint.lineage == LineageRule::Required)
        {
            return Err(infra(
                "base",
                "the contest requires the base's weights to be compared, and was imported without them",
            ));
        }

        self.enter(Stage::Load)?;
        let checkpoint = match Checkpoint::open(&self.job.checkpoint) {
            Err(OpenError::Rejected(problems)) => return self.rejected(Inspection { problems, ..found }),
            opened => opened.map_err(open_failed)?,
        };
        let config = checkpoint.config();
        // A time is one device's alone: no shard has a part of it, `merge` measures it when all answers are there.
        let track = match self.job.shard {
            None => Track::prepare(grounds, &checkpoint)?,
            Some(_) => None,
        };
        let special = base.as_ref().map(base_config).transpose()?;
        let texts_dir = grounds.texts_dir(&self.job.checkpoint);
        let special = special.as_ref().unwrap_or(config);
        let texts = Texts::read(texts_dir, grounds, special, config.max_positions)?;
        let positions = config.max_positions;
        let work = self.prepare(&texts.voice, &texts.settings(grounds))?;
        let samples = match &grounds.rules {
            Some(rules) if self.job.shard.is_none_or(|shard| shard.number == 1) => {
                Some(texts.samples(&rules.contest.grading.samples)?)
            }
            _ => None,
        };
        let files = CheckpointFiles::read(&self.job.checkpoint).map_err(halt::not_looked_at)?;
        let load_started = Instant::now();
        let mut engine = self.load(&checkpoint, &work, samples.as_deref().unwrap_or_default())?;
        drop(checkpoint);
        self.times.load_seconds = load_started.elapsed().as_secs_f64();
        self.progress
            .measures
            .insert("load_seconds".into(), self.times.load_seconds);

        let record = Record {
            version: Record::VERSION,
            engine: ENGINE_VERSION.to_string(),
            device: engine.device(),
            class: engine.class().into(),
            checkpoint: files,
            submission: serde_json::to_value(&found).map_err(|error| infra("report", error.to_string()))?,
            positions,
            asked: Asked::of(grounds),
            shard: self.job.shard,
            tasks: Vec::new(),
            samples: Vec::new(),
            generations: None,
            certificate: None,
        };
        let mut assembly = Assembly::new(Some(&self.job.out), grounds, &texts, &work, record);
        self.evaluate(&mut engine, &mut assembly)?;
        if let Some(samples) = samples {
            self.enter(Stage::Samples)?;
            let answers = self.ask(&mut engine, &texts.voice, &samples, &mut |_, _, _| {})?;
            assembly.samples(&samples, &answers)?;
        }
        self.times.peak_device_memory = engine.memory();
        self.times.peak_memory = host::peak_memory();
        // Its cache and weights make room for the two that the time track holds at once.
        drop(engine);
        if let Some(track) = track {
            self.time(&track)?;
        }

        self.enter(Stage::Report)?;
        self.times.wall_seconds = self.started.elapsed().as_secs_f64();
        self.close_stage();
        Ok(match assembly.finish(&self.times)? {
            Some(report) => Verdict::Graded(Box::new(report)),
            None => Verdict::Shared,
        })
    }

    fn rejected(&mut self, found: Inspection) -> Result<Verdict, Halt> {
        self.close_stage();
        let grounds = &self.job.grounds;
        let report = Report {
            engine: ENGINE_VERSION.to_string(),
            profile: grounds.profile,
            contest_digest: grounds.digest(),
            submission: serde_json::to_value(&found).map_err(|error| infra("report", error.to_string()))?,
            measures: self.progress.measures.clone(),
            timings: self.times.stages.clone(),
            ..Report::default()
        };
        Ok(Verdict::Rejected {
            problems: found.problems,
            report: Box::new(report),
        })
    }

    /// All prompts of all tasks, in one ordered pass: few-shot examples are drawn from one stream per task.
    fn prepare(&mut self, voice: &Voice, settings: &Settings<'_>) -> Result<Work, Halt> {
        let started = Instant::now();
        let grounds = &self.job.grounds;
        let set = TaskSet::load(&grounds.tasks_dir, &grounds.tasks).map_err(|error| task_failed(&error))?;
        let work = Work::prepare(set, settings, voice).map_err(not_prepared)?;
        self.times
            .stages
            .insert("prompts".into(), started.elapsed().as_secs_f64());
        Ok(work.restrict(self.job.shard))
    }

    fn load(&mut self, checkpoint: &Checkpoint, work: &Work, samples: &[Prepared]) -> Result<Engine, Halt> {
        let longest = samples
            .iter()
            .map(Prepared::most)
            .max()
            .unwrap_or(0)
            .max(work.longest());
        let options = Options {
            kv_tokens: self.job.options.kv_tokens.max(longest),
            ..self.job.options.clone()
        };
        let model = models::load(checkpoint, self.job.grounds.rules.as_ref())?;
        self.check()?;
        let executor = executor(Arc::new(model), &options).map_err(|error| infra("device", error.to_string()))?;
        Ok(Engine::new(executor, &options))
    }

    fn evaluate(&mut self, engine: &mut Engine, assembly: &mut Assembly<'_>) -> Result<(), Halt> {
        self.enter(Stage::Evaluate)?;
        let work = assembly.work;
        let device = self.job.options.device.choose().ok();
        let mut meter = device.and_then(|device| Meter::open(&device));
        self.progress.total = work.requests() as u64;
        for planned in &work.planned {
            let name = work.task(planned).name().to_string();
            self.progress.task = Some(name.clone());
            self.say();
            let before = self.progress.done;
            let (generated, asked) = (engine.stats().generated_tokens, Instant::now());
            let mut last_said = Instant::now();
            let mut last_scored = Instant::now();
            let mut done = 0;
            let voice = &assembly.texts.voice;
            let mut so_far: Vec<Option<Response>> = vec![None; planned.prepared.len()];
            let is_whole = self.job.shard.is_none();
            let mut on_done = |run: &mut Run<'_>, index: usize, answer: &Answer| {
                done += 1;
                if let (Some(slot), Some(prepared)) = (so_far.get_mut(index), planned.prepared.get(index)) {
                    *slot = Some(voice.response(answer, prepared));
                }
                if is_whole && last_scored.elapsed() > INTERIM {
                    last_scored = Instant::now();
                    if let Some(report) = work.interim(planned, &so_far) {
                        report.add_measures(&mut run.progress.measures);
                    }
                }
                if last_said.elapsed() > Duration::from_millis(200) {
                    last_said = Instant::now();
                    meter.iter_mut().for_each(Meter::look);
                    run.progress.done = before + done;
                    run.say();
                }
            };
            let answers = self.ask(engine, voice, &planned.prepared, &mut on_done)?;
            let times = TaskTimes {
                seconds: asked.elapsed().as_secs_f64(),
                generated: engine.stats().generated_tokens - generated,
                items: items(engine, planned),
            };
            self.times.tasks.insert(name, times);
            self.progress.done = before + planned.prepared.len() as u64;
            if let Some(scored) = assembly.task(planned, &answers)? {
                scored.report().add_measures(&mut self.progress.measures);
                scored.add_rates(&mut self.progress.measures);
            }
            if let Some(speed) = self.times.tokens_per_second() {
                self.progress.measures.insert("tokens_per_second".into(), speed);
            }
            self.say();
        }
        self.times.energy = meter.as_mut().map(Meter::joules);
        self.progress.task = None;
        Ok(())
    }

    /// Runs the time track under the wall clock and the abort flag.
    fn time(&mut self, track: &Track<'_>) -> Result<(), Halt> {
        self.enter(Stage::Time)?;
        self.progress.total = track.runs();
        self.say();
        let job = self.job;
        let found = track.run(&job.checkpoint, &job.options, &mut |over| {
            if self.progress.done != over {
                self.progress.done = over;
                self.say();
            }
            self.check()
        })?;
        found.add_measures(&mut self.progress.measures);
        self.times.track = Some(found);
        Ok(())
    }

    /// Runs requests under the wall clock and the abort flag.
    fn ask(
        &mut self,
        engine: &mut Engine,
        voice: &Voice,
        prepared: &[Prepared],
        on_done: &mut dyn FnMut(&mut Run<'_>, usize, &Answer),
    ) -> Result<Vec<Answer>, Halt> {
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
            voice.run(engine, prepared, &mut |index, answer| {
                on_done(self, index, answer);
                ControlFlow::Continue(())
            })
        });
        // An interrupted run is told apart by its cause, not by the engine's error.
        self.check()?;
        answered.map_err(engine_failed)
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
        self.times
            .stages
            .insert(self.progress.stage.name().to_string(), seconds);
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

/// Why there are no requests, and who has to act.
pub fn not_prepared(error: PrepareError) -> Halt {
    match error {
        PrepareError::Task(error) => task_failed(&error),
        error @ PrepareError::Encode { .. } => infra("tasks", error.to_string()),
        error @ PrepareError::NoRoom { .. } => halt::no_room(&error.to_string()),
    }
}

/// Seconds by document in the engine's last run, which was of these requests.
fn items(engine: &Engine, planned: &Planned) -> BTreeMap<usize, f64> {
    let mut spans: BTreeMap<usize, (Duration, Duration)> = BTreeMap::new();
    for (instance, span) in planned.instances.iter().zip(engine.spans()) {
        let (began, ended) = spans.entry(instance.doc).or_insert((span.began, span.ended));
        (*began, *ended) = ((*began).min(span.began), (*ended).max(span.ended));
    }
    let seconds = |(began, ended): (Duration, Duration)| ended.saturating_sub(began).as_secs_f64();
    spans.into_iter().map(|(doc, span)| (doc, seconds(span))).collect()
}
