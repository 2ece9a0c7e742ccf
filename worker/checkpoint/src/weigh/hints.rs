//! Ways to make it smaller, each with the bytes by which the files would get shorter: exactly, see [`super::plan`].

use std::collections::BTreeMap;

use assay_contest::CheckpointRules;
use assay_contest::problem::grouped;

use super::plan::{Change, saved};
use super::{of_module, stored};
use crate::config::ModelConfig;
use crate::inspection::Hint;
use crate::model::Module;
use crate::problem::text;
use crate::quant::{Layout, Quantized, Storage, Strategy};
use crate::safetensors::{Dtype, Header, TensorInfo};

/// What the hints need to know.
pub(crate) struct Saving<'a> {
    pub model: &'a ModelConfig,
    pub storage: &'a BTreeMap<Module, Storage>,
    pub tensors: &'a BTreeMap<&'a str, &'a TensorInfo>,
    pub headers: &'a [(String, Header)],
    pub rules: Option<&'a CheckpointRules>,
    /// the base's `tie_word_embeddings`
    pub base_ties: Option<bool>,
}

/// Hints, most bytes first.
pub(crate) fn hints(look: &Saving) -> Vec<Hint> {
    let mut hints: Vec<Hint> = [
        duplicate_head(look),
        unused(look),
        wide_floats(look),
        loose_codes(look),
        slack(look),
        wide_scales(look),
        order(look),
        zero_points(look),
        small_groups(look),
        eight_bits(look),
        dense_matrices(look),
        dense_table(look, Module::Embedding),
        dense_table(look, Module::Head),
    ]
    .into_iter()
    .flatten()
    .filter(|hint| hint.saves > 0)
    .collect();
    // stable: equal savings stay in the order above, those that change nothing else first
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

/// Bytes by which the files get shorter when that tensor is removed.
pub(crate) fn without(headers: &[(String, Header)], tensor: &str) -> u64 {
    let mut change = Change::default();
    change.remove(tensor);
    saved(headers, &change)
}

/// Puts a [out, in] matrix in four bits with BF16 scales for every 128 columns (W4A16) in the place of all that is stored of it.
fn four_bits(look: &Saving, module: Module, change: &mut Change) {
    let name = module.name(look.model.family);
    let (out, cols) = module.shape(look.model);
    let (out, cols) = (out as u64, cols as u64);
    let mut file = None;
    for (tensor, _) in of_module(&name, look.tensors) {
        change.remove(tensor);
        file = file.or(Some(tensor.to_owned()));
    }
    let Some(file) = file else { return };
    let mut add = |suffix: &str, dtype, shape| change.add(&file, format!("{name}.{suffix}"), dtype, shape);
    add("weight_packed", Dtype::I32, vec![out, cols.div_ceil(8)]);
    add("weight_scale", Dtype::BF16, vec![out, cols.div_ceil(128)]);
    add("weight_shape", Dtype::I64, vec![2]);
}

fn packing_allowed(look: &Saving, module: &str) -> bool {
    look.rules
        .is_none_or(|r| r.formats.iter().any(|f| f == "pack-quantized") && r.modules.iter().any(|m| m == module))
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
    let saves = without(look.headers, "lm_head.weight");
    let less = grouped(saves);
    if look.model.tie {
        return hint(
            "tied-copy",
            saves,
            format!(
                "Remove lm_head.weight: the head is tied to the embedding and the copy is never used. Saves {less} bytes."
            ),
            format!(
                "lm_head.weight를 지우세요. 헤드는 임베딩에 묶여 있어 사본은 쓰이지 않습니다. {less}바이트가 줄어듭니다."
            ),
        );
    }
    if look.base_ties != Some(true) {
        return None;
    }
    hint(
        "untied-duplicate",
        saves,
        format!(
            "The base model ties its head to the embedding; here lm_head.weight is stored beside it. If both are equal (tools untie without changing them), remove it and set tie_word_embeddings to true: it saves {less} bytes."
        ),
        format!(
            "기준 모델은 헤드가 임베딩에 묶여 있는데 여기에는 lm_head.weight가 따로 있습니다. 둘이 같다면(도구가 값은 그대로 두고 풀어 놓는 일이 많습니다) 지우고 tie_word_embeddings를 true로 하세요. {less}바이트가 줄어듭니다."
        ),
    )
}

/// The same hint once the bytes have been compared and are equal.
pub(crate) fn copy_hint(saves: u64) -> Option<Hint> {
    let less = grouped(saves);
    hint(
        "untied-duplicate",
        saves,
        format!(
            "lm_head.weight holds the same bytes as the embedding: remove it and set tie_word_embeddings to true. Nothing changes but the size: it saves {less} bytes."
        ),
        format!(
            "lm_head.weight는 임베딩과 내용이 똑같습니다. 지우고 tie_word_embeddings를 true로 하세요. 결과는 같고 크기만 {less}바이트 줄어듭니다."
        ),
    )
}

/// Tensors that are never read.
fn unused(look: &Saving) -> Option<Hint> {
    let mut change = Change::default();
    let names = look.tensors.keys().filter(|name| name.ends_with("rotary_emb.inv_freq"));
    names.for_each(|name| change.remove(*name));
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "unused-tensors",
        saves,
        format!("rotary_emb.inv_freq is computed from config.json: without the stored copies it is {less} bytes less."),
        format!("rotary_emb.inv_freq는 config.json에서 계산합니다. 저장된 것을 지우면 {less}바이트가 줄어듭니다."),
    )
}

/// Whatever the header has that the usual writer would leave out.
fn slack(look: &Saving) -> Option<Hint> {
    let saves = saved(look.headers, &Change::bare());
    let less = grouped(saves);
    hint(
        "header-slack",
        saves,
        format!(
            "The header is longer than it has to be (blanks, or metadata that nobody reads). Saved again by safetensors with {{\"format\": \"pt\"}} alone it is {less} bytes less."
        ),
        format!(
            "헤더가 필요 이상으로 깁니다(빈칸이나 아무도 읽지 않는 메타데이터). safetensors로 {{\"format\": \"pt\"}}만 넣어 다시 저장하면 {less}바이트가 줄어듭니다."
        ),
    )
}

fn dense_matrices(look: &Saving) -> Option<Hint> {
    if !packing_allowed(look, "Linear") {
        return None;
    }
    let mut change = Change::default();
    let mut count = 0;
    for (module, how) in look.storage {
        if matches!(module, Module::Layer(..)) && *how == Storage::Dense {
            four_bits(look, *module, &mut change);
            count += 1;
        }
    }
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "dense-matrices",
        saves,
        format!(
            "{count} matrices are stored unquantized. In four bits with groups of 128 (W4A16) they would take {less} bytes less; accuracy changes."
        ),
        format!(
            "행렬 {count}개가 양자화되지 않았습니다. 4비트 그룹 128(W4A16)이면 {less}바이트가 줄어듭니다. 정확도는 달라집니다."
        ),
    )
}

/// Embedding and head, only where the contest names them: tools do not do it by default and vLLM does not load it.
fn dense_table(look: &Saving, module: Module) -> Option<Hint> {
    look.rules?;
    let (code, kind, en, ko) = match module {
        Module::Head => ("dense-head", "lm_head", "head", "헤드"),
        _ => ("dense-embedding", "embed_tokens", "embedding", "임베딩"),
    };
    if (module == Module::Head && look.model.tie)
        || !packing_allowed(look, kind)
        || look.storage.get(&module) != Some(&Storage::Dense)
    {
        return None;
    }
    let mut change = Change::default();
    four_bits(look, module, &mut change);
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    let total: u64 = look.headers.iter().map(|(_, h)| h.file_bytes).sum();
    let share = stored(&module.name(look.model.family), look.tensors) as f64 * 100.0 / total as f64;
    hint(
        code,
        saves,
        format!(
            "The {en} is {share:.0}% of this submission, and this contest allows it to be quantized: in four bits with groups of 128 it would take {less} bytes less; accuracy changes."
        ),
        format!(
            "{ko}이(가) 제출물의 {share:.0}%이고 이 대회는 양자화를 허용합니다. 4비트 그룹 128이면 {less}바이트가 줄어듭니다. 정확도는 달라집니다."
        ),
    )
}

/// Calls `each` for every quantized matrix of the layers with its name, rows and columns.
fn each_quantized(look: &Saving, mut each: impl FnMut(Module, &str, u64, u64, Quantized)) {
    for (module, how) in look.storage {
        if let (Module::Layer(..), Storage::Quantized(scheme)) = (module, how) {
            let (out, cols) = module.shape(look.model);
            each(
                *module,
                &module.name(look.model.family),
                out as u64,
                cols as u64,
                *scheme,
            );
        }
    }
}

fn eight_bits(look: &Saving) -> Option<Hint> {
    if !packing_allowed(look, "Linear") {
        return None;
    }
    let mut change = Change::default();
    each_quantized(look, |module, _, _, _, q| {
        if q.bits == 8 {
            four_bits(look, module, &mut change);
        }
    });
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "eight-bit-matrices",
        saves,
        format!(
            "Four bits with groups of 128 (W4A16) instead of eight would take {less} bytes less; accuracy changes."
        ),
        format!("8비트 대신 4비트 그룹 128(W4A16)을 쓰면 {less}바이트가 줄어듭니다. 정확도는 달라집니다."),
    )
}

/// Narrow integers that take a byte each: packed they are the same integers.
fn loose_codes(look: &Saving) -> Option<Hint> {
    if !packing_allowed(look, "Linear") {
        return None;
    }
    let mut change = Change::default();
    each_quantized(look, |_, name, out, cols, q| {
        let codes = format!("{name}.weight");
        let bits = u64::from(q.bits);
        if bits >= 8 || look.tensors.get(codes.as_str()).is_none_or(|t| t.dtype != Dtype::I8) {
            return;
        }
        change.remove(&codes);
        change.add(
            &codes,
            format!("{name}.weight_packed"),
            Dtype::I32,
            vec![out, (cols * bits).div_ceil(32)],
        );
        change.add(&codes, format!("{name}.weight_shape"), Dtype::I64, vec![2]);
        let zeros = format!("{name}.weight_zero_point");
        if let Some(t) = look.tensors.get(zeros.as_str())
            && let [rows, groups] = t.shape[..]
        {
            change.replace(&zeros, Dtype::I32, vec![(rows * bits).div_ceil(32), groups]);
        }
    });
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "loose-codes",
        saves,
        format!(
            "Weights of fewer than eight bits are stored a byte each (int-quantized). Saved as pack-quantized the same weights take {less} bytes less; nothing else changes."
        ),
        format!(
            "8비트보다 좁은 가중치를 한 바이트씩 저장했습니다(int-quantized). pack-quantized로 저장하면 값은 그대로이고 {less}바이트가 줄어듭니다."
        ),
    )
}

/// Integers whose groups are narrower than 128, of compressed-tensors or GPTQ; the four-bit floats have groups of their own.
fn small_groups(look: &Saving) -> Option<Hint> {
    let mut change = Change::default();
    each_quantized(look, |_, name, _, cols, q| {
        let Strategy::Group(size) = q.strategy else { return };
        let (have, need) = (cols.div_ceil(size.max(1)), cols.div_ceil(128));
        if size >= 128 || have == need {
            return;
        }
        // rows × groups, or groups × columns
        for (suffix, axis) in [
            ("weight_scale", 1),
            ("weight_zero_point", 1),
            ("scales", 0),
            ("qzeros", 0),
        ] {
            let tensor = format!("{name}.{suffix}");
            if let Some(t) = look.tensors.get(tensor.as_str())
                && (t.dtype.is_plain_float() || t.dtype == Dtype::I32 || (axis == 1 && suffix.ends_with("point")))
                && t.shape.get(axis) == Some(&have)
            {
                let mut shape = t.shape.clone();
                shape[axis] = need;
                change.replace(&tensor, t.dtype, shape);
            }
        }
    });
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "small-groups",
        saves,
        format!("Groups of 128 instead of smaller ones would take {less} bytes less; accuracy changes."),
        format!("그룹을 128로 키우면 {less}바이트가 줄어듭니다. 정확도는 달라집니다."),
    )
}

fn wide_floats(look: &Saving) -> Option<Hint> {
    let mut change = Change::default();
    let wide = |name: &str, t: &TensorInfo| name.ends_with(".weight") && t.dtype == Dtype::F32;
    for (name, t) in look.tensors.iter().filter(|(name, t)| wide(name, t)) {
        change.replace(name, Dtype::BF16, t.shape.clone());
    }
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "wide-floats",
        saves,
        format!("F32 tensors are rounded to bfloat16 anyway: storing them as BF16 saves {less} bytes."),
        format!("F32 텐서는 어차피 bfloat16으로 반올림해 씁니다. BF16으로 저장하면 {less}바이트가 줄어듭니다."),
    )
}

/// Scales of compressed-tensors in F32, which are held in bfloat16 anyway; other tools' loaders want theirs as they are.
fn wide_scales(look: &Saving) -> Option<Hint> {
    let mut change = Change::default();
    each_quantized(look, |_, name, _, _, q| {
        let scale = format!("{name}.weight_scale");
        if let Some(t) = look.tensors.get(scale.as_str())
            && t.dtype == Dtype::F32
            && !matches!(q.layout, Layout::Foreign(_))
        {
            change.replace(&scale, Dtype::BF16, t.shape.clone());
        }
    });
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "wide-scales",
        saves,
        format!(
            "Scales in F32 are rounded to bfloat16 anyway: stored as BF16, as the tools write them, they take {less} bytes less and nothing else changes."
        ),
        format!(
            "F32 scale은 어차피 bfloat16으로 반올림해 씁니다. 도구들처럼 BF16으로 저장하면 결과는 같고 {less}바이트가 줄어듭니다."
        ),
    )
}

/// `weight_g_idx`, which GPTQ with static order does without.
fn order(look: &Saving) -> Option<Hint> {
    let mut change = Change::default();
    each_quantized(look, |_, name, _, _, _| {
        let index = format!("{name}.weight_g_idx");
        if look.tensors.contains_key(index.as_str()) {
            change.remove(index);
        }
    });
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "group-indices",
        saves,
        format!(
            "weight_g_idx is needed by actorder: group alone. Quantized with actorder: static there is none: {less} bytes less; accuracy hardly changes."
        ),
        format!(
            "weight_g_idx는 actorder: group일 때만 필요합니다. actorder: static으로 양자화하면 없어져 {less}바이트가 줄어듭니다. 정확도는 거의 같습니다."
        ),
    )
}

fn zero_points(look: &Saving) -> Option<Hint> {
    let mut change = Change::default();
    each_quantized(look, |_, name, _, _, _| {
        let zeros = format!("{name}.weight_zero_point");
        if look.tensors.contains_key(zeros.as_str()) {
            change.remove(zeros);
        }
    });
    let saves = saved(look.headers, &change);
    let less = grouped(saves);
    hint(
        "zero-points",
        saves,
        format!("Symmetric quantization has no zero points: {less} bytes less; accuracy changes."),
        format!("대칭 양자화에는 zero point가 없습니다. {less}바이트가 줄어듭니다. 정확도는 달라집니다."),
    )
}
