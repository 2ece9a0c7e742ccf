//! Microscaling formats, blocks and frozen weights with something wrong, by their headers and by their data.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Inspection, Linear, Listing, OpenError, verify, verify_data};
use serde_json::json;

use crate::support::{Small, Tensor, codes};
use crate::written::{Codes, Plan, Random, Shared, assert_reads, submission};

const UP: &str = "model.layers.0.mlp.up_proj";

fn plan(codes: Codes) -> Plan {
    let (bits, group) = match codes {
        Codes::Nvfp4 => (4, 16),
        Codes::Mxfp4 => (4, 32),
        Codes::Mxfp6 => (6, 32),
        _ => (8, 32),
    };
    Plan {
        codes,
        bits,
        symmetric: true,
        shared: Shared::Group(group),
        indexed: false,
        scale: Dtype::BF16,
        hidden: 64,
        mlp: 64,
    }
}

fn made(codes: Codes) -> Small {
    submission(&plan(codes), &mut Random(3)).0
}

fn with(mut small: Small, suffix: &str, change: impl FnOnce(&mut Tensor)) -> Small {
    change(small.tensor(&format!("{UP}.{suffix}")));
    small
}

fn look(small: &Small) -> Inspection {
    let dir = small.save();
    let found = verify_data(dir.path(), &verify(&Listing::read_dir(dir.path()).unwrap(), None, None));
    match Checkpoint::open(dir.path()).map(|c| c.linear(0, Linear::Up)) {
        Ok(Ok(_)) => {}
        Ok(Err(OpenError::Tensor { .. })) | Err(OpenError::Rejected(_)) => assert!(!found.accepted()),
        other => panic!("{other:?}"),
    }
    found
}

fn truncated(t: &mut Tensor) {
    t.shape[1] -= 1;
    t.data.truncate((t.shape[0] * t.shape[1] * t.dtype.bits() / 8) as usize);
}

#[test]
fn tensors() {
    for (what, expected, small) in [
        (
            "no scales",
            "tensor-missing",
            made(Codes::Mxfp4).without(&format!("{UP}.weight_scale")),
        ),
        (
            "no divisor",
            "tensor-missing",
            made(Codes::Nvfp4).without(&format!("{UP}.weight_global_scale")),
        ),
        (
            "scales too few",
            "tensor-shape",
            with(made(Codes::Nvfp4), "weight_scale", truncated),
        ),
        (
            "codes too few",
            "tensor-shape",
            with(made(Codes::Mxfp4), "weight_packed", truncated),
        ),
        (
            "scales that are plain",
            "tensor-dtype",
            with(made(Codes::Mxfp4), "weight_scale", |t| {
                (t.dtype, t.data) = (Dtype::BF16, vec![0x3C; 2 * t.data.len()]);
            }),
        ),
        (
            "exponents where float8 belongs",
            "tensor-dtype",
            with(made(Codes::Nvfp4), "weight_scale", |t| t.dtype = Dtype::U8),
        ),
        (
            "float8 where exponents belong",
            "tensor-dtype",
            with(made(Codes::Mxfp8), "weight_scale", |t| t.dtype = Dtype::F8_E4M3),
        ),
        (
            "signed codes",
            "module-layout",
            with(made(Codes::Mxfp4), "weight_packed", |t| t.dtype = Dtype::I8),
        ),
        (
            "a divisor of half the width",
            "tensor-dtype",
            with(made(Codes::Nvfp4), "weight_global_scale", |t| {
                (t.dtype, t.data) = (Dtype::BF16, vec![0, 0x44]);
            }),
        ),
        (
            "two divisors",
            "tensor-shape",
            with(made(Codes::Nvfp4), "weight_global_scale", |t| {
                (t.shape, t.data) = (vec![2], [t.data.clone(), t.data.clone()].concat());
            }),
        ),
        (
            "a divisor nobody asked for",
            "module-layout",
            made(Codes::Mxfp4).with(Tensor::new(
                &format!("{UP}.weight_global_scale"),
                Dtype::F32,
                &[1],
                0x3C,
            )),
        ),
        ("six bits where four are announced", "tensor-shape", {
            let mut small = made(Codes::Mxfp4);
            let packed = small.tensor(&format!("{UP}.weight_packed"));
            packed.shape[1] = packed.shape[1] * 3 / 2;
            packed.data.resize(packed.data.len() * 3 / 2, 0);
            small
        }),
        (
            "a dense copy left beside",
            "tensor-unexpected",
            made(Codes::Mxfp4).with(Tensor::new(&format!("{UP}.weight"), Dtype::BF16, &[64, 64], 0)),
        ),
    ] {
        let found = small.inspect();
        assert!(
            !found.problems.is_empty() && codes(&found.problems).iter().all(|c| *c == expected),
            "{what}: {:?}",
            found.problems
        );
    }
    // exponents may be written under their own name
    let named = with(made(Codes::Mxfp4), "weight_scale", |t| t.dtype = Dtype::F8_E8M0);
    assert!(look(&named).accepted());
}

#[test]
fn data() {
    for kind in [Codes::Nvfp4, Codes::Mxfp4, Codes::Mxfp6, Codes::Mxfp8] {
        assert!(look(&made(kind)).accepted(), "{kind:?}");
    }
    let put = |kind: Codes, suffix: &'static str, byte: u8| with(made(kind), suffix, move |t| t.data[7] = byte);
    for (what, expected, small) in [
        (
            "an exponent that is NaN",
            "non-finite",
            put(Codes::Mxfp4, "weight_scale", 255),
        ),
        (
            "an exponent that is NaN",
            "non-finite",
            put(Codes::Mxfp6, "weight_scale", 255),
        ),
        (
            "a float8 code that is NaN",
            "non-finite",
            put(Codes::Mxfp8, "weight", 0xFF),
        ),
        (
            "a float8 scale that is NaN",
            "non-finite",
            put(Codes::Nvfp4, "weight_scale", 0x7F),
        ),
        ("6 · 2^127", "scale-overflow", put(Codes::Mxfp4, "weight_scale", 254)),
        ("448 · 2^120", "scale-overflow", put(Codes::Mxfp8, "weight_scale", 247)),
    ] {
        let found = look(&small);
        assert_eq!(codes(&found.problems), [expected], "{what}");
    }
    for (value, expected) in [
        (f32::NAN, "non-finite"),
        (f32::INFINITY, "non-finite"),
        (0.0, "global-scale-not-positive"),
        (-1.0, "global-scale-not-positive"),
        (f32::MIN_POSITIVE, "scale-overflow"),
    ] {
        let found = look(&with(made(Codes::Nvfp4), "weight_global_scale", |t| {
            t.data = value.to_le_bytes().to_vec()
        }));
        assert_eq!(codes(&found.problems), [expected], "{value}");
    }
    let negative = look(&put(Codes::Nvfp4, "weight_scale", 0x88));
    assert!(negative.accepted() && codes(&negative.findings).contains(&"scale-not-positive"));
    // three float6 codes end inside a third byte
    let narrow = Plan {
        hidden: 3,
        ..plan(Codes::Mxfp6)
    };
    let (small, expected) = submission(&narrow, &mut Random(5));
    assert!(look(&small).accepted());
    assert_reads(&small, &narrow, &expected);
    let loose = with(small, "weight_packed", |t| t.data[2] |= 0x80);
    assert_eq!(codes(&look(&loose).problems), ["packed-padding"]);
}

#[test]
fn fused_matrices_divide_by_the_same_number() {
    let mut small = made(Codes::Nvfp4);
    let first = small
        .tensor("model.layers.0.self_attn.q_proj.weight_global_scale")
        .data
        .clone();
    let (up, gate) = (
        format!("{UP}.weight_global_scale"),
        "model.layers.0.mlp.gate_proj.weight_global_scale",
    );
    for name in [
        "model.layers.0.self_attn.k_proj.weight_global_scale",
        "model.layers.0.self_attn.v_proj.weight_global_scale",
        gate,
        &up,
    ] {
        small.tensor(name).data = first.clone();
    }
    let differ = |found: &Inspection| {
        codes(&found.findings)
            .iter()
            .filter(|c| **c == "nvfp4-global-scales-differ")
            .count()
    };
    assert_eq!(differ(&look(&small)), 0);
    small.tensor(gate).data = 300f32.to_le_bytes().to_vec();
    assert_eq!(differ(&look(&small)), 1);
    small.tensor("model.layers.0.self_attn.v_proj.weight_global_scale").data = 300f32.to_le_bytes().to_vec();
    let found = look(&small);
    assert_eq!((differ(&found), found.accepted()), (2, true));
}

#[test]
fn what_a_version_is_known_for() {
    let quartered = |version: &str| {
        let found = made(Codes::Mxfp4).quant(|q| q["version"] = json!(version)).inspect();
        codes(&found.findings).contains(&"mxfp4-exponent-bug")
    };
    assert!(quartered("0.13.0") && quartered("0.13.1.dev3+g1"));
    assert!(!quartered("0.14.0") && !quartered("0.19.0"));
    let other = made(Codes::Nvfp4).quant(|q| q["version"] = json!("0.13.0")).inspect();
    assert!(!codes(&other.findings).contains(&"mxfp4-exponent-bug"));
}

#[test]
fn blocks() {
    let plan = Plan {
        codes: Codes::Float8,
        bits: 8,
        symmetric: true,
        shared: Shared::Block(16, 32),
        indexed: false,
        scale: Dtype::F32,
        hidden: 40,
        mlp: 50,
    };
    let (small, expected) = submission(&plan, &mut Random(8));
    let args = |q: &mut serde_json::Value, block: serde_json::Value| {
        q["config_groups"]["group_0"]["weights"]["block_structure"] = block
    };
    assert_reads(&small.clone().quant(|q| args(q, json!("16x32"))), &plan, &expected);
    for block in [
        json!(null),
        json!([16]),
        json!([0, 32]),
        json!("16"),
        json!([16, 32, 1]),
        json!([16, -1]),
    ] {
        let found = small.clone().quant(|q| args(q, block.clone())).inspect();
        assert_eq!(codes(&found.problems), ["quantization-config-invalid"], "{block}");
    }
    let found = small.quant(|q| args(q, json!([32, 32]))).inspect();
    assert!(!found.problems.is_empty() && codes(&found.problems).iter().all(|c| *c == "tensor-shape"));
}

/// `save_compressed=False`: dense weights with scales beside them are graded as they are, and said to be so.
#[test]
fn weights_that_were_never_compressed() {
    let mut small = Small::dense().quant(|q| {
        *q = json!({"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "frozen", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "strategy": "group", "group_size": 16}}}});
    });
    assert_eq!(codes(&small.inspect().problems), ["not-compressed"]);
    let names: Vec<(String, u64, u64)> = small
        .tensors
        .iter()
        .filter(|t| t.name.contains("_proj"))
        .map(|t| (t.name.clone(), t.shape[0], t.shape[1]))
        .collect();
    for (name, rows, cols) in &names {
        small = small.with(Tensor::new(
            &format!("{name}_scale"),
            Dtype::BF16,
            &[*rows, cols / 16],
            0x3C,
        ));
        small = small.with(Tensor::new(
            &format!("{name}_zero_point"),
            Dtype::I8,
            &[*rows, cols / 16],
            0,
        ));
    }
    let found = small.inspect();
    assert!(found.accepted(), "{:?}", found.problems);
    assert_eq!(
        (found.format.as_str(), found.scheme.as_str()),
        ("dense", "W4A16 g16 sym stored dense")
    );
    assert!(codes(&found.findings).contains(&"stored-dense"));
    let dir = small.save();
    let matrix = Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Up).unwrap();
    assert!(matches!(matrix.weights, assay_checkpoint::Weights::Bf16(_)));
    // no room for anything else under those names
    let large = with_scale(small.clone(), &[48, 2000]);
    assert_eq!(codes(&large.inspect().problems), ["tensor-shape"]);
    // announced as compressed, it is not
    let claimed = small.quant(|q| q["quantization_status"] = json!("compressed"));
    assert!(codes(&claimed.inspect().problems).contains(&"not-compressed"));
}

fn with_scale(mut small: Small, shape: &[u64]) -> Small {
    let scale = small.tensor("model.layers.1.mlp.up_proj.weight_scale");
    *scale = Tensor::new(&scale.name.clone(), Dtype::BF16, shape, 0x3C);
    small
}

/// The embedding in four bits is the head when both are tied, whether or not the configuration names the head as well.
#[test]
fn a_quantized_embedding_is_the_head() {
    let embedding = |ignore: serde_json::Value| {
        let mut small = Small::packed().without("model.embed_tokens.weight").quant(|q| {
            q["config_groups"]["group_0"]["targets"] = json!(["Linear", "Embedding"]);
            q["ignore"] = ignore;
        });
        let name = |suffix: &str| format!("model.embed_tokens.{suffix}");
        small
            .tensors
            .push(Tensor::new(&name("weight_packed"), Dtype::I32, &[16, 4], 0x5A));
        small
            .tensors
            .push(Tensor::new(&name("weight_scale"), Dtype::BF16, &[16, 2], 0x3C));
        let mut shape = Tensor::new(&name("weight_shape"), Dtype::I64, &[2], 0);
        shape.data = [16u64.to_le_bytes(), 32u64.to_le_bytes()].concat();
        small.with(shape)
    };
    for ignore in [json!(["lm_head"]), json!([])] {
        let small = embedding(ignore);
        let found = look2(&small);
        assert!(found.accepted(), "{:?}", found.problems);
        assert!(codes(&found.findings).contains(&"vllm-would-refuse"));
        let dir = small.save();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert!(checkpoint.head().unwrap().is_none());
        let mut row = vec![0f32; 32];
        checkpoint.embedding().unwrap().row_f32(15, &mut row);
        let scale = f32::from_bits(0x3C3C_0000);
        assert_eq!(
            row[..2],
            [2.0 * scale, -3.0 * scale]
                .map(|x| assay_checkpoint::number::bf16_to_f32(assay_checkpoint::number::f32_to_bf16(x)))
        );
    }
    // a head of its own, quantized too
    let mut small = embedding(json!([])).set("tie_word_embeddings", json!(false));
    assert_eq!(codes(&small.inspect().problems), ["head-missing"]);
    for suffix in ["weight_packed", "weight_scale", "weight_shape"] {
        let copy = small.tensor(&format!("model.embed_tokens.{suffix}")).clone();
        small.tensors.push(Tensor {
            name: format!("lm_head.{suffix}"),
            ..copy
        });
    }
    assert!(look2(&small).accepted());
    assert!(Checkpoint::open(small.save().path()).unwrap().head().unwrap().is_some());
}

fn look2(small: &Small) -> Inspection {
    let dir = small.save();
    verify_data(dir.path(), &verify(&Listing::read_dir(dir.path()).unwrap(), None, None))
}
