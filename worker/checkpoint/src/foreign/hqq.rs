//! HQQ: the matrix reshaped to rows (axis 1) or columns (axis 0) that share a scale and a float zero point, packed in parts: the
//! first half of the view in the high nibbles, and so on.

use std::collections::BTreeMap;

use assay_contest::Problem;

use super::companions::{QUANTIZE_AGAIN, scales, spread};
use super::keys::Keys;
use super::refuse::because;
use super::skip::Skip;
use super::{Foreign, Look};
use crate::load::{Codebook, Coded, FLOATS, OpenError, Rounding, Scales, Shards, Weights, Zeros, stream, words};
use crate::model::Module;
use crate::problem::{Problems, problem};
use crate::quant::{InputRule, Layout, Quantized, Storage, Strategy};
use crate::safetensors::Dtype;
use crate::verify::{Expect, invalid};

/// Along what weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// down the columns of the reshaped matrix
    Zero,
    /// along its rows
    One,
}

/// Quantized metadata, offloading and float views are of older versions.
fn refuse(en: &str, ko: &str) -> Box<Problem> {
    Box::new(because(
        "hqq",
        (en, ko),
        (
            "Quantize with quant_zero=False, quant_scale=False, view_as_float=False (HqqConfig's defaults).",
            "quant_zero=False, quant_scale=False, view_as_float=False(HqqConfig의 기본값)로 양자화하세요.",
        ),
    ))
}

pub(super) fn plan(look: &Look) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    let Some(config) = keys.object("quant_config")? else {
        return Err(Box::new(invalid("quant_config is missing")));
    };
    let whole = match config.get("weight_quant_params") {
        Some(_) => Some(scheme(config)?),
        None => None,
    };
    // else one such object for each kind of layer: "self_attn.q_proj"
    let mut tags = Vec::new();
    if whole.is_none() {
        for (tag, _) in config.0 {
            let Some(keys) = config.object(tag)? else { continue };
            tags.push((tag.as_str(), scheme(keys)?));
        }
    }
    let skip = Skip::new(keys.strings("skip_modules")?)?;
    super::assign(look, |module, name| {
        if skip.skips(name)? || (module == Module::Head && super::marker(name, look.tensors).is_none()) {
            return Ok(None);
        }
        let tagged = || tags.iter().find(|(tag, _)| name.ends_with(*tag)).map(|(_, q)| *q);
        Ok(whole.or_else(tagged))
    })
}

fn scheme(keys: Keys) -> Result<Quantized, Box<Problem>> {
    if keys.get("scale_quant_params").is_some() || keys.get("zero_quant_params").is_some() {
        return Err(refuse(
            "quantized scales and zero points are not read",
            "양자화된 scale과 영점은 읽지 않습니다",
        ));
    }
    let Some(keys) = keys.object("weight_quant_params")? else {
        return Err(Box::new(invalid("weight_quant_params is missing")));
    };
    if keys.flag("view_as_float", false)? {
        return Err(refuse(
            "codes viewed as floats are not read",
            "실수로 표시한 코드는 읽지 않습니다",
        ));
    }
    let bits = match keys.bits("nbits")? {
        Some(bits @ (1..=4 | 8)) => bits as u8,
        _ => return Err(Box::new(invalid("nbits: 1, 2, 3, 4 or 8 is needed"))),
    };
    let axis = match keys.int("axis")? {
        Some(0) => Axis::Zero,
        None | Some(1) => Axis::One,
        _ => return Err(Box::new(invalid("axis: 0 or 1 is needed"))),
    };
    Ok(Quantized {
        layout: Layout::Foreign(Foreign::Hqq(axis)),
        bits,
        strategy: keys
            .group("group_size")?
            .and_then(super::strategy)
            .unwrap_or(Strategy::Channel),
        symmetric: false,
        indexed: false,
        inputs: InputRule::Plain,
    })
}

/// The view that is packed: its rows and columns; `None` if the group does not divide the matrix.
fn view((out, cols): (usize, usize), q: Quantized, axis: Axis) -> Option<(usize, usize)> {
    let n = out * cols;
    let size = match (q.strategy, axis) {
        (Strategy::Group(size), _) => size as usize,
        (_, Axis::One) => cols,
        (_, Axis::Zero) => out,
    };
    let other = n.checked_div(size).filter(|_| n.is_multiple_of(size))?;
    Some(if axis == Axis::One {
        (other, size)
    } else {
        (size, other)
    })
}

/// Rows of the view that share a row of words.
fn parts(bits: u8) -> usize {
    if bits == 3 { 10 } else { 8 / usize::from(bits) }
}

pub(super) fn expect(
    name: &str,
    shape: (usize, usize),
    q: Quantized,
    axis: Axis,
    put: &mut dyn FnMut(&str, Expect),
    problems: &mut Problems,
) {
    let whole = view(shape, q, axis).filter(|(rows, _)| q.bits == 3 || rows.is_multiple_of(parts(q.bits)));
    let Some((rows, cols)) = whole else {
        problems.push(super::unpackable(
            name,
            ("weights", "가중치"),
            shape.0 * shape.1,
            parts(q.bits),
        ));
        return;
    };
    let codes: &[Dtype] = if q.bits == 3 { &[Dtype::I32] } else { &[Dtype::U8] };
    put("W_q", Expect::one(&[rows.div_ceil(parts(q.bits)), cols], codes));
    let scale = if axis == Axis::One { [rows, 1] } else { [1, cols] };
    put("scale", Expect::one(&scale, FLOATS));
    put("zero", Expect::one(&scale, FLOATS));
    let mut aside = |names: &[&str], shapes: Vec<Vec<u64>>| {
        for name in names {
            put(
                name,
                Expect {
                    shapes: shapes.clone(),
                    dtypes: &[],
                    required: false,
                },
            );
        }
    };
    aside(
        &[
            "nbits",
            "group_size",
            "axis",
            "view_as_float",
            "optimize",
            "round_zero",
            "channel_wise",
            "quant_scale",
            "quant_zero",
            "stores_quant_config",
            "encoded_state_dict",
            "offload_meta",
        ],
        vec![vec![], vec![1]],
    );
    aside(&["shape"], vec![vec![2]]);
    // words such as "torch.bfloat16"
    aside(
        &["packing", "compute_dtype", "unpack_view_dtype"],
        (1..=32).map(|n| vec![n]).collect(),
    );
}

pub(super) fn load(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    axis: Axis,
) -> Result<Weights, OpenError> {
    let no_view = || OpenError::Tensor {
        tensor: format!("{name}.W_q"),
        reason: "the groups do not divide the matrix".to_owned(),
    };
    let (height, width) = view((rows, cols), q, axis).ok_or_else(no_view)?;
    let (bits, parts) = (u32::from(q.bits), parts(q.bits));
    let step = height.div_ceil(parts);
    let tensor = format!("{name}.W_q");
    let stored: Vec<u32> = if q.bits == 3 {
        words(&shards.bytes(&tensor, step * width, &[Dtype::I32])?.1).collect()
    } else {
        shards
            .bytes(&tensor, step * width, &[Dtype::U8])?
            .1
            .into_iter()
            .map(u32::from)
            .collect()
    };
    // the first part is in the highest bits: of 8, or of the 30 that ten codes of three bits fill
    let code = |i: usize| {
        let (r, c) = (i / width, i % width);
        let shift = bits * (parts - 1 - r / step) as u32;
        stored[r % step * width + c] >> shift & ((1 << bits) - 1)
    };
    let count = if axis == Axis::One { height } else { width };
    let (dtype, scale) = shards.floats(&format!("{name}.scale"), count)?;
    let (_, zero) = shards.floats(&format!("{name}.zero"), count)?;
    let rounding = Rounding::Difference(dtype);
    if axis == Axis::Zero {
        // a scale for every few weights of a column: their values take less room than their scales
        let weight = |i: usize| rounding.weight(code(i) as f32, zero[i % width], scale[i % width]);
        return Ok(Weights::Bf16((0..rows * cols).map(weight).collect()));
    }
    let (scales, size) = spread(&scale, width, rows, cols);
    Ok(Weights::Coded(Coded {
        bits: q.bits,
        codes: (0..rows)
            .flat_map(|r| stream((r * cols..(r + 1) * cols).map(code), q.bits))
            .collect(),
        book: Codebook::Table((0..1u32 << bits).map(|v| v as f32).collect()),
        scales: Scales::grouped(scales, size),
        zeros: Zeros::Float(spread(&zero, width, rows, cols).0),
        index: None,
        rounding,
    }))
}

pub(super) fn check(
    shards: &Shards,
    name: &str,
    shape: (usize, usize),
    q: Quantized,
    axis: Axis,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    scales(shards, &format!("{name}.scale"), 255.0, problems, findings)?;
    let size = match q.strategy {
        Strategy::Group(size) => Some(size as i64),
        _ => None,
    };
    let said = [
        ("nbits", vec![i64::from(q.bits)]),
        ("axis", vec![i64::from(axis == Axis::One)]),
        ("shape", vec![shape.0 as i64, shape.1 as i64]),
        ("quant_scale", vec![0]),
        ("quant_zero", vec![0]),
        ("view_as_float", vec![0]),
    ];
    for (suffix, need) in said.into_iter().chain(size.map(|size| ("group_size", vec![size]))) {
        let tensor = format!("{name}.{suffix}");
        let found = integers(shards, &tensor, need.len())?;
        if let Some(found) = found.filter(|found| *found != need) {
            problems.push(problem(
                "hqq-metadata",
                &tensor,
                (
                    format!("{tensor} says {found:?}; by config.json it is {need:?}"),
                    format!("{tensor} 값이 {found:?}입니다. config.json으로는 {need:?}입니다"),
                ),
                QUANTIZE_AGAIN,
            ));
        }
    }
    Ok(())
}

/// Numbers that are stored as whatever integer type; `None` where they are not stored.
fn integers(shards: &Shards, tensor: &str, count: usize) -> Result<Option<Vec<i64>>, OpenError> {
    let Some(dtype) = shards.info(tensor).map(|info| info.dtype) else {
        return Ok(None);
    };
    if !matches!(dtype, Dtype::U8 | Dtype::I8 | Dtype::BOOL | Dtype::I32 | Dtype::I64) {
        return Ok(Some(Vec::new()));
    }
    let (_, bytes) = shards.bytes(tensor, count, &[dtype])?;
    Ok(Some(match dtype {
        Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        Dtype::I32 => words(&bytes).map(|w| i64::from(w as i32)).collect(),
        _ => bytes.iter().map(|b| i64::from(*b as i8)).collect(),
    }))
}
