//! auto-round's `auto_round:llm_compressor`: the tensors of compressed-tensors (MXFP4, MXFP8, NVFP4 and what else it packs so) under
//! auto-round's own keys. They are said again in compressed-tensors' words, so that everything that knows those knows these.
//!
//! Groups of inputs get their scales as compressed-tensors and vLLM compute them; auto-round's own simulation rounds the shared
//! exponent of microscaled inputs down where compressed-tensors rounds it to the nearest.

use assay_contest::Problem;
use serde_json::{Map, Value, json};

use super::super::keys::Keys;
use super::super::refuse::because;
use super::{EXPORT_AGAIN, blocks, extras, quantizes_head, said_packing};
use crate::problem::quoted;
use crate::verify::invalid;

/// Means a configuration of auto-round stands over compressed-tensors' tensors.
pub(crate) fn is_compressed(map: &Map<String, Value>) -> bool {
    let keys = Keys(map);
    // microscaled floats have no other packing, whatever a version calls it
    let micro = |kind: String| kind.starts_with("mx_") || kind.starts_with("nv_");
    keys.text("data_type").is_ok_and(|kind| kind.is_some_and(micro))
        || said_packing(keys).is_ok_and(|said| said == "llm_compressor")
}

/// Modules that have a scheme of their own.
struct Exception {
    /// by their names, not by patterns
    named: bool,
    scheme: Map<String, Value>,
    targets: Vec<String>,
}

/// The same configuration as compressed-tensors writes it.
pub(crate) fn as_compressed(map: &Map<String, Value>) -> Result<Map<String, Value>, Box<Problem>> {
    let keys = Keys(map);
    let extras = extras(keys)?;
    let mut whole = map.clone();
    whole.remove("extra_config");
    let mut ignore = Vec::new();
    // An entry a module is usual where bits are given out by sensitivity, so that entries of one scheme are one group. A name means
    // more than a pattern wherever it stands; of patterns the first that means a module decides, and they stay in their order.
    let mut exceptions: Vec<Exception> = Vec::new();
    for extra in &extras {
        let named = extra.pattern.is_none();
        let target = match named {
            true => extra.name.to_owned(),
            false => format!("re:{}", extra.name),
        };
        let mut own = whole.clone();
        own.extend(extra.keys.0.clone());
        let Some(scheme) = group(Keys(&own))? else {
            ignore.push(target);
            continue;
        };
        let alike = exceptions.iter_mut().rev().filter(|e| e.named == named);
        let found = match named {
            true => alike.into_iter().find(|e| e.scheme == scheme),
            false => alike.take(1).find(|e| e.scheme == scheme),
        };
        match found {
            Some(exception) => exception.targets.push(target),
            None => exceptions.push(Exception {
                named,
                scheme,
                targets: vec![target],
            }),
        }
    }
    let mut groups = Map::new();
    for (at, mut exception) in exceptions.into_iter().enumerate() {
        exception.scheme.insert("targets".to_owned(), json!(exception.targets));
        groups.insert(format!("extra_{at:05}"), Value::Object(exception.scheme));
    }
    if !quantizes_head(keys)? && !extras.iter().any(|extra| extra.name == "lm_head") {
        ignore.push("lm_head".to_owned());
    }
    if let Some(mut group) = group(keys)? {
        let inside = |block: &&str| format!("re:^{}\\..*", block.replace('.', "\\."));
        let targets = match blocks(keys)? {
            Some(list) => list.iter().map(inside).collect(),
            None => vec!["Linear".to_owned()],
        };
        group.insert("targets".to_owned(), json!(targets));
        groups.insert("group_0".to_owned(), Value::Object(group));
    }
    Ok(object([
        ("quant_method", json!("compressed-tensors")),
        ("config_groups", Value::Object(groups)),
        ("ignore", json!(ignore)),
        ("quantization_status", json!("compressed")),
    ]))
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// One group's scheme and format; `None` for one that stays as it is.
fn group(keys: Keys) -> Result<Option<Map<String, Value>>, Box<Problem>> {
    let bits = keys.bits("bits")?.ok_or_else(|| Box::new(invalid("bits is missing")))?;
    if bits >= 16 {
        return Ok(None);
    }
    let kind = keys.text("data_type")?.unwrap_or_else(|| "int".to_owned());
    let size = keys.get("group_size").cloned().unwrap_or(json!(128));
    let symmetric = keys.flag("sym", true)?;
    let weights = scheme(&kind, bits, &size, symmetric, false)?;
    let act_bits = keys.bits("act_bits")?.unwrap_or(16);
    let inputs = if act_bits >= 16 {
        Value::Null
    } else {
        let kind = keys.text("act_data_type")?.unwrap_or(kind.clone());
        let size = keys.get("act_group_size").cloned().unwrap_or(json!(-1));
        scheme(
            &kind,
            act_bits,
            &size,
            keys.flag("act_sym", true)?,
            keys.flag("act_dynamic", true)?,
        )?
    };
    let format = match (family(&kind), bits) {
        (Some("mx"), 4) => "mxfp4-pack-quantized",
        (Some("mx"), 6) => "mxfp6-pack-quantized",
        (Some("mx"), 8) => "mxfp8-quantized",
        (Some("nv"), 4) => "nvfp4-pack-quantized",
        (Some("fp"), 8) => "float-quantized",
        (Some("int"), 8) if !inputs.is_null() => "int-quantized",
        (Some("int"), _) => "pack-quantized",
        _ => return Err(unknown(&kind, bits)),
    };
    Ok(Some(object([
        ("weights", weights),
        ("input_activations", inputs),
        ("format", json!(format)),
    ])))
}

/// `mx_fp`, `mx_fp_rceil`; `nv_fp`, `nv_fp4_with_static_gs`; `fp`, `fp8_e4m3`; `int`.
fn family(kind: &str) -> Option<&'static str> {
    ["mx_fp", "nv_fp", "fp", "int"]
        .into_iter()
        .find(|family| kind.starts_with(family))
        .map(|family| family.trim_end_matches("_fp"))
}

/// A quantization of weights, or of inputs where `dynamic` says that their scales are computed as it runs.
fn scheme(kind: &str, bits: i64, size: &Value, symmetric: bool, dynamic: bool) -> Result<Value, Box<Problem>> {
    let more = match family(kind) {
        Some("mx") => {
            json!({ "type": "float", "strategy": "group", "group_size": size, "scale_dtype": "torch.uint8" })
        }
        Some("nv") => {
            json!({ "type": "float", "strategy": "tensor_group", "group_size": size,
                    "scale_dtype": "torch.float8_e4m3fn" })
        }
        Some(plain @ ("fp" | "int")) => {
            let kind = if plain == "fp" { "float" } else { "int" };
            match (size.as_i64(), size.as_array()) {
                (Some(0), _) => json!({ "type": kind, "strategy": "tensor" }),
                (Some(-1), _) if dynamic => json!({ "type": kind, "strategy": "token" }),
                (Some(-1), _) => json!({ "type": kind, "strategy": "channel" }),
                (Some(_), _) => json!({ "type": kind, "strategy": "group", "group_size": size }),
                (_, Some(_)) => json!({ "type": kind, "strategy": "block", "block_structure": size }),
                _ => return Err(Box::new(invalid(&format!("group_size: {}", quoted(&size.to_string()))))),
            }
        }
        _ => return Err(unknown(kind, bits)),
    };
    let mut args = object([
        ("num_bits", json!(bits)),
        ("symmetric", json!(symmetric)),
        // of NVFP4's inputs the scales of groups are computed, the one of the matrix is stored
        (
            "dynamic",
            if dynamic && family(kind) == Some("nv") {
                json!("local")
            } else {
                json!(dynamic)
            },
        ),
    ]);
    args.extend(more.as_object().cloned().unwrap_or_default());
    Ok(Value::Object(args))
}

fn unknown(kind: &str, bits: i64) -> Box<Problem> {
    let kind = quoted(kind);
    Box::new(because(
        "auto-round",
        (
            format!("data_type \"{kind}\" of {bits} bits is none of compressed-tensors'"),
            format!("{bits}비트 data_type \"{kind}\"은(는) compressed-tensors에 없는 방식입니다"),
        ),
        EXPORT_AGAIN,
    ))
}
