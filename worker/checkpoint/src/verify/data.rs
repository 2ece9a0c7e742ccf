//! The second look: tensor data, streamed.

mod matrix;
mod scan;

pub(crate) use matrix::{float8, nan_codes, padding, scale_not_positive, scale_overflow, scales, written_shape};

use std::collections::BTreeMap;
use std::path::Path;

use assay_contest::Problem;

use crate::config::ModelConfig;
use crate::inspection::{Hint, Inspection, Verdict};
use crate::listing::Listing;
use crate::load::{Checkpoint, OpenError, Shards};
use crate::model::{Linear, Module};
use crate::problem::{Problems, problem};
use crate::quant::cache::scale_names;
use crate::quant::{Layout, Micro, Storage};
use crate::safetensors::TensorInfo;
use crate::threads;

use scan::{Look, Seen, Work, scan};

/// Bytes read at a time; a multiple of every element size.
const CHUNK: usize = 1 << 20;

/// Reads every tensor of an accepted folder: NaN and infinities, scales, codes and group indices out of range, what `weight_shape`
/// says, bits that belong to no weight, and whether the head is a copy of the embedding. A rejected inspection is returned as it is.
pub fn verify_data(dir: &Path, inspection: &Inspection) -> Inspection {
    let mut result = inspection.clone();
    if !inspection.accepted() {
        return result;
    }
    let (mut problems, mut findings) = (Problems::default(), Problems::default());
    match look(dir, inspection, &mut problems, &mut findings) {
        Ok(Some(hint)) => replace_head_hint(&mut result.hints, hint),
        Ok(None) => {}
        Err(list) => problems.extend(list),
    }
    result.problems.extend(problems.finish());
    result.findings.extend(findings.finish());
    if !result.problems.is_empty() {
        result.verdict = Verdict::Rejected;
    }
    result
}

/// What became of the suspicion that the head is a copy.
enum HeadHint {
    Confirmed(Hint),
    Refuted,
}

fn replace_head_hint(hints: &mut Vec<Hint>, found: HeadHint) {
    hints.retain(|h| h.code != "untied-duplicate");
    if let HeadHint::Confirmed(hint) = found {
        hints.push(hint);
        hints.sort_by_key(|h| std::cmp::Reverse(h.saves));
    }
}

fn look(
    dir: &Path,
    inspection: &Inspection,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<Option<HeadHint>, Vec<Problem>> {
    let listing = Listing::read_dir(dir).map_err(|e| vec![unreadable(&e.to_string())])?;
    let super::Loadable {
        model,
        storage,
        headers,
        cache,
        transforms,
    } = crate::verify::loadable(&listing)?;
    if crate::weigh::weigh(&listing, &headers) != inspection.bytes {
        return Err(vec![unreadable("the files are not the ones that were looked at")]);
    }
    let saves = crate::weigh::without(&headers, "lm_head.weight");
    let shards = Shards::open(dir, headers).map_err(|e| vec![unreadable(&e.to_string())])?;
    let failed = |e: OpenError| vec![unreadable(&e.to_string())];

    let plan = plan(&shards, &model);
    let seen = scan(&shards, &plan).map_err(failed)?;
    tell(&plan, &seen, problems);
    let modules: Vec<(&Module, &Storage)> = storage
        .iter()
        .filter(|(module, _)| !(model.tie && **module == Module::Head))
        .collect();
    let checked = threads::each(&modules, |(module, how)| {
        let (name, shape) = (module.name(model.family), module.shape(&model));
        let (mut problems, mut findings) = (Problems::default(), Problems::default());
        match how {
            Storage::Dense => Ok(()),
            Storage::Sparse(mask) => mask.check(&shards, &name, shape, &mut problems),
            Storage::Quantized(scheme) => matrix::check(&shards, &name, shape, *scheme, &mut problems, &mut findings),
        }
        .map(|()| (problems, findings))
    });
    for found in checked {
        let (more, notes) = found.map_err(failed)?;
        problems.join(more);
        findings.join(notes);
    }
    divisors(&shards, &model, &storage, findings).map_err(failed)?;
    let hint = head(&shards, &model, &plan, &seen, saves, problems);
    if cache.is_some_and(|scheme| scheme.stored) {
        cache_scales(&shards, &model, problems).map_err(failed)?;
    }
    for (turn, names) in transforms.stored(&model) {
        let stored = |name: &&String| shards.tensors().any(|(n, _)| n == format!("{name}.weight"));
        for name in names.iter().filter(stored) {
            match shards.transform(name, &turn) {
                Ok(_) => {}
                Err(OpenError::Tensor { tensor, reason }) => problems.push(not_a_rotation(&tensor, &reason)),
                Err(error) => return Err(failed(error)),
            }
        }
    }
    if problems.is_empty() {
        // codes and scales are what the loader takes for granted
        let checkpoint = Checkpoint::verified(model, storage, shards);
        crate::lineage::check_sparsity(&checkpoint, &listing, problems).map_err(failed)?;
    }
    Ok(hint)
}

/// NVFP4 matrices that vLLM fuses have to divide their scales by the same number: it takes the largest for all of them.
fn divisors(
    shards: &Shards,
    model: &ModelConfig,
    storage: &BTreeMap<Module, Storage>,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    for layer in 0..model.layers {
        for fused in [&[Linear::Q, Linear::K, Linear::V][..], &[Linear::Gate, Linear::Up]] {
            let mut found = Vec::new();
            for which in fused {
                let module = Module::Layer(layer, *which);
                let Some(Storage::Quantized(q)) = storage.get(&module) else {
                    continue;
                };
                if q.layout == Layout::Micro(Micro::Nvfp4) {
                    let name = module.name(model.family);
                    found.push((shards.floats(&format!("{name}.weight_global_scale"), 1)?.1[0], name));
                }
            }
            if found.windows(2).any(|pair| pair[0].0 != pair[1].0) {
                let values: Vec<String> = found.iter().map(|(value, _)| value.to_string()).collect();
                let (values, place) = (values.join(", "), &found[0].1);
                findings.push(problem(
                    "nvfp4-global-scales-differ",
                    format!("{place}.weight_global_scale"),
                    (
                        format!("{place} and the matrices that are fused with it have different global scales ({values}); they are computed as stored, vLLM would take the largest for all and compute wrong weights"),
                        format!("{place}와(과) 함께 합쳐지는 행렬들의 전역 scale이 서로 다릅니다({values}). 여기서는 저장된 대로 계산하지만 vLLM은 가장 큰 값을 모두에 써서 가중치가 틀려집니다"),
                    ),
                    (
                        "Quantize q, k, v (and gate, up) with one global scale, as llm-compressor does.",
                        "llm-compressor처럼 q, k, v(와 gate, up)에 같은 전역 scale을 쓰세요.",
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn not_a_rotation(tensor: &str, reason: &str) -> Problem {
    problem(
        "transform-invalid",
        tensor,
        (
            format!("{tensor} is not the matrix of a rotation: {reason}"),
            format!("{tensor}은(는) 회전 행렬이 아닙니다: {reason}"),
        ),
        (
            "Save the model again with the tool that rotated it.",
            "회전한 도구로 모델을 다시 저장하세요.",
        ),
    )
}

/// Scales of the key/value cache divide what is stored in it.
fn cache_scales(shards: &Shards, model: &ModelConfig, problems: &mut Problems) -> Result<(), OpenError> {
    let names: Vec<String> = (0..model.layers)
        .flat_map(|layer| ['k', 'v'].map(|which| scale_names(model, layer, which)))
        .flatten()
        .collect();
    let stored = shards.tensors().filter(|(name, _)| names.iter().any(|n| n == name));
    let stored: Vec<(String, usize)> = stored
        .map(|(name, info)| (name.to_owned(), info.shape.iter().product::<u64>() as usize))
        .collect();
    for (name, elements) in stored {
        // not finite is reported with all other floats
        if let Some(scale) = shards.floats(&name, elements)?.1.iter().find(|s| **s <= 0.0) {
            problems.push(problem(
                "kv-scale-not-positive",
                &name,
                (
                    format!("{name} is {scale}: keys and values cannot be divided by it"),
                    format!("{name} 값이 {scale}입니다. 키와 값을 나눌 수 없습니다"),
                ),
                (
                    "Calibrate again: the scale of a KV cache is positive.",
                    "다시 보정(calibration)하세요. KV 캐시의 scale은 양수입니다.",
                ),
            ));
        }
    }
    Ok(())
}

pub(crate) fn unreadable(why: &str) -> Problem {
    problem(
        "files-unreadable",
        "submission",
        (
            format!("the files could not be read: {why}"),
            format!("파일을 읽지 못했습니다: {why}"),
        ),
        (
            "Try again; if it happens again, upload the files once more.",
            "다시 시도하고, 되풀이되면 파일을 다시 올려 주세요.",
        ),
    )
}

/// Calls `each` with consecutive pieces of a tensor and the offset of each.
pub(crate) fn stream(
    shards: &Shards,
    name: &str,
    bytes: u64,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<(), OpenError> {
    let mut buffer = vec![0u8; CHUNK.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let piece = &mut buffer[..CHUNK.min((bytes - at) as usize)];
        shards.read_at(name, at, piece)?;
        each(at, piece);
        at += piece.len() as u64;
    }
    Ok(())
}

/// Every tensor of plain floats. A head that may be a copy of the embedding is looked at together with it.
fn plan(shards: &Shards, model: &ModelConfig) -> Vec<Work> {
    let embedding = format!("{}.weight", Module::Embedding.name(model.family));
    let alike = |a: &TensorInfo, b: &TensorInfo| a.dtype == b.dtype && a.shape == b.shape && a.dtype.is_plain_float();
    let find = |wanted: &str| shards.tensors().find(|(name, _)| *name == wanted).map(|(_, info)| info);
    let is_pair = find(HEAD)
        .zip(find(&embedding))
        .is_some_and(|(head, embedding)| alike(head, embedding));
    let floats = shards
        .tensors()
        .filter(|(name, info)| info.dtype.is_plain_float() && !(is_pair && *name == embedding));
    let floats = floats.map(|(name, info)| Work {
        name: name.to_owned(),
        bytes: info.bytes(),
        look: match is_pair && name == HEAD {
            true => Look::Pair(info.dtype, embedding.clone()),
            false => Look::Finite(info.dtype),
        },
    });
    floats.collect()
}

const HEAD: &str = "lm_head.weight";

/// What was seen, tensor by tensor.
fn tell(plan: &[Work], seen: &[Seen], problems: &mut Problems) {
    for (work, seen) in plan.iter().zip(seen) {
        match &work.look {
            Look::Finite(_) => non_finite(&work.name, seen.bad, seen.first, problems),
            Look::Pair(_, other) => {
                non_finite(&work.name, seen.bad, seen.first, problems);
                non_finite(other, seen.other.0, seen.other.1, problems);
            }
        }
    }
}

fn non_finite(name: &str, bad: u64, first: Option<u64>, problems: &mut Problems) {
    let Some(first) = first else { return };
    problems.push(problem(
        "non-finite",
        name,
        (
            format!("{name} has {bad} values that are NaN or infinite, the first at element {first}"),
            format!("{name}에 NaN이나 무한대가 {bad}개 있습니다 (첫 위치: {first}번째 원소)"),
        ),
        (
            "Save the model in bfloat16 (float16 overflows at 65504), or repair the step that produced them.",
            "bfloat16으로 저장하거나(float16은 65504에서 넘칩니다) 그 값을 만든 단계를 고쳐 주세요.",
        ),
    ));
}

/// Whether `lm_head.weight` repeats the embedding. Tied and different is a problem: loaders drop the head that was saved.
/// `saves`: what the files would lose with it.
fn head(
    shards: &Shards,
    model: &ModelConfig,
    plan: &[Work],
    seen: &[Seen],
    saves: u64,
    problems: &mut Problems,
) -> Option<HeadHint> {
    let embedding = format!("{}.weight", Module::Embedding.name(model.family));
    let has = |wanted: &str| shards.tensors().any(|(name, _)| name == wanted);
    if !has(HEAD) || !has(&embedding) {
        return None;
    }
    // of another dtype or shape they were not compared, and are not equal
    let pair = plan
        .iter()
        .zip(seen)
        .find(|(work, _)| matches!(work.look, Look::Pair(..)));
    let equal = pair.is_some_and(|(_, seen)| !seen.differs);
    if model.tie {
        if !equal {
            problems.push(problem(
                "head-ambiguous",
                "lm_head.weight",
                (
                    format!("tie_word_embeddings is true, yet lm_head.weight differs from {embedding}: loaders would drop it"),
                    format!("tie_word_embeddings가 true인데 lm_head.weight가 {embedding}와 다릅니다. 로더는 lm_head.weight를 버립니다"),
                ),
                ("Set tie_word_embeddings to false to use it, or remove it.", "쓰려면 tie_word_embeddings를 false로 하고, 아니면 지워 주세요."),
            ));
        }
        return None;
    }
    if !equal {
        return Some(HeadHint::Refuted);
    }
    crate::weigh::copy_hint(saves).map(HeadHint::Confirmed)
}
