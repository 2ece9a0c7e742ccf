//! The contest's own sample: EXAONE 4.0 1.2B, predicted to the byte, and its 419,430,400 superfluous ones.

use std::time::Instant;

use assay_checkpoint::safetensors::{Dtype, NewTensor, header_of};
use assay_checkpoint::{BaseModel, Content, Inspection, ListedFile, Listing, verify};
use assay_contest::{CheckpointRules, Deployment, Device, Text};
use serde_json::{Value, json};

use crate::support::*;

const LAYERS: u64 = 30;

fn config(tie: bool) -> Value {
    json!({
        "architectures": ["Exaone4ForCausalLM"], "model_type": "exaone4", "vocab_size": 102_400, "hidden_size": 2048,
        "intermediate_size": 4096, "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": 65536, "rms_norm_eps": 1e-5,
        "rope_theta": 1_000_000, "rope_scaling": {"rope_type": "llama3", "factor": 16.0, "high_freq_factor": 4.0,
            "low_freq_factor": 1.0, "original_max_position_embeddings": 8192},
        "sliding_window": null, "sliding_window_pattern": null, "layer_types": vec!["full_attention"; LAYERS as usize],
        "tie_word_embeddings": tie, "bos_token_id": 1, "eos_token_id": 361, "pad_token_id": 0, "torch_dtype": "bfloat16"
    })
}

fn tensors(quantized: bool, head: bool) -> Vec<NewTensor<'static>> {
    let new = |name: String, dtype, shape: &[u64]| NewTensor {
        name,
        dtype,
        shape: shape.into(),
        data: &[],
    };
    let mut all = vec![
        new("model.embed_tokens.weight".into(), Dtype::BF16, &[102_400, 2048]),
        new("model.norm.weight".into(), Dtype::BF16, &[2048]),
    ];
    if head {
        all.push(new("lm_head.weight".into(), Dtype::BF16, &[102_400, 2048]));
    }
    for i in 0..LAYERS {
        for (norm, width) in [
            ("self_attn.q_norm", 64),
            ("self_attn.k_norm", 64),
            ("post_attention_layernorm", 2048),
            ("post_feedforward_layernorm", 2048),
        ] {
            all.push(new(format!("model.layers.{i}.{norm}.weight"), Dtype::BF16, &[width]));
        }
        for (m, out, cols) in [
            ("self_attn.q_proj", 2048, 2048),
            ("self_attn.k_proj", 512, 2048),
            ("self_attn.v_proj", 512, 2048),
            ("self_attn.o_proj", 2048, 2048),
            ("mlp.gate_proj", 4096, 2048),
            ("mlp.up_proj", 4096, 2048),
            ("mlp.down_proj", 2048, 4096),
        ] {
            let name = |suffix: &str| format!("model.layers.{i}.{m}.{suffix}");
            if quantized {
                all.push(new(name("weight_packed"), Dtype::I32, &[out, cols / 8]));
                all.push(new(name("weight_scale"), Dtype::BF16, &[out, cols / 128]));
                all.push(new(name("weight_shape"), Dtype::I64, &[2]));
            } else {
                all.push(new(name("weight"), Dtype::BF16, &[out, cols]));
            }
        }
    }
    all
}

fn listing(config: &Value, tensors: &[NewTensor]) -> Listing {
    let (prefix, bytes) = header_of(tensors, &[("format", "pt")]).unwrap();
    let config = config.to_string().into_bytes();
    Listing {
        files: vec![
            ListedFile {
                name: "config.json".into(),
                bytes: config.len() as u64,
                content: Content::Text(config),
            },
            ListedFile {
                name: "model.safetensors".into(),
                bytes,
                content: Content::Header(prefix),
            },
        ],
    }
}

fn look(config: &Value, tensors: &[NewTensor], rules: Option<&CheckpointRules>) -> Inspection {
    let base = BaseModel::new(self::config(true), None, None, None);
    let found = verify(&listing(config, tensors), Some(&base), rules);
    assert_eq!(codes(&found.problems), Vec::<&str>::new());
    assert_eq!(
        found.bytes.groups.iter().map(|g| g.bytes).sum::<u64>(),
        found.bytes.total
    );
    found
}

fn w4a16(tie: bool) -> Value {
    let mut config = config(tie);
    config["quantization_config"] = json!({
        "config_groups": {"group_0": {"input_activations": null, "output_activations": null, "targets": ["Linear"],
            "weights": {"actorder": "static", "block_structure": null, "dynamic": false, "group_size": 128, "num_bits": 4,
                "observer": "minmax", "observer_kwargs": {}, "strategy": "group", "symmetric": true, "type": "int"}}},
        "format": "pack-quantized", "global_compression_ratio": null, "ignore": ["lm_head"], "kv_cache_scheme": null,
        "quant_method": "compressed-tensors", "quantization_status": "compressed", "sparsity_config": {},
        "transform_config": {}, "version": "0.12.2"
    });
    config
}

#[test]
fn sizes_to_the_byte() {
    let base = look(&config(true), &tensors(false, false), None);
    assert_eq!(base.bytes.total, 2_558_821_288);
    assert_eq!(base.bytes.group("header"), 8 + 38_304);
    assert_eq!(base.bytes.group("embedding"), 419_430_400);
    let tied = look(&w4a16(true), &tensors(true, false), None);
    assert_eq!(tied.bytes.total, 971_261_368);
    let deck = look(&w4a16(false), &tensors(true, true), None);
    assert_eq!(tensors(true, true).len(), 753);
    assert_eq!(deck.bytes.total, 1_390_692_528);
    assert_eq!(deck.bytes.group("head"), 419_430_400);
    assert_eq!(deck.bytes.group("shapes"), 210 * 16);
}

#[test]
fn the_first_hint_is_the_untied_copy() {
    let mut generous = rules();
    generous.modules.push("embed_tokens".into());
    for rules in [None, Some(rules()), Some(generous)] {
        let deck = look(&w4a16(false), &tensors(true, true), rules.as_ref());
        assert_eq!(
            (deck.hints[0].code.as_str(), deck.hints[0].saves),
            ("untied-duplicate", 1_390_692_528 - 971_261_368)
        );
        assert!(deck.hints.is_sorted_by_key(|h| std::cmp::Reverse(h.saves)));
        let embedding = deck.hints.iter().find(|h| h.code == "dense-embedding").map(|h| h.saves);
        let allowed = rules.is_some_and(|r| r.modules.len() == 2);
        let mut four = tensors(true, true);
        four.retain(|t| t.name != "model.embed_tokens.weight");
        for (suffix, dtype, shape) in [
            ("packed", Dtype::I32, vec![102_400, 256]),
            ("scale", Dtype::BF16, vec![102_400, 16]),
            ("shape", Dtype::I64, vec![2]),
        ] {
            let name = format!("model.embed_tokens.weight_{suffix}");
            four.push(NewTensor {
                name,
                dtype,
                shape,
                data: &[],
            });
        }
        let (_, bytes) = header_of(&four, &[("format", "pt")]).unwrap();
        assert_eq!(embedding, allowed.then_some(1_390_692_528 - bytes));
    }
    // the dense base is told what four bits would save: exactly the difference of the two files
    let base = look(&config(true), &tensors(false, false), None);
    assert_eq!(base.hints[0].code, "dense-matrices");
    assert_eq!(base.hints[0].saves, 2_558_821_288 - 971_261_368);
}

#[test]
fn it_takes_milliseconds() {
    let (config, tensors) = (w4a16(false), tensors(true, true));
    let listing = listing(&config, &tensors);
    let base = BaseModel::new(self::config(true), None, None, None);
    let rules = rules();
    let start = Instant::now();
    for _ in 0..5 {
        assert!(verify(&listing, Some(&base), Some(&rules)).accepted());
    }
    let each = start.elapsed() / 5;
    // 50 ms are promised; a loaded machine and an unoptimised build get slack
    assert!(each.as_millis() < 250, "{each:?}");
}

#[test]
fn bits_and_memory_of_the_sample() {
    let tied = look(&w4a16(true), &tensors(true, false), None);
    let parameters = tied.parameters.unwrap();
    assert_eq!(parameters.total, 1_279_391_488);
    assert_eq!(parameters.linear, 1_069_547_520);
    // four bits, a BF16 scale for every 128, and 16 bytes of shape a matrix
    assert_eq!(
        parameters.linear_bytes,
        1_069_547_520 / 2 + 1_069_547_520 / 64 + 210 * 16
    );
    assert_eq!(format!("{:.3}", parameters.linear_bits()), "4.125");
    assert_eq!(format!("{:.2}", parameters.bits(tied.bytes.total)), "6.07");

    let mut rules = rules();
    let device = |name: &str, gib: u64| Device {
        name: Text::new(name, name),
        memory_bytes: gib << 30,
        usd_per_hour: None,
    };
    rules.deployment = Some(Deployment {
        context: 32768,
        devices: vec![device("tiny", 1), device("small", 4), device("large", 16)],
    });
    let memory = |config: &Value, quantized| look(config, &tensors(quantized, false), Some(&rules)).memory.unwrap();
    let four = memory(&w4a16(true), true);
    // every tensor is held as it is stored: nothing is wide, the head is tied
    assert_eq!(four.weights, 971_176_736);
    // 30 layers, keys and values, 8 heads of 64, bfloat16
    assert_eq!((four.context, four.kv), (32768, 32768 * 30 * 2 * 8 * 64 * 2));
    assert_eq!(
        four.working,
        512 * 2 * (2 * 2048 + 2048 + 2 * 512 + 2 * 4096) + 4 * 102_400
    );
    assert_eq!(four.total, four.weights + four.kv + four.working);
    let fits = |m: &assay_checkpoint::Memory| m.devices.iter().map(|d| d.fits).collect::<Vec<_>>();
    assert_eq!(fits(&four), [false, true, true]);
    for device in &four.devices {
        let needed = |tokens: u64| four.weights + four.working + tokens * (four.kv / 32768);
        let usable = device.memory_bytes / 10 * 9;
        let longest = device.longest_context;
        assert!(longest == 0 || needed(longest) <= usable);
        assert!(longest == 65536 || needed(longest + 1) > usable, "{longest}");
    }
    assert_eq!(four.devices[2].longest_context, 65536, "the model's own limit");
    assert_eq!(fits(&memory(&config(true), false)), [false, false, true]);
    // a model of shorter positions needs no more than those
    let mut short = w4a16(true);
    short["max_position_embeddings"] = json!(8192);
    assert_eq!(memory(&short, true).kv, 8192 * 30 * 2 * 8 * 64 * 2);
}
