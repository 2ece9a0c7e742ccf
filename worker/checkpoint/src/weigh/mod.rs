//! Exact weight by group, bits per parameter, where bytes can be saved, and the memory it takes to run.

mod hints;
mod memory;
mod plan;

use std::collections::BTreeMap;

use crate::config::ModelConfig;
use crate::inspection::{Group, Parameters, Weight};
use crate::listing::Listing;
use crate::model::{Module, Norm};
use crate::safetensors::{Header, TensorInfo};

pub(crate) use hints::{Saving, copy_hint, hints, without};
pub(crate) use memory::memory;

/// The groups in the order they are shown.
const GROUPS: [&str; 11] = [
    "embedding",
    "head",
    "attention",
    "mlp",
    "norms",
    "scales",
    "zero_points",
    "indices",
    "shapes",
    "header",
    "other",
];

/// The group of a tensor, by its name.
fn group_of(name: &str) -> &'static str {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last {
        "qzeros" | "zero" | "zeros" => "zero_points",
        _ if last.ends_with("zero_point") => "zero_points",
        // which column belongs to which group, which weights are there at all
        "weight_g_idx" | "g_idx" | "perm" | "bitmask" | "meta" | "row_offsets" => "indices",
        // what describes a tensor without being part of its values
        "weight_shape" | "shape" | "weight_format" | "nbits" | "group_size" | "axis" | "packing" => "shapes",
        _ if last.starts_with("bitsandbytes__") => "shapes",
        "scales" | "SCB" | "absmax" | "nested_absmax" | "quant_map" | "nested_quant_map" | "weight_scale_inv"
        | "weight_scale_2" | "scale_packed" => "scales",
        _ if last.ends_with("scale") => "scales",
        _ if name.starts_with("model.embed_tokens.") || name.starts_with("transformer.wte.") => "embedding",
        _ if name.starts_with("lm_head.") => "head",
        _ if name.contains("norm.") || name.contains(".ln_") => "norms",
        _ if name.contains(".self_attn.") || name.contains(".attn.") => "attention",
        _ if name.contains(".mlp.") => "mlp",
        _ => "other",
    }
}

/// Weighs the listed safetensors files. What a broken header hides, and whatever belongs to no tensor, is `other`; groups always add up.
pub(crate) fn weigh(listing: &Listing, headers: &[(String, Header)]) -> Weight {
    let files = listing.files.iter().filter(|f| f.name.ends_with(".safetensors"));
    let total = files.fold(0u64, |sum, f| sum.saturating_add(f.bytes));
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    let mut known = 0u64;
    for (_, header) in headers {
        let parts = header.tensors.iter().map(|(name, info)| (group_of(name), info.bytes()));
        for (group, bytes) in parts.chain([("header", header.header_bytes)]) {
            *sums.entry(group).or_default() += bytes;
            known += bytes;
        }
    }
    *sums.entry("other").or_default() += total.saturating_sub(known);
    let groups = GROUPS
        .into_iter()
        .filter_map(|name| {
            sums.get(name).filter(|b| **b > 0).map(|bytes| Group {
                name: name.to_owned(),
                bytes: *bytes,
            })
        })
        .collect();
    Weight { total, groups }
}

/// How many weights the model has, and what those of its layers' matrices take with everything that belongs to them.
pub(crate) fn parameters(model: &ModelConfig, tensors: &BTreeMap<&str, &TensorInfo>) -> Parameters {
    let size = |module: &Module| {
        let (out, cols) = module.shape(model);
        (out as u64).saturating_mul(cols as u64)
    };
    let norms: u64 = Norm::all(model).into_iter().map(|norm| norm.width(model) as u64).sum();
    let (mut total, mut linear, mut linear_bytes) = (norms, 0u64, 0u64);
    for module in Module::all(model) {
        if module == Module::Head && model.tie {
            continue;
        }
        total = total.saturating_add(size(&module));
        if matches!(module, Module::Layer(..)) {
            linear = linear.saturating_add(size(&module));
            linear_bytes = linear_bytes.saturating_add(stored(&module.name(model.family), tensors));
        }
    }
    Parameters {
        total,
        linear,
        linear_bytes,
    }
}

/// The tensors of a module: `NAME.weight` and its companions.
fn of_module<'a>(
    name: &str,
    tensors: &'a BTreeMap<&'a str, &'a TensorInfo>,
) -> impl Iterator<Item = (&'a str, &'a TensorInfo)> {
    let prefix = format!("{name}.");
    let from = std::ops::Bound::Included(prefix.as_str());
    let range: Vec<_> = tensors
        .range::<str, _>((from, std::ops::Bound::Unbounded))
        .take_while(|(tensor, _)| tensor.starts_with(&prefix))
        .map(|(tensor, info)| (*tensor, *info))
        .collect();
    range.into_iter()
}

/// Bytes of a module's tensors.
fn stored(name: &str, tensors: &BTreeMap<&str, &TensorInfo>) -> u64 {
    of_module(name, tensors).map(|(_, info)| info.bytes()).sum()
}
