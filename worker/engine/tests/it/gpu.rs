//! The executor of a graphics card, on a software adapter: held to golden files, to itself bit by bit, and to a lost card.

use std::ops::ControlFlow;
use std::sync::Arc;

use assay_checkpoint::Weights;
use assay_checkpoint::config::Family;
use assay_engine::batch::{Output, Segment, StepBatch, StepError, StepOutput, Want};
use assay_engine::exec::gpu::probe::Probe;
use assay_engine::exec::gpu::{Gpu, self_test};
use assay_engine::{Answer, Device, Engine, Executor, Model, Options, Pipeline, Precision, Request};

use crate::engine::copy_parts;
use crate::golden;
use crate::gpu_kernels::{SOFTWARE, software};
use crate::support::{ODD, PLAIN, Random, Shape, engine, matrix, model, quantized_model};

fn options() -> Options {
    Options {
        device: Device::Gpu(Some(SOFTWARE.into())),
        kv_tokens: 2048,
        ..Options::default()
    }
}

fn gpu(model: &Arc<Model>, options: &Options) -> Gpu {
    let card = software();
    Gpu::new(Arc::clone(model), options, card).unwrap()
}

/// Every way weights are stored, quantized inputs, both families, windows.
#[test]
fn the_golden_files_logits_and_continuations() {
    for name in [
        "base",
        "w4a16-asym",
        "w4a16-actorder-group",
        "w8a16",
        "w8a8-asym-static",
        "fp8-dynamic",
        "hybrid",
        "exaone35",
    ] {
        golden::assert_one(name, 1, &options());
    }
}

/// Prompts that share beginnings, cross pages and chunks, and end in different places.
fn requests(vocab: usize) -> Vec<Request> {
    let mut r = Random(99);
    let shared = r.tokens(250, vocab);
    let mut requests = Vec::new();
    for own in [1, 20] {
        let prompt = [&shared[..], &r.tokens(own, vocab)].concat();
        requests.push((prompt, 0));
    }
    for length in [1, 70] {
        requests.push((shared[..199].to_vec(), length));
    }
    for length in [1, 64, 130] {
        requests.push((r.tokens(length, vocab), 0));
        requests.push((r.tokens(length, vocab), 4));
    }
    let request = |(context, scored): (Vec<u32>, usize)| match scored {
        0 => Request::Generate {
            prompt: context,
            max_tokens: 5,
            eos: vec![],
            stop: Box::new(|_| false),
        },
        _ => Request::Score {
            context,
            continuation: r.tokens(scored, vocab),
        },
    };
    requests.into_iter().map(request).collect()
}

fn answers(engine: &mut Engine, requests: Vec<Request>) -> Vec<Answer> {
    engine.run(requests, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

// Answers as text, which for finite numbers is as good as their bits.
fn shown(answers: &[Answer]) -> Vec<String> {
    answers.iter().map(|answer| format!("{answer:?}")).collect()
}

fn everything(model: &Arc<Model>, precision: Precision) {
    let vocab = model.plan().vocab;
    let base = Options { precision, ..options() };
    // alone: one at a time, nothing kept from one to the next
    let mut lonely = engine(
        model,
        &Options {
            sequences: 1,
            prefix_cache: false,
            ..base.clone()
        },
    );
    let expected: Vec<String> = requests(vocab)
        .into_iter()
        .flat_map(|request| shown(&answers(&mut lonely, vec![request])))
        .collect();
    for (step_tokens, kv_tokens, what) in [
        (256, 4096, "together"),
        (37, 4096, "in pieces"),
        (90, 5 * 64, "little room"),
    ] {
        let options = Options {
            step_tokens,
            kv_tokens,
            ..base.clone()
        };
        let mut executor = gpu(model, &options);
        executor.poison();
        let mut engine = Engine::new(Box::new(executor), &options);
        for pass in ["first", "again, from the cache"] {
            let got = shown(&answers(&mut engine, requests(vocab)));
            for (got, expected) in got.iter().zip(&expected) {
                assert_eq!(got, expected, "{what}, {pass}");
            }
        }
    }
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
    let shape = Shape {
        family: Family::Exaone,
        ..PLAIN
    };
    everything(&model(&shape, 7), Precision::Bf16);
}

#[test]
fn nor_with_quantized_inputs() {
    everything(&quantized_model(&ODD, 7), Precision::Pair);
}

#[test]
fn logits_are_those_of_the_oracle_and_the_same_bits_in_pieces() {
    let model = model(&ODD, 9);
    let prompt = Random(1).tokens(280, ODD.vocab);
    let logits = |device: Device, step_tokens| {
        let options = Options {
            device,
            step_tokens,
            ..options()
        };
        engine(&model, &options).logits(&prompt).unwrap()
    };
    let whole = logits(options().device, 512);
    assert_eq!(whole.len(), 280 * ODD.vocab);
    assert!(whole == logits(options().device, 23));
    let oracle = logits(Device::Reference, 512);
    let difference = whole
        .iter()
        .zip(&oracle)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(difference < 5e-3, "{difference}");
    let cpu = logits(Device::Cpu, 512);
    let difference = whole.iter().zip(&cpu).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let equal = whole.iter().zip(&cpu).filter(|(a, b)| a == b).count();
    println!("to the cpu {difference:.1e}, {equal} of {} equal", cpu.len());
    assert!(difference < 5e-3, "{difference}");
}

// A card that is lost before every step whose number is in a list.
struct Losing {
    gpu: Gpu,
    steps: usize,
    lost: Vec<usize>,
}

impl Executor for Losing {
    fn name(&self) -> &str {
        self.gpu.name()
    }
    fn class(&self) -> assay_engine::DeviceClass {
        self.gpu.class()
    }
    fn limits(&self) -> assay_engine::Limits {
        self.gpu.limits()
    }
    fn copy_pages(&mut self, pairs: &[(u32, u32)]) -> Result<(), StepError> {
        self.gpu.copy_pages(pairs)
    }
    fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError> {
        self.count();
        self.gpu.step(batch, out)
    }
    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        Some(self)
    }
}

impl Losing {
    fn count(&mut self) {
        self.steps += 1;
        if self.lost.contains(&self.steps) {
            self.gpu.lose();
        }
    }
}

impl Pipeline for Losing {
    fn begin(&mut self, batch: &StepBatch) -> Result<(), StepError> {
        self.count();
        self.gpu.begin(batch)
    }
    fn finish(&mut self, wanted: &dyn Fn(usize) -> bool, out: &mut StepOutput) -> Result<(), StepError> {
        self.gpu.finish(wanted, out)
    }
    fn abandon(&mut self) {
        self.gpu.abandon();
    }
}

fn losing(model: &Arc<Model>, lost: &[usize]) -> Engine {
    let executor = Losing {
        gpu: gpu(model, &options()),
        steps: 0,
        lost: lost.to_vec(),
    };
    Engine::new(Box::new(executor), &options())
}

#[test]
fn steps_of_one_form_are_recorded_ahead_and_have_the_same_bits() {
    let model = model(&PLAIN, 5);
    // rows of one sequence that scores what comes next
    let step = |gpu: &mut Gpu, first: usize, tokens: &[u32], page: u32| {
        let rows = tokens.len();
        let batch = StepBatch {
            tokens: tokens.to_vec(),
            positions: (first as u32..).take(rows).collect(),
            segments: vec![Segment {
                first_row: 0,
                rows,
                kv_len: first + rows,
                pages: vec![page],
            }],
            outputs: vec![Output {
                row: rows - 1,
                want: Want::Score(7),
            }],
            follows: vec![],
        };
        let mut out = StepOutput::default();
        gpu.step(&batch, &mut out).unwrap();
        out.picked
    };
    let tokens = Random(4).tokens(20, PLAIN.vocab);
    let (mut alone, mut between) = (gpu(&model, &options()), gpu(&model, &options()));
    for (at, token) in tokens.iter().enumerate() {
        let expected = step(&mut between, at, &[*token], 3);
        step(&mut between, 0, &[1, 2], 0); // of another form
        assert_eq!(step(&mut alone, at, &[*token], 3), expected, "step {at}");
    }
    assert_eq!((alone.recorded_ahead(), between.recorded_ahead()), (18, 0));
    step(&mut alone, 0, &[1, 2], 0); // what was recorded for one row is not taken for two
    assert_eq!(alone.recorded_ahead(), 18);
}

#[test]
fn a_step_may_follow_what_the_one_before_picks_and_what_nobody_wants_is_no_error() {
    let model = Arc::new(with_a_bad_token(5));
    let mut gpu = gpu(&model, &options());
    let page = |number: usize| vec![number as u32];
    // one row for each sequence, whose token is given or an output of the step before
    let step = |position: usize, tokens: &[u32], follows: &[(usize, usize)]| StepBatch {
        tokens: tokens.to_vec(),
        positions: vec![position as u32; tokens.len()],
        segments: (0..tokens.len())
            .map(|row| Segment {
                first_row: row,
                rows: 1,
                kv_len: position + 1,
                pages: page(row),
            })
            .collect(),
        outputs: (0..tokens.len())
            .map(|row| Output {
                row,
                want: Want::Greedy,
            })
            .collect(),
        follows: follows.to_vec(),
    };
    let mut out = StepOutput::default();
    let mut told = vec![vec![1u32, 2, 3]];
    for position in 0..6 {
        gpu.step(&step(position, &told[position], &[]), &mut out).unwrap();
        told.push(out.picked.iter().map(|picked| picked.argmax).collect());
    }
    gpu.poison();
    gpu.begin(&step(0, &told[0], &[])).unwrap();
    for (position, expected) in told.iter().enumerate().take(6).skip(1) {
        gpu.begin(&step(position, &[0; 3], &[(0, 0), (1, 1), (2, 2)])).unwrap();
        let error = gpu.step(&step(position, &[0; 3], &[]), &mut out).unwrap_err();
        assert!(matches!(error, StepError::Malformed(_)), "one is under way: {error}");
        gpu.finish(&|_| true, &mut out).unwrap();
        let picked: Vec<u32> = out.picked.iter().map(|picked| picked.argmax).collect();
        assert_eq!(picked, *expected);
    }
    gpu.finish(&|_| true, &mut out).unwrap();
    assert!(matches!(gpu.finish(&|_| true, &mut out), Err(StepError::Malformed(_))));
    for wrong in [&[(0, 3)][..], &[(3, 0)], &[(1, 0), (1, 1)]] {
        let error = gpu.begin(&step(6, &[0; 3], wrong)).unwrap_err();
        assert!(matches!(error, StepError::Malformed(_)), "{wrong:?}: {error}");
    }

    // a token whose embedding is no number
    let bad = step(0, &[1, 5, 3], &[]);
    gpu.begin(&bad).unwrap();
    gpu.finish(&|output| output != 1, &mut out).unwrap();
    assert_eq!(out.picked[2].argmax, told[1][2], "those beside it are what they are");
    assert_eq!(gpu.step(&bad, &mut out), Err(StepError::NotFinite { output: 1 }));
}

// A model with a token whose embedding is no number, and an output head of its own.
fn with_a_bad_token(token: usize) -> Model {
    let good = model(&PLAIN, 5);
    let mut r = Random(1);
    let mut embedding = r.normals(PLAIN.vocab * PLAIN.hidden, 0.5);
    embedding[token * PLAIN.hidden] = f32::NAN;
    let mut parts = copy_parts(&good);
    parts.head = Some(matrix(&mut r, PLAIN.vocab, PLAIN.hidden, 0.5));
    parts.embedding.weights = Weights::F32(embedding);
    Model::assemble(good.config().clone(), parts).unwrap()
}

#[test]
fn a_lost_card_is_set_up_again_and_changes_no_answer() {
    let model = model(&PLAIN, 3);
    let expected = shown(&answers(&mut losing(&model, &[]), requests(PLAIN.vocab)));
    let mut engine = losing(&model, &[1, 6, 10]); // with steps done between
    assert_eq!(shown(&answers(&mut engine, requests(PLAIN.vocab))), expected);
    assert!(engine.stats().preemptions > 0);
    // the cache of before the loss is not believed either
    assert_eq!(shown(&answers(&mut engine, requests(PLAIN.vocab))), expected);
}

#[test]
fn a_card_lost_twice_in_a_row_is_given_up() {
    let model = model(&PLAIN, 3);
    let mut engine = losing(&model, &[2, 3]);
    let error = engine
        .run(requests(PLAIN.vocab), &mut |_, _| ControlFlow::Continue(()))
        .unwrap_err();
    assert!(error.to_string().contains("lost"), "{error}");
}

#[test]
fn the_class_names_adapter_driver_and_shaders_and_memory_is_counted() {
    let model = model(&PLAIN, 3);
    let executor = gpu(&model, &options());
    let class = executor.class();
    assert!(class.device.starts_with("gpu (llvmpipe"), "{class:?}");
    assert_eq!(class.precision, "bf16-pair");
    assert_eq!(class.shaders.map(|digest| digest.len()), Some(64));
    let cache = 2 * 3 * 2048 * 32 * 4; // two of each of three layers, 2048 tokens, two heads of 16
    assert!(executor.memory().unwrap() > cache);
    let less = Options {
        kv_tokens: 1024,
        ..options()
    };
    assert!(executor.memory().unwrap() >= gpu(&model, &less).memory().unwrap() + cache / 2);
}

#[test]
fn a_cache_beyond_the_card_s_limits_is_refused_by_name() {
    let model = model(&PLAIN, 3);
    let huge = Options {
        kv_tokens: 1 << 27,
        ..options()
    };
    let error = Gpu::new(model, &huge, software()).err().unwrap().to_string();
    assert!(error.contains("max_") && error.contains("keys"), "{error}");
}

#[test]
fn a_step_that_does_not_end_in_time_is_an_error() {
    let model = model(&PLAIN, 3);
    let mut executor = gpu(&model, &options());
    executor.hurry();
    let mut engine = Engine::new(Box::new(executor), &options());
    let error = engine.logits(&Random(1).tokens(200, PLAIN.vocab)).unwrap_err();
    assert!(error.to_string().contains("did not finish"), "{error}");
}

#[test]
fn kernels_that_compute_something_else_do_not_pass_the_self_test() {
    let card = software();
    // these round keys and values to 8 bits where 16 are asked for
    let probe = Probe::new(&card, Precision::Bf16, None).unwrap();
    assert_eq!(self_test::run(&probe, Precision::Bf16), Ok(()));
    let error = self_test::run(&probe, Precision::Pair).unwrap_err().to_string();
    assert!(error.contains("attention") && error.contains("--device cpu"), "{error}");
}
