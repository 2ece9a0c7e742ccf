//! Every storage format there is, by name: from the configuration, or from the tensors when the configuration is silent.

use std::collections::BTreeMap;

use serde_json::Value;

use super::args::{Dynamic, Kind, ScaleType};
use super::config::{Group, QuantConfig};
use crate::safetensors::{Dtype, TensorInfo};

/// `quant_method` values of other tools that are recognised, and the format name each is given.
const METHODS: [(&str, &str); 38] = [
    ("gptq", "gptq"),
    ("awq", "awq"),
    ("fp8", "fp8"),
    ("fbgemm_fp8", "fbgemm_fp8"),
    ("bitsandbytes", "bitsandbytes"),
    ("mxfp4", "mxfp4"),
    ("torchao", "torchao"),
    ("hqq", "hqq"),
    ("auto-round", "auto-round"),
    ("intel/auto-round", "auto-round"),
    ("inc", "auto-round"),
    ("gguf", "gguf"),
    ("modelopt", "modelopt"),
    ("modelopt_fp4", "modelopt"),
    ("quark", "quark"),
    ("fp_quant", "fp_quant"),
    ("bitnet", "bitnet"),
    ("eetq", "eetq"),
    ("aqlm", "aqlm"),
    ("vptq", "vptq"),
    ("spqr", "spqr"),
    ("higgs", "higgs"),
    ("quanto", "quanto"),
    ("sinq", "sinq"),
    ("four_over_six", "four_over_six"),
    ("metal", "metal"),
    ("quip", "quip"),
    ("exl2", "exl2"),
    ("exl3", "exl3"),
    ("qqq", "qqq"),
    ("ptpc_fp8", "ptpc_fp8"),
    ("deepspeedfp", "deepspeedfp"),
    ("rtn", "rtn"),
    ("tpu_int8", "tpu_int8"),
    ("petit_nvfp4", "petit_nvfp4"),
    ("experts_int8", "experts_int8"),
    ("ipex", "ipex"),
    ("humming", "humming"),
];

/// Formats of compressed-tensors.
const COMPRESSED: [&str; 13] = [
    "dense",
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp6-pack-quantized",
    "mxfp8-quantized",
    "mixed-precision",
    "sparse-bitmask",
    "sparse-24-bitmask",
    "marlin-24",
];

/// The format of another tool's `quant_method`; `None` for one nobody has heard of.
pub(crate) fn of_method(method: &str) -> Option<&'static str> {
    METHODS
        .into_iter()
        .find(|(name, _)| *name == method)
        .map(|(_, format)| format)
}

/// Whether tensors that look like `looks` may be another tool's `format`.
pub(crate) fn agrees(format: &str, looks: &str) -> bool {
    match format {
        "auto-round" => matches!(looks, "gptq" | "awq" | "float-quantized" | "fp8"),
        "fp8" => matches!(looks, "fp8" | "float-quantized"),
        "fbgemm_fp8" => looks == "float-quantized",
        "modelopt" => matches!(looks, "modelopt" | "float-quantized"),
        _ => format == looks,
    }
}

/// The name of a compressed-tensors format, if it is one.
pub(crate) fn compressed(name: &str) -> Option<&'static str> {
    COMPRESSED.into_iter().find(|known| *known == name)
}

/// The format of a group: its own, else the model's, else what compressed-tensors 0.20 infers. The flag says it was inferred.
pub(crate) fn of_group(config: &QuantConfig, group: &Group) -> (Option<&'static str>, bool) {
    let said = group
        .format
        .as_deref()
        .or(config.format.as_deref().filter(|f| *f != "mixed-precision"));
    match said {
        Some(name) => (compressed(name), false),
        None => (Some(infer(group)), true),
    }
}

fn infer(group: &Group) -> &'static str {
    let Some(weights) = group.weights else { return "dense" };
    let grouped = |size: u64| weights.group == Some(size);
    match (weights.kind, weights.bits) {
        (Kind::Float, 4) if grouped(32) => "mxfp4-pack-quantized",
        (Kind::Float, 6) => "mxfp6-pack-quantized",
        (Kind::Float, 8) if grouped(32) && weights.scales == ScaleType::E8m0 => "mxfp8-quantized",
        (Kind::Float, 4) if grouped(16) => "nvfp4-pack-quantized",
        (Kind::Int, _) if group.input.is_some() => "int-quantized",
        (Kind::Int, 1..=8) => "pack-quantized",
        (Kind::Float, 8) if group.input.is_some() => "float-quantized",
        _ => "naive-quantized",
    }
}

/// `W4A16 g128 sym`; floats say so: `W8A8 fp channel sym`.
pub(crate) fn scheme(group: &Group) -> String {
    let Some(weights) = group.weights else {
        return "unquantized".to_owned();
    };
    let activations = group.input.map_or(16, |a| a.bits);
    let kind = if weights.kind == Kind::Float { " fp" } else { "" };
    let fixed = match group.input.map(|a| (a.dynamic, a.symmetric)) {
        Some((Dynamic::No, true)) => " static",
        Some((Dynamic::No, false)) => " static asym inputs",
        Some((_, false)) => " asym inputs",
        _ => "",
    };
    format!(
        "W{}A{activations}{kind} {}{fixed}",
        weights.bits,
        weights.sharing_text()
    )
}

/// The same for the configurations of GPTQ, AWQ and auto-round, as far as their keys tell.
pub(crate) fn scheme_of_other(block: &serde_json::Map<String, Value>) -> String {
    let Some(bits) = block.get("bits").or(block.get("w_bit")).and_then(Value::as_u64) else {
        return String::new();
    };
    let group = block
        .get("group_size")
        .or(block.get("q_group_size"))
        .and_then(Value::as_i64);
    let group = match group {
        Some(-1) => " channel".to_owned(),
        Some(g) => format!(" g{g}"),
        None => String::new(),
    };
    let sym = block
        .get("sym")
        .and_then(Value::as_bool)
        .or(block.get("zero_point").and_then(Value::as_bool).map(|z| !z));
    let sym = match sym {
        Some(true) => " sym",
        Some(false) => " asym",
        None => "",
    };
    format!("W{bits}A16{group}{sym}")
}

/// What the tensors look like, whatever the configuration says; `None` for plain floats only.
pub(crate) fn fingerprint<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a TensorInfo)>) -> Option<&'static str> {
    let all: BTreeMap<&str, &TensorInfo> = tensors.into_iter().collect();
    let beside = |stem: &str, suffix: &str| all.get(format!("{stem}{suffix}").as_str()).copied();
    for (name, info) in &all {
        let found = if let Some(stem) = name.strip_suffix(".weight_packed") {
            match info.dtype {
                _ if beside(stem, ".meta").is_some() => Some("marlin-24"),
                Dtype::I32 => Some("pack-quantized"),
                _ if beside(stem, ".weight_global_scale").is_some() => Some("nvfp4-pack-quantized"),
                _ => Some("mxfp4-pack-quantized"),
            }
        } else if let Some(stem) = name.strip_suffix(".qweight") {
            // GPTQ keeps the columns of `scales`, AWQ packs them eight to a word
            let columns = |t: &TensorInfo| t.shape.last().copied();
            match beside(stem, ".scales") {
                Some(scales) if columns(scales) != columns(info) => Some("awq"),
                _ => Some("gptq"),
            }
        } else if name.ends_with(".weight.absmax") || name.ends_with(".SCB") {
            Some("bitsandbytes")
        } else if name.ends_with(".W_q") {
            Some("hqq")
        } else if name.ends_with("._weight_qdata") {
            Some("torchao")
        } else if name.ends_with("_blocks") {
            Some("mxfp4")
        } else if let Some(stem) = name.strip_suffix(".bitmask") {
            Some(if stem.ends_with(".weight") {
                "sparse-bitmask"
            } else {
                "sparse-24-bitmask"
            })
        } else if let Some(stem) = name.strip_suffix(".weight") {
            match info.dtype {
                Dtype::I8 if beside(stem, ".SCB").is_none() => Some("int-quantized"),
                Dtype::U8 if beside(stem, ".weight_scale_2").is_some() => Some("modelopt"),
                Dtype::F8_E4M3 if beside(stem, ".weight_scale_inv").is_some() => Some("fp8"),
                Dtype::F8_E4M3 if beside(stem, ".weight_scale").is_some_and(|s| s.dtype == Dtype::U8) => {
                    Some("mxfp8-quantized")
                }
                Dtype::F8_E4M3 => Some("float-quantized"),
                _ => None,
            }
        } else {
            None
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
