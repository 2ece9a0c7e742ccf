//! Requests, answers, errors, and what the cache saves.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use assay_checkpoint::Weights;
use assay_engine::batch::{Output, Segment, StepBatch, StepOutput, Want};
use assay_engine::exec::gpu::GpuError;
use assay_engine::numerics::log_sum_exp;
use assay_engine::{
    Answer, Device, Engine, EngineError, ExecutorError, Finish, LoadError, Model, Options, Order, Parts, Request,
    StepError, executor,
};

use crate::support::{ODD, PLAIN, Random, engine, matrix, model};

fn options() -> Options {
    Options {
        device: Device::Cpu,
        threads: 2,
        kv_tokens: 2048,
        ..Options::default()
    }
}

fn plain() -> (Arc<Model>, Engine) {
    let model = model(&PLAIN, 1);
    let engine = engine(&model, &options());
    (model, engine)
}

fn generate(prompt: Vec<u32>, max_tokens: usize, eos: Vec<u32>) -> Request {
    Request::Generate {
        prompt,
        max_tokens,
        eos,
        stop: Box::new(|_| false),
    }
}

fn score(context: Vec<u32>, continuation: Vec<u32>) -> Request {
    Request::Score { context, continuation }
}

fn run(engine: &mut Engine, requests: Vec<Request>) -> Result<Vec<Answer>, EngineError> {
    engine.run(requests, &mut |_, _| ControlFlow::Continue(()))
}

#[test]
fn scores_are_the_log_softmax_of_the_logits() {
    for device in [Device::Cpu, Device::Reference] {
        let model = model(&PLAIN, 1);
        let mut engine = engine(&model, &Options { device, ..options() });
        let all = Random(2).tokens(90, PLAIN.vocab);
        let logits = engine.logits(&all).unwrap();
        let (context, continuation) = all.split_at(70);
        let answer = run(&mut engine, vec![score(context.to_vec(), continuation.to_vec())])
            .unwrap()
            .remove(0);
        let Answer::Scored { logprobs, greedy } = answer else {
            panic!()
        };
        assert_eq!(logprobs.len(), 20);
        let mut all_best = true;
        for (i, (&token, logprob)) in continuation.iter().zip(&logprobs).enumerate() {
            let row = &logits[(69 + i) * PLAIN.vocab..][..PLAIN.vocab];
            assert!((f64::from(row[token as usize]) - log_sum_exp(row) - logprob).abs() < 1e-6);
            assert!(*logprob < 0.0);
            all_best &= row.iter().all(|x| *x <= row[token as usize]);
        }
        assert_eq!(greedy, all_best);
    }
}

#[test]
fn the_greedy_continuation_scores_as_greedy() {
    let (_, mut engine) = plain();
    let prompt = Random(3).tokens(66, PLAIN.vocab);
    let tokens = engine.greedy(&prompt, 9, &[]).unwrap();
    let mut other = tokens.clone();
    other[8] = (other[8] + 1) % PLAIN.vocab as u32;
    let answers = run(&mut engine, vec![score(prompt.clone(), tokens), score(prompt, other)]).unwrap();
    assert!(matches!(answers[0], Answer::Scored { greedy: true, .. }));
    assert!(matches!(answers[1], Answer::Scored { greedy: false, .. }));
}

#[test]
fn generations_end_for_the_reason_they_say() {
    let (_, mut engine) = plain();
    let prompt = Random(4).tokens(10, PLAIN.vocab);
    let free = engine.greedy(&prompt, 8, &[]).unwrap();
    assert_eq!(free.len(), 8);
    let eos = free[4];
    let until_eos = free.iter().position(|&t| t == eos).unwrap() + 1;
    let mut seen = Vec::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let stop = move |tokens: &[u32]| {
        sender.send(tokens.to_vec()).unwrap();
        tokens.len() == 3
    };
    let requests = vec![
        generate(prompt.clone(), 8, vec![]),
        generate(prompt.clone(), 8, vec![eos]),
        Request::Generate {
            prompt: prompt.clone(),
            max_tokens: 8,
            eos: vec![],
            stop: Box::new(stop),
        },
        generate(prompt.clone(), 0, vec![]),
        score(prompt.clone(), vec![]),
        generate(prompt.clone(), 1, vec![]),
    ];
    let answers = engine
        .run(requests, &mut |i, _| {
            seen.push(i);
            ControlFlow::Continue(())
        })
        .unwrap();
    let generated = |n: usize, finish| Answer::Generated {
        tokens: free[..n].to_vec(),
        finish,
    };
    assert_eq!(answers[0], generated(8, Finish::Length));
    assert_eq!(answers[1], generated(until_eos, Finish::Eos));
    assert_eq!(answers[2], generated(3, Finish::Stop));
    assert_eq!(answers[3], generated(0, Finish::Length));
    assert_eq!(
        answers[4],
        Answer::Scored {
            logprobs: vec![],
            greedy: true
        }
    );
    assert_eq!(answers[5], generated(1, Finish::Length));
    let told: Vec<Vec<u32>> = receiver.try_iter().collect();
    assert_eq!(told, [free[..1].to_vec(), free[..2].to_vec(), free[..3].to_vec()]);
    seen.sort();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_request_that_cannot_be_answered_is_named_before_anything_runs() {
    let (_, mut engine) = plain();
    let ok = || generate(vec![1, 2], 1, vec![]);
    let vocab = PLAIN.vocab;
    let mut fails = |bad: Request| run(&mut engine, vec![ok(), bad]).unwrap_err();
    assert_eq!(
        fails(generate(vec![], 1, vec![])),
        EngineError::EmptyPrompt { request: 1 }
    );
    assert_eq!(fails(score(vec![], vec![1])), EngineError::EmptyPrompt { request: 1 });
    let unknown = |token| EngineError::UnknownToken {
        request: 1,
        token,
        vocab,
    };
    assert_eq!(fails(generate(vec![0, vocab as u32], 1, vec![])), unknown(vocab as u32));
    assert_eq!(fails(score(vec![0], vec![u32::MAX])), unknown(u32::MAX));
    let capacity = 2048;
    assert_eq!(
        fails(generate(vec![1; 2000], 50, vec![])),
        EngineError::TooLongForCache {
            request: 1,
            tokens: 2049,
            capacity
        }
    );
    assert_eq!(
        fails(generate(vec![1; 8000], 200, vec![])),
        EngineError::TooLong {
            request: 1,
            tokens: 8199,
            positions: 8192
        }
    );
    assert!(matches!(
        fails(generate(vec![1], usize::MAX, vec![])),
        EngineError::TooLong { .. }
    ));
    assert_eq!(engine.stats().steps, 0);
    assert!(
        run(&mut engine, vec![generate(vec![1; 2000], 49, vec![])]).is_ok(),
        "exactly full"
    );
}

#[test]
fn what_is_not_a_number_is_an_error_and_the_engine_survives_it() {
    let good = model(&PLAIN, 1);
    let mut r = Random(1);
    let mut embedding = r.normals(PLAIN.vocab * PLAIN.hidden, 0.5);
    embedding[5 * PLAIN.hidden] = f32::NAN; // token 5
    let mut parts = copy_parts(&good);
    parts.head = Some(matrix(&mut r, PLAIN.vocab, PLAIN.hidden, 0.5));
    parts.embedding.weights = Weights::F32(embedding);
    let bad = Arc::new(Model::assemble(good.config().clone(), parts).unwrap());
    for device in [Device::Cpu, Device::Reference] {
        let mut engine = engine(&bad, &Options { device, ..options() });
        let good_prompt = vec![1, 2, 3];
        let before = engine.greedy(&good_prompt, 3, &[]);
        let error = run(
            &mut engine,
            vec![
                generate(vec![1, 2, 6, 7], 1, vec![]),
                score(vec![1, 2, 5, 7, 8], vec![9]),
            ],
        );
        assert_eq!(error.unwrap_err(), EngineError::NotFinite { request: 1, tokens: 5 });
        if before.is_ok() {
            assert_eq!(engine.greedy(&good_prompt, 3, &[]), before);
        }
    }
}

/// A model's layers with another embedding and no output head of their own.
pub fn copy_parts(m: &Model) -> Parts {
    Parts {
        layers: m.parts().layers.iter().map(copy_layer).collect(),
        embedding: matrix(&mut Random(2), PLAIN.vocab, PLAIN.hidden, 0.5),
        head: None,
        final_norm: m.parts().final_norm.clone(),
    }
}

fn copy_layer(l: &assay_engine::LayerParts) -> assay_engine::LayerParts {
    assay_engine::LayerParts {
        q: l.q.clone(),
        k: l.k.clone(),
        v: l.v.clone(),
        o: l.o.clone(),
        gate: l.gate.clone(),
        up: l.up.clone(),
        down: l.down.clone(),
        qk_norm: l.qk_norm.clone(),
        attention_norm: l.attention_norm.clone(),
        mlp_norm: l.mlp_norm.clone(),
        cache: l.cache.clone(),
    }
}

#[test]
fn weights_of_the_wrong_shape_are_refused_by_name() {
    let good = model(&PLAIN, 1);
    let parts = |spoil: &dyn Fn(&mut Parts)| {
        let mut parts = Parts {
            layers: good.parts().layers.iter().map(copy_layer).collect(),
            embedding: good.parts().embedding.clone(),
            head: None,
            final_norm: good.parts().final_norm.clone(),
        };
        spoil(&mut parts);
        match Model::assemble(good.config().clone(), parts) {
            Err(LoadError::Shape { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(parts(&|p| p.layers[1].down.rows -= 1), "layer 1's down projection");
    assert_eq!(parts(&|p| drop(p.layers.pop())), "the list of layers");
    assert_eq!(parts(&|p| p.layers[0].qk_norm = None), "layer 0's pair of head norms");
    assert_eq!(parts(&|p| p.final_norm.truncate(3)), "the last norm");
    assert_eq!(parts(&|p| p.embedding.cols += 1), "the embedding");
}

#[test]
fn a_run_can_be_stopped_and_the_engine_used_again() {
    let (_, mut engine) = plain();
    let requests = || (1..20).map(|i| generate(vec![i, 2, 3], 30, vec![])).collect::<Vec<_>>();
    let whole = run(&mut engine, requests()).unwrap();
    let mut calls = 0;
    let stopped = engine.run(requests(), &mut |_, _| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert_eq!((stopped, calls), (Err(EngineError::Cancelled), 1));
    let switch = engine.interrupt();
    switch.store(true, Ordering::Relaxed);
    assert_eq!(run(&mut engine, requests()), Err(EngineError::Cancelled));
    switch.store(false, Ordering::Relaxed);
    assert_eq!(run(&mut engine, requests()).unwrap(), whole);
}

#[test]
fn a_shared_beginning_is_computed_once() {
    let mut engine = engine(
        &model(&PLAIN, 1),
        &Options {
            kv_tokens: 8192,
            ..options()
        },
    );
    let mut r = Random(5);
    let shots = r.tokens(500, PLAIN.vocab);
    let requests: Vec<Request> = (0..40)
        .map(|_| generate([shots.clone(), r.tokens(10, PLAIN.vocab)].concat(), 2, vec![]))
        .collect();
    run(&mut engine, requests).unwrap();
    let stats = engine.stats();
    assert_eq!(stats.prompt_tokens, 500 + 40 * 10, "{stats:?}");
    assert_eq!(stats.prompt_tokens + stats.cached_tokens, 40 * 510);
    assert_eq!(stats.generated_tokens, 80);
    assert!(stats.copied_pages >= 39, "{stats:?}");
}

#[test]
fn sharing_sequences_and_order_are_matters_of_time_alone() {
    let model = model(&PLAIN, 1);
    let mut r = Random(7);
    let shots = r.tokens(100, PLAIN.vocab);
    let prompts: Vec<Vec<u32>> = (0..12)
        .map(|_| [shots.clone(), r.tokens(10, PLAIN.vocab)].concat())
        .collect();
    let requests = || {
        prompts
            .iter()
            .map(|p| generate(p.clone(), 4, vec![]))
            .collect::<Vec<_>>()
    };
    let mut reference = engine(&model, &options());
    let expected = run(&mut reference, requests()).unwrap();
    assert_eq!(reference.spans().len(), 12);
    assert!(reference.spans().iter().all(|span| span.began < span.ended));

    let alone = Options {
        prefix_cache: false,
        ..options()
    };
    let mut alone = engine(&model, &alone);
    assert_eq!(run(&mut alone, requests()).unwrap(), expected);
    assert_eq!(alone.stats().cached_tokens, 0);
    assert_eq!(alone.stats().prompt_tokens, 12 * 110);

    let mut one = engine(
        &model,
        &Options {
            sequences: 1,
            ..options()
        },
    );
    assert_eq!(run(&mut one, requests()).unwrap(), expected);
    let mut spans = one.spans().to_vec();
    spans.sort_by_key(|span| span.began);
    assert!(
        spans.windows(2).all(|pair| pair[0].ended <= pair[1].began),
        "one at a time"
    );

    let mut begun = Vec::new();
    for seed in [1, 2] {
        let shuffled = Options {
            sequences: 1,
            order: Order::Shuffled(seed),
            ..options()
        };
        let mut shuffled = engine(&model, &shuffled);
        assert_eq!(run(&mut shuffled, requests()).unwrap(), expected);
        let mut order: Vec<usize> = (0..12).collect();
        order.sort_by_key(|&i| shuffled.spans()[i].began);
        begun.push(order);
    }
    assert_ne!(begun[0], begun[1]);
}

#[test]
fn choices_of_one_question_share_its_tail() {
    let (_, mut engine) = plain();
    let mut r = Random(6);
    let context = r.tokens(100, PLAIN.vocab);
    let choices: Vec<Request> = (0..4).map(|i| score(context.clone(), vec![i, i + 1])).collect();
    run(&mut engine, choices).unwrap();
    // the first computes 101 rows, the others the last row of the context and one of their own
    assert_eq!(engine.stats().prompt_tokens, 101 + 3 * 2);
}

#[test]
fn devices_are_named_and_the_missing_one_says_what_to_use() {
    for name in ["auto", "cpu", "gpu", "gpu:llvmpipe", "gpu:0000:01:00.0", "reference"] {
        assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
    }
    for name in ["cuda", "gpu:", "gpu: ", "GPU"] {
        assert!(name.parse::<Device>().unwrap_err().to_string().contains("reference"));
    }
    let model = model(&PLAIN, 1);
    let make = |device| executor(Arc::clone(&model), &Options { device, ..options() });
    let missing = make(Device::Gpu(Some("no such card".into()))).err().unwrap();
    assert!(
        matches!(missing, ExecutorError::Gpu(GpuError::NoCard { .. })),
        "{missing}"
    );
    for hint in ["no such card", "libvulkan1", "--device cpu"] {
        assert!(missing.to_string().contains(hint), "{missing}");
    }
    assert_eq!(make(Device::Auto).unwrap().name(), "cpu");
    assert!(make(Device::Cpu).unwrap().describe().contains("2 threads"));
    assert_eq!(make(Device::Reference).unwrap().name(), "reference");
    let huge = Options {
        kv_tokens: usize::MAX,
        ..options()
    };
    assert_eq!(
        executor(model, &huge).err(),
        Some(ExecutorError::CacheTooLarge { tokens: usize::MAX })
    );
}

#[test]
fn a_malformed_step_is_refused() {
    let model = model(&ODD, 1);
    for device in [Device::Cpu, Device::Reference] {
        let mut executor = executor(
            Arc::clone(&model),
            &Options {
                device,
                kv_tokens: 256,
                ..options()
            },
        )
        .unwrap();
        let good = StepBatch {
            tokens: vec![1, 2, 3],
            positions: vec![0, 1, 0],
            segments: vec![
                Segment {
                    first_row: 0,
                    rows: 2,
                    kv_len: 2,
                    pages: vec![0],
                },
                Segment {
                    first_row: 2,
                    rows: 1,
                    kv_len: 1,
                    pages: vec![1],
                },
            ],
            outputs: vec![
                Output {
                    row: 1,
                    want: Want::Greedy,
                },
                Output {
                    row: 2,
                    want: Want::Score(4),
                },
            ],
            follows: vec![],
        };
        let mut out = StepOutput::default();
        executor.step(&good, &mut out).unwrap();
        assert_eq!(out.picked.len(), 2);
        let mut refused = |spoil: &dyn Fn(&mut StepBatch)| {
            let mut batch = good.clone();
            spoil(&mut batch);
            assert!(
                matches!(executor.step(&batch, &mut out), Err(StepError::Malformed(_))),
                "{batch:?}"
            );
        };
        refused(&|b| b.tokens[0] = ODD.vocab as u32);
        refused(&|b| b.positions[1] = 5);
        refused(&|b| b.segments[1].pages.clear());
        refused(&|b| b.segments[0].pages[0] = 4);
        refused(&|b| b.segments[1].first_row = 1);
        refused(&|b| drop(b.segments.pop()));
        refused(&|b| b.outputs[1].row = 3);
        refused(&|b| b.outputs.swap(0, 1));
        refused(&|b| b.outputs[1].want = Want::Score(ODD.vocab as u32));
        refused(&|b| b.tokens = vec![0; 1000]);
        refused(&|b| b.follows.push((0, 0))); // the step before is done, and so it is told
        assert!(matches!(executor.copy_pages(&[(0, 4)]), Err(StepError::Malformed(_))));
    }
}
