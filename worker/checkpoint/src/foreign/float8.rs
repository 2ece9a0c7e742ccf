//! Float8 outside compressed-tensors: DeepSeek's 128 × 128 blocks (transformers' `fp8`, the EXAONE FP8 releases), one scale a
//! matrix (vLLM's `fp8`), one a row (`fbgemm_fp8`). The scale multiplies, whatever its name says.

use std::collections::BTreeMap;

use assay_contest::Problem;
use serde_json::Value;

use super::companions::{QUANTIZE_AGAIN, scales};
use super::keys::Keys;
use super::skip::Skip;
use super::{Foreign, Look};
use crate::load::{Codebook, Coded, Codes, FLOATS, InputScale, Inputs, OpenError, Scales, Shards, stream};
use crate::model::Module;
use crate::number::e8m0_to_f32;
use crate::problem::{Problems, problem, quoted};
use crate::quant::{GroupRule, InputRule, Layout, Quantized, Storage, Strategy};
use crate::safetensors::Dtype;
use crate::verify::{Expect, invalid, pieces};

/// Which tensors hold the scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Float8 {
    /// suffix of the weight's scales
    pub scale: &'static str,
    /// suffix of a stored input scale
    pub input: &'static str,
    /// rows and columns that share a scale; otherwise as the strategy says
    pub block: Option<(u32, u32)>,
}

const SCALES: &[Dtype] = &[Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::U8, Dtype::F8_E8M0];

pub(super) fn plan(
    format: &str,
    look: &Look,
    findings: &mut Problems,
) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    let skip = Skip::new(
        keys.strings("modules_to_not_convert")?
            .or(keys.strings("ignored_layers")?),
    )?;
    let q = if format == "fbgemm_fp8" {
        by_row(keys, findings)?
    } else {
        scheme(keys, look)?
    };
    super::assign(look, |module, name| {
        // tools differ in whether an unlisted head is one of the layers they convert: its tensors tell
        let head_stays = || {
            look.tensors
                .get("lm_head.weight")
                .is_none_or(|t| t.dtype != Dtype::F8_E4M3)
        };
        let left = skip.skips(name)? || (module == Module::Head && head_stays());
        Ok(if left { None } else { Some(q) })
    })
}

fn scheme(keys: Keys, look: &Look) -> Result<Quantized, Box<Problem>> {
    let block = block(keys)?;
    let inverse = look.tensors.keys().any(|name| name.ends_with(".weight_scale_inv"));
    let kept = |suffix: &str| look.tensors.keys().any(|name| name.ends_with(suffix));
    let f = Float8 {
        scale: if block.is_some() || inverse {
            "weight_scale_inv"
        } else {
            "weight_scale"
        },
        input: if kept(".activation_scale") {
            "activation_scale"
        } else {
            "input_scale"
        },
        block,
    };
    let codes = Codes::Float8;
    let powers = keys.text("scale_fmt")?.as_deref() == Some("ue8m0");
    let said = keys.text("activation_scheme")?.unwrap_or_else(|| "dynamic".to_owned());
    let inputs = match (said.as_str(), block) {
        ("dynamic", Some((_, cols))) => InputRule::Group {
            codes,
            cols,
            rule: if powers {
                GroupRule::Ceiling
            } else {
                GroupRule::Float { symmetric: true }
            },
        },
        ("dynamic", None) => InputRule::Row { codes, symmetric: true },
        ("static", None) => InputRule::Fixed { codes, symmetric: true },
        _ => return Err(Box::new(invalid(&format!("activation_scheme: \"{}\"", quoted(&said))))),
    };
    Ok(quantized(f, Strategy::Tensor, inputs))
}

fn by_row(keys: Keys, findings: &mut Problems) -> Result<Quantized, Box<Problem>> {
    let f = Float8 {
        scale: "weight_scale",
        input: "input_scale",
        block: None,
    };
    if let Some(bound) = keys.get("activation_scale_ub").and_then(Value::as_f64) {
        findings.push(problem(
            "activation-bound-not-applied",
            "config.json: quantization_config.activation_scale_ub",
            (
                format!("inputs are quantized per token, and not clamped to {bound} before"),
                format!("입력은 토큰별로 양자화하며, 그 전에 {bound}로 자르지는 않습니다"),
            ),
            ("Nothing has to be done.", "할 일은 없습니다."),
        ));
    }
    let inputs = InputRule::Row {
        codes: Codes::Float8,
        symmetric: true,
    };
    Ok(quantized(f, Strategy::Channel, inputs))
}

/// A matrix of float8.
pub(super) fn quantized(f: Float8, strategy: Strategy, inputs: InputRule) -> Quantized {
    Quantized {
        layout: Layout::Foreign(Foreign::Float8(f)),
        bits: 8,
        strategy,
        symmetric: true,
        indexed: false,
        inputs,
    }
}

/// A scheme for inputs that is declared, and not applied.
pub(super) fn inputs_stay(format: &str, en: &str, ko: &str) -> Problem {
    problem(
        "inputs-not-quantized",
        format,
        (
            format!("the format's runtime quantizes inputs ({en}); here only the weights are"),
            format!("이 형식의 런타임은 입력도 {ko} 양자화하지만, 여기서는 가중치만 양자화합니다"),
        ),
        ("Nothing has to be done.", "할 일은 없습니다."),
    )
}

/// `weight_block_size`: [rows, columns], or nothing.
fn block(keys: Keys) -> Result<Option<(u32, u32)>, Box<Problem>> {
    let Some(value) = keys.get("weight_block_size") else {
        return Ok(None);
    };
    let side = |v: &Value| v.as_u64().filter(|n| (1..=1 << 20).contains(n)).map(|n| n as u32);
    match value.as_array().map(Vec::as_slice) {
        Some([rows, cols]) => side(rows).zip(side(cols)).map(Some),
        _ => None,
    }
    .ok_or_else(|| Box::new(invalid("weight_block_size: two positive numbers are needed")))
}

/// Scales as they are stored, [rows][columns] of them.
fn grid(q: Quantized, f: Float8, (out, cols): (usize, usize)) -> (usize, usize) {
    match (f.block, q.strategy) {
        (Some((r, c)), _) => (out.div_ceil(r as usize), cols.div_ceil(c as usize)),
        (None, Strategy::Tensor) => (1, 1),
        (None, _) => (out, q.groups(cols as u64) as usize),
    }
}

pub(super) fn expect((out, cols): (usize, usize), q: Quantized, f: Float8, put: &mut dyn FnMut(&str, Expect)) {
    put("weight", Expect::one(&[out, cols], &[Dtype::F8_E4M3]));
    let (r, c) = grid(q, f, (out, cols));
    let mut shapes = vec![vec![r as u64, c as u64]];
    if f.block.is_none() && q.strategy == Strategy::Tensor {
        shapes = vec![vec![1], vec![], vec![1, 1]];
    } else if c == 1 && f.block.is_none() {
        shapes.push(vec![r as u64]);
    }
    put(
        f.scale,
        Expect {
            shapes,
            dtypes: SCALES,
            required: true,
        },
    );
    if matches!(q.inputs, InputRule::Fixed { .. }) {
        put(f.input, Expect::scalar(FLOATS));
    }
}

/// The scales, whatever they are stored as.
fn stored_scales(shards: &Shards, tensor: &str, count: usize) -> Result<Vec<f32>, OpenError> {
    match shards.info(tensor).map(|info| info.dtype) {
        Some(dtype @ (Dtype::U8 | Dtype::F8_E8M0)) => {
            let (_, bytes) = shards.bytes(tensor, count, &[dtype])?;
            Ok(bytes.into_iter().map(e8m0_to_f32).collect())
        }
        _ => Ok(shards.floats(tensor, count)?.1),
    }
}

pub(super) fn load(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    f: Float8,
) -> Result<Coded, OpenError> {
    let (_, bytes) = shards.bytes(&format!("{name}.weight"), rows * cols, &[Dtype::F8_E4M3])?;
    let codes = bytes
        .chunks(cols.max(1))
        .flat_map(|row| stream(row.iter().map(|b| u32::from(*b)), 8));
    let (r, c) = grid(q, f, (rows, cols));
    let values = stored_scales(shards, &format!("{name}.{}", f.scale), r * c)?;
    let (r, c) = match (f.block, q.strategy) {
        (Some((r, c)), _) => (r as usize, c as usize),
        (None, Strategy::Tensor) => (rows, cols),
        (None, Strategy::Group(size)) => (1, size as usize),
        (None, _) => (1, cols),
    };
    let scales = Scales {
        values,
        rows: r,
        cols: c.min(cols),
    };
    // runtimes multiply in f32, whatever the scales are kept in
    Ok(Coded::float(8, Codebook::E4m3, codes.collect(), scales, Dtype::F32))
}

/// What becomes of a row before the product.
pub(super) fn inputs(shards: &Shards, name: &str, q: Quantized, f: Float8) -> Result<Inputs, OpenError> {
    let InputRule::Fixed { codes, .. } = q.inputs else {
        return shards.inputs(name, q.inputs);
    };
    let tensor = format!("{name}.{}", f.input);
    let scale = shards.floats(&tensor, 1)?.1[0];
    if !(scale.is_finite() && scale > 0.0) {
        return Err(OpenError::Tensor {
            tensor,
            reason: format!("{scale} is no scale"),
        });
    }
    let scale = InputScale::Fixed { scale, zero: 0 };
    Ok(Inputs::Quantized { codes, scale })
}

pub(super) fn check(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    f: Float8,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    let tensor = format!("{name}.{}", f.scale);
    if shards.info(&tensor).is_some_and(|info| info.dtype.is_plain_float()) {
        scales(shards, &tensor, 448.0, problems, findings)?;
    } else {
        let (r, c) = grid(q, f, (rows, cols));
        let bad = stored_scales(shards, &tensor, r * c)?
            .iter()
            .filter(|s| !s.is_finite())
            .count();
        if bad > 0 {
            problems.push(nan(&tensor, bad as u64));
        }
    }
    let tensor = format!("{name}.weight");
    let mut bad = 0u64;
    pieces(shards, &tensor, (rows * cols) as u64, |_, piece| {
        bad += piece.iter().filter(|b| **b & 0x7F == 0x7F).count() as u64;
    })?;
    if bad > 0 {
        problems.push(nan(&tensor, bad));
    }
    if matches!(q.inputs, InputRule::Fixed { .. }) {
        let tensor = format!("{name}.{}", f.input);
        let scale = shards.floats(&tensor, 1)?.1[0];
        // not finite is reported with all other floats
        if scale <= 0.0 {
            problems.push(problem(
                "input-scale-not-positive",
                &tensor,
                (
                    format!("{tensor} is {scale}: inputs cannot be divided by it"),
                    format!("{tensor} 값이 {scale}입니다. 입력을 나눌 수 없습니다"),
                ),
                (
                    "Calibrate again: the scale of an input is positive.",
                    "다시 보정(calibration)하세요. 입력 scale은 양수입니다.",
                ),
            ));
        }
    }
    Ok(())
}

fn nan(tensor: &str, bad: u64) -> Problem {
    problem(
        "non-finite",
        tensor,
        (
            format!("{tensor} has {bad} eight-bit values that are NaN"),
            format!("{tensor}에 NaN인 8비트 값이 {bad}개 있습니다"),
        ),
        QUANTIZE_AGAIN,
    )
}
