//! Broken config.json, one thing at a time.

use assay_checkpoint::verify;
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn the_small_submissions_are_fine_as_they_are() {
    let args = |bits: u64, strategy: &str, sym: bool| {
        let group = if strategy == "group" { json!(16) } else { json!(null) };
        json!({"num_bits": bits, "type": "int", "symmetric": sym, "strategy": strategy, "group_size": group, "dynamic": false})
    };
    let mut cases: Vec<Case> = vec![("dense", &[], Small::dense()), ("packed", &[], Small::packed())];
    for bits in [4, 8] {
        for strategy in ["group", "channel", "tensor"] {
            for sym in [true, false] {
                cases.push(("variant", &[], Small::packed_with(&args(bits, strategy, sym))));
            }
        }
    }
    judge(cases);
}

#[test]
fn configurations() {
    let d = Small::dense;
    judge(vec![
        ("other model", &["config-architecture"], d().set("model_type", json!("llama"))),
        ("other class", &["config-architecture"], d().set("architectures", json!(["LlamaForCausalLM"]))),
        ("no layers", &["config-field-missing"], d().unset("num_hidden_layers")),
        ("zero layers", &["config-field-invalid"], d().set("num_hidden_layers", json!(0))),
        ("a billion layers", &["config-field-invalid"], d().set("num_hidden_layers", json!(1_000_000_000))),
        ("dimension as text", &["config-field-invalid"], d().set("hidden_size", json!("32"))),
        ("fractional", &["config-field-invalid"], d().set("hidden_size", json!(32.5))),
        ("negative", &["config-field-invalid"], d().set("vocab_size", json!(-16))),
        ("2^64 - 1", &["config-field-invalid"], d().set("vocab_size", json!(u64::MAX))),
        ("kv does not divide", &["config-field-invalid"], d().set("num_key_value_heads", json!(3))),
        ("odd head", &["config-field-invalid"], d().set("head_dim", json!(7))),
        ("pruned heads, no head_dim", &["config-head-dim-missing"], d().unset("head_dim").set("num_attention_heads", json!(6))),
        ("activation", &["config-field-invalid"], d().set("hidden_act", json!("gelu"))),
        ("bias", &["config-bias"], d().set("attention_bias", json!(true))),
        ("bias false is fine", &[], d().set("attention_bias", json!(false))),
        ("logit scale", &["config-logit-scale"], d().set("logit_scale", json!(0.5))),
        ("logit scale 1 is fine", &[], d().set("logit_scale", json!(1))),
        ("eps", &["config-field-invalid"], d().set("rms_norm_eps", json!(0))),
        ("no theta", &["config-field-missing"], d().unset("rope_theta")),
        ("theta inside", &[], d().unset("rope_theta").set("rope_parameters", json!({"rope_type": "default", "rope_theta": 1e6}))),
        ("two thetas", &["config-fields-disagree"], d().set("rope_parameters", json!({"rope_type": "default", "rope_theta": 1e4}))),
        ("yarn", &["config-rope-not-supported"], d().set("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}))),
        ("llama3 without factors", &["config-field-missing"; 4], d().set("rope_scaling", json!({"type": "llama3"}))),
        (
            "factors reversed",
            &["config-field-invalid"],
            d().set("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 8192})),
        ),
        ("rope as text", &["config-field-invalid"], d().set("rope_scaling", json!("llama3"))),
        ("eos beyond the vocabulary", &["config-field-invalid"], d().set("eos_token_id", json!([2, 16]))),
        ("two dtypes", &["config-fields-disagree"], d().set("dtype", json!("float16"))),
        ("unknown dtype", &["config-field-invalid"], d().set("torch_dtype", json!("int8"))),
        ("layer_types too long", &["config-layer-types-length"], d().set("layer_types", json!(vec!["full_attention"; 3]))),
        ("layer_types odd", &["config-field-invalid"], d().set("layer_types", json!(["full_attention", "chunked_attention"]))),
        ("layer_types missing", &["config-layer-types-missing"], d().unset("layer_types")),
        ("sliding without window", &["config-sliding-without-window"], d().set("layer_types", json!(["sliding_attention", "full_attention"]))),
        ("window without sliding", &["config-window-without-sliding"], d().set("sliding_window", json!(4096))),
        ("window left to its default", &["config-window-without-sliding"], d().unset("sliding_window")),
        (
            "hybrid by pattern",
            &[],
            d().unset("layer_types").set("sliding_window", json!(16)).set("sliding_window_pattern", json!("LG")),
        ),
        ("pattern zero", &["config-field-invalid"], d().unset("layer_types").set("sliding_window", json!(16)).set("sliding_window_pattern", json!(0))),
        ("auto_map is only a finding", &[], d().set("auto_map", json!({"AutoModel": "modeling.Model"}))),
        ("quantization_config {}", &[], d().set("quantization_config", json!({}))),
        ("quantization_config null", &[], d().set("quantization_config", json!(null))),
        ("quantization_config text", &["quantization-config-invalid"], d().set("quantization_config", json!("gptq"))),
        ("no quant_method", &["quantization-config-invalid"], d().set("quantization_config", json!({"bits": 4}))),
        ("unheard of", &["format-unknown"], d().set("quantization_config", json!({"quant_method": "zipnn"}))),
        ("announced, not done", &["not-compressed"], d().set("quantization_config", Small::packed().config["quantization_config"].clone())),
    ]);
    let weights = file_of(&Small::dense().tensors);
    for source in [
        "",
        "{",
        "[]",
        "null",
        r#"{"a":1,"a":2}"#,
        &"[".repeat(5000),
        "\u{FEFF}{}",
    ] {
        let found = verify(&listing_of(source.as_bytes(), &weights, &[]), None, None);
        assert_eq!(codes(&found.problems), ["config-unreadable"], "{source:.20}");
    }
}

#[test]
fn quantization_configurations() {
    let p = Small::packed;
    let group = |q: &mut Value, field: &str, value: Value| q["config_groups"]["group_0"][field] = value;
    let weight = |q: &mut Value, field: &str, value: Value| q["config_groups"]["group_0"]["weights"][field] = value;
    let mut look_ahead = p().quant(|q| group(q, "targets", json!(["re:^(?!.*lm_head).*(proj|embed)$"])));
    look_ahead.config["quantization_config"]["ignore"] = json!([]);
    judge(vec![
        (
            "config lost",
            &["quantization-config-missing"],
            p().unset("quantization_config"),
        ),
        (
            "no groups",
            &["quantization-config-invalid"],
            p().quant(|q| q["config_groups"] = json!({})),
        ),
        (
            "no targets",
            &["quantization-config-invalid"],
            p().quant(|q| group(q, "targets", json!(null))),
        ),
        (
            "targets of numbers",
            &["quantization-config-invalid"],
            p().quant(|q| group(q, "targets", json!([1]))),
        ),
        (
            "bad regex",
            &["quantization-config-invalid"],
            p().quant(|q| q["ignore"] = json!(["re:("])),
        ),
        (
            "slow regex",
            &["quantization-config-invalid"],
            p().quant(|q| q["ignore"] = json!([r"re:(?=m)((\w|\.)+)+\1\1\1!"])),
        ),
        (
            "too many regexes",
            &["quantization-config-invalid"],
            p().quant(|q| q["ignore"] = json!(vec!["re:x"; 100])),
        ),
        (
            "too many entries",
            &["quantization-config-invalid"],
            p().quant(|q| q["ignore"] = json!(vec!["x"; 10_001])),
        ),
        (
            "many names are fine",
            &[],
            p().quant(|q| {
                q["ignore"] = json!(
                    (0..9000)
                        .map(|i| format!("m.{i}"))
                        .chain(["lm_head".into()])
                        .collect::<Vec<_>>()
                )
            }),
        ),
        ("look-ahead is fine", &[], look_ahead),
        (
            "python syntax",
            &["quantization-config-invalid"],
            p().quant(|q| weight(q, "num_bits", json!("4"))),
        ),
        (
            "group size 0",
            &["quantization-config-invalid"],
            p().quant(|q| weight(q, "group_size", json!(0))),
        ),
        (
            "group without size",
            &["quantization-config-invalid"],
            p().quant(|q| weight(q, "group_size", json!(null))),
        ),
        (
            "strategy unknown",
            &["quantization-config-invalid"],
            p().quant(|q| weight(q, "strategy", json!("row"))),
        ),
        (
            "unknown keys are a finding",
            &[],
            p().quant(|q| weight(q, "shiny", json!(1))),
        ),
        (
            "three bits in words of four: of 32 columns they could be the older packing, of 48 not",
            &["bits-differ"; 2],
            p().quant(|q| weight(q, "num_bits", json!(3))),
        ),
        (
            "actorder group without its tensors",
            &["tensor-missing"; 7],
            p().quant(|q| weight(q, "actorder", json!("group"))),
        ),
        (
            "actorder static",
            &[],
            p().quant(|q| weight(q, "actorder", json!("static"))),
        ),
        (
            "activations in a packed format",
            &[],
            p().quant(|q| {
                group(
                    q,
                    "input_activations",
                    json!({"num_bits": 8, "dynamic": true, "strategy": "token"}),
                )
            }),
        ),
        (
            "labelled int-quantized",
            &["module-layout"; 7],
            p().quant(|q| q["format"] = json!("int-quantized")),
        ),
        ("format left out", &[], p().quant(|q| q["format"] = json!("fakequant"))),
        (
            "sparse, it says",
            &[],
            p().quant(|q| q["sparsity_config"] = json!({"format": "sparse-24-bitmask"})),
        ),
        (
            "a transform without a type",
            &["quantization-config-invalid"],
            p().quant(|q| q["transform_config"] = json!({"config_groups": {"R4": {}}})),
        ),
        (
            "empty transforms",
            &[],
            p().quant(|q| q["transform_config"] = json!({"config_groups": {}})),
        ),
        (
            "shorthand",
            &["group-size-differs"; 7],
            p().quant(|q| q["config_groups"] = json!({"W4A16": ["Linear"]})),
        ),
        (
            "lm_head not ignored",
            &["head-not-ignored"],
            p().quant(|q| q["ignore"] = json!([])),
        ),
        (
            "one matrix dense",
            &["module-packed"],
            p().quant(|q| q["ignore"] = json!(["lm_head", "model.layers.0.mlp.up_proj"])),
        ),
        (
            "kv cache is a finding",
            &[],
            p().quant(|q| q["kv_cache_scheme"] = json!({"num_bits": 8, "type": "float", "dynamic": true})),
        ),
        (
            "group does not divide",
            &[],
            Small::packed_with(
                &json!({"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 32, "dynamic": false}),
            ),
        ),
    ]);
}
