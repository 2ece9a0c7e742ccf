//! The time track: the contest's workload, run by base and submission in turn on one device.
//!
//! Seconds depend on the device and on what else it does, and a model chooses how many tokens its answers have. So the work is
//! fixed, the base does it on the same device a moment before, and what is compared is the ratio of the two.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use assay_checkpoint::Checkpoint;
use assay_contest::Workload;
use assay_contest::wire::{Round, TimeTrack};
use assay_engine::{EngineError, Executor, Model, Options, StepError, executor};

use crate::grounds::Grounds;
use crate::halt::{self, Halt, engine_failed, infra, open_failed};
use crate::host;
use crate::models;
use crate::steps::{Ended, Sequences, fill};
use crate::synthetic::Random;

/// The clock's resolution: no run is shorter, so that no ratio is infinite.
const SHORTEST: f64 = 1e-9;

/// Whose run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Base,
    Submission,
}

/// A time track that is known to fit both models.
pub struct Track<'a> {
    grounds: &'a Grounds,
    workload: Workload,
    base: Checkpoint,
}

impl<'a> Track<'a> {
    /// Opens the base's weights and holds the workload against both models; none where the rules have no time track. Before
    /// a task is evaluated, so that nothing is computed in vain.
    pub fn prepare(grounds: &'a Grounds, submission: &Checkpoint) -> Result<Option<Track<'a>>, Halt> {
        let Some((rules, workload)) = grounds.workload() else {
            return Ok(None);
        };
        let base = Checkpoint::open(&rules.base).map_err(|error| {
            infra(
                "base",
                format!("the contest's time track runs the base, whose weights cannot be opened: {error}"),
            )
        })?;
        let too_short = |positions: usize| {
            let needed = workload.positions();
            (needed > positions).then(|| format!("the time track takes {needed} positions, the model has {positions}"))
        };
        if let Some(detail) = too_short(base.config().max_positions) {
            return Err(infra("grading.time", detail));
        }
        if let Some(detail) = too_short(submission.config().max_positions) {
            return Err(halt::no_room(&detail));
        }
        Ok(Some(Track {
            grounds,
            workload,
            base,
        }))
    }

    /// Runs of both together, those that are not measured included.
    pub fn runs(&self) -> u64 {
        2 * (u64::from(self.workload.rounds) + 1)
    }

    /// Loads both models with caches of just the workload's size, and runs it. `go_on` is told how many runs are over before
    /// every step and ends them with its error.
    pub fn run(
        &self,
        submission: &Path,
        options: &Options,
        go_on: &mut dyn FnMut(u64) -> Result<(), Halt>,
    ) -> Result<TimeTrack, Halt> {
        let sequences = Sequences::new(self.workload.sequences as usize, self.workload.positions());
        let options = Options {
            kv_tokens: sequences.kv_tokens(),
            step_tokens: options.step_tokens.max(sequences.count),
            ..options.clone()
        };
        let make =
            |model: Model| executor(Arc::new(model), &options).map_err(|error| infra("device", error.to_string()));
        let mut base = make(Model::load(&self.base).map_err(|error| infra("base", error.to_string()))?)?;
        go_on(0)?;
        let submission = Checkpoint::open(submission).map_err(open_failed)?;
        let model = models::load(&submission, self.grounds.rules.as_ref())?;
        drop(submission);
        go_on(0)?;
        let mut submission = make(model)?;
        let vocab = base.limits().vocab.min(submission.limits().vocab);
        let drawn = Tokens::draw(&self.workload, self.grounds.seed, vocab);
        let mut over = 0;
        let rounds = rounds(self.workload.rounds, &mut |turn| {
            let executor = match turn {
                Turn::Base => base.as_mut(),
                Turn::Submission => submission.as_mut(),
            };
            let begun = Instant::now();
            drawn
                .run(executor, sequences, options.step_tokens, &mut || go_on(over))
                .map_err(|ended| failed(turn, ended))?;
            let seconds = begun.elapsed().as_secs_f64().max(SHORTEST);
            over += 1;
            Ok(seconds)
        })?;
        go_on(over)?;
        Ok(TimeTrack {
            workload: self.workload,
            device: submission.describe(),
            host: host::cpu_name(),
            rounds,
        })
    }
}

/// One run of each that is not measured, for memory to be touched and clocks to rise; then the rounds. Base and submission
/// alternate: whatever slows the device down for a while slows both.
fn rounds<E>(measured: u32, run: &mut impl FnMut(Turn) -> Result<f64, E>) -> Result<Vec<Round>, E> {
    let mut round = || {
        let base = run(Turn::Base)?;
        let submission = run(Turn::Submission)?;
        Ok(Round { base, submission })
    };
    round()?;
    (0..measured).map(|_| round()).collect()
}

/// The tokens of every run, the base's and the submission's alike.
struct Tokens {
    prompt: Vec<u32>,
    /// The first token that each sequence is given after the prompt, so that they do not all say the same.
    first: Vec<u32>,
    /// Tokens that each sequence generates.
    generate: usize,
}

impl Tokens {
    fn draw(workload: &Workload, seed: u64, vocab: usize) -> Tokens {
        let mut random = Random(seed);
        let mut tokens = |n: u32| (0..n).map(|_| random.below(vocab) as u32).collect();
        Tokens {
            prompt: tokens(workload.prompt_tokens),
            first: tokens(workload.sequences),
            generate: workload.generated_tokens as usize,
        }
    }

    fn run(
        &self,
        executor: &mut dyn Executor,
        sequences: Sequences,
        rows: usize,
        go_on: &mut dyn FnMut() -> Result<(), Halt>,
    ) -> Result<(), Ended<Halt>> {
        fill(executor, &self.prompt, 0, rows, go_on)?;
        sequences.spread(executor)?;
        sequences.generate(executor, &self.first, self.prompt.len(), self.generate, go_on)
    }
}

/// Who has to act: a base that cannot be run is the organizer's, logits that are no numbers are the submission's.
fn failed(turn: Turn, ended: Ended<Halt>) -> Halt {
    match (ended, turn) {
        (Ended::Told(halt), _) => halt,
        (Ended::Step(error @ StepError::NotFinite { .. }), Turn::Submission) => {
            halt::broken("not-finite", &format!("in the time track, {error}"))
        }
        (Ended::Step(error), Turn::Submission) => engine_failed(EngineError::Step(error)),
        (Ended::Step(error), Turn::Base) => infra("base", error.to_string()),
    }
}

#[cfg(test)]
mod tests;
