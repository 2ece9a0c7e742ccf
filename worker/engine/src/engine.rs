//! Requests in, answers out: the loop over steps.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::batch::{Output, Segment, StepBatch, StepError, StepOutput};
use crate::exec::{DeviceClass, Executor, Options, Pipeline};
use crate::numerics::PAGE_TOKENS;
use crate::pages::{Page, Pages};
use crate::request::{Answer, EngineError, Request, Span, Stats};
use crate::schedule::{NextStep, Order, Schedule, Sequence, Work};
use crate::task::{Goal, Task};

/// An executor with its cache and counters.
pub struct Engine {
    executor: Box<dyn Executor>,
    pages: Pages,
    budget: usize,
    sequences: usize,
    prefix_cache: bool,
    order: Order,
    steps_ahead: bool,
    stats: Stats,
    /// start of the current run
    began: Instant,
    spans: Vec<Span>,
    interrupt: Arc<AtomicBool>,
}

impl Engine {
    /// An engine over an executor. Steps have at most `options.step_tokens` rows and the cache `options.kv_tokens` tokens; the executor may
    /// have been made for more of either.
    pub fn new(executor: Box<dyn Executor>, options: &Options) -> Engine {
        let limits = executor.limits();
        Engine {
            pages: Pages::new(limits.pages.min(options.pages())),
            budget: options.step_tokens.clamp(1, limits.step_tokens.max(1)),
            sequences: options.sequences,
            prefix_cache: options.prefix_cache,
            order: options.order,
            steps_ahead: options.steps_ahead,
            executor,
            stats: Stats::default(),
            began: Instant::now(),
            spans: Vec::new(),
            interrupt: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The executor, for another engine.
    pub fn into_executor(self) -> Box<dyn Executor> {
        self.executor
    }

    /// The executor's name and what decides its bits, for reports.
    pub fn device(&self) -> String {
        self.executor.describe()
    }

    /// What besides the engine's version decides the bits of the results, for certificates.
    pub fn class(&self) -> DeviceClass {
        self.executor.class()
    }

    /// Bytes held on the device; `None` where host memory is all there is.
    pub fn memory(&self) -> Option<u64> {
        self.executor.memory()
    }

    /// Counters so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// When each request of the last [`Engine::run`] was worked on, in their order; empty if it ended early.
    pub fn spans(&self) -> &[Span] {
        &self.spans
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
        self.spans.clear();
        let mut tasks = Vec::with_capacity(requests.len());
        for (index, request) in requests.into_iter().enumerate() {
            tasks.push(Task::new(index, request, |tokens, most| {
                self.check(index, tokens, most)
            })?);
        }
        let result = self.drive(&mut tasks, on_done);
        result?;
        self.spans.extend(tasks.iter().map(|t| t.span));
        Ok(tasks.into_iter().filter_map(|t| t.answer).collect())
    }

    /// The logits of every position of a prompt, (T, vocab) row-major: the one door through which logits leave.
    pub fn logits(&mut self, prompt: &[u32]) -> Result<Vec<f32>, EngineError> {
        self.check(0, prompt, prompt.len())?;
        let mut tasks = vec![Task::logits(prompt)];
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

    fn drive(
        &mut self,
        tasks: &mut [Task],
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.began = Instant::now();
        let mut schedule = Schedule::new(self.budget)
            .at_most(self.sequences)
            .sharing(self.prefix_cache);
        let mut sequences: Vec<Sequence> = tasks.iter_mut().filter_map(|t| t.sequence.take()).collect();
        self.order.arrange(&mut sequences);
        sequences.into_iter().for_each(|s| schedule.add(s));
        for (index, task) in tasks.iter().enumerate() {
            if let Some(answer) = &task.answer
                && on_done(index, answer).is_break()
            {
                return Err(EngineError::Cancelled);
            }
        }
        let result = self.steps(&mut schedule, tasks, on_done);
        if let Some(pipeline) = self.pipeline() {
            pipeline.abandon();
        }
        self.stats.preemptions += schedule.preemptions();
        schedule.clear(&mut self.pages);
        if matches!(result, Err(EngineError::Step(_) | EngineError::NotFinite { .. })) {
            self.pages = Pages::new(self.pages.count()); // what the cache holds is in doubt
        }
        result
    }

    fn steps(
        &mut self,
        schedule: &mut Schedule,
        tasks: &mut [Task],
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut under_way = None;
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            match self.turn(schedule, tasks, &mut under_way, on_done) {
                Ok(true) => {}
                Ok(false) if schedule.unfinished() == 0 => return Ok(()),
                // answers would be missing; no way to this is known
                Ok(false) => return Err(EngineError::Step(StepError::Malformed("sequences wait for nothing"))),
                Err(EngineError::Step(StepError::CacheLost)) => {
                    // no answer is affected: a sequence is its tokens, and computing them again gives the same bits
                    under_way = None;
                    schedule.begin_again(&mut self.pages);
                    self.pages = Pages::new(self.pages.count());
                }
                Err(error) => return Err(error),
            }
        }
    }

    // Begins the next step and ends the one before it, or the same where steps are not begun ahead. False once nothing is left to do.
    fn turn(
        &mut self,
        schedule: &mut Schedule,
        tasks: &mut [Task],
        under_way: &mut Option<Flight>,
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<bool, EngineError> {
        let step = schedule.next(&mut self.pages);
        let mut over = under_way.take();
        if !step.work.is_empty() {
            *under_way = Some(self.begin(step, schedule, tasks)?);
        } else if over.is_none() {
            return Ok(false);
        }
        if self.pipeline().is_none() {
            over = under_way.take();
        }
        if let Some(mut flight) = over {
            self.finish(&mut flight, tasks)?;
            self.settle(schedule, tasks, &flight, on_done)?;
        }
        Ok(true)
    }

    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        if self.steps_ahead {
            self.executor.pipeline()
        } else {
            None
        }
    }

    fn begin(&mut self, step: NextStep, schedule: &mut Schedule, tasks: &mut [Task]) -> Result<Flight, EngineError> {
        let mut flight = Flight::new(step, schedule, tasks);
        for work in &flight.work {
            tasks[work.request].begin(self.began.elapsed());
        }
        let started = Instant::now();
        let copied = self.executor.copy_pages(&flight.copies);
        let begun = copied.and_then(|()| match self.pipeline() {
            Some(pipeline) => pipeline.begin(&flight.batch),
            None => self.executor.step(&flight.batch, &mut flight.out),
        });
        self.stats.step_time += started.elapsed();
        begun.map_err(|error| flight.blame(error))?;
        Ok(flight)
    }

    fn finish(&mut self, flight: &mut Flight, tasks: &[Task]) -> Result<(), EngineError> {
        let Some(pipeline) = self.pipeline() else {
            return Ok(());
        };
        let mut out = std::mem::take(&mut flight.out);
        let started = Instant::now();
        let waited_for = |output| {
            flight
                .request_of(output)
                .is_some_and(|request| tasks[request].answer.is_none())
        };
        let finished = pipeline.finish(&waited_for, &mut out);
        self.stats.step_time += started.elapsed();
        flight.out = out;
        finished.map_err(|error| flight.blame(error))
    }

    // Takes a step's outputs to the requests they belong to. Those answered while it was under way have had a row computed for nothing.
    fn settle(
        &mut self,
        schedule: &mut Schedule,
        tasks: &mut [Task],
        flight: &Flight,
        on_done: &mut dyn FnMut(usize, &Answer) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.stats.steps += 1;
        self.stats.copied_pages += flight.copies.len() as u64;
        for work in &flight.work {
            let task = &tasks[work.request];
            if task.answer.is_some() {
                continue;
            }
            if let Goal::Generate { prompt, .. } = task.goal
                && work.tokens.start >= prompt
            {
                // a generated token fed back: counted when it was generated
            } else {
                self.stats.prompt_tokens += work.tokens.len() as u64;
            }
            if let Some(sequence) = schedule.sequence_mut(work) {
                self.stats.cached_tokens += std::mem::take(&mut sequence.from_cache) as u64;
            }
            schedule.computed(work, &mut self.pages);
        }
        let mut done = Vec::new();
        let mut logits = flight.out.logits.chunks(self.executor.limits().vocab);
        for (&(work, row), picked) in flight.owners.iter().zip(&flight.out.picked) {
            let work = &flight.work[work];
            let task = &mut tasks[work.request];
            let logits = match task.goal {
                Goal::Logits { .. } => logits.next().unwrap_or_default(),
                _ => &[],
            };
            if task.answer.is_some() {
                continue;
            }
            let Some(sequence) = schedule.sequence_mut(work) else {
                continue;
            };
            if task.take(sequence, row, picked, logits, &mut self.stats) {
                done.push(work.request);
                task.span.ended = self.began.elapsed();
                if let Some(answer) = &task.answer
                    && on_done(work.request, answer).is_break()
                {
                    return Err(EngineError::Cancelled);
                }
            }
        }
        schedule.finish(&done, &mut self.pages);
        Ok(())
    }
}

// A step that has begun, and its outputs once they are there.
struct Flight {
    copies: Vec<(Page, Page)>,
    work: Vec<Work>,
    batch: StepBatch,
    owners: Vec<(usize, usize)>, // of each output: the index of its work, and of its token in the sequence
    out: StepOutput,
}

impl Flight {
    // Writes the step's batch, and notes in the schedule that its rows are on their way.
    fn new(step: NextStep, schedule: &mut Schedule, tasks: &[Task]) -> Flight {
        let (mut batch, mut owners) = (StepBatch::default(), Vec::new());
        for (index, work) in step.work.iter().enumerate() {
            let sequence = &schedule.running()[work.sequence];
            let task = &tasks[work.request];
            let first_row = batch.tokens.len();
            let row_of = |token: usize| first_row + token - work.tokens.start;
            batch.tokens.extend_from_slice(&sequence.tokens[work.tokens.clone()]);
            batch.positions.extend(work.tokens.clone().map(|p| p as u32));
            batch.segments.push(Segment {
                first_row,
                rows: work.tokens.len(),
                kv_len: work.tokens.end,
                pages: sequence.pages().to_vec(),
            });
            if work.tokens.contains(&sequence.known) {
                batch.follows.push((row_of(sequence.known), sequence.source));
            }
            let last = sequence.tokens.len() - 1;
            let mut next = None;
            for token in work.tokens.clone().filter(|&token| token >= sequence.next_output) {
                if let Some(want) = task.want(token, last) {
                    next = task.goes_on(token).then_some(owners.len());
                    batch.outputs.push(Output {
                        row: row_of(token),
                        want,
                    });
                    owners.push((index, token));
                }
            }
            schedule.begun(work, next);
        }
        Flight {
            copies: step.copies,
            work: step.work,
            batch,
            owners,
            out: StepOutput::default(),
        }
    }

    fn request_of(&self, output: usize) -> Option<usize> {
        let &(work, _) = self.owners.get(output)?;
        Some(self.work[work].request)
    }

    // The error of a step as one of the request it is about.
    fn blame(&self, error: StepError) -> EngineError {
        match error {
            StepError::NotFinite { output } => match self.owners.get(output) {
                Some(&(work, token)) => EngineError::NotFinite {
                    request: self.work[work].request,
                    tokens: token + 1,
                },
                None => EngineError::Step(error),
            },
            other => EngineError::Step(other),
        }
    }
}
