//! Malformed variants seen in the wild, all in one table: what each looks like and the code with which it is answered.
//! Further ones, by the part they break, are in `hostile_*`; random ones in `mutation` and in the fuzz targets.

use std::time::{Duration, Instant};

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{BaseModel, Inspection, Listing, verify, verify_data};
use serde_json::{Value, json};

use crate::support::*;

/// How a variant is answered.
enum Answer {
    /// rejected, with this code among the problems
    Rejected(&'static str),
    /// accepted, with this code among the findings
    Found(&'static str),
    /// accepted, with this hint
    Hinted(&'static str),
    /// accepted: nothing is wrong with it
    Fine,
}
use Answer::{Fine, Found, Hinted, Rejected};

const UP: &str = "model.layers.1.mlp.up_proj";
const Q: &str = "model.layers.0.self_attn.q_proj";

fn small_base() -> BaseModel {
    BaseModel::new(Small::dense().config, None, None, Some(json!({"eos_token_id": [2, 3]})))
}

/// Names first, then data, as a worker does it; header answers within a second.
fn look(small: &Small) -> Inspection {
    let dir = small.save();
    let listing = Listing::read_dir(dir.path()).unwrap();
    let begun = Instant::now();
    let first = verify(&listing, Some(&small_base()), Some(&rules()));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "headers are answered at once"
    );
    verify_data(dir.path(), &first)
}

fn quantized_table(mut small: Small, name: &str) -> Small {
    small.tensors.retain(|t| t.name != format!("{name}.weight"));
    let mut shape = Tensor::new(&format!("{name}.weight_shape"), Dtype::I64, &[2], 0);
    shape.data = [VOCAB.to_le_bytes(), HIDDEN.to_le_bytes()].concat();
    small
        .with(Tensor::new(
            &format!("{name}.weight_packed"),
            Dtype::I32,
            &[VOCAB, HIDDEN / 8],
            0x5A,
        ))
        .with(Tensor::new(
            &format!("{name}.weight_scale"),
            Dtype::BF16,
            &[VOCAB, HIDDEN / 16],
            0x3C,
        ))
        .with(shape)
}

fn targets(small: Small, targets: Value, ignore: Value) -> Small {
    small.quant(|q| {
        q["config_groups"]["group_0"]["targets"] = targets;
        q["ignore"] = ignore;
    })
}

fn head(fill: u8) -> Tensor {
    Tensor::new("lm_head.weight", Dtype::BF16, &[VOCAB, HIDDEN], fill)
}

fn renamed(mut small: Small, from: &str, to: &str) -> Small {
    small.tensors.iter_mut().for_each(|t| t.name = t.name.replace(from, to));
    small
}

fn indexed(fill: u32) -> Small {
    let mut small = Small::packed().quant(|q| q["config_groups"]["group_0"]["weights"]["actorder"] = json!("group"));
    for (name, _, cols) in MATRICES {
        for i in 0..LAYERS {
            let mut index = Tensor::new(&format!("model.layers.{i}.{name}.weight_g_idx"), Dtype::I32, &[cols], 0);
            index.data = (0..cols as u32).flat_map(|_| fill.to_le_bytes()).collect();
            small = small.with(index);
        }
    }
    small
}

/// Layer 0's q_proj in eight bits while k_proj and v_proj have four.
fn mixed_fused() -> Small {
    let mut small = Small::packed().quant(|q| {
        let mut eight = q["config_groups"]["group_0"].clone();
        eight["targets"] = json!([Q]);
        eight["weights"]["num_bits"] = json!(8);
        q["config_groups"]["group_1"] = eight;
    });
    *small.tensor(&format!("{Q}.weight_packed")) =
        Tensor::new(&format!("{Q}.weight_packed"), Dtype::I32, &[32, 8], 0x5A);
    small
}

/// Number in the catalogue, what it looks like, the submission, the answer. A number may have several.
fn table() -> Vec<(u8, &'static str, Small, Answer)> {
    let (d, p) = (Small::dense, Small::packed);
    let with = |mut small: Small, name: &str, change: &dyn Fn(&mut Tensor)| {
        change(small.tensor(name));
        small
    };
    let token = json!({"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true});
    let int8 = json!({"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false});
    let embed = || {
        targets(
            quantized_table(p(), "model.embed_tokens"),
            json!(["Linear", "Embedding"]),
            json!(["lm_head"]),
        )
    };
    let gptq = |dynamic: Value| {
        p().set(
            "quantization_config",
            json!({"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": false, "sym": true, "dynamic": dynamic}),
        )
    };
    vec![
        (
            1,
            "embedding quantized by targets",
            embed(),
            Rejected("module-not-allowed"),
        ),
        (
            2,
            "head not ignored",
            targets(p(), json!(["Linear"]), json!([])),
            Rejected("head-not-ignored"),
        ),
        (
            2,
            "head quantized",
            targets(quantized_table(p(), "lm_head"), json!(["Linear"]), json!([]))
                .set("tie_word_embeddings", json!(false)),
            Rejected("module-not-allowed"),
        ),
        (
            3,
            "a second copy of the embedding",
            d().with(head(0x3C)).set("tie_word_embeddings", json!(false)),
            Hinted("untied-duplicate"),
        ),
        (
            3,
            "a copy beside a tied embedding",
            d().with(head(0x3C)),
            Hinted("tied-copy"),
        ),
        (
            4,
            "the tie lost by saving again",
            d().unset("tie_word_embeddings"),
            Rejected("head-missing"),
        ),
        (
            5,
            "layer_types longer than the model",
            d().set("layer_types", json!(vec!["full_attention"; 3])),
            Rejected("config-layer-types-length"),
        ),
        (
            6,
            "a gap in the layers",
            renamed(d(), "layers.1.", "layers.2."),
            Rejected("layer-gap"),
        ),
        (
            7,
            "pruned heads without head_dim",
            d().unset("head_dim").set("num_attention_heads", json!(6)),
            Rejected("config-head-dim-missing"),
        ),
        (
            8,
            "q_proj in other bits than k_proj and v_proj",
            mixed_fused(),
            Found("vllm-would-refuse"),
        ),
        (
            12,
            "weight_shape as I32",
            with(p(), &format!("{Q}.weight_shape"), &|t| {
                (t.dtype, t.data) = (Dtype::I32, [32u32.to_le_bytes(), 32u32.to_le_bytes()].concat());
            }),
            Fine,
        ),
        (
            12,
            "weight_shape the wrong way round",
            with(p(), &format!("{UP}.weight_shape"), &|t| t.data.rotate_left(8)),
            Rejected("weight-shape"),
        ),
        (
            13,
            "format left out",
            p().quant(|q| drop(q.as_object_mut().unwrap().shift_remove("format"))),
            Found("format-inferred"),
        ),
        (
            13,
            "format: fakequant",
            p().quant(|q| q["format"] = json!("fakequant")),
            Found("format-inferred"),
        ),
        (
            15,
            "announced, not compressed",
            d().set("quantization_config", p().config["quantization_config"].clone()),
            Rejected("not-compressed"),
        ),
        (
            16,
            "compressed, not announced",
            p().unset("quantization_config"),
            Rejected("quantization-config-missing"),
        ),
        (
            17,
            "one scale in another float",
            with(p(), &format!("{Q}.weight_scale"), &|t| {
                *t = Tensor::new(&t.name.clone(), Dtype::F32, &t.shape.clone(), 0x3C)
            }),
            Fine,
        ),
        (
            18,
            "float16 that overflowed",
            with(d(), &format!("{Q}.weight"), &|t| {
                t.dtype = Dtype::F16;
                t.data[..2].copy_from_slice(&0x7C00u16.to_le_bytes());
            }),
            Rejected("non-finite"),
        ),
        (20, "g_idx never filled in", indexed(0), Rejected("group-index")),
        (
            22,
            "a shard left over",
            d().file(
                "model-00001-of-00002.safetensors",
                &file_of(&[Tensor::new("x", Dtype::U8, &[1], 0)]),
            ),
            Rejected("index-missing"),
        ),
        (
            22,
            "an index beside a single file",
            d().file("model.safetensors.index.json", br#"{"metadata":{},"weight_map":{}}"#),
            Rejected("weights-ambiguous"),
        ),
        (
            23,
            "a pickle as well",
            d().file("pytorch_model.bin", b"x"),
            Rejected("pickle-file"),
        ),
        (
            24,
            "torch_dtype float32 over bfloat16 tensors",
            d().set("torch_dtype", json!("float32")),
            Fine,
        ),
        (
            25,
            "quantization_config {}",
            d().set("quantization_config", json!({})),
            Fine,
        ),
        (
            25,
            "quantization_config null",
            d().set("quantization_config", Value::Null),
            Fine,
        ),
        (
            26,
            "a pattern with look-ahead",
            targets(p(), json!(["re:^(?!.*lm_head).*proj$"]), json!(["lm_head"])),
            Fine,
        ),
        (
            28,
            "a bitmask of the embedding",
            d().with(Tensor::new(
                "model.embed_tokens.bitmask",
                Dtype::U8,
                &[VOCAB, HIDDEN / 8],
                0,
            )),
            Rejected(""),
        ),
        (
            30,
            "GPTQ's dynamic that matches nothing",
            gptq(json!({"+:nothing\\.at\\.all": {"bits": 8}})),
            Rejected(""),
        ),
        (
            31,
            "an adapter beside the model",
            d().file("adapter_model.safetensors", &file_of(&[head(1)])),
            Rejected("adapter-file"),
        ),
        (
            31,
            "its configuration",
            d().file("adapter_config.json", b"{}"),
            Rejected("adapter-file"),
        ),
        (
            32,
            "bytes labelled pack-quantized",
            Small::coded(&int8, &token).quant(|q| q["format"] = json!("pack-quantized")),
            Rejected("module-layout"),
        ),
        (
            32,
            "words labelled int-quantized",
            p().quant(|q| q["format"] = json!("int-quantized")),
            Rejected("module-layout"),
        ),
        (
            33,
            "other end tokens for generation",
            d().file("generation_config.json", br#"{"eos_token_id": [2]}"#),
            Found("generation-config-ignored"),
        ),
        (
            33,
            "fewer positions",
            d().set("max_position_embeddings", json!(64)),
            Found("config-side-door"),
        ),
    ]
}

/// What needs a format, a data check or a tokenizer of its own, and where it is tested.
const ELSEWHERE: [(u8, &str); 8] = [
    (
        9,
        "NVFP4 with other global scales in q, k and v: `hostile_micro`, fused_matrices_divide_by_the_same_number",
    ),
    (
        10,
        "MXFP4 exponents two too small: `hostile_micro`, what_a_version_is_known_for",
    ),
    (
        11,
        "three bits packed the old way: `roundtrip`, equal_widths_are_told_apart_by_version_and_by_zero_points",
    ),
    (
        14,
        "weight_scale beside dense weights: `hostile_micro`, weights_that_were_never_compressed",
    ),
    (
        19,
        "GPTQ zero points of the other version: `foreign`, gptq_versions_are_read_from_the_words",
    ),
    (
        21,
        "bitsandbytes without nested_offset: `foreign`, bitsandbytes_broken_in_one_place",
    ),
    (27, "a dynamic kv_cache_scheme without scales: `fixtures`, w4a16-kv8"),
    (29, "tokenizer or template changed: `against`, tokenizers_and_templates"),
];

#[test]
fn each_has_its_answer() {
    for (number, what, small, answer) in table() {
        let found = look(&small);
        let (problems, findings) = (codes(&found.problems), codes(&found.findings));
        let shown = || format!("{number}, {what}: {:#?}", (&found.problems, &found.findings));
        match answer {
            Rejected("") => assert!(!found.accepted(), "{}", shown()),
            Rejected(code) => assert!(problems.contains(&code), "{}", shown()),
            Found(code) => assert!(found.accepted() && findings.contains(&code), "{}", shown()),
            Hinted(code) => assert!(
                found.accepted() && found.hints.iter().any(|h| h.code == code),
                "{}",
                shown()
            ),
            Fine => assert!(found.accepted(), "{}", shown()),
        }
        for p in found.problems.iter().chain(&found.findings) {
            for text in [&p.message, &p.fix] {
                assert!(!text.en.trim().is_empty() && !text.ko.trim().is_empty(), "{}", shown());
            }
            assert!(!p.place.is_empty(), "{}", shown());
        }
    }
}

#[test]
fn none_of_the_catalogue_is_forgotten() {
    let here = table().into_iter().map(|(number, ..)| number);
    let mut numbers: Vec<u8> = here.chain(ELSEWHERE.map(|(number, _)| number)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, Vec::from_iter(1..=33));
}
