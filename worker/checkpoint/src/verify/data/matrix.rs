//! The data of one quantized matrix.

use crate::load::{OpenError, Shards};
use crate::number::{bf16_to_f32, f16_to_f32};
use crate::problem::{Problems, problem};
use crate::quant::{GroupRule, InputRule, Layout, Packing, Quantized, Values, marlin};
use crate::safetensors::Dtype;

use super::{Problem, stream};

const QUANTIZE_AGAIN: (&str, &str) = (
    "Save the model again with the tool that compressed it.",
    "압축한 도구로 모델을 다시 저장하세요.",
);

/// Checks every tensor that belongs to the matrix; plain NaN and infinities are looked for elsewhere.
pub(super) fn check(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    match q.layout {
        Layout::Foreign(kind) => return crate::foreign::check(shards, name, (rows, cols), q, kind, problems, findings),
        Layout::Packed(packing) => {
            plain_scales(shards, name, q, problems, findings)?;
            written_shape(shards, &format!("{name}.weight_shape"), (rows, cols), problems)?;
            paddings(shards, name, (rows, cols), q, packing, problems)?;
        }
        Layout::Bytes => {
            plain_scales(shards, name, q, problems, findings)?;
            let bytes = (rows * cols) as u64;
            byte_range(shards, &format!("{name}.weight"), bytes, q.bits, problems)?;
        }
        Layout::Float8 => {
            plain_scales(shards, name, q, problems, findings)?;
            float8(shards, &format!("{name}.weight"), (rows * cols) as u64, problems)?;
        }
        Layout::Micro(micro) => micro.check(shards, name, (rows, cols), q, problems, findings)?,
        Layout::Marlin24 => marlin::check(shards, name, (rows, cols), q, problems, findings)?,
        Layout::Sparse(mask, values) => {
            plain_scales(shards, name, q, problems, findings)?;
            mask.check(shards, name, (rows, cols), problems)?;
            let tensor = format!("{name}.{}", q.layout.suffix());
            let bytes = shards
                .tensors()
                .find(|(n, _)| *n == tensor)
                .map_or(0, |(_, info)| info.bytes());
            match values {
                Values::Bytes => byte_range(shards, &tensor, bytes, q.bits, problems)?,
                Values::Float8 => float8(shards, &tensor, bytes, problems)?,
            }
        }
    }
    if !q.symmetric && q.packed_zeros().is_none() {
        let zeros = q.scale_count((rows, cols)) as u64;
        byte_range(shards, &format!("{name}.weight_zero_point"), zeros, q.bits, problems)?;
    }
    if q.indexed {
        index(shards, name, cols, q, problems)?;
    }
    if let InputRule::Fixed { codes, symmetric } = q.inputs {
        input_scale(shards, &format!("{name}.input_scale"), problems)?;
        if let (crate::load::Codes::Int { bits }, false) = (codes, symmetric) {
            byte_range(shards, &format!("{name}.input_zero_point"), 1, bits, problems)?;
        }
    }
    if let InputRule::Group {
        rule: GroupRule::Local, ..
    } = q.inputs
    {
        input_scale(shards, &format!("{name}.input_global_scale"), problems)?;
    }
    Ok(())
}

/// Bits in words of packed rows (and zero points) that no weight owns.
fn paddings(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    packing: Packing,
    problems: &mut Problems,
) -> Result<(), OpenError> {
    let tensor = format!("{name}.weight_packed");
    let spare = packing.spare(cols, q.bits);
    // most rows fill their words
    if spare.iter().any(|mask| *mask != 0) {
        let mut row = vec![0u8; spare.len() * 4];
        for r in 0..rows {
            shards.read_at(&tensor, (r * row.len()) as u64, &mut row)?;
            if row
                .as_chunks()
                .0
                .iter()
                .zip(&spare)
                .any(|(w, mask)| u32::from_le_bytes(*w) & mask != 0)
            {
                problems.push(padding(&tensor));
                break;
            }
        }
    }
    let (false, Some(packing)) = (q.symmetric, q.packed_zeros()) else {
        return Ok(());
    };
    let tensor = format!("{name}.weight_zero_point");
    let mut line = vec![0u8; q.groups(cols as u64) as usize * 4];
    for (word, mask) in packing
        .spare(rows, q.bits)
        .into_iter()
        .enumerate()
        .filter(|(_, mask)| *mask != 0)
    {
        shards.read_at(&tensor, (word * line.len()) as u64, &mut line)?;
        if line.as_chunks().0.iter().any(|w| u32::from_le_bytes(*w) & mask != 0) {
            problems.push(padding(&tensor));
            break;
        }
    }
    Ok(())
}

pub(crate) fn padding(tensor: &str) -> Problem {
    problem(
        "packed-padding",
        tensor,
        (
            format!("{tensor}: bits after the last weight of a row are not zero"),
            format!("{tensor}: 행의 마지막 가중치 뒤의 비트가 0이 아닙니다"),
        ),
        QUANTIZE_AGAIN,
    )
}

pub(crate) fn written_shape(
    shards: &Shards,
    tensor: &str,
    shape: (usize, usize),
    problems: &mut Problems,
) -> Result<(), OpenError> {
    let said = shards.integers(tensor, 2)?;
    let need = [shape.0 as i64, shape.1 as i64];
    if said != need {
        problems.push(problem(
            "weight-shape",
            tensor,
            (
                format!("{tensor} says {said:?}; by config.json it is {need:?}"),
                format!("{tensor} 값이 {said:?}입니다. config.json으로는 {need:?}입니다"),
            ),
            QUANTIZE_AGAIN,
        ));
    }
    Ok(())
}

/// Finite scales whose largest product leaves their dtype, or which are zero or negative.
fn plain_scales(
    shards: &Shards,
    name: &str,
    q: Quantized,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    let most = match q.layout {
        Layout::Float8 | Layout::Sparse(_, Values::Float8) => 448.0,
        // |q − z| is at most 2^bits − 1
        _ => ((1u32 << q.bits) - 1) as f32,
    };
    scales(shards, &format!("{name}.weight_scale"), most, problems, findings)
}

/// The same of any tensor of plain floats; a code is at most `most`.
pub(crate) fn scales(
    shards: &Shards,
    tensor: &str,
    most: f32,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    let Some((dtype, bytes)) = shards
        .tensors()
        .find(|(n, _)| *n == tensor)
        .map(|(_, i)| (i.dtype, i.bytes()))
    else {
        return Ok(());
    };
    let limit = if dtype == Dtype::F16 {
        65504.0
    } else {
        bf16_to_f32(0x7F7F)
    };
    let (mut huge, mut odd) = (0u64, 0u64);
    let mut value = |v: f32| {
        huge += u64::from(v.is_finite() && (v.abs() * most > limit));
        odd += u64::from(v <= 0.0);
    };
    stream(shards, tensor, bytes, |_, piece| match dtype {
        Dtype::BF16 => piece
            .as_chunks()
            .0
            .iter()
            .for_each(|b| value(bf16_to_f32(u16::from_le_bytes(*b)))),
        Dtype::F16 => piece
            .as_chunks()
            .0
            .iter()
            .for_each(|b| value(f16_to_f32(u16::from_le_bytes(*b)))),
        _ => piece.as_chunks().0.iter().for_each(|b| value(f32::from_le_bytes(*b))),
    })?;
    if huge > 0 {
        problems.push(scale_overflow(tensor, huge, dtype));
    }
    if odd > 0 {
        findings.push(scale_not_positive(tensor, odd));
    }
    Ok(())
}

pub(crate) fn scale_overflow(tensor: &str, huge: u64, dtype: Dtype) -> Problem {
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

pub(crate) fn scale_not_positive(tensor: &str, odd: u64) -> Problem {
    problem(
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
    )
}

/// Integers of a byte each that do not fit their bits.
fn byte_range(shards: &Shards, tensor: &str, bytes: u64, bits: u8, problems: &mut Problems) -> Result<(), OpenError> {
    if bits >= 8 {
        return Ok(());
    }
    let least = -1i32 << (bits - 1);
    let range = least..-least;
    let mut beyond = 0u64;
    stream(shards, tensor, bytes, |_, piece| {
        beyond += piece.iter().filter(|b| !range.contains(&i32::from(**b as i8))).count() as u64;
    })?;
    if beyond > 0 {
        let most = -least - 1;
        problems.push(problem(
            "code-out-of-range",
            tensor,
            (
                format!("{tensor}: {beyond} values are not between {least} and {most}, as {bits} bits are"),
                format!("{tensor}: {bits}비트 범위({least}~{most})를 벗어난 값이 {beyond}개 있습니다"),
            ),
            QUANTIZE_AGAIN,
        ));
    }
    Ok(())
}

/// Float8 has no infinities and two patterns for NaN.
pub(crate) fn float8(shards: &Shards, tensor: &str, bytes: u64, problems: &mut Problems) -> Result<(), OpenError> {
    let mut bad = 0u64;
    stream(shards, tensor, bytes, |_, piece| {
        bad += piece.iter().filter(|b| **b & 0x7F == 0x7F).count() as u64;
    })?;
    if bad > 0 {
        problems.push(nan_codes(tensor, bad));
    }
    Ok(())
}

pub(crate) fn nan_codes(tensor: &str, bad: u64) -> Problem {
    problem(
        "non-finite",
        tensor,
        (
            format!("{tensor} has {bad} float8 values that are NaN"),
            format!("{tensor}에 NaN인 float8 값이 {bad}개 있습니다"),
        ),
        QUANTIZE_AGAIN,
    )
}

/// Every column in a group that exists, and every group of its size; −1 throughout means consecutive groups.
fn index(shards: &Shards, name: &str, cols: usize, q: Quantized, problems: &mut Problems) -> Result<(), OpenError> {
    let tensor = format!("{name}.weight_g_idx");
    let stored = shards.stored_index(name, cols)?;
    if stored.iter().all(|g| *g == -1) {
        return Ok(());
    }
    let mut sizes = vec![0usize; q.groups(cols as u64) as usize];
    let mut beyond = 0;
    for group in stored {
        match usize::try_from(group).ok().and_then(|g| sizes.get_mut(g)) {
            Some(size) => *size += 1,
            None => beyond += 1,
        }
    }
    let groups = sizes.len();
    let even = sizes.iter().all(|size| size * groups == cols);
    if beyond > 0 || !even {
        let (en, ko) = if beyond > 0 {
            (
                format!("{tensor}: {beyond} columns belong to a group that is not one of the {groups}"),
                format!("{tensor}: 그룹 {groups}개에 없는 번호가 {beyond}개 있습니다"),
            )
        } else {
            (
                format!(
                    "{tensor}: the {groups} groups do not all have {} columns",
                    cols / groups.max(1)
                ),
                format!(
                    "{tensor}: 그룹 {groups}개의 크기가 모두 {}열이 아닙니다",
                    cols / groups.max(1)
                ),
            )
        };
        problems.push(problem("group-index", &tensor, (en, ko), QUANTIZE_AGAIN));
    }
    Ok(())
}

/// A stored input scale divides every input.
fn input_scale(shards: &Shards, tensor: &str, problems: &mut Problems) -> Result<(), OpenError> {
    let (_, scale) = shards.floats(tensor, 1)?;
    // not finite is reported with all other floats
    if scale.iter().any(|s| *s <= 0.0) {
        problems.push(problem(
            "input-scale-not-positive",
            tensor,
            (
                format!("{tensor} is {}: inputs cannot be divided by it", scale[0]),
                format!("{tensor} 값이 {}입니다. 입력을 나눌 수 없습니다", scale[0]),
            ),
            (
                "Calibrate again: the scale of an input is positive.",
                "다시 보정(calibration)하세요. 입력 scale은 양수입니다.",
            ),
        ));
    }
    Ok(())
}
