//! torchao in safetensors: `X._weight_qdata`, `_weight_scale` and `_weight_zero_point`, where the layout is plain. Which of its
//! tensor classes a matrix has is told by the tensors themselves.

use std::collections::BTreeMap;

use assay_contest::Problem;
use serde_json::Value;

use super::companions::{QUANTIZE_AGAIN, scales, transposed};
use super::float8::inputs_stay;
use super::keys::Keys;
use super::refuse::because;
use super::skip::Skip;
use super::{Foreign, Look};
use crate::load::{Codebook, Coded, FLOATS, OpenError, Rounding, Scales, Shards, Zeros, stream};
use crate::model::Module;
use crate::problem::{Problems, problem};
use crate::quant::{InputRule, Layout, Quantized, Storage, Strategy};
use crate::safetensors::Dtype;
use crate::verify::{Expect, Tensors, pieces};

/// Which of its tensor classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Torchao {
    /// `Int4Tensor`: two signed codes a byte, the low one first; scales and float offsets [groups, out]
    Int4,
    /// `Int8Tensor`, `IntxUnpackedToInt8Tensor`: a code a byte; scales and integer zero points of one shape
    Int8 { zeros: bool },
    /// `Float8Tensor`
    Float8,
}

pub(super) fn plan(look: &Look, findings: &mut Problems) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    let default = keys
        .object("quant_type")?
        .and_then(|q| q.get("default"))
        .or(keys.get("quant_type"));
    let name = default
        .and_then(|d| d.get("_type").and_then(Value::as_str).or(d.as_str()))
        .unwrap_or_default();
    if name.contains("Activation") || name.contains("activation") {
        findings.push(inputs_stay("torchao", "as its configuration says", "설정대로"));
    }
    // by module: what is not stored so was not asked for
    let by_name = name.contains("Fqn");
    let narrow = default
        .and_then(|d| d.pointer("/_data/weight_dtype/_data"))
        .and_then(Value::as_str);
    let narrow = narrow
        .and_then(|dtype| dtype.strip_prefix("int")?.parse::<u8>().ok())
        .filter(|b| (2..=8).contains(b));
    let skip = Skip::new(keys.strings("modules_to_not_convert")?)?;
    super::assign(look, |module, name| {
        let stored = super::marker(name, look.tensors).is_some();
        if skip.skips(name)? || (!stored && (by_name || module == Module::Head)) {
            return Ok(None);
        }
        let shape = module.shape(look.model);
        let (kind, strategy) = recognise(name, shape, look.tensors)?;
        Ok(Some(Quantized {
            layout: Layout::Foreign(Foreign::Torchao(kind)),
            bits: match kind {
                Torchao::Int4 => 4,
                Torchao::Int8 { .. } => narrow.unwrap_or(8),
                Torchao::Float8 => 8,
            },
            strategy,
            symmetric: matches!(kind, Torchao::Float8 | Torchao::Int8 { zeros: false }),
            indexed: false,
            inputs: InputRule::Plain,
        }))
    })
}

fn recognise(name: &str, (out, cols): (usize, usize), tensors: &Tensors) -> Result<(Torchao, Strategy), Box<Problem>> {
    let part = |suffix: &str| tensors.get(format!("{name}._weight_{suffix}").as_str());
    let Some(codes) = part("qdata") else {
        // told elsewhere: this is not stored as announced
        return Ok((Torchao::Int8 { zeros: false }, Strategy::Channel));
    };
    let plain = [out as u64, cols as u64];
    let zeros = part("zero_point");
    let scale = part("scale").map(|s| s.shape.clone()).unwrap_or_default();
    let kind = match codes.dtype {
        Dtype::F8_E4M3 if codes.shape == plain => Torchao::Float8,
        Dtype::I8 if codes.shape == plain => Torchao::Int8 { zeros: zeros.is_some() },
        Dtype::I8 | Dtype::U8
            if codes.shape == [plain[0], plain[1] / 2] && zeros.is_some_and(|z| z.dtype.is_plain_float()) =>
        {
            Torchao::Int4
        }
        _ => {
            return Err(Box::new(because(
                "torchao",
                (
                    format!("{name} is laid out for one kind of hardware, or is a class that is not read"),
                    format!("{name}은(는) 특정 하드웨어용 배치이거나 읽지 않는 종류입니다"),
                ),
                (
                    "Use Int4WeightOnlyConfig (plain packing), Int8WeightOnlyConfig, IntxWeightOnlyConfig or Float8WeightOnlyConfig.",
                    "Int4WeightOnlyConfig(plain), Int8WeightOnlyConfig, IntxWeightOnlyConfig, Float8WeightOnlyConfig 가운데 하나를 쓰세요.",
                ),
            )));
        }
    };
    let columns = match (kind, &scale[..]) {
        (Torchao::Int4, [groups, _]) => *groups,
        (_, [1, 1] | [] | [1]) if out > 1 => return Ok((kind, Strategy::Tensor)),
        (_, [_, columns]) => *columns,
        _ => 1,
    };
    let group = plain[1].checked_div(columns).unwrap_or(plain[1]).max(1);
    Ok((
        kind,
        if columns <= 1 {
            Strategy::Channel
        } else {
            Strategy::Group(group)
        },
    ))
}

/// Scales as they are stored: rows and columns of them.
fn grid((out, cols): (usize, usize), q: Quantized, kind: Torchao) -> (usize, usize) {
    let groups = q.groups(cols as u64) as usize;
    match (kind, q.strategy) {
        (Torchao::Int4, _) => (groups, out),
        (_, Strategy::Tensor) => (1, 1),
        _ => (out, groups),
    }
}

pub(super) fn expect((out, cols): (usize, usize), q: Quantized, kind: Torchao, put: &mut dyn FnMut(&str, Expect)) {
    let (r, c) = grid((out, cols), q, kind);
    let mut shapes = vec![vec![r as u64, c as u64]];
    if q.strategy == Strategy::Tensor {
        shapes.extend([vec![1], vec![]]);
    } else if c == 1 {
        shapes.push(vec![r as u64]);
    }
    let scale = |dtypes| Expect {
        shapes: shapes.clone(),
        dtypes,
        required: true,
    };
    let (codes, dtypes): (_, &[Dtype]) = match kind {
        Torchao::Int4 => (Expect::one(&[out, cols / 2], &[Dtype::I8, Dtype::U8]), FLOATS),
        Torchao::Int8 { .. } => (Expect::one(&[out, cols], &[Dtype::I8]), &[Dtype::I8]),
        Torchao::Float8 => (Expect::one(&[out, cols], &[Dtype::F8_E4M3]), &[]),
    };
    put("_weight_qdata", codes);
    put("_weight_scale", scale(FLOATS));
    if matches!(kind, Torchao::Int4 | Torchao::Int8 { zeros: true }) {
        put("_weight_zero_point", scale(dtypes));
    }
}

pub(super) fn load(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    kind: Torchao,
) -> Result<Coded, OpenError> {
    let tensor = format!("{name}._weight_qdata");
    let (r, c) = grid((rows, cols), q, kind);
    let (dtype, values) = shards.floats(&format!("{name}._weight_scale"), r * c)?;
    let size = match q.strategy {
        Strategy::Group(size) => size as usize,
        _ => cols,
    };
    let scales = |values| Scales {
        values,
        rows: if q.strategy == Strategy::Tensor { rows } else { 1 },
        cols: size,
    };
    let half = 1i32 << (q.bits - 1);
    match kind {
        Torchao::Float8 => {
            let (_, bytes) = shards.bytes(&tensor, rows * cols, &[Dtype::F8_E4M3])?;
            let codes = bytes
                .chunks(cols.max(1))
                .flat_map(|row| stream(row.iter().map(|b| u32::from(*b)), 8));
            Ok(Coded::float(
                8,
                Codebook::E4m3,
                codes.collect(),
                scales(values),
                Dtype::F32,
            ))
        }
        Torchao::Int4 => {
            let (_, bytes) = shards.bytes(&tensor, rows * cols / 2, &[Dtype::I8, Dtype::U8])?;
            // signed nibbles: the sign bit turned over is the code
            let nibbles = |b: &u8| [u32::from(*b & 15 ^ 8), u32::from(*b >> 4 ^ 8)];
            let codes = bytes
                .chunks((cols / 2).max(1))
                .flat_map(|row| stream(row.iter().flat_map(nibbles), 4))
                .collect();
            let zeros = shards.floats(&format!("{name}._weight_zero_point"), r * c)?.1;
            Ok(Coded {
                zeros: Zeros::Float(transposed(&zeros, r, c)),
                rounding: Rounding::Offset(dtype),
                ..Coded::int(4, codes, scales(transposed(&values, r, c)), Zeros::None, dtype)
            })
        }
        Torchao::Int8 { zeros } => {
            let (_, bytes) = shards.bytes(&tensor, rows * cols, &[Dtype::I8])?;
            let code = |b: &u8| (i32::from(*b as i8) + half) as u32;
            if bytes.iter().any(|b| code(b) >= 2 * half as u32) {
                return Err(OpenError::Tensor {
                    tensor,
                    reason: format!("codes of more than {} bits", q.bits),
                });
            }
            let codes = bytes
                .chunks(cols.max(1))
                .flat_map(|row| stream(row.iter().map(code), q.bits))
                .collect();
            let zeros = if zeros {
                let (_, bytes) = shards.bytes(&format!("{name}._weight_zero_point"), r * c, &[Dtype::I8])?;
                Zeros::Int(bytes.iter().map(|b| i16::from(*b as i8)).collect())
            } else {
                Zeros::None
            };
            let zeros = match zeros {
                Zeros::Int(z) if z.iter().all(|z| *z == 0) => Zeros::None,
                zeros => zeros,
            };
            Ok(Coded::int(q.bits, codes, scales(values), zeros, dtype))
        }
    }
}

pub(super) fn check(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    kind: Torchao,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    let most = if kind == Torchao::Float8 { 448.0 } else { 255.0 };
    scales(shards, &format!("{name}._weight_scale"), most, problems, findings)?;
    let tensor = format!("{name}._weight_qdata");
    let mut bad = 0u64;
    let range = -1i32 << (q.bits - 1)..1 << (q.bits - 1);
    let wrong = |b: &u8| match kind {
        Torchao::Float8 => b & 0x7F == 0x7F,
        Torchao::Int8 { .. } => !range.contains(&i32::from(*b as i8)),
        Torchao::Int4 => false,
    };
    if kind != Torchao::Int4 {
        pieces(shards, &tensor, (rows * cols) as u64, |_, piece| {
            bad += piece.iter().filter(|b| wrong(b)).count() as u64
        })?;
    }
    if bad > 0 {
        let float = kind == Torchao::Float8;
        let bits = q.bits;
        problems.push(problem(
            if float { "non-finite" } else { "code-out-of-range" },
            &tensor,
            (
                format!("{tensor}: {bad} values are NaN or have more than {bits} bits"),
                format!("{tensor}: NaN이거나 {bits}비트를 벗어난 값이 {bad}개 있습니다"),
            ),
            QUANTIZE_AGAIN,
        ));
    }
    Ok(())
}
