//! Memory a device needs to run a submission, predicted from its configuration and tensors. The formula stands in docs/weight.md.

use std::collections::BTreeMap;

use assay_contest::{CacheRule, CheckpointRules};

use crate::config::{LayerType, ModelConfig};
use crate::inspection::{Fit, Memory};
use crate::model::{Module, Norm};
use crate::quant::Storage;
use crate::quant::cache::CacheScheme;
use crate::safetensors::TensorInfo;

/// Tokens of context where a contest says nothing.
const CONTEXT: u64 = 4096;
/// Bytes of a bfloat16.
const HALF: u64 = 2;
/// Tokens whose activations are held at once while a prompt is read.
const CHUNK: u64 = 512;

/// What it takes: weights as a runtime holds them, the KV cache of one conversation, and room to work in.
pub(crate) fn memory(
    model: &ModelConfig,
    storage: &BTreeMap<Module, Storage>,
    tensors: &BTreeMap<&str, &TensorInfo>,
    cache: Option<CacheScheme>,
    rules: Option<&CheckpointRules>,
) -> Memory {
    // a byte a value, whatever its codes: runtimes keep caches in fp8 or int8
    let applied = cache.filter(|_| rules.is_some_and(|r| r.kv_cache == CacheRule::Declared));
    let kv = |context| kv(model, if applied.is_some() { 1 } else { HALF }, context);
    let deployment = rules.and_then(|rules| rules.deployment.as_ref());
    let most = model.max_positions as u64;
    let context = deployment.map_or(CONTEXT, |d| d.context).min(most);
    let (weights, working) = (weights(model, storage, tensors), working(model));
    let needed = |context| weights.saturating_add(working).saturating_add(kv(context));
    let devices = deployment.into_iter().flat_map(|d| &d.devices).map(|device| {
        // a tenth stays with the runtime itself: vLLM's gpu_memory_utilization is 0.9 unless told otherwise
        let usable = device.memory_bytes / 10 * 9;
        Fit {
            name: device.name.clone(),
            memory_bytes: device.memory_bytes,
            usd_per_hour: device.usd_per_hour,
            fits: needed(context) <= usable,
            longest_context: longest(most, |tokens| needed(tokens) <= usable),
        }
    });
    Memory {
        context,
        weights,
        kv: kv(context),
        working,
        total: needed(context),
        devices: devices.collect(),
    }
}

/// Quantized matrices as they are stored, with everything that belongs to them; all else as bfloat16. A copy of a tied head is not held.
fn weights(model: &ModelConfig, storage: &BTreeMap<Module, Storage>, tensors: &BTreeMap<&str, &TensorInfo>) -> u64 {
    let norms: u64 = Norm::all(model).into_iter().map(|n| n.width(model) as u64 * HALF).sum();
    let held = storage
        .iter()
        .filter(|(module, _)| !(model.tie && **module == Module::Head));
    held.map(|(module, how)| match how {
        Storage::Quantized(_) => super::stored(&module.name(model.family), tensors),
        _ => {
            let (out, cols) = module.shape(model);
            (out as u64).saturating_mul(cols as u64).saturating_mul(HALF)
        }
    })
    .fold(norms, u64::saturating_add)
}

/// Keys and values of `context` tokens of so many `bytes` a value; a sliding layer keeps its window.
fn kv(model: &ModelConfig, bytes: u64, context: u64) -> u64 {
    let of_token = 2 * bytes * model.kv_heads as u64 * model.head_dim as u64;
    let kept = |kind: &LayerType| match (kind, model.sliding_window) {
        (LayerType::Sliding, Some(window)) => context.min(window as u64),
        _ => context,
    };
    let tokens: u64 = model.layer_types.iter().map(kept).fold(0, u64::saturating_add);
    tokens.saturating_mul(of_token)
}

/// Activations of a chunk of the prompt in bfloat16 (residual and its norm, queries, keys, values, gate and up) and a row of logits in float32.
fn working(model: &ModelConfig) -> u64 {
    let row = 2 * model.hidden + model.q_dim() + 2 * model.kv_dim() + 2 * model.intermediate;
    CHUNK * row as u64 * HALF + 4 * model.vocab as u64
}

/// The most tokens up to `most` for which it fits; 0 when none do. What is needed only grows with tokens.
fn longest(most: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = high - (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}
