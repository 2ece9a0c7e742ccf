//! Requests in, answers out: the loop over steps.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::batch::{Output, Picked, Segment, StepBatch, StepError, StepOutput, Want};
use crate::exec::{Executor, Options};
use crate::numerics::PAGE_TOKENS;
use crate::pages::Pages;
use crate::schedule::{NextStep, Schedule, Sequence};

/// Told all tokens generated so far after each one; `true` ends the generation.
pub type Stop = Box<dyn FnMut(&[u32]) -> bool + Send>;

/// What can be asked.
pub enum Request {
    /// Continue greedily.
    Generate {
        /// token ids; at least one
        prompt: Vec<u32>,
        /// at most this many new tokens
        max_tokens: usize,
        /// any of these ends the generation; it stands last in the answer
        eos: Vec<u32>,
        /// ends the generation after any token
        stop: Stop,
    },
    /// The log-probability of a given continuation.
    Score {
        /// token ids; at least one
        context: Vec<u32>,
        /// token ids
        continuation: Vec<u32>,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// the request's stop function said so
    Stop,
    /// `max_tokens` were generated
    Length,
    /// an end-of-sequence token was generated
    Eos,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// to [`Request::Generate`]
    Generated {
        /// the new tokens; the last is the end-of-sequence token if `finish` is [`Finish::Eos`]
        tokens: Vec<u32>,
        /// why it ended
        finish: Finish,
    },
    /// to [`Request::Score`]
    Scored {
        /// natural logarithms, one for each continuation token
        logprobs: Vec<f64>,
        /// whether every continuation token is the most likely one in its place
        greedy: bool,
    },
}

/// Why a run ended without all answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// nothing to predict from
    #[error("request {request} has an empty prompt")]
    EmptyPrompt {
        /// index of the request
        request: usize,
    },
    /// a token the model does not have
    #[error("request {request} has token id {token}; the model has {vocab}")]
    UnknownToken {
        /// index of the request
        request: usize,
        /// the offending id
        token: u32,
        /// ids are below this
        vocab: usize,
    },
    /// more tokens than the model has positions for
    #[error("request {request} may reach {tokens} tokens; the model has {positions} positions")]
    TooLong {
        /// index of the request
        request: usize,
        /// prompt and what may be generated
        tokens: usize,
        /// the model's limit
        positions: usize,
    },
    /// more tokens than the cache holds
    #[error("request {request} may reach {tokens} tokens; the key/value cache holds {capacity}")]
    TooLongForCache {
        /// index of the request
        request: usize,
        /// prompt and what may be generated
        tokens: usize,
        /// the cache's size in tokens
        capacity: usize,
    },
    /// the model computed something that is not a number
    #[error("request {request}: the model's logits after {tokens} tokens are not all finite numbers")]
    NotFinite {
        /// index of the request
        request: usize,
        /// tokens up to and including the one whose output failed
        tokens: usize,
    },
    /// stopped from outside
    #[error("stopped before all requests were answered")]
    Cancelled,
    /// the executor refused a step
    #[error(transparent)]
    Step(StepError),
}

/// Counters since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// steps run
    pub steps: u64,
    /// prompt tokens computed (recomputed ones after a preemption included)
    pub prompt_tokens: u64,
    /// prompt tokens taken from the cache
    pub cached_tokens: u64,
    /// tokens generated
    pub generated_tokens: u64,
    /// continuation tokens scored
    pub scored_tokens: u64,
    /// sequences that had to start again for want of pages
    pub preemptions: u64,
    /// pages copied to continue a shared beginning
    pub copied_pages: u64,
    /// time spent in the executor
    pub step_time: Duration,
}

/// An executor with its cache and counters.
pub struct Engine {
    executor: Box<dyn Executor>,
    pages: Pages,
    budget: usize,
    stats: Stats,
    interrupt: Arc<AtomicBool>,
}

enum Goal {
    Generate {
        prompt: usize,
        max_tokens: usize,
        eos: Vec<u32>,
        stop: Stop,
    },
    Score {
        context: usize,
        continuation: Vec<u32>,
        logprobs: Vec<f64>,
        greedy: bool,
    },
    Logits {
        rows: Vec<f32>,
    },
}

struct Task {
    goal: Goal,
    sequence: Option<Sequence>,
    answer: Option<Answer>,
}

impl Engine {
    /// An engine over an executor. Steps have at most `options.step_tokens` rows.
    pub fn new(executor: Box<dyn Executor>, options: &Options) -> Engine {
        let limits = executor.limits();
        Engine {
            pages: Pages::new(limits.pages),
            budget: options.step_tokens.clamp(1, limits.step_tokens.max(1)),
            executor,
            stats: Stats::default(),
            interrupt: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The executor's name and what decides its bits, for reports.
    pub fn device(&self) -> String {
        self.executor.describe()
    }

    /// Counters so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// A switch that another thread may set to end the current run before its next step with [`EngineError::Cancelled`].
    /// It stays set until it is cleared.
    pub fn interrupt(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupt)
    }

    /// Answers all requests. `on_done(index, answer)` is called as each is answered, in no particular order;
    /// breaking from it ends the run with [`EngineError::Cancelled`]. Answers come back in the order of the requests.
    pub fn run(
        &mut self,
        requests: Vec<Request>,
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<Vec<Answer>, EngineError> {
        let mut tasks = Vec::with_capacity(requests.len());
        for (index, request) in requests.into_iter().enumerate() {
            tasks.push(self.task(index, request)?);
        }
        let result = self.drive(&mut tasks, on_done);
        result.map(|()| tasks.into_iter().filter_map(|t| t.answer).collect())
    }

    /// The logits of every position of a prompt, (T, vocab) row-major: the one door through which logits leave.
    pub fn logits(&mut self, prompt: &[u32]) -> Result<Vec<f32>, EngineError> {
        self.check(0, prompt, prompt.len())?;
        let sequence = Sequence::new(0, prompt.to_vec(), 0, prompt.len());
        let task = Task {
            goal: Goal::Logits { rows: Vec::new() },
            sequence: Some(sequence),
            answer: None,
        };
        let mut tasks = vec![task];
        self.drive(&mut tasks, &mut |_, _| ControlFlow::Continue(()))?;
        match tasks.pop().map(|t| t.goal) {
            Some(Goal::Logits { rows }) => Ok(rows),
            _ => Ok(Vec::new()),
        }
    }

    /// The greedy continuation of a prompt: at most `max_tokens` tokens, an end-of-sequence token included.
    pub fn greedy(&mut self, prompt: &[u32], max_tokens: usize, eos: &[u32]) -> Result<Vec<u32>, EngineError> {
        let request = Request::Generate {
            prompt: prompt.to_vec(),
            max_tokens,
            eos: eos.to_vec(),
            stop: Box::new(|_| false),
        };
        let answers = self.run(vec![request], &mut |_, _| ControlFlow::Continue(()))?;
        Ok(answers
            .into_iter()
            .find_map(|a| match a {
                Answer::Generated { tokens, .. } => Some(tokens),
                Answer::Scored { .. } => None,
            })
            .unwrap_or_default())
    }

    fn check(&self, request: usize, tokens: &[u32], most: usize) -> Result<(), EngineError> {
        let limits = self.executor.limits();
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt { request });
        }
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= limits.vocab) {
            return Err(EngineError::UnknownToken {
                request,
                token,
                vocab: limits.vocab,
            });
        }
        if most > limits.positions {
            return Err(EngineError::TooLong {
                request,
                tokens: most,
                positions: limits.positions,
            });
        }
        if most.div_ceil(PAGE_TOKENS) > self.pages.count() {
            let capacity = self.pages.count() * PAGE_TOKENS;
            return Err(EngineError::TooLongForCache {
                request,
                tokens: most,
                capacity,
            });
        }
        Ok(())
    }

    fn task(&self, request: usize, asked: Request) -> Result<Task, EngineError> {
        match asked {
            Request::Generate {
                prompt,
                max_tokens,
                eos,
                stop,
            } => {
                // the last generated token is never fed back, so it needs no room
                let most = prompt.len().saturating_add(max_tokens.saturating_sub(1));
                self.check(request, &prompt, most)?;
                let none = Answer::Generated {
                    tokens: Vec::new(),
                    finish: Finish::Length,
                };
                let goal = Goal::Generate {
                    prompt: prompt.len(),
                    max_tokens,
                    eos,
                    stop,
                };
                let last = prompt.len() - 1;
                Ok(match max_tokens {
                    0 => Task {
                        goal,
                        sequence: None,
                        answer: Some(none),
                    },
                    _ => Task {
                        goal,
                        sequence: Some(Sequence::new(request, prompt, last, most)),
                        answer: None,
                    },
                })
            }
            Request::Score {
                mut context,
                continuation,
            } => {
                self.check(request, &context, context.len())?;
                let first = context.len();
                if continuation.is_empty() {
                    let goal = Goal::Logits { rows: Vec::new() };
                    let none = Answer::Scored {
                        logprobs: Vec::new(),
                        greedy: true,
                    };
                    return Ok(Task {
                        goal,
                        sequence: None,
                        answer: Some(none),
                    });
                }
                context.extend_from_slice(&continuation);
                self.check(request, &context, context.len() - 1)?;
                context.pop(); // nothing is asked about what follows the last token
                let most = context.len();
                let goal = Goal::Score {
                    context: first,
                    continuation,
                    logprobs: Vec::new(),
                    greedy: true,
                };
                Ok(Task {
                    goal,
                    sequence: Some(Sequence::new(request, context, first - 1, most)),
                    answer: None,
                })
            }
        }
    }

    fn drive(
        &mut self,
        tasks: &mut [Task],
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut schedule = Schedule::new(self.budget);
        let mut sequences: Vec<Sequence> = tasks.iter_mut().filter_map(|t| t.sequence.take()).collect();
        // tree order: sequences with a common beginning become neighbours
        sequences.sort_by(|a, b| a.tokens.cmp(&b.tokens));
        sequences.into_iter().for_each(|s| schedule.add(s));
        for (index, task) in tasks.iter().enumerate() {
            if let Some(answer) = &task.answer
                && on_done(index, answer).is_break()
            {
                return Err(EngineError::Cancelled);
            }
        }
        let result = self.steps(&mut schedule, tasks, on_done);
        self.stats.preemptions += schedule.preemptions();
        schedule.clear(&mut self.pages);
        if matches!(result, Err(EngineError::Step(_) | EngineError::NotFinite { .. })) {
            self.pages = Pages::new(self.executor.limits().pages); // what the cache holds is in doubt
        }
        result
    }

    fn steps(
        &mut self,
        schedule: &mut Schedule,
        tasks: &mut [Task],
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut batch = StepBatch::default();
        let mut out = StepOutput::default();
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let step = schedule.next(&mut self.pages);
            if step.work.is_empty() {
                return Ok(());
            }
            let owners = fill(&mut batch, &step, schedule, tasks);
            let started = Instant::now();
            self.executor.copy_pages(&step.copies).map_err(EngineError::Step)?;
            self.executor.step(&batch, &mut out).map_err(|e| match e {
                StepError::NotFinite { output } => match owners.get(output) {
                    Some(&(work, row)) => {
                        let request = schedule.running()[step.work[work].sequence].request;
                        EngineError::NotFinite {
                            request,
                            tokens: row + 1,
                        }
                    }
                    None => EngineError::Step(e),
                },
                other => EngineError::Step(other),
            })?;
            self.stats.step_time += started.elapsed();
            self.stats.steps += 1;
            self.stats.copied_pages += step.copies.len() as u64;
            self.settle(schedule, &step, tasks, &owners, &out, on_done)?;
        }
    }

    // Takes a step's outputs to the requests they belong to.
    fn settle(
        &mut self,
        schedule: &mut Schedule,
        step: &NextStep,
        tasks: &mut [Task],
        owners: &[(usize, usize)],
        out: &StepOutput,
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        for work in &step.work {
            let sequence = &mut schedule.sequence_mut(work.sequence);
            if let Goal::Generate { prompt, .. } = tasks[sequence.request].goal
                && work.tokens.start >= prompt
            {
                // a generated token fed back: counted when it was generated
            } else {
                self.stats.prompt_tokens += work.tokens.len() as u64;
            }
            self.stats.cached_tokens += std::mem::take(&mut sequence.from_cache) as u64;
            schedule.computed(work, &mut self.pages);
        }
        let mut done = Vec::new();
        let mut logits = out.logits.as_slice();
        for (&(work, row), picked) in owners.iter().zip(&out.picked) {
            let index = step.work[work].sequence;
            let sequence = schedule.sequence_mut(index);
            let task = &mut tasks[sequence.request];
            task.take(
                sequence,
                row,
                picked,
                &mut logits,
                self.executor.limits().vocab,
                &mut self.stats,
            );
            if sequence.next_output == usize::MAX {
                done.push(index);
                if let Some(answer) = &task.answer
                    && on_done(sequence.request, answer).is_break()
                {
                    return Err(EngineError::Cancelled);
                }
            }
        }
        schedule.finish(&done, &mut self.pages);
        Ok(())
    }
}

impl Task {
    // One output of the sequence at token `row`. A finished sequence gets `next_output = usize::MAX`.
    fn take(
        &mut self,
        sequence: &mut Sequence,
        row: usize,
        picked: &Picked,
        logits: &mut &[f32],
        vocab: usize,
        stats: &mut Stats,
    ) {
        sequence.next_output = row + 1;
        match &mut self.goal {
            Goal::Generate {
                prompt,
                max_tokens,
                eos,
                stop,
            } => {
                stats.generated_tokens += 1;
                sequence.tokens.push(picked.argmax);
                let generated = &sequence.tokens[*prompt..];
                let finish = if eos.contains(&picked.argmax) {
                    Some(Finish::Eos)
                } else if stop(generated) {
                    Some(Finish::Stop)
                } else if generated.len() >= *max_tokens {
                    Some(Finish::Length)
                } else {
                    None
                };
                if let Some(finish) = finish {
                    self.answer = Some(Answer::Generated {
                        tokens: generated.to_vec(),
                        finish,
                    });
                    sequence.next_output = usize::MAX;
                }
            }
            Goal::Score {
                context,
                continuation,
                logprobs,
                greedy,
            } => {
                stats.scored_tokens += 1;
                logprobs.push(picked.logprob);
                *greedy &= continuation.get(row + 1 - *context) == Some(&picked.argmax);
                if logprobs.len() == continuation.len() {
                    self.answer = Some(Answer::Scored {
                        logprobs: std::mem::take(logprobs),
                        greedy: *greedy,
                    });
                    sequence.next_output = usize::MAX;
                }
            }
            Goal::Logits { rows } => {
                let (row_logits, rest) = logits.split_at(vocab);
                rows.extend_from_slice(row_logits);
                *logits = rest;
                if row + 1 == sequence.tokens.len() {
                    sequence.next_output = usize::MAX;
                }
            }
        }
    }

    fn want(&self, row: usize, last: usize) -> Option<Want> {
        match &self.goal {
            Goal::Generate { .. } => (row == last).then_some(Want::Greedy),
            Goal::Score {
                context, continuation, ..
            } => continuation.get(row + 1 - *context).copied().map(Want::Score),
            Goal::Logits { .. } => Some(Want::Logits),
        }
    }
}

// Writes the step's batch; returns for each output the index of its work and its token's index in the sequence.
fn fill(batch: &mut StepBatch, step: &NextStep, schedule: &Schedule, tasks: &[Task]) -> Vec<(usize, usize)> {
    batch.clear();
    let mut owners = Vec::new();
    for (index, work) in step.work.iter().enumerate() {
        let sequence = &schedule.running()[work.sequence];
        let first_row = batch.tokens.len();
        batch.tokens.extend_from_slice(&sequence.tokens[work.tokens.clone()]);
        batch.positions.extend(work.tokens.clone().map(|p| p as u32));
        batch.segments.push(Segment {
            first_row,
            rows: work.tokens.len(),
            kv_len: work.tokens.end,
            pages: sequence.pages().to_vec(),
        });
        for row in work.tokens.clone().filter(|&row| row >= sequence.next_output) {
            if let Some(want) = tasks[sequence.request].want(row, sequence.tokens.len() - 1) {
                batch.outputs.push(Output {
                    row: first_row + row - work.tokens.start,
                    want,
                });
                owners.push((index, row));
            }
        }
    }
    owners
}
