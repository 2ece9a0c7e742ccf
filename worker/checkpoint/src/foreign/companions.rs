//! What several families keep beside their codes.

use assay_contest::Problem;

use crate::load::{FLOATS, OpenError, Shards, halves, words};
use crate::number::{bf16_to_f32, f16_to_f32};
use crate::problem::{Problems, problem};
use crate::safetensors::Dtype;
use crate::verify::Expect;

pub(super) const QUANTIZE_AGAIN: (&str, &str) = (
    "Save the model again with the tool that compressed it.",
    "압축한 도구로 모델을 다시 저장하세요.",
);

/// A tensor that may be there.
pub(super) fn optional(shape: &[usize], dtypes: &'static [Dtype]) -> Expect {
    Expect {
        required: false,
        ..Expect::one(shape, dtypes)
    }
}

/// A whole I32 tensor as words.
pub(super) fn read_words(shards: &Shards, name: &str, count: usize) -> Result<Vec<u32>, OpenError> {
    let (_, bytes) = shards.bytes(name, count, &[Dtype::I32])?;
    Ok(words(&bytes).collect())
}

/// [a][b] to [b][a].
pub(super) fn transposed<T: Copy>(values: &[T], a: usize, b: usize) -> Vec<T> {
    (0..b).flat_map(|j| (0..a).map(move |i| values[i * b + j])).collect()
}

/// A bias that a tool wrote for a layer without one: all zeros, or a model that is not EXAONE.
pub(super) fn bias(shards: &Shards, name: &str, problems: &mut Problems) -> Result<(), OpenError> {
    let tensor = format!("{name}.bias");
    let Some(info) = shards.info(&tensor) else {
        return Ok(());
    };
    let elements = info.shape.iter().product::<u64>() as usize;
    let (_, bytes) = shards.bytes(&tensor, elements, FLOATS)?;
    // the sign of a zero means nothing
    let zero = match info.dtype {
        Dtype::F32 => words(&bytes).all(|w| w << 1 == 0),
        _ => halves(&bytes).all(|h| h << 1 == 0),
    };
    if !zero {
        problems.push(problem(
            "bias-not-zero",
            &tensor,
            (
                format!("{tensor} is not zero; EXAONE's layers have no bias, and loaders would drop it"),
                format!("{tensor}가 0이 아닙니다. EXAONE의 층에는 bias가 없어 로더가 버립니다"),
            ),
            (
                "Quantize the model without bias correction.",
                "bias 보정 없이 양자화하세요.",
            ),
        ));
    }
    Ok(())
}

/// Scales so large that a weight leaves the arithmetic's range, and those that are zero or negative. `most` is the largest code.
pub(super) fn scales(
    shards: &Shards,
    tensor: &str,
    most: f32,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    let Some(info) = shards.info(tensor) else {
        return Ok(());
    };
    let dtype = info.dtype;
    let limit = if dtype == Dtype::F16 {
        65504.0
    } else {
        bf16_to_f32(0x7F7F)
    };
    let (_, bytes) = shards.bytes(tensor, info.shape.iter().product::<u64>() as usize, FLOATS)?;
    let (mut huge, mut odd) = (0u64, 0u64);
    let mut value = |v: f32| {
        huge += u64::from(v.is_finite() && v.abs() * most > limit);
        odd += u64::from(v <= 0.0);
    };
    match dtype {
        Dtype::BF16 => halves(&bytes).for_each(|b| value(bf16_to_f32(b))),
        Dtype::F16 => halves(&bytes).for_each(|b| value(f16_to_f32(b))),
        _ => words(&bytes).for_each(|w| value(f32::from_bits(w))),
    }
    if huge > 0 {
        problems.push(overflow(tensor, huge, dtype));
    }
    if odd > 0 {
        findings.push(problem(
            "scale-not-positive",
            tensor,
            (
                format!("{tensor}: {odd} scales are zero or negative"),
                format!("{tensor}: scale {odd}개가 0이거나 음수입니다"),
            ),
            (
                "It is computed as stored; check that it is intended.",
                "저장된 대로 계산합니다. 의도한 것인지 확인하세요.",
            ),
        ));
    }
    Ok(())
}

fn overflow(tensor: &str, huge: u64, dtype: Dtype) -> Problem {
    problem(
        "scale-overflow",
        tensor,
        (
            format!("{tensor}: {huge} scales are so large that weights overflow {dtype}"),
            format!("{tensor}: scale {huge}개가 너무 커서 가중치가 {dtype} 범위를 넘습니다"),
        ),
        (
            "Quantize again; a sane scale is far below 1.",
            "다시 양자화하세요. 정상적인 scale은 1보다 훨씬 작습니다.",
        ),
    )
}

/// Values over blocks of a flattened (rows, cols) matrix, as values over groups of columns: the widest groups that no block cuts,
/// and their width.
pub(super) fn spread(values: &[f32], block: usize, rows: usize, cols: usize) -> (Vec<f32>, usize) {
    let (mut size, mut rest) = (cols, block);
    while rest > 0 {
        (size, rest) = (rest, size % rest);
    }
    let group = |i: usize| values[i * size / block];
    ((0..rows * cols / size).map(group).collect(), size)
}
