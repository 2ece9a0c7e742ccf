//! How fast it is; prints and asserts nothing. `cargo test -p assay-engine --test it speed -- --ignored --nocapture`

use std::ops::ControlFlow;
use std::time::Instant;

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Coded, Codes, InputScale, Inputs, Matrix, Scales, Weights, Zeros};
use assay_engine::exec::cpu::gemm::{Panels, linear};
use assay_engine::exec::cpu::inputs::Packed;
use assay_engine::exec::cpu::{isa::Isa, pool::Pool};
use assay_engine::{Device, Options, Precision, Request};

use crate::support::{Random, engine, load, matrix};

#[test]
#[ignore = "a measurement"]
fn speed_of_a_linear_layer() {
    let mut r = Random(1);
    let (n, k) = (2048, 2048);
    let mut m = matrix(&mut r, n, k, 0.02);
    let scales = Scales::grouped(
        (0..n * k / 128)
            .map(|_| Precision::Bf16.round(r.unit() as f32 + 0.01))
            .collect(),
        128,
    );
    let codes = (0..n * k / 8).map(|_| r.next() as u32).collect();
    let few = Weights::Coded(Coded::int(4, codes, scales, Zeros::None, Dtype::BF16));
    let few = Matrix::plain(n, k, few);
    let row = InputScale::Row { symmetric: true };
    let kinds = [
        ("w4", Inputs::Plain),
        ("plain", Inputs::Plain),
        (
            "int8",
            Inputs::Quantized {
                codes: Codes::Int { bits: 8 },
                scale: row,
            },
        ),
        (
            "float8",
            Inputs::Quantized {
                codes: Codes::Float8,
                scale: row,
            },
        ),
    ];
    for (threads, (kind, inputs)) in [1, 2].into_iter().flat_map(|t| kinds.map(|kind| (t, kind))) {
        let pool = Pool::new(threads);
        m.inputs = inputs;
        let panels = Panels::pack(&pool, Precision::Pair, &[if kind == "w4" { &few } else { &m }]);
        for isa in Isa::available() {
            for rows in [1, 8, 256] {
                let x = r.normals(rows * k, 1.0);
                let (mut packed, mut out) = (Packed::default(), vec![0.0; rows * panels.width()]);
                let mut best = f64::MAX;
                for _ in 0..8 {
                    let started = Instant::now();
                    linear(&pool, isa, Precision::Pair, &x, &panels, &mut packed, &mut out);
                    best = best.min(started.elapsed().as_secs_f64());
                }
                let rate = 2.0 * (n * k * rows) as f64 / best / 1e9;
                println!(
                    "{threads} threads, {:>8}, {kind:>6} inputs, {rows:>3} rows: {rate:.1} GFLOP/s",
                    isa.name()
                );
            }
        }
    }
}

/// The shape of a five-shot question set: a shared prefix of 400 tokens, 60 own, 48 generated.
#[test]
#[ignore = "a measurement"]
fn speed_of_a_question_set() {
    let mut r = Random(1);
    let model = load("base");
    let options = Options {
        device: Device::Cpu,
        ..Options::default()
    };
    let mut engine = engine(&model, &options);
    let shots = r.tokens(400, 600);
    let requests: Vec<Request> = (0..500)
        .map(|_| Request::Generate {
            prompt: [shots.clone(), r.tokens(60, 600)].concat(),
            max_tokens: 48,
            eos: vec![],
            stop: Box::new(|_| false),
        })
        .collect();
    let started = Instant::now();
    engine.run(requests, &mut |_, _| ControlFlow::Continue(())).unwrap();
    let (wall, s) = (started.elapsed().as_secs_f64(), engine.stats());
    println!(
        "{}: 500 questions in {wall:.1} s; {:.0} tokens computed a second, {:.0} generated; {s:?}",
        engine.device(),
        (s.prompt_tokens + s.generated_tokens) as f64 / wall,
        s.generated_tokens as f64 / wall
    );
}
