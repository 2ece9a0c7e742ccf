//! Rotations (`transform_config`) and key/value cache schemes: which are run, what they need, which are refused.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Codes, Inspection, Linear, Transform, verify, verify_data};
use assay_contest::CacheRule;
use serde_json::{Value, json};

use crate::support::*;

fn apply(targets: &str, location: &str, inverse: bool) -> Value {
    json!({"targets": [targets], "location": location, "inverse": inverse, "ignore": ["lm_head"]})
}

fn group(kind: &str, head_dim: Value, apply: &[Value]) -> Value {
    json!({"type": kind, "head_dim": head_dim, "apply": apply, "randomize": false, "requires_grad": false})
}

/// A dense checkpoint with one group of rotations, named `R`.
fn rotated(group: Value) -> Small {
    let config = json!({"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"R": group}}});
    Small::dense().set("quantization_config", config)
}

fn r2(size: u64) -> Value {
    let apply = [
        apply("re:.*v_proj$", "weight_output", false),
        apply("re:.*o_proj$", "weight_input", true),
    ];
    group("hadamard", json!(size), &apply)
}

fn r4(kind: &str, size: Value) -> Value {
    let apply = [
        apply("re:.*down_proj$", "input", false),
        apply("re:.*down_proj$", "weight_input", true),
    ];
    group(kind, size, &apply)
}

fn quip(kind: &str) -> Value {
    let apply = [
        apply("Linear", "input", false),
        apply("Linear", "weight_input", true),
        apply("Linear", "weight_output", false),
        apply("Linear", "output", true),
    ];
    group(kind, json!(8), &apply)
}

fn matrix(name: &str, size: u64) -> Tensor {
    let mut tensor = Tensor::new(name, Dtype::F32, &[size, size], 0);
    for (i, value) in tensor.data.chunks_mut(4).enumerate() {
        let (i, j) = (i as u64 / size, i as u64 % size);
        let sign = if (i & j).count_ones() % 2 == 1 { -1f32 } else { 1.0 };
        value.copy_from_slice(&sign.to_le_bytes());
    }
    tensor
}

const DOWN: &str = "model.layers.0.mlp.down_proj.R_input";

#[test]
fn rotations() {
    let changes: &[&str] = &["transform-changes-model"];
    let one = |targets: &str, location: &str| group("hadamard", json!(8), &[apply(targets, location, false)]);
    judge(vec![
        ("R2", &[], rotated(r2(8))),
        ("R2 in blocks that cross heads", changes, rotated(r2(16))),
        (
            "R3",
            &[],
            rotated(group(
                "hadamard",
                json!(8),
                &[
                    apply("re:.*self_attn$", "q_attn", false),
                    apply("re:.*self_attn$", "k_cache", false),
                ],
            )),
        ),
        ("R4", &[], rotated(r4("hadamard", json!(16)))),
        (
            "R4 of 48 values, no power of two",
            &["transform-missing"],
            rotated(r4("hadamard", json!(null))),
        ),
        (
            "R4 with its matrix",
            &[],
            rotated(r4("random-hadamard", json!(16))).with(matrix(&format!("{DOWN}.weight"), 16)),
        ),
        (
            "a matrix of another size",
            &["tensor-shape"],
            rotated(r4("random-hadamard", json!(16))).with(matrix(&format!("{DOWN}.weight"), 8)),
        ),
        (
            "a random matrix that is not there",
            &["transform-missing"],
            rotated(r4("random-matrix", json!(16))),
        ),
        ("blocks that do not divide", changes, rotated(r4("hadamard", json!(32)))),
        ("QuIP", &[], rotated(quip("hadamard"))),
        (
            "inputs that nothing undoes",
            changes,
            rotated(one("re:.*up_proj", "input")),
        ),
        (
            "outputs that nothing undoes",
            changes,
            rotated(one("re:.*o_proj", "weight_output")),
        ),
        (
            "R1",
            changes,
            rotated(group(
                "hadamard",
                json!(null),
                &[
                    apply("re:.*embed_tokens$", "weight_output", false),
                    apply("re:.*o_proj$", "weight_output", false),
                    apply("re:.*q_proj$", "weight_input", true),
                ],
            )),
        ),
        (
            "not its inverse",
            changes,
            rotated(group(
                "hadamard",
                json!(8),
                &[
                    apply("re:.*down_proj", "input", false),
                    apply("re:.*down_proj", "weight_input", false),
                ],
            )),
        ),
        (
            "twice on one side",
            changes,
            rotated(group(
                "hadamard",
                json!(8),
                &[apply("re:.*down_proj", "input", false), apply("Linear", "input", false)],
            )),
        ),
        (
            "an unknown place",
            &["quantization-config-invalid"],
            rotated(one("Linear", "residual")),
        ),
        (
            "an unknown kind",
            &["quantization-config-invalid"],
            rotated(r4("butterfly", json!(8))),
        ),
        (
            "a tensor of no rotation",
            &["tensor-unexpected"],
            rotated(r4("hadamard", json!(16))).with(matrix("model.layers.0.mlp.up_proj.R_input.weight", 16)),
        ),
    ]);
}

#[test]
fn what_is_applied_is_read_once_and_what_is_stored_is_checked() {
    let small = rotated(r4("random-hadamard", json!(16))).with(matrix(&format!("{DOWN}.weight"), 16));
    let checkpoint = Checkpoint::open(small.save().path()).unwrap();
    let of = |layer, which| checkpoint.linear(layer, which).unwrap().transforms;
    let (first, second) = (of(0, Linear::Down).input.unwrap(), of(1, Linear::Down).input.unwrap());
    assert_eq!(*first, Transform::Hadamard { size: 16 }, "the matrix is Sylvester's");
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    assert!(of(0, Linear::Up).is_empty());

    // two rows exchanged: no longer Sylvester's, applied as a matrix
    let mut other = small.clone();
    let data = &mut other.tensor(&format!("{DOWN}.weight")).data;
    (0..64).for_each(|i| data.swap(64 + i, 128 + i));
    let checkpoint = Checkpoint::open(other.save().path()).unwrap();
    let turned = checkpoint.linear(1, Linear::Down).unwrap().transforms.input.unwrap();
    let Transform::Matrix { size: 16, values } = &*turned else {
        panic!("{turned:?}")
    };
    assert_eq!(values[16..20], [0.25, 0.25, -0.25, -0.25]);

    other.tensor(&format!("{DOWN}.weight")).data[..4].copy_from_slice(&2f32.to_le_bytes());
    let found = verify_data(other.save().path(), &other.inspect());
    assert_eq!(codes(&found.problems), ["transform-invalid"]);
    assert_eq!(
        codes(&verify_data(small.save().path(), &small.inspect()).problems),
        [""; 0]
    );
}

fn cached(scheme: Value) -> Small {
    Small::packed().quant(|q| q["kv_cache_scheme"] = scheme)
}

fn scale(name: &str, shape: &[u64], value: f32) -> Tensor {
    let mut tensor = Tensor::new(&format!("model.layers.0.self_attn.{name}"), Dtype::F32, shape, 0);
    tensor
        .data
        .chunks_mut(4)
        .for_each(|b| b.copy_from_slice(&value.to_le_bytes()));
    tensor
}

#[test]
fn cache_schemes_are_applied_where_the_contest_says_so() {
    let fp8 = |strategy: &str| json!({"num_bits": 8, "type": "float", "strategy": strategy, "dynamic": false});
    let declared = assay_contest::CheckpointRules {
        kv_cache: CacheRule::Declared,
        ..rules()
    };
    let told = |small: &Small| {
        let found = verify(&small.listing(), None, Some(&declared));
        (
            codes(&found.problems)
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
            codes(&found.findings).contains(&"kv-cache-scheme-applied"),
        )
    };
    for scheme in [
        fp8("tensor"),
        fp8("attn_head"),
        json!({"num_bits": 8, "type": "int", "strategy": "tensor"}),
        json!({"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": true}),
    ] {
        let small = cached(scheme);
        assert_eq!(told(&small), (vec![], true));
        let without = small.inspect();
        assert!(codes(&without.findings).contains(&"kv-cache-scheme-not-applied"));
        let kv = |found: &Inspection| found.memory.as_ref().unwrap().kv;
        let with = verify(&small.listing(), None, Some(&declared));
        assert_eq!(2 * kv(&with), kv(&without), "a byte a value instead of two");
    }
    let channel = cached(fp8("channel"));
    assert_eq!(told(&channel).0, ["kv-cache-scheme-unknown"]);
    assert!(channel.inspect().accepted(), "without a contest that applies it");

    // as stored, one for both, one a head, an old name, none
    let scales = |small: Small| {
        let cache = Checkpoint::open(small.save().path())
            .unwrap()
            .cache(0)
            .unwrap()
            .unwrap();
        assert_eq!(cache.codes, Codes::Float8);
        let of = |side: &[assay_checkpoint::HeadScale]| side.iter().map(|s| s.scale).collect::<Vec<f32>>();
        (of(&cache.keys), of(&cache.values))
    };
    let tensor = || cached(fp8("tensor"));
    let both = tensor()
        .with(scale("k_scale", &[1], 0.5))
        .with(scale("v_scale", &[], 0.25));
    assert_eq!(scales(both), (vec![0.5; 2], vec![0.25; 2]));
    assert_eq!(
        scales(tensor().with(scale("v_scale", &[1], 0.25))),
        (vec![0.25; 2], vec![0.25; 2])
    );
    assert_eq!(
        scales(tensor().with(scale("kv_scale", &[1], 2.0))),
        (vec![2.0; 2], vec![2.0; 2])
    );
    let old = tensor().with(scale("k_proj.output_scale", &[1], 3.0));
    assert_eq!(scales(old).0, [3.0; 2]);
    let mut heads = scale("k_scale", &[2, 1, 1], 0.5);
    heads.data[4..].copy_from_slice(&4f32.to_le_bytes());
    assert_eq!(scales(cached(fp8("attn_head")).with(heads)).0, [0.5, 4.0]);
    assert_eq!(scales(tensor()), (vec![1.0; 2], vec![1.0; 2]));
    let dynamic = json!({"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": true});
    assert_eq!(scales(cached(dynamic).with(scale("k_scale", &[1], 0.5))).0, [1.0; 2]);

    let negative = tensor().with(scale("k_scale", &[1], -0.5));
    let found = verify_data(negative.save().path(), &negative.inspect());
    assert_eq!(codes(&found.problems), ["kv-scale-not-positive"]);
}

/// Old versions wrote the scheme as quantized outputs of the projections.
#[test]
fn quantized_outputs_of_keys_and_values_are_a_cache_scheme() {
    let outputs = |targets: Value| {
        Small::packed().quant(|q| {
            q["config_groups"]["kv_cache"] = json!({
                "targets": targets,
                "output_activations": {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false},
            });
        })
    };
    let old = outputs(json!(["re:.*k_proj", "re:.*v_proj"])).with(scale("v_proj.output_scale", &[1], 0.5));
    let cache = Checkpoint::open(old.save().path()).unwrap().cache(0).unwrap().unwrap();
    assert_eq!((cache.keys[0].scale, cache.values[1].scale), (0.5, 0.5));
    judge(vec![
        ("outputs of keys and values", &[], old),
        (
            "other outputs",
            &["format-not-supported-yet"],
            outputs(json!(["re:.*q_proj"])),
        ),
    ]);
}
