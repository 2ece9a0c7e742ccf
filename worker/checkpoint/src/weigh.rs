//! Exact weight by group, and where bytes can be saved.

use std::collections::BTreeMap;

use assay_contest::CheckpointRules;

use crate::config::ModelConfig;
use crate::inspection::{Group, Hint, Weight};
use crate::listing::Listing;
use crate::model::Module;
use crate::problem::text;
use crate::quant::{Layout, Quantized, Storage, Strategy};
use crate::safetensors::{Header, TensorInfo};

/// The groups in the order they are shown.
const GROUPS: [&str; 10] = [
    "embedding",
    "head",
    "attention",
    "mlp",
    "norms",
    "scales",
    "zero_points",
    "shapes",
    "header",
    "other",
];

/// The group of a tensor, by its name.
fn group_of(name: &str) -> &'static str {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last {
        "weight_zero_point" | "input_zero_point" | "k_zero_point" | "v_zero_point" | "q_zero_point" | "qzeros"
        | "zero" => "zero_points",
        "weight_shape" | "weight_g_idx" | "g_idx" | "shape" | "bitmask" | "row_offsets" | "meta" => "shapes",
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

/// What the hints need to know.
pub(crate) struct Saving<'a> {
    pub model: &'a ModelConfig,
    pub storage: &'a BTreeMap<Module, Storage>,
    pub tensors: &'a BTreeMap<&'a str, &'a TensorInfo>,
    pub rules: Option<&'a CheckpointRules>,
    /// the base's `tie_word_embeddings`
    pub base_ties: Option<bool>,
}

/// Hints, most bytes first.
pub(crate) fn hints(look: &Saving) -> Vec<Hint> {
    let mut hints: Vec<Hint> = [
        duplicate_head(look),
        dense_matrices(look),
        dense_embedding(look),
        eight_bits(look),
        loose_codes(look),
        small_groups(look),
        wide_floats(look),
    ]
    .into_iter()
    .flatten()
    .filter(|hint| hint.saves > 0)
    .collect();
    // stable: equal savings stay in the order above, sure ones first
    hints.sort_by_key(|hint| std::cmp::Reverse(hint.saves));
    hints
}

fn hint(code: &str, saves: u64, en: String, ko: String) -> Option<Hint> {
    Some(Hint {
        code: code.to_owned(),
        saves,
        message: text(en, ko),
    })
}

/// Bytes of a [out, in] matrix in four bits with BF16 scales for every `group` columns, its shape included.
fn four_bits(out: u64, cols: u64, group: u64) -> u64 {
    out * (cols * 4).div_ceil(32) * 4 + out * cols.div_ceil(group) * 2 + 16
}

/// A copy of the embedding as head: certain when tied; likely when the base is tied and nothing but the flag differs.
fn duplicate_head(look: &Saving) -> Option<Hint> {
    let head = look.tensors.get("lm_head.weight")?;
    let embedding = look
        .tensors
        .get(format!("{}.weight", Module::Embedding.name(look.model.family)).as_str())?;
    if head.shape != embedding.shape || head.dtype != embedding.dtype {
        return None;
    }
    let saves = head.bytes();
    let likely = look.base_ties == Some(true);
    if look.model.tie {
        return hint(
            "tied-copy",
            saves,
            format!(
                "Remove lm_head.weight: the head is tied to the embedding and the copy is never used. Saves {saves} bytes."
            ),
            format!(
                "lm_head.weight를 지우세요. 헤드는 임베딩에 묶여 있어 사본은 쓰이지 않습니다. {saves}바이트가 줄어듭니다."
            ),
        );
    }
    if !likely {
        return None;
    }
    hint(
        "untied-duplicate",
        saves,
        format!(
            "The base model ties its head to the embedding; here lm_head.weight is stored beside it. If both are equal (tools untie without changing them), remove it and set tie_word_embeddings to true: it saves {saves} bytes."
        ),
        format!(
            "기준 모델은 헤드가 임베딩에 묶여 있는데 여기에는 lm_head.weight가 따로 있습니다. 둘이 같다면(도구가 값은 그대로 두고 풀어 놓는 일이 많습니다) 지우고 tie_word_embeddings를 true로 하세요. {saves}바이트가 줄어듭니다."
        ),
    )
}

/// The same hint once the bytes have been compared and are equal.
pub(crate) fn copy_hint(saves: u64) -> Option<Hint> {
    hint(
        "untied-duplicate",
        saves,
        format!(
            "lm_head.weight holds the same bytes as the embedding: remove it and set tie_word_embeddings to true. Nothing changes but the size: it saves {saves} bytes."
        ),
        format!(
            "lm_head.weight는 임베딩과 내용이 똑같습니다. 지우고 tie_word_embeddings를 true로 하세요. 결과는 같고 크기만 {saves}바이트 줄어듭니다."
        ),
    )
}

fn packing_allowed(look: &Saving, module: &str) -> bool {
    look.rules
        .is_none_or(|r| r.formats.iter().any(|f| f == "pack-quantized") && r.modules.iter().any(|m| m == module))
}

fn dense_matrices(look: &Saving) -> Option<Hint> {
    if !packing_allowed(look, "Linear") {
        return None;
    }
    let mut saves = 0;
    let mut count = 0;
    for (module, how) in look.storage {
        let (out, cols) = module.shape(look.model);
        if matches!(module, Module::Layer(..))
            && *how == Storage::Dense
            && let Some(info) = look
                .tensors
                .get(format!("{}.weight", module.name(look.model.family)).as_str())
        {
            count += 1;
            saves += info.bytes().saturating_sub(four_bits(out as u64, cols as u64, 128));
        }
    }
    hint(
        "dense-matrices",
        saves,
        format!(
            "{count} matrices are stored unquantized. In four bits with groups of 128 (W4A16) they would take {saves} bytes less; accuracy changes."
        ),
        format!(
            "행렬 {count}개가 양자화되지 않았습니다. 4비트 그룹 128(W4A16)이면 {saves}바이트가 줄어듭니다. 정확도는 달라집니다."
        ),
    )
}

/// Only where the contest names embed_tokens: tools do not do it by default and vLLM does not load it.
fn dense_embedding(look: &Saving) -> Option<Hint> {
    look.rules?;
    if !packing_allowed(look, "embed_tokens") || look.storage.get(&Module::Embedding) != Some(&Storage::Dense) {
        return None;
    }
    let info = look
        .tensors
        .get(format!("{}.weight", Module::Embedding.name(look.model.family)).as_str())?;
    let saves = info
        .bytes()
        .saturating_sub(four_bits(look.model.vocab as u64, look.model.hidden as u64, 128));
    hint(
        "dense-embedding",
        saves,
        format!(
            "This contest allows a quantized embedding: in four bits with groups of 128 it would take {saves} bytes less; accuracy changes."
        ),
        format!(
            "이 대회는 임베딩 양자화를 허용합니다. 4비트 그룹 128이면 {saves}바이트가 줄어듭니다. 정확도는 달라집니다."
        ),
    )
}

/// Sums a saving over the quantized matrices of the layers.
fn over_quantized(look: &Saving, saving: impl Fn(u64, u64, Quantized) -> u64) -> u64 {
    let of = |(module, how): (&Module, &Storage)| match (module, how) {
        (Module::Layer(..), Storage::Quantized(scheme)) => {
            let (out, cols) = module.shape(look.model);
            saving(out as u64, cols as u64, *scheme)
        }
        _ => 0,
    };
    look.storage.iter().map(of).sum()
}

/// Bytes of packed codes.
fn words(out: u64, cols: u64, bits: u64) -> u64 {
    out * (cols * bits).div_ceil(32) * 4
}

fn eight_bits(look: &Saving) -> Option<Hint> {
    let packing = packing_allowed(look, "Linear");
    let saves = over_quantized(look, |out, cols, q| match q.layout {
        Layout::Packed(_) if q.bits == 8 => words(out, cols, 8) - words(out, cols, 4),
        Layout::Bytes | Layout::Float8 if q.bits > 4 && packing => out * cols - words(out, cols, 4).min(out * cols),
        _ => 0,
    });
    hint(
        "eight-bit-matrices",
        saves,
        format!("Four bits instead of eight would take {saves} bytes less; accuracy changes."),
        format!("8비트 대신 4비트를 쓰면 {saves}바이트가 줄어듭니다. 정확도는 달라집니다."),
    )
}

/// Four-bit codes that take a byte each: packed they are the same codes.
fn loose_codes(look: &Saving) -> Option<Hint> {
    if !packing_allowed(look, "Linear") {
        return None;
    }
    let saves = over_quantized(look, |out, cols, q| match q.layout {
        // the packed form stores its shape as well
        Layout::Bytes if q.bits == 4 => (out * cols).saturating_sub(words(out, cols, 4) + 16),
        _ => 0,
    });
    hint(
        "loose-codes",
        saves,
        format!(
            "Four-bit weights are stored a byte each (int-quantized). Saved as pack-quantized the same weights take {saves} bytes less; nothing else changes."
        ),
        format!(
            "4비트 가중치를 한 바이트씩 저장했습니다(int-quantized). pack-quantized로 저장하면 값은 그대로이고 {saves}바이트가 줄어듭니다."
        ),
    )
}

fn small_groups(look: &Saving) -> Option<Hint> {
    let saves = over_quantized(look, |out, cols, p| match p.strategy {
        Strategy::Group(size) if size < 128 && !matches!(p.layout, Layout::Micro(_)) => {
            out * (cols.div_ceil(size) - cols.div_ceil(128)) * 2
        }
        _ => 0,
    });
    hint(
        "small-groups",
        saves,
        format!("Groups of 128 instead of smaller ones would take {saves} bytes of scales less; accuracy changes."),
        format!("그룹을 128로 키우면 scale이 {saves}바이트 줄어듭니다. 정확도는 달라집니다."),
    )
}

fn wide_floats(look: &Saving) -> Option<Hint> {
    // scales are used as they are stored
    let wide = look
        .tensors
        .iter()
        .filter(|(name, t)| name.ends_with(".weight") && t.dtype == crate::safetensors::Dtype::F32);
    let saves = wide.map(|(_, t)| t.bytes() / 2).sum();
    hint(
        "wide-floats",
        saves,
        format!("F32 tensors are rounded to bfloat16 anyway: storing them as BF16 saves {saves} bytes."),
        format!("F32 텐서는 어차피 bfloat16으로 반올림해 씁니다. BF16으로 저장하면 {saves}바이트가 줄어듭니다."),
    )
}
