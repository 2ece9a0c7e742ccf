//! auto-round's configurations over tensors of compressed-tensors and of float8.

use super::*;
use crate::folder::Folder;

/// The keys that every export of 0.15 has, and `more`.
fn said(more: &Value) -> Value {
    let mut keys = json!({"quant_method": "auto-round", "autoround_version": "0.15.1", "amp": false,
                          "block_name_to_quantize": "model.layers", "enable_quanted_input": false, "sym": true});
    let object = keys.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    keys
}

/// A fixture under auto-round's words.
fn folder(name: &str, more: &Value) -> tempfile::TempDir {
    let mut folder = Folder::of(name);
    folder.config["quantization_config"] = said(more);
    // llm-compressor's
    folder.files.remove("recipe.yaml");
    folder.save()
}

fn codes_of(dir: &std::path::Path) -> Vec<String> {
    look(dir).problems.iter().map(|problem| problem.code.clone()).collect()
}

const MX: &str = "auto_round:llm_compressor";

#[test]
fn compressed_tensors_under_its_words_are_the_same_matrices() {
    for (name, more, scheme) in [
        (
            "mxfp4a16",
            json!({"packing_format": MX, "data_type": "mx_fp", "bits": 4, "group_size": 32, "act_bits": 16}),
            "W4A16 fp g32 sym",
        ),
        (
            "mxfp4a16",
            json!({"packing_format": MX, "data_type": "mx_fp", "bits": 4, "group_size": 32, "act_bits": 4,
                   "act_data_type": "mx_fp_rceil", "act_group_size": 32, "act_dynamic": true, "act_sym": true}),
            "W4A4 fp g32 sym",
        ),
        (
            "nvfp4a16",
            json!({"packing_format": MX, "data_type": "nv_fp", "bits": 4, "group_size": 16, "act_bits": 16}),
            "W4A16 fp g16 sym",
        ),
        (
            "fp8-dynamic",
            json!({"packing_format": MX, "data_type": "fp", "bits": 8, "group_size": -1, "act_bits": 8,
                   "act_data_type": "fp", "act_group_size": -1, "act_dynamic": true}),
            "W8A8 fp channel sym",
        ),
        (
            "fp8-static",
            json!({"packing_format": MX, "data_type": "fp", "bits": 8, "group_size": 0, "act_bits": 8,
                   "act_data_type": "fp", "act_group_size": 0, "act_dynamic": false}),
            "W8A8 fp tensor sym static",
        ),
        (
            "w8a8",
            json!({"packing_format": MX, "data_type": "int", "bits": 8, "group_size": -1, "act_bits": 8,
                   "act_data_type": "int", "act_group_size": -1, "act_dynamic": true}),
            "W8A8 channel sym",
        ),
    ] {
        let own = Checkpoint::open(&checkpoint(name)).unwrap();
        let dir = folder(name, &more);
        let found = look(dir.path());
        assert_eq!(codes(&found.problems), [""; 0], "{name}");
        assert_eq!(found.scheme, scheme, "{name}");
        assert_eq!(digest(&Checkpoint::open(dir.path()).unwrap()), digest(&own), "{name}");
    }
}

#[test]
fn its_exceptions_by_name_and_by_pattern_hold() {
    // as written for a model whose first layer takes eight bits and whose last projection stays as it is
    let mut folder = Folder::of("mixed");
    folder.config["quantization_config"] = said(&json!({
        "packing_format": MX, "data_type": "int", "bits": 4, "group_size": 128, "act_bits": 16,
        "extra_config": {
            "model.layers.0.mlp.down_proj": {"bits": 16, "act_bits": 16},
            ".*self_attn.*": {"bits": 8, "group_size": -1},
        },
    }));
    folder.files.remove("recipe.yaml");
    let dir = folder.save();
    let found = look(dir.path());
    assert_eq!(codes(&found.problems), [""; 0]);
    assert_eq!(found.scheme, "W8A16 channel sym + W4A16 g128 sym");
    let own = Checkpoint::open(&checkpoint("mixed")).unwrap();
    assert_eq!(digest(&Checkpoint::open(dir.path()).unwrap()), digest(&own));
}

#[test]
fn an_entry_a_module_is_one_group_a_scheme() {
    // four bits for the whole, and every module but one said to be of eight: more entries than a configuration may have groups
    let mut folder = Folder::of("w8a16");
    let mut extra = serde_json::Map::new();
    for layer in 0..4 {
        for module in ["q", "k", "v", "o"].map(|m| format!("self_attn.{m}_proj")) {
            extra.insert(format!("model.layers.{layer}.{module}"), json!({"bits": 8}));
        }
        for module in ["gate", "up", "down"].map(|m| format!("mlp.{m}_proj")) {
            extra.insert(
                format!("model.layers.{layer}.{module}"),
                json!({"bits": 8, "group_size": 128}),
            );
        }
    }
    for number in 0..100 {
        extra.insert(format!("model.layers.{number}.nothing"), json!({"bits": 8}));
    }
    folder.config["quantization_config"] = said(&json!({
        "packing_format": MX, "data_type": "int", "bits": 4, "group_size": 128, "act_bits": 16, "extra_config": extra,
    }));
    folder.files.remove("recipe.yaml");
    let dir = folder.save();
    let found = look(dir.path());
    assert_eq!(codes(&found.problems), [""; 0]);
    let own = Checkpoint::open(&checkpoint("w8a16")).unwrap();
    assert_eq!(digest(&Checkpoint::open(dir.path()).unwrap()), digest(&own));
}

#[test]
fn what_is_none_of_those_is_refused_by_its_name() {
    for (name, more, sentence) in [
        (
            "mxfp4a16",
            json!({"packing_format": "auto_round", "data_type": "mx_int", "bits": 4, "group_size": 32, "act_bits": 4}),
            "mx_int",
        ),
        (
            "nvfp4a16",
            json!({"packing_format": MX, "data_type": "nv_fp", "bits": 8, "group_size": 16, "act_bits": 16}),
            "nv_fp",
        ),
    ] {
        let dir = folder(name, &more);
        let found = look(dir.path());
        assert_eq!(codes(&found.problems), ["format-refused"], "{name}");
        assert!(found.problems[0].message.en.contains(sentence), "{name}");
    }
    for broken in [
        json!({"packing_format": MX, "data_type": "mx_fp", "bits": 4, "group_size": "many"}),
        json!({"packing_format": MX, "data_type": "mx_fp", "bits": 99, "group_size": 32}),
        json!({"packing_format": MX, "data_type": "mx_fp", "group_size": 32}),
        json!({"packing_format": MX, "data_type": "fp", "bits": 8, "group_size": {}}),
        json!({"packing_format": MX, "data_type": "mx_fp", "bits": 4, "group_size": 32, "extra_config": {"x(": {"bits": 8}}}),
        json!({"packing_format": MX, "data_type": "mx_fp", "bits": 4, "group_size": 32, "extra_config": [1]}),
    ] {
        assert_eq!(
            codes_of(folder("mxfp4a16", &broken).path()),
            ["quantization-config-invalid"],
            "{broken}"
        );
    }
}

#[test]
fn float8_without_a_packing_is_float8() {
    let name = "fp8-static";
    let mut folder = Folder::of(name);
    folder.config["quantization_config"] = said(&json!({
        "data_type": "fp", "bits": 8, "group_size": 0, "activation_scheme": "dynamic", "fmt": "e4m3",
    }));
    folder.files.remove("recipe.yaml");
    folder.tensors.retain(|name, _| !name.ends_with(".input_scale"));
    let dir = folder.save();
    let found = look(dir.path());
    assert_eq!(codes(&found.problems), [""; 0]);
    assert_eq!(found.scheme, "W8A16 fp tensor sym");
    let own = Checkpoint::open(&checkpoint(name)).unwrap();
    assert_eq!(digest(&Checkpoint::open(dir.path()).unwrap()), digest(&own));
}
