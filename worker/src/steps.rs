//! Steps handed to an executor itself: a prompt is computed, its pages are copied to several sequences, and they generate
//! whatever they are. No scheduler chooses the steps and no token ends a sequence, so that equal sizes are equal work.

use std::convert::Infallible;

use assay_engine::numerics::PAGE_TOKENS;
use assay_engine::{Executor, Output, Segment, StepBatch, StepError, StepOutput, Want};

/// Sequences side by side in the cache, each with pages of its own: the first has the first pages.
#[derive(Clone, Copy, Debug)]
pub struct Sequences {
    pub count: usize,
    /// Pages of each.
    pages: usize,
}

/// Why the steps ended early: one could not be computed, or whoever waits did not want to wait any longer.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<E> {
    Step(StepError),
    Told(E),
}

impl<E> From<StepError> for Ended<E> {
    fn from(error: StepError) -> Ended<E> {
        Ended::Step(error)
    }
}

impl Ended<Infallible> {
    /// Of steps that nobody ends.
    pub fn step(self) -> StepError {
        match self {
            Ended::Step(error) => error,
            Ended::Told(never) => match never {},
        }
    }
}

impl Sequences {
    /// `count` sequences of at most `tokens` tokens.
    pub fn new(count: usize, tokens: usize) -> Sequences {
        Sequences {
            count,
            pages: tokens.div_ceil(PAGE_TOKENS),
        }
    }

    /// Tokens of cache that they take.
    pub fn kv_tokens(&self) -> usize {
        self.count * self.pages * PAGE_TOKENS
    }

    /// Gives every sequence its own copy of the first one's pages.
    pub fn spread(&self, executor: &mut dyn Executor) -> Result<(), StepError> {
        let each = self.pages as u32;
        let pairs: Vec<(u32, u32)> = (1..self.count as u32)
            .flat_map(|sequence| (0..each).map(move |page| (page, sequence * each + page)))
            .collect();
        executor.copy_pages(&pairs)
    }

    /// Generates `steps` tokens on every sequence after the `context` it has, from one token each on. `go_on` is asked
    /// before every step.
    pub fn generate<E>(
        &self,
        executor: &mut dyn Executor,
        first: &[u32],
        context: usize,
        steps: usize,
        go_on: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(), Ended<E>> {
        let mut before = 0; // outputs of the step under way, which the next one's rows follow
        let mut generate = || {
            let (mut tokens, mut out) = (first.to_vec(), StepOutput::default());
            for at in context..context + steps {
                go_on().map_err(Ended::Told)?;
                let step = self.step(tokens, at, before);
                let Some(pipeline) = executor.pipeline() else {
                    executor.step(&step, &mut out)?;
                    tokens = out.picked.iter().map(|picked| picked.argmax).collect();
                    continue;
                };
                pipeline.begin(&step)?;
                if before > 0 {
                    pipeline.finish(&|_| true, &mut out)?;
                }
                (tokens, before) = (step.tokens, self.count);
            }
            match executor.pipeline() {
                Some(pipeline) if before > 0 => Ok(pipeline.finish(&|_| true, &mut out)?),
                _ => Ok(()),
            }
        };
        let generated = generate();
        if let Some(pipeline) = executor.pipeline().filter(|_| generated.is_err()) {
            pipeline.abandon();
        }
        generated
    }

    // The next row of every sequence, whose token is given unless it follows one of the outputs `before`.
    fn step(&self, tokens: Vec<u32>, at: usize, before: usize) -> StepBatch {
        let rows = 0..self.count;
        let segment = |row: usize| Segment {
            first_row: row,
            rows: 1,
            kv_len: at + 1,
            pages: (0..(at + 1).div_ceil(PAGE_TOKENS))
                .map(|page| (row * self.pages + page) as u32)
                .collect(),
        };
        let output = |row| Output {
            row,
            want: Want::Greedy,
        };
        StepBatch {
            tokens,
            positions: vec![at as u32; self.count],
            segments: rows.clone().map(segment).collect(),
            outputs: rows.map(output).collect(),
            follows: (0..before).map(|row| (row, row)).collect(),
        }
    }
}

/// Computes `tokens` of the first sequence from position `from` on, at most `rows` in a step, and what would follow the last
/// of them. `go_on` is asked before every step.
pub fn fill<E>(
    executor: &mut dyn Executor,
    tokens: &[u32],
    from: usize,
    rows: usize,
    go_on: &mut dyn FnMut() -> Result<(), E>,
) -> Result<(), Ended<E>> {
    let mut out = StepOutput::default();
    let mut at = from;
    for part in tokens.chunks(rows.max(1)) {
        go_on().map_err(Ended::Told)?;
        let end = at + part.len();
        let last = Output {
            row: part.len() - 1,
            want: Want::Greedy,
        };
        let batch = StepBatch {
            tokens: part.to_vec(),
            positions: (at..end).map(|p| p as u32).collect(),
            segments: vec![Segment {
                first_row: 0,
                rows: part.len(),
                kv_len: end,
                pages: (0..end.div_ceil(PAGE_TOKENS) as u32).collect(),
            }],
            outputs: (end == from + tokens.len()).then_some(last).into_iter().collect(),
            follows: Vec::new(),
        };
        executor.step(&batch, &mut out)?;
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use assay_engine::{Device, Engine, Options, Pipeline, executor};

    use super::*;
    use crate::synthetic::{self, Scheme, Shape};

    /// The steps are those of a generation: every sequence continues the prompt as the engine does, whatever token comes.
    #[test]
    fn sequences_generate_what_the_engine_generates() {
        generate_what_the_engine_generates(Device::Cpu);
    }

    #[test]
    fn so_they_do_where_a_step_begins_before_the_last_one_ends() {
        generate_what_the_engine_generates(Device::Gpu(Some("llvmpipe".into())));
    }

    fn generate_what_the_engine_generates(device: Device) {
        let model = Arc::new(synthetic::model(Shape::Tiny, Scheme::W4a16, 3).unwrap());
        let sequences = Sequences::new(3, 70 + 9);
        assert_eq!(sequences.kv_tokens(), 3 * 2 * PAGE_TOKENS);
        let options = Options {
            device,
            threads: 1,
            kv_tokens: sequences.kv_tokens(),
            step_tokens: 32,
            ..Options::default()
        };
        let prompt: Vec<u32> = (0..70).map(|i| i * 7 % 512).collect();
        let mut watched = Watched {
            executor: executor(model.clone(), &options).unwrap(),
            picked: Vec::new(),
        };
        let mut asked = 0;
        let mut go_on = || {
            asked += 1;
            Ok::<(), Infallible>(())
        };
        fill(&mut watched, &prompt, 0, 32, &mut go_on).unwrap();
        let first = watched.picked.concat();
        sequences.spread(&mut watched).unwrap();
        watched.picked.clear();
        sequences
            .generate(&mut watched, &[first[0]; 3], 70, 9, &mut go_on)
            .unwrap();
        assert_eq!(asked, 3 + 9);
        let mut engine = Engine::new(executor(model, &options).unwrap(), &options);
        let expected = engine.greedy(&prompt, 10, &[]).unwrap();
        assert_eq!(first, expected[..1]);
        for sequence in 0..3 {
            let generated: Vec<u32> = watched.picked.iter().map(|picked| picked[sequence]).collect();
            assert_eq!(generated, expected[1..], "sequence {sequence}");
        }
    }

    #[test]
    fn nothing_is_computed_once_told_to_end() {
        let model = Arc::new(synthetic::model(Shape::Tiny, Scheme::W4a16, 3).unwrap());
        let options = Options {
            device: Device::Cpu,
            threads: 1,
            kv_tokens: 128,
            ..Options::default()
        };
        let mut watched = Watched {
            executor: executor(model, &options).unwrap(),
            picked: Vec::new(),
        };
        let mut left = 2;
        let mut go_on = || {
            left -= 1;
            if left < 0 { Err("enough") } else { Ok(()) }
        };
        fill(&mut watched, &[1, 2, 3], 0, 3, &mut go_on).unwrap();
        let ended = Sequences::new(1, 8).generate(&mut watched, &[4], 3, 5, &mut go_on);
        assert_eq!(ended, Err(Ended::Told("enough")));
        assert_eq!(watched.picked.len(), 2, "a step of the prompt and one token");
        assert_eq!(fill(&mut watched, &[1], 0, 1, &mut go_on), Err(Ended::Told("enough")));
        assert_eq!(watched.picked.len(), 2);
    }

    /// An executor, and what it picked in every step.
    struct Watched {
        executor: Box<dyn Executor>,
        picked: Vec<Vec<u32>>,
    }

    impl Executor for Watched {
        fn name(&self) -> &str {
            self.executor.name()
        }

        fn class(&self) -> assay_engine::DeviceClass {
            self.executor.class()
        }

        fn limits(&self) -> assay_engine::Limits {
            self.executor.limits()
        }

        fn copy_pages(&mut self, pairs: &[(u32, u32)]) -> Result<(), StepError> {
            self.executor.copy_pages(pairs)
        }

        fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError> {
            self.executor.step(batch, out)?;
            self.watch(out);
            Ok(())
        }

        fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
            self.executor.pipeline()?;
            Some(self)
        }
    }

    impl Watched {
        fn watch(&mut self, out: &StepOutput) {
            self.picked
                .push(out.picked.iter().map(|picked| picked.argmax).collect());
        }
    }

    impl Pipeline for Watched {
        fn begin(&mut self, batch: &StepBatch) -> Result<(), StepError> {
            self.executor.pipeline().unwrap().begin(batch)
        }

        fn finish(&mut self, wanted: &dyn Fn(usize) -> bool, out: &mut StepOutput) -> Result<(), StepError> {
            self.executor.pipeline().unwrap().finish(wanted, out)?;
            self.watch(out);
            Ok(())
        }

        fn abandon(&mut self) {
            self.executor.pipeline().unwrap().abandon();
        }
    }
}
