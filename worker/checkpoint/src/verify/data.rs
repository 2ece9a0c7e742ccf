//! The second look: tensor data, streamed.

mod matrix;

pub(crate) use matrix::{float8, nan_codes, padding, scale_not_positive, scale_overflow, scales, written_shape};

use std::collections::BTreeMap;
use std::path::Path;

use assay_contest::Problem;

use crate::config::ModelConfig;
use crate::inspection::{Hint, Inspection, Verdict};
use crate::listing::Listing;
use crate::load::{OpenError, Shards};
use crate::model::{Linear, Module};
use crate::number::{bf16_to_f32, f16_to_f32};
use crate::problem::{Problems, problem};
use crate::quant::{Layout, Micro, Storage};
use crate::safetensors::Dtype;

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
    let (model, storage, headers) = crate::verify::loadable(&listing)?;
    if crate::weigh::weigh(&listing, &headers) != inspection.bytes {
        return Err(vec![unreadable("the files are not the ones that were looked at")]);
    }
    let shards = Shards::open(dir, headers).map_err(|e| vec![unreadable(&e.to_string())])?;
    let failed = |e: OpenError| vec![unreadable(&e.to_string())];

    for (name, info) in shards.tensors() {
        if info.dtype.is_plain_float() {
            floats(&shards, name, info.dtype, info.bytes(), problems).map_err(failed)?;
        }
    }
    for (module, how) in &storage {
        if model.tie && *module == Module::Head {
            continue;
        }
        let (name, shape) = (module.name(model.family), module.shape(&model));
        match how {
            Storage::Dense => Ok(()),
            Storage::Sparse(mask) => mask.check(&shards, &name, shape, problems),
            Storage::Quantized(scheme) => matrix::check(&shards, &name, shape, *scheme, problems, findings),
        }
        .map_err(failed)?;
    }
    divisors(&shards, &model, &storage, findings).map_err(failed)?;
    head(&shards, &model, problems).map_err(failed)
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

fn unreadable(why: &str) -> Problem {
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

/// Whether any value has all its exponent bits set, four or two values at a time: gigabytes pass through here.
fn any_non_finite(piece: &[u8], dtype: Dtype) -> bool {
    let (exponent, low, high) = match dtype {
        Dtype::BF16 => (
            0x7F80_7F80_7F80_7F80u64,
            0x7FFF_7FFF_7FFF_7FFFu64,
            0x8000_8000_8000_8000u64,
        ),
        Dtype::F16 => (0x7C00_7C00_7C00_7C00, 0x7FFF_7FFF_7FFF_7FFF, 0x8000_8000_8000_8000),
        _ => (0x7F80_0000_7F80_0000, 0x7FFF_FFFF_7FFF_FFFF, 0x8000_0000_8000_0000),
    };
    // A lane of `missing` is zero iff its exponent is full; adding `low` then leaves its high bit clear. Lanes never carry.
    let full = |word: u64| {
        let missing = (word & exponent) ^ exponent;
        (missing + low) & high != high
    };
    let (words, rest) = piece.as_chunks::<8>();
    let mut tail = [0u8; 8];
    tail[..rest.len()].copy_from_slice(rest);
    words.iter().any(|w| full(u64::from_le_bytes(*w))) || full(u64::from_le_bytes(tail))
}

fn floats(shards: &Shards, name: &str, dtype: Dtype, bytes: u64, problems: &mut Problems) -> Result<(), OpenError> {
    let mut bad = 0u64;
    let mut first = None;
    let size = dtype.bits() / 8;
    stream(shards, name, bytes, |at, piece| {
        if !any_non_finite(piece, dtype) {
            return;
        }
        let values: Box<dyn Iterator<Item = f32>> = match dtype {
            Dtype::BF16 => Box::new(piece.as_chunks().0.iter().map(|b| bf16_to_f32(u16::from_le_bytes(*b)))),
            Dtype::F16 => Box::new(piece.as_chunks().0.iter().map(|b| f16_to_f32(u16::from_le_bytes(*b)))),
            _ => Box::new(piece.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        };
        for (i, _) in values.enumerate().filter(|(_, v)| !v.is_finite()) {
            bad += 1;
            first = first.or(Some(at / size + i as u64));
        }
    })?;
    if let Some(first) = first {
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
    Ok(())
}

/// Whether `lm_head.weight` repeats the embedding. Tied and different is a problem: loaders drop the head that was saved.
fn head(shards: &Shards, model: &ModelConfig, problems: &mut Problems) -> Result<Option<HeadHint>, OpenError> {
    let embedding = format!("{}.weight", Module::Embedding.name(model.family));
    let find = |wanted: &str| shards.tensors().find(|(n, _)| *n == wanted).map(|(_, info)| info);
    let (Some(a), Some(b)) = (find("lm_head.weight"), find(&embedding)) else {
        return Ok(None);
    };
    let mut equal = a.dtype == b.dtype && a.shape == b.shape;
    if equal {
        let mut other = vec![0u8; CHUNK];
        let mut failure = None;
        stream(shards, "lm_head.weight", a.bytes(), |at, piece| {
            let other = &mut other[..piece.len()];
            match shards.read_at(&embedding, at, other) {
                Ok(()) => equal &= piece == other,
                Err(e) => failure = Some(e),
            }
        })?;
        if let Some(e) = failure {
            return Err(e);
        }
    }
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
        return Ok(None);
    }
    if !equal {
        return Ok(Some(HeadHint::Refuted));
    }
    Ok(crate::weigh::copy_hint(a.bytes()).map(HeadHint::Confirmed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 16-bit pattern in every lane, and the tail.
    #[test]
    fn lanes_find_exactly_the_non_finite() {
        for bits in 0..=u16::MAX {
            for lane in 0..5 {
                let mut piece = [0x3C; 10];
                piece[2 * lane..2 * lane + 2].copy_from_slice(&bits.to_le_bytes());
                assert_eq!(
                    any_non_finite(&piece, Dtype::BF16),
                    !bf16_to_f32(bits).is_finite(),
                    "{bits:#x}"
                );
                assert_eq!(
                    any_non_finite(&piece, Dtype::F16),
                    !f16_to_f32(bits).is_finite(),
                    "{bits:#x}"
                );
            }
            let value = f32::from_bits(u32::from(bits) << 16 | 1);
            let piece = [1f32.to_le_bytes(), value.to_le_bytes(), value.to_le_bytes()].concat();
            assert_eq!(any_non_finite(&piece, Dtype::F32), !value.is_finite());
        }
    }
}
