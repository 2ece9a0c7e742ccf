//! The promise that carries the scores: an answer is the same bits whatever it was computed beside.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use assay_checkpoint::config::Family;
use assay_engine::batch::{Limits, Page};
use assay_engine::exec::cpu::{Cpu, isa::Isa};
use assay_engine::{
    Answer, Device, DeviceClass, Engine, EngineError, Executor, Finish, Model, Options, Order, Pipeline, Precision,
    Request, Stats, StepBatch, StepError, StepOutput, executor,
};

use crate::support::{ODD, PLAIN, Random, Shape, engine, few_bit_model, model, quantized_model};

/// EXAONE 3.5: norms before, no norm on queries and keys.
const PRE_NORM: Shape = Shape {
    family: Family::Exaone,
    ..PLAIN
};

#[derive(Clone)]
enum Ask {
    Generate(Vec<u32>, usize),
    Score(Vec<u32>, Vec<u32>),
}

/// Prompts that share beginnings, cross pages and chunks, and end in different places.
fn asks(vocab: usize) -> Vec<Ask> {
    let mut r = Random(99);
    let shared = r.tokens(300, vocab);
    let mut asks = Vec::new();
    for own in [0, 1, 5, 20, 64, 130] {
        let mut prompt = shared.clone();
        prompt.extend(r.tokens(own, vocab));
        asks.push(Ask::Generate(prompt, 90));
    }
    let question = [&shared[..190], &r.tokens(9, vocab)].concat();
    for length in [1, 1, 3, 70] {
        asks.push(Ask::Score(question.clone(), r.tokens(length, vocab)));
    }
    for length in [1, 2, 63, 64, 65, 128, 255, 257] {
        asks.push(Ask::Generate(r.tokens(length, vocab), 5));
        asks.push(Ask::Score(r.tokens(length, vocab), r.tokens(4, vocab)));
    }
    asks
}

fn request(ask: &Ask) -> Request {
    match ask.clone() {
        Ask::Generate(prompt, max_tokens) => Request::Generate {
            prompt,
            max_tokens,
            eos: vec![],
            stop: Box::new(|_| false),
        },
        Ask::Score(context, continuation) => Request::Score { context, continuation },
    }
}

fn answers(engine: &mut Engine, asks: &[Ask]) -> Vec<Answer> {
    engine
        .run(
            asks.iter().map(request).collect(),
            &mut |_, _| ControlFlow::Continue(()),
        )
        .unwrap()
}

fn assert_same(a: &Answer, b: &Answer, what: &str) {
    match (a, b) {
        (Answer::Scored { logprobs: a, greedy: g }, Answer::Scored { logprobs: b, greedy: h }) => {
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<u64>>();
            assert_eq!((bits(a), g), (bits(b), h), "{what}");
        }
        (a, b) => assert_eq!(a, b, "{what}"),
    }
}

fn options(precision: Precision) -> Options {
    Options {
        device: Device::Cpu,
        threads: 1,
        kv_tokens: 1 << 14,
        step_tokens: 2048,
        precision,
        ..Options::default()
    }
}

/// Every request alone, in an engine that has seen nothing else.
fn alone(model: &Arc<Model>, asks: &[Ask], precision: Precision) -> Vec<Answer> {
    asks.iter()
        .map(|ask| answers(&mut engine(model, &options(precision)), std::slice::from_ref(ask)).remove(0))
        .collect()
}

fn check(model: &Arc<Model>, options: &Options, asks: &[Ask], expected: &[Answer], what: &str) -> Stats {
    let mut engine = engine(model, options);
    for pass in ["first", "again, from the cache"] {
        for (got, expected) in answers(&mut engine, asks).iter().zip(expected) {
            assert_same(got, expected, &format!("{what}, {pass}"));
        }
    }
    engine.stats()
}

fn everything(model: &Arc<Model>, precision: Precision) {
    let asks = asks(model.plan().vocab);
    let expected = alone(model, &asks, precision);
    let base = options(precision);

    let stats = check(model, &base, &asks, &expected, "together");
    assert!(stats.cached_tokens > 3000, "the cache is used: {stats:?}");
    for step_tokens in [1, 7, 64] {
        check(
            model,
            &Options {
                step_tokens,
                ..base.clone()
            },
            &asks,
            &expected,
            &format!("steps of {step_tokens}"),
        );
    }
    for threads in [2, 3] {
        check(
            model,
            &Options {
                threads,
                step_tokens: 100,
                ..base.clone()
            },
            &asks,
            &expected,
            &format!("{threads} threads"),
        );
    }
    for seed in 0..3 {
        let mut order: Vec<usize> = (0..asks.len()).collect();
        let mut r = Random(seed);
        (0..order.len()).rev().for_each(|i| order.swap(i, r.below(i + 1)));
        // one at a time in this order, so that each finds another cache
        let mut engine = engine(model, &base);
        for i in order {
            let got = answers(&mut engine, &asks[i..=i]).remove(0);
            assert_same(&got, &expected[i], "shuffled");
        }
    }
    // nine pages: the longest needs all of them
    let small = Options {
        kv_tokens: 9 * 64,
        step_tokens: 90,
        ..base.clone()
    };
    let stats = check(model, &small, &asks, &expected, "little room");
    assert!(stats.preemptions > 0, "nothing was preempted: {stats:?}");
}

#[test]
fn answers_do_not_depend_on_what_runs_beside_them() {
    everything(&model(&PLAIN, 7), Precision::Pair);
}

#[test]
fn nor_with_windows_and_odd_sizes() {
    everything(&model(&ODD, 7), Precision::Pair);
}

#[test]
fn nor_in_the_pre_norm_family_with_bf16_inputs() {
    everything(&model(&PRE_NORM, 7), Precision::Bf16);
}

#[test]
fn nor_with_quantized_inputs() {
    everything(&quantized_model(&ODD, 7), Precision::Pair);
}

#[test]
fn nor_with_four_bit_weights_in_either_mode() {
    let model = few_bit_model(&PLAIN, 7);
    everything(&model, Precision::Pair);
    everything(&model, Precision::Byte);
}

#[test]
fn instruction_sets_and_a_poisoned_cache_change_nothing() {
    let asks = asks(ODD.vocab);
    let models = [model(&ODD, 8), quantized_model(&ODD, 8)];
    for (model, isa) in models
        .iter()
        .flat_map(|m| Isa::available().into_iter().map(move |isa| (m, isa)))
    {
        let expected = alone(model, &asks, Precision::Pair);
        let options = Options {
            step_tokens: 50,
            ..options(Precision::Pair)
        };
        let mut cpu = Cpu::with_isa(model, &options, isa).unwrap();
        cpu.poison();
        let mut engine = Engine::new(Box::new(cpu), &options);
        for (got, expected) in answers(&mut engine, &asks).iter().zip(&expected) {
            assert_same(got, expected, isa.name());
        }
    }
}

#[test]
fn logits_are_the_same_bits_in_pieces() {
    let model = model(&PLAIN, 9);
    let prompt = Random(1).tokens(333, PLAIN.vocab);
    let bits = |step_tokens| {
        let options = Options {
            step_tokens,
            ..options(Precision::Pair)
        };
        engine(&model, &options)
            .logits(&prompt)
            .unwrap()
            .iter()
            .map(|x| x.to_bits())
            .collect::<Vec<u32>>()
    };
    let whole = bits(2048);
    assert_eq!(whole.len(), 333 * PLAIN.vocab);
    for step_tokens in [1, 7, 64] {
        assert!(bits(step_tokens) == whole, "steps of {step_tokens}");
    }
}

#[test]
fn the_oracle_too_gives_the_same_answers_in_pieces() {
    let model = model(&ODD, 10);
    let asks = &asks(ODD.vocab)[5..];
    let base = Options {
        device: Device::Reference,
        kv_tokens: 4096,
        ..options(Precision::Pair)
    };
    let expected = answers(&mut engine(&model, &base), asks);
    check(
        &model,
        &Options {
            step_tokens: 33,
            kv_tokens: 9 * 64,
            ..base
        },
        asks,
        &expected,
        "reference",
    );
}

#[test]
fn the_cpu_stays_near_the_oracle_on_made_up_models() {
    for (shape, seed) in [(&PLAIN, 1), (&ODD, 2), (&PRE_NORM, 3)] {
        let model = model(shape, seed);
        let prompt = Random(seed).tokens(300, shape.vocab);
        let logits = |device, precision| {
            engine(
                &model,
                &Options {
                    device,
                    ..options(precision)
                },
            )
            .logits(&prompt)
            .unwrap()
        };
        let oracle = logits(Device::Reference, Precision::Pair);
        for (precision, limit) in [(Precision::Pair, 5e-3), (Precision::Bf16, 1.0)] {
            let cpu = logits(Device::Cpu, precision);
            let difference = cpu.iter().zip(&oracle).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{:?} {} {difference:.1e}", shape.family, precision.name());
            assert!(difference < limit, "{difference}");
        }
    }
}

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
