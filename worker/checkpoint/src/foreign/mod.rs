//! What other tools than llm-compressor write. One file a family: what its configuration means for each matrix, which tensors a
//! matrix has, how they become the canonical [`Matrix`], and what to look for in their data.

mod autoround;
mod awq;
mod bnb;
mod companions;
mod float8;
mod gptq;
mod hqq;
mod keys;
mod modelopt;
mod refuse;
mod skip;
mod torchao;

use std::collections::{BTreeMap, BTreeSet};

use assay_contest::Problem;
use serde_json::{Map, Value};

use crate::config::ModelConfig;
use crate::load::{Coded, Inputs, Matrix, OpenError, Shards, Weights};
use crate::model::Module;
use crate::problem::{Problems, problem};
use crate::quant::{InputRule, Layout, Quantized, Storage, Strategy};
use crate::verify::{Expect, Tensors};

pub(crate) use autoround::{as_compressed, is_compressed};
pub(crate) use bnb::Bnb;
pub(crate) use float8::Float8;
pub(crate) use gptq::Gptq;
pub(crate) use hqq::Axis;
pub(crate) use refuse::{USE_SUPPORTED, refused};
pub(crate) use torchao::Torchao;

/// The storage of one matrix by another tool; bits, group and symmetry are [`Quantized`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// AutoGPTQ, GPTQModel, auto-round: `qweight` packed along the inputs
    Gptq(Gptq),
    /// AutoAWQ's GEMM layout: `qweight` packed along the outputs
    Awq,
    /// float8 with scales of its own naming or blocks
    Float8(Float8),
    /// bitsandbytes
    Bnb(Bnb),
    /// HQQ
    Hqq(Axis),
    /// torchao's plain layouts
    Torchao(Torchao),
    /// ModelOpt's NVFP4
    NvFp4,
}

impl Foreign {
    /// The suffix of the tensor that holds the codes.
    pub const fn suffix(self) -> &'static str {
        match self {
            Foreign::Gptq(_) | Foreign::Awq => "qweight",
            Foreign::Float8(_) | Foreign::Bnb(_) | Foreign::NvFp4 => "weight",
            Foreign::Hqq(_) => "W_q",
            Foreign::Torchao(_) => "_weight_qdata",
        }
    }

    /// Whether the tensor `suffix`, one of [`MARKERS`], is a sign of it.
    pub fn has(self, suffix: &str) -> bool {
        match self {
            Foreign::Gptq(_) | Foreign::Awq => suffix == "qweight",
            Foreign::Float8(f) => suffix == f.scale,
            Foreign::Bnb(Bnb::Int8) => suffix == "SCB",
            Foreign::Bnb(_) => suffix == "weight.absmax",
            Foreign::Hqq(_) => suffix == "W_q",
            Foreign::Torchao(_) => suffix == "_weight_qdata",
            Foreign::NvFp4 => suffix == "weight_scale_2",
        }
    }

    /// Words for it, in English and Korean.
    pub fn text(self) -> (&'static str, &'static str) {
        match self {
            Foreign::Gptq(_) => ("GPTQ's words (qweight)", "GPTQ의 32비트 묶음(qweight)"),
            Foreign::Awq => ("AWQ's words (qweight)", "AWQ의 32비트 묶음(qweight)"),
            Foreign::Float8(_) => ("float8 (weight, F8_E4M3)", "float8(weight, F8_E4M3)"),
            Foreign::Bnb(Bnb::Int8) => ("int8 rows (weight, SCB)", "행별 int8(weight, SCB)"),
            Foreign::Bnb(_) => (
                "bitsandbytes' nibbles (weight.absmax)",
                "bitsandbytes의 4비트(weight.absmax)",
            ),
            Foreign::Hqq(_) => ("HQQ's parts (W_q)", "HQQ의 묶음(W_q)"),
            Foreign::Torchao(_) => ("torchao's codes (_weight_qdata)", "torchao의 코드(_weight_qdata)"),
            Foreign::NvFp4 => ("ModelOpt's NVFP4 (weight_scale_2)", "ModelOpt의 NVFP4(weight_scale_2)"),
        }
    }
}

/// Suffixes that only another tool's quantized matrix has.
pub(crate) const MARKERS: [&str; 7] = [
    "qweight",
    "weight_scale_inv",
    "weight.absmax",
    "SCB",
    "W_q",
    "_weight_qdata",
    "weight_scale_2",
];

/// Every suffix of these families, for matrices that are reported already.
pub(crate) const SUFFIXES: [&str; 24] = [
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
    "bias",
    "weight_scale_inv",
    "activation_scale",
    "weight_scale_2",
    "weight.absmax",
    "weight.quant_map",
    "weight.nested_absmax",
    "weight.nested_quant_map",
    "weight.quant_state.bitsandbytes__nf4",
    "weight.quant_state.bitsandbytes__fp4",
    "SCB",
    "weight_format",
    "W_q",
    "scale",
    "zero",
    "shape",
    "_weight_qdata",
    "_weight_scale",
    "_weight_zero_point",
    "nbits",
];

/// The marker a module has, if any.
pub(crate) fn marker(name: &str, tensors: &Tensors) -> Option<&'static str> {
    MARKERS
        .into_iter()
        .find(|suffix| tensors.contains_key(format!("{name}.{suffix}").as_str()))
}

/// A configuration, the model it is for, and its tensors' headers.
pub(crate) struct Look<'a> {
    pub map: &'a Map<String, Value>,
    pub model: &'a ModelConfig,
    pub tensors: &'a Tensors<'a>,
}

/// What a configuration means.
pub(crate) struct Plan {
    pub storage: BTreeMap<Module, Storage>,
    /// `W4A16 g128 sym`
    pub scheme: String,
}

/// Means `format` is one of those whose configurations [`plan`] reads.
pub(crate) fn is_read(format: &str) -> bool {
    matches!(
        format,
        "gptq" | "awq" | "auto-round" | "fp8" | "fbgemm_fp8" | "bitsandbytes" | "torchao" | "hqq" | "modelopt"
    )
}

/// Reads the configuration of a format that [`is_read`]; the error is the one problem to report.
pub(crate) fn plan(format: &str, look: &Look, findings: &mut Problems) -> Result<Plan, Box<Problem>> {
    let storage = match format {
        "gptq" => gptq::plan(look, findings)?,
        "awq" => awq::plan(look)?,
        "auto-round" => autoround::plan(look)?,
        "fp8" | "fbgemm_fp8" => float8::plan(format, look, findings)?,
        "bitsandbytes" => bnb::plan(look, findings)?,
        "torchao" => torchao::plan(look, findings)?,
        "hqq" => hqq::plan(look)?,
        "modelopt" => modelopt::plan(look, findings)?,
        _ => return Err(Box::new(refused(format))),
    };
    let kinds: BTreeSet<String> = storage
        .values()
        .filter_map(|how| match how {
            Storage::Quantized(q) => Some(scheme(*q)),
            _ => None,
        })
        .collect();
    Ok(Plan {
        storage,
        scheme: kinds.into_iter().collect::<Vec<_>>().join(" + "),
    })
}

/// `W4A16 g128 sym`, `W8A8 fp block sym`.
fn scheme(q: Quantized) -> String {
    let activations = if q.inputs == InputRule::Plain { 16 } else { 8 };
    let float = matches!(
        q.layout,
        Layout::Foreign(Foreign::Float8(_) | Foreign::NvFp4 | Foreign::Torchao(Torchao::Float8))
    );
    let sharing = match (q.layout, q.strategy) {
        (Layout::Foreign(Foreign::Bnb(kind)), _) if kind != Bnb::Int8 => return format!("W4A16 {}", kind.text()),
        (Layout::Foreign(Foreign::Hqq(Axis::Zero)), Strategy::Group(size)) => format!("g{size} axis 0"),
        (Layout::Foreign(Foreign::Float8(f)), _) if f.block.is_some() => "block".to_owned(),
        (_, Strategy::Group(size)) => format!("g{size}"),
        (_, Strategy::Channel) => "channel".to_owned(),
        _ => "tensor".to_owned(),
    };
    let kind = if float { " fp" } else { "" };
    let sym = if q.symmetric { "sym" } else { "asym" };
    let fixed = match q.inputs {
        InputRule::Fixed { .. } => " static",
        _ => "",
    };
    format!("W{}A{activations}{kind} {sharing} {sym}{fixed}", q.bits)
}

/// Storage of every module. `of` is asked for the matrices of layers, and for the head unless it is tied and nothing of it is stored.
fn assign(
    look: &Look,
    mut of: impl FnMut(Module, &str) -> Result<Option<Quantized>, Box<Problem>>,
) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let head_is_stored = || look.tensors.keys().any(|name| name.starts_with("lm_head."));
    let mut storage = BTreeMap::new();
    for module in Module::all(look.model) {
        let asked = match module {
            Module::Embedding => false,
            Module::Head => !look.model.tie || head_is_stored(),
            Module::Layer(..) => true,
        };
        let scheme = if asked {
            of(module, &module.name(look.model.family))?
        } else {
            None
        };
        storage.insert(module, scheme.map_or(Storage::Dense, Storage::Quantized));
    }
    Ok(storage)
}

/// The tensors of a matrix of (out, in).
pub(crate) fn expect(
    name: &str,
    shape: (usize, usize),
    q: Quantized,
    kind: Foreign,
    put: &mut dyn FnMut(&str, Expect),
    problems: &mut Problems,
) {
    match kind {
        Foreign::Gptq(_) => gptq::expect(name, shape, q, put, problems),
        Foreign::Awq => awq::expect(name, shape, q, put, problems),
        Foreign::Float8(f) => {
            float8::expect(shape, q, f, put);
            modelopt::expect_cache(name, put);
        }
        Foreign::Bnb(b) => bnb::expect(shape, b, put),
        Foreign::Hqq(axis) => hqq::expect(name, shape, q, axis, put, problems),
        Foreign::Torchao(t) => torchao::expect(shape, q, t, put),
        Foreign::NvFp4 => modelopt::expect(name, shape, put, problems),
    }
}

/// Reads a matrix.
pub(crate) fn load(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    kind: Foreign,
) -> Result<Matrix, OpenError> {
    let mut inputs = Inputs::Plain;
    let coded = |coded: Coded| Weights::Coded(coded);
    let weights = match kind {
        Foreign::Gptq(g) => coded(gptq::load(shards, name, (rows, cols), q, g)?),
        Foreign::Awq => coded(awq::load(shards, name, (rows, cols), q)?),
        Foreign::Float8(f) => {
            inputs = float8::inputs(shards, name, q, f)?;
            coded(float8::load(shards, name, (rows, cols), q, f)?)
        }
        Foreign::Bnb(b) => coded(bnb::load(shards, name, (rows, cols), b)?),
        Foreign::Hqq(axis) => hqq::load(shards, name, (rows, cols), q, axis)?,
        Foreign::Torchao(t) => coded(torchao::load(shards, name, (rows, cols), q, t)?),
        Foreign::NvFp4 => coded(modelopt::load(shards, name, (rows, cols))?),
    };
    Ok(Matrix {
        inputs,
        ..Matrix::plain(rows, cols, weights)
    })
}

/// Looks at a matrix's data; NaN and infinities of plain floats are looked for elsewhere.
pub(crate) fn check(
    shards: &Shards,
    name: &str,
    shape: (usize, usize),
    q: Quantized,
    kind: Foreign,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    match kind {
        Foreign::Gptq(g) => gptq::check(shards, name, shape, q, g, problems, findings),
        Foreign::Awq => awq::check(shards, name, q, problems, findings),
        Foreign::Float8(f) => float8::check(shards, name, shape, q, f, problems, findings),
        Foreign::Bnb(b) => bnb::check(shards, name, shape, b, problems),
        Foreign::Hqq(axis) => hqq::check(shards, name, shape, q, axis, problems, findings),
        Foreign::Torchao(t) => torchao::check(shards, name, shape, q, t, problems, findings),
        Foreign::NvFp4 => modelopt::check(shards, name, shape, problems, findings),
    }
}

/// Groups of −1 (a row) or a size, as GPTQ, AWQ and auto-round write it.
fn strategy(group: i64) -> Option<Strategy> {
    match group {
        -1 => Some(Strategy::Channel),
        1..=0x10_0000 => Some(Strategy::Group(group as u64)),
        _ => None,
    }
}

/// Words that cannot be filled: every tool packs whole words, and would cut the rest off.
fn unpackable(name: &str, what: (&str, &str), count: usize, multiple: usize) -> Problem {
    problem(
        "packing-width",
        name,
        (
            format!(
                "{count} {} cannot be packed into words: a multiple of {multiple} is needed",
                what.0
            ),
            format!(
                "{} {count}개는 32비트로 묶을 수 없습니다. {multiple}의 배수여야 합니다",
                what.1
            ),
        ),
        (
            "Leave this matrix unquantized, or use a format that stores its true width (compressed-tensors).",
            "이 행렬은 양자화하지 않거나, 폭을 그대로 저장하는 형식(compressed-tensors)을 쓰세요.",
        ),
    )
}
