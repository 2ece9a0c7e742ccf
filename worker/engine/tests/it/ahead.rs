//! Steps begun before the last one's tokens are known: the same answers, whatever happens in between.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use assay_engine::batch::{Limits, Page};
use assay_engine::{
    Answer, DeviceClass, Engine, EngineError, Executor, Finish, Model, Options, Order, Pipeline, Precision, Request,
    StepBatch, StepError, StepOutput, executor,
};

use crate::bits::{Ask, answers, asks, options, request};
use crate::support::{PLAIN, engine, model};

/// A CPU that tells what it computed one step late, as a graphics card may.
struct Late {
    cpu: Box<dyn Executor>,
    under_way: VecDeque<Result<StepOutput, StepError>>,
    picked: Vec<u32>, // by the step begun last
    trouble: Trouble,
    begun: usize,
    finished: usize,
}

/// At which steps, counted from 1, something goes wrong.
#[derive(Default)]
struct Trouble {
    /// the cache is lost when they begin
    lost: Vec<usize>,
    /// or when they are waited for
    lost_late: Vec<usize>,
    /// the first output that is wanted is no number
    bad: Option<usize>,
}

impl Late {
    fn engine(model: &Arc<Model>, options: &Options, trouble: Trouble) -> Engine {
        let late = Late {
            cpu: executor(Arc::clone(model), options).unwrap(),
            under_way: VecDeque::new(),
            picked: Vec::new(),
            trouble,
            begun: 0,
            finished: 0,
        };
        Engine::new(Box::new(late), options)
    }
}

impl Executor for Late {
    fn name(&self) -> &str {
        "late"
    }
    fn class(&self) -> DeviceClass {
        self.cpu.class()
    }
    fn limits(&self) -> Limits {
        self.cpu.limits()
    }
    fn copy_pages(&mut self, pairs: &[(Page, Page)]) -> Result<(), StepError> {
        self.cpu.copy_pages(pairs)
    }
    fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError> {
        self.cpu.step(batch, out)
    }
    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        Some(self)
    }
}

impl Pipeline for Late {
    fn begin(&mut self, batch: &StepBatch) -> Result<(), StepError> {
        self.begun += 1;
        if self.trouble.lost.contains(&self.begun) {
            self.abandon();
            return Err(StepError::CacheLost);
        }
        batch.check(&self.limits(), self.picked.len())?;
        assert!(self.under_way.len() < 2, "one is computed and one waits");
        let mut told = batch.clone();
        for (row, output) in told.follows.drain(..) {
            told.tokens[row] = self.picked[output];
        }
        let mut out = StepOutput::default();
        let done = self.cpu.step(&told, &mut out);
        self.picked = out.picked.iter().map(|picked| picked.argmax).collect();
        self.under_way.push_back(done.map(|()| out));
        Ok(())
    }

    fn finish(&mut self, wanted: &dyn Fn(usize) -> bool, out: &mut StepOutput) -> Result<(), StepError> {
        let mut done = self.under_way.pop_front().unwrap()?;
        self.finished += 1;
        if self.trouble.lost_late.contains(&self.finished) {
            self.abandon();
            return Err(StepError::CacheLost);
        }
        if self.trouble.bad == Some(self.finished) {
            let output = (0..done.picked.len()).find(|&output| wanted(output)).unwrap();
            return Err(StepError::NotFinite { output });
        }
        for (output, picked) in done.picked.iter_mut().enumerate() {
            if !wanted(output) {
                picked.argmax = u32::MAX; // whoever looks at it falls over
            }
        }
        *out = done;
        Ok(())
    }

    fn abandon(&mut self) {
        self.under_way.clear();
    }
}

#[test]
fn steps_begun_before_the_last_one_s_tokens_are_known_change_no_answer() {
    let model = model(&PLAIN, 7);
    let asks = asks(PLAIN.vocab);
    let base = options(Precision::Pair);
    let unended = answers(&mut engine(&model, &base), &asks);
    // generations end where nobody could know: at a token that comes, after so many, or not before they must
    let asked = || {
        let surprising = |(at, (ask, answer)): (usize, (&Ask, &Answer))| match (request(ask), answer) {
            (Request::Generate { prompt, max_tokens, .. }, Answer::Generated { tokens, .. }) => Request::Generate {
                eos: if at % 6 == 0 {
                    vec![tokens[tokens.len() / 2]]
                } else {
                    vec![]
                },
                stop: Box::new(move |tokens| at % 6 == 2 && tokens.len() > at % 5),
                prompt,
                max_tokens,
            },
            (other, _) => other,
        };
        asks.iter()
            .zip(&unended)
            .enumerate()
            .map(surprising)
            .collect::<Vec<Request>>()
    };
    let run = |engine: &mut Engine| engine.run(asked(), &mut |_, _| ControlFlow::Continue(())).unwrap();
    let expected = run(&mut engine(&model, &base));
    let ends = |finish: Finish| {
        let of = |answer: &&Answer| matches!(answer, Answer::Generated { finish: f, .. } if *f == finish);
        expected.iter().filter(of).count()
    };
    let ended = [Finish::Eos, Finish::Stop, Finish::Length].map(ends);
    assert!(ended.iter().all(|count| *count > 0), "every end is met: {ended:?}");
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = base.clone();
        change(&mut options);
        options
    };
    for (what, options) in [
        ("together", with(&|_| {})),
        ("in pieces", with(&|o| o.step_tokens = 7)),
        ("three at once", with(&|o| o.sequences = 3)),
        ("little room", with(&|o| (o.kv_tokens, o.step_tokens) = (9 * 64, 90))),
        (
            "shuffled",
            with(&|o| (o.order, o.step_tokens) = (Order::Shuffled(5), 50)),
        ),
    ] {
        let mut plain = engine(&model, &options);
        assert_eq!(run(&mut plain), expected, "{what}, one by one");
        let mut late = Late::engine(&model, &options, Trouble::default());
        for pass in ["first", "again, from the cache"] {
            assert_eq!(run(&mut late), expected, "{what}, {pass}");
        }
        let (plain, late) = (plain.stats(), late.stats());
        assert_eq!(
            late.generated_tokens,
            2 * plain.generated_tokens,
            "rows for nothing do not count"
        );
        assert_eq!(late.scored_tokens, 2 * plain.scored_tokens);
        assert!(late.steps > plain.steps);
        assert_eq!(late.preemptions > 0, what == "little room", "{late:?}");
        let trouble = Trouble {
            lost: vec![2, 3, 9, 30],
            lost_late: vec![5, 12],
            bad: None,
        };
        let mut losing = Late::engine(&model, &options, trouble);
        assert_eq!(run(&mut losing), expected, "{what}, its cache lost");
        let never_begun = Trouble {
            lost: vec![1],
            ..Trouble::default()
        };
        let told_not_to = Options {
            steps_ahead: false,
            ..options
        };
        assert_eq!(
            run(&mut Late::engine(&model, &told_not_to, never_begun)),
            expected,
            "{what}, told not to"
        );
    }
    // a beginning is still computed once, though it is not in the cache when the others come
    let mut late = Late::engine(&model, &base, Trouble::default());
    run(&mut late);
    let mut plain = engine(&model, &base);
    run(&mut plain);
    assert_eq!(late.stats().prompt_tokens, plain.stats().prompt_tokens);
}

#[test]
fn a_run_stopped_with_steps_under_way_leaves_an_engine_that_answers() {
    let model = model(&PLAIN, 7);
    let asks = asks(PLAIN.vocab);
    let base = options(Precision::Pair);
    let expected = answers(&mut engine(&model, &base), &asks);
    let mut late = Late::engine(&model, &base, Trouble::default());
    for stop_after in [1, 5, 13] {
        let mut left = stop_after;
        let ended = late.run(asks.iter().map(request).collect(), &mut |_, _| {
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!(ended, Err(EngineError::Cancelled));
    }
    assert_eq!(answers(&mut late, &asks), expected);
}

#[test]
fn what_is_not_a_number_is_the_fault_of_a_request_that_waits_for_it() {
    let model = model(&PLAIN, 7);
    let asks = asks(PLAIN.vocab);
    let base = Options {
        sequences: 4,
        ..options(Precision::Pair)
    };
    let expected = answers(&mut engine(&model, &base), &asks);
    for bad in [1, 6, 20, 60, 90] {
        let trouble = Trouble {
            bad: Some(bad),
            ..Trouble::default()
        };
        let mut late = Late::engine(&model, &base, trouble);
        let mut answered = Vec::new();
        let ended = late.run(asks.iter().map(request).collect(), &mut |index, _| {
            answered.push(index);
            ControlFlow::Continue(())
        });
        let Err(EngineError::NotFinite { request, .. }) = ended else {
            panic!("step {bad}: {ended:?}");
        };
        assert!(!answered.contains(&request), "step {bad}: {request} had its answer");
        assert_eq!(answers(&mut late, &asks), expected, "after step {bad}");
    }
}
