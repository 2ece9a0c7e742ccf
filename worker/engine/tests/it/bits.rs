//! The promise that carries the scores: an answer is the same bits whatever it was computed beside.

use std::ops::ControlFlow;
use std::sync::Arc;

use assay_checkpoint::config::Family;
use assay_engine::exec::cpu::{Cpu, isa::Isa};
use assay_engine::{Answer, Device, Engine, Model, Options, Precision, Request, Stats};

use crate::support::{ODD, PLAIN, Random, Shape, engine, few_bit_model, model, quantized_model};

/// EXAONE 3.5: norms before, no norm on queries and keys.
const PRE_NORM: Shape = Shape {
    family: Family::Exaone,
    ..PLAIN
};

#[derive(Clone)]
pub enum Ask {
    Generate(Vec<u32>, usize),
    Score(Vec<u32>, Vec<u32>),
}

/// Prompts that share beginnings, cross pages and chunks, and end in different places.
pub fn asks(vocab: usize) -> Vec<Ask> {
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

pub fn request(ask: &Ask) -> Request {
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

pub fn answers(engine: &mut Engine, asks: &[Ask]) -> Vec<Answer> {
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

pub fn options(precision: Precision) -> Options {
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
