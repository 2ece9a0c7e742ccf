//! The tensors of one matrix: which there must be, of what shape and type, given how the matrix is stored.

use std::collections::BTreeMap;

use crate::foreign::{self, Foreign};
use crate::problem::{Problems, problem};
use crate::quant::{
    GroupRule, InputRule, Kept, Layout, Mask, Micro, Packing, Quantized, Storage, Strategy, Values, marlin,
};
use crate::safetensors::Dtype;

use super::format::Tensors;

pub(super) const FLOATS: &[Dtype] = &[Dtype::BF16, Dtype::F16, Dtype::F32];

/// What a tensor must be. No shapes or no dtypes: any.
pub(crate) struct Expect {
    pub shapes: Vec<Vec<u64>>,
    pub dtypes: &'static [Dtype],
    pub required: bool,
}

impl Expect {
    pub fn one(shape: &[usize], dtypes: &'static [Dtype]) -> Expect {
        Expect {
            shapes: vec![shape.iter().map(|d| *d as u64).collect()],
            dtypes,
            required: true,
        }
    }

    /// A number for the whole matrix; tools write it with and without a dimension.
    pub fn scalar(dtypes: &'static [Dtype]) -> Expect {
        Expect {
            shapes: vec![vec![1], vec![]],
            dtypes,
            required: true,
        }
    }
}

/// What is there of a matrix, whatever the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Floats,
    Sparse(Mask),
    Codes(Layout),
    /// another tool's, by the tensor that shows it
    Foreign(&'static str),
}

impl Stored {
    /// Of the module `name`; `None` when nothing is there, or something nobody knows.
    pub fn of(name: &str, tensors: &Tensors) -> Option<Stored> {
        let tensor = |suffix: &str| tensors.get(format!("{name}.{suffix}").as_str()).copied();
        if let Some((mask, dtype)) = Mask::of(name, tensors) {
            return match dtype {
                Dtype::I8 => Some(Stored::Codes(Layout::Sparse(mask, Values::Bytes))),
                Dtype::F8_E4M3 => Some(Stored::Codes(Layout::Sparse(mask, Values::Float8))),
                _ => Some(Stored::Sparse(mask)),
            };
        }
        let scale = tensor("weight_scale");
        if let Some(packed) = tensor("weight_packed") {
            return Some(Stored::Codes(match packed.dtype {
                Dtype::U8
                    if tensor("weight_global_scale").is_some() || scale.is_some_and(|s| s.dtype == Dtype::F8_E4M3) =>
                {
                    Layout::Micro(Micro::Nvfp4)
                }
                // or six bits: only the width tells
                Dtype::U8 => Layout::Micro(Micro::Mxfp4),
                _ if tensor("meta").is_some() => Layout::Marlin24,
                _ => Layout::Packed(Packing::Stream),
            }));
        }
        if let Some(suffix) = foreign::marker(name, tensors) {
            return Some(Stored::Foreign(suffix));
        }
        match tensor("weight")?.dtype {
            Dtype::I8 => Some(Stored::Codes(Layout::Bytes)),
            Dtype::F8_E4M3 if scale.is_some_and(|s| matches!(s.dtype, Dtype::U8 | Dtype::F8_E8M0)) => {
                Some(Stored::Codes(Layout::Micro(Micro::Mxfp8)))
            }
            Dtype::F8_E4M3 => Some(Stored::Codes(Layout::Float8)),
            dtype if dtype.is_plain_float() => Some(Stored::Floats),
            _ => None,
        }
    }

    pub fn suffix(self) -> &'static str {
        match self {
            Stored::Floats => "weight",
            Stored::Sparse(mask) => mask.suffix(crate::quant::sparse::Part::Compressed),
            Stored::Codes(layout) => layout.suffix(),
            Stored::Foreign(suffix) => suffix,
        }
    }

    /// Whether this is what another tool's matrices look like.
    fn is(self, kind: Foreign) -> bool {
        match self {
            Stored::Codes(Layout::Float8) => kind.has("weight_scale"),
            Stored::Foreign(suffix) => kind.has(suffix),
            _ => false,
        }
    }
}

/// `4-bit words (weight_packed)` and so on, in English and Korean.
fn layout_text(layout: Layout) -> (&'static str, &'static str) {
    match layout {
        Layout::Packed(_) => (
            "integers packed into words (weight_packed)",
            "32비트로 묶은 정수(weight_packed)",
        ),
        Layout::Bytes => ("integers of one byte (weight, I8)", "한 바이트짜리 정수(weight, I8)"),
        Layout::Float8 => ("float8 (weight, F8_E4M3)", "float8(weight, F8_E4M3)"),
        Layout::Marlin24 => (
            "two of four integers in a kernel's order (weight_packed, meta)",
            "커널 순서의 2:4 정수(weight_packed, meta)",
        ),
        Layout::Sparse(mask, _) => sparse_text(mask),
        Layout::Foreign(kind) => kind.text(),
        Layout::Micro(Micro::Mxfp8) => (
            "float8 with  powers of two as scales (weight, F8_E4M3; weight_scale, U8)",
            "2의 거듭제곱 scale의 float8(weight, F8_E4M3; weight_scale, U8)",
        ),
        Layout::Micro(Micro::Nvfp4) => (
            "float4 with a global scale (weight_packed, U8; weight_global_scale)",
            "전역 scale이 있는 float4(weight_packed, U8; weight_global_scale)",
        ),
        Layout::Micro(Micro::Mxfp4) => (
            "float4 in bytes (weight_packed, U8)",
            "바이트로 묶은 float4(weight_packed, U8)",
        ),
        Layout::Micro(Micro::Mxfp6) => (
            "float6 in bytes (weight_packed, U8)",
            "바이트로 묶은 float6(weight_packed, U8)",
        ),
    }
}

fn sparse_text(mask: Mask) -> (&'static str, &'static str) {
    match mask.kept {
        Kept::TwoOfFour => (
            "two of four values (compressed, bitmask)",
            "2:4 희소 값(compressed, bitmask)",
        ),
        Kept::Any => (
            "the values that are not zero (compressed, bitmask, row_offsets)",
            "0이 아닌 값(compressed, bitmask, row_offsets)",
        ),
    }
}

/// What a module holds, in words.
fn storage_text(how: Storage) -> (&'static str, &'static str) {
    match how {
        Storage::Dense => ("plain floats (weight)", "일반 실수(weight)"),
        Storage::Sparse(mask) => sparse_text(mask),
        Storage::Quantized(q) => layout_text(q.layout),
    }
}

/// Stored the way the configuration says? If not, one problem.
pub(super) fn told_apart(name: &str, how: Storage, tensors: &Tensors, problems: &mut Problems) -> bool {
    let Some(stored) = Stored::of(name, tensors) else {
        return true;
    };
    let place = format!("{name}.{}", stored.suffix());
    match (how, stored) {
        (Storage::Dense | Storage::Sparse(_), Stored::Codes(_) | Stored::Foreign(_)) => {
            problems.push(problem(
                "module-packed",
                place,
                (
                    format!("{name} is stored quantized, but by targets and ignore it is not"),
                    format!("{name}은(는) 양자화되어 저장되었는데 targets와 ignore로는 양자화 대상이 아닙니다"),
                ),
                (
                    "Make quantization_config say what was quantized.",
                    "quantization_config를 실제로 양자화한 것과 맞춰 주세요.",
                ),
            ));
        }
        (Storage::Quantized(_), Stored::Floats) => {
            problems.push(problem(
                "module-not-packed",
                place,
                (
                    format!("{name} is stored dense, but by targets and ignore it is quantized"),
                    format!("{name}은(는) dense로 저장되었는데 targets와 ignore로는 양자화 대상입니다"),
                ),
                (
                    format!("Add \"{name}\" to ignore, or quantize it."),
                    format!("ignore에 \"{name}\"을 넣거나 양자화하세요."),
                ),
            ));
        }
        (Storage::Sparse(said), Stored::Sparse(found)) if said == found => return true,
        (Storage::Dense, Stored::Floats) => return true,
        (Storage::Quantized(q), Stored::Codes(layout)) if alike(q.layout, layout) => return true,
        (
            Storage::Quantized(Quantized {
                layout: Layout::Foreign(kind),
                ..
            }),
            stored,
        ) if stored.is(kind) => return true,
        (_, stored) => {
            let found = match stored {
                Stored::Foreign(_) => ("another tool's tensors", "다른 도구의 텐서"),
                Stored::Floats => storage_text(Storage::Dense),
                Stored::Sparse(mask) => sparse_text(mask),
                Stored::Codes(layout) => layout_text(layout),
            };
            problems.push(misfit(name, place, storage_text(how), found));
        }
    }
    false
}

/// By its format a module holds one thing, and another is stored.
fn misfit(name: &str, place: String, said: (&str, &str), found: (&str, &str)) -> assay_contest::Problem {
    problem(
        "module-layout",
        place,
        (
            format!("by its format {name} holds {}, stored are {}", said.0, found.0),
            format!("{name}은(는) format으로는 {}인데 저장된 것은 {}입니다", said.1, found.1),
        ),
        (
            "Upload the config.json that the compression tool wrote, unchanged.",
            "압축 도구가 쓴 config.json을 그대로 올려 주세요.",
        ),
    )
}

/// Formats are told by their tensors; a float8 weight with scales of the wrong type is for the list of expected tensors to say.
fn alike(said: Layout, found: Layout) -> bool {
    match (said, found) {
        (Layout::Micro(Micro::Mxfp6), Layout::Micro(Micro::Mxfp4)) => true,
        (Layout::Micro(said), Layout::Micro(found)) => said == found,
        (Layout::Sparse(..), _) | (_, Layout::Sparse(..)) | (Layout::Marlin24, _) | (_, Layout::Marlin24) => {
            said == found
        }
        (Layout::Micro(Micro::Mxfp8), Layout::Float8) | (Layout::Float8, Layout::Micro(Micro::Mxfp8)) => true,
        _ => said.like(found),
    }
}

const SUFFIXES: [&str; 20] = [
    "weight",
    "weight_packed",
    "weight_scale",
    "weight_global_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    "input_scale",
    "input_zero_point",
    "input_global_scale",
    "scale_packed",
    "meta",
    "compressed",
    "bitmask",
    "shape",
    "row_offsets",
    "weight.compressed",
    "weight.bitmask",
    "weight.shape",
    "weight.row_offsets",
];

/// Whatever there is of a module that is already reported.
pub(super) fn expect_anything(name: &str, expected: &mut BTreeMap<String, Expect>) {
    for suffix in SUFFIXES.into_iter().chain(foreign::SUFFIXES) {
        let any = Expect {
            shapes: Vec::new(),
            dtypes: &[],
            required: false,
        };
        expected.insert(format!("{name}.{suffix}"), any);
    }
}

/// The tensors of a matrix of `out` rows.
pub(super) fn expect(
    name: &str,
    (out, cols): (usize, usize),
    how: Storage,
    expected: &mut BTreeMap<String, Expect>,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    let mut put = |suffix: &str, expect: Expect| expected.insert(format!("{name}.{suffix}"), expect);
    let mut add = |suffix: &str, expect: Expect| {
        put(suffix, expect);
    };
    let q = match how {
        Storage::Dense => return add("weight", Expect::one(&[out, cols], FLOATS)),
        Storage::Sparse(mask) => return mask.expect((out, cols), None, &mut add),
        Storage::Quantized(q) => q,
    };
    if let Layout::Foreign(kind) = q.layout {
        foreign::expect(name, (out, cols), q, kind, &mut add, problems);
        return;
    }
    if let Strategy::Group(size) = q.strategy
        && !(cols as u64).is_multiple_of(size)
        && size < cols as u64
    {
        findings.push(short_group(name, cols, size));
    }
    match q.layout {
        Layout::Packed(packing) => {
            let words = packing.words(cols, q.bits);
            add("weight_packed", Expect::one(&[out, words], &[Dtype::I32]));
            add("weight_shape", Expect::one(&[2], &[Dtype::I64, Dtype::I32]));
        }
        Layout::Bytes => {
            add("weight", Expect::one(&[out, cols], &[Dtype::I8]));
        }
        Layout::Float8 => {
            add("weight", Expect::one(&[out, cols], &[Dtype::F8_E4M3]));
        }
        Layout::Micro(micro) => micro.expect(q, (out, cols), &mut add),
        Layout::Marlin24 => marlin::expect(q, name, (out, cols), &mut add, problems),
        Layout::Sparse(mask, values) => mask.expect((out, cols), Some(values), &mut add),
        Layout::Foreign(_) => {}
    }
    if !matches!(q.layout, Layout::Micro(_) | Layout::Marlin24) {
        add("weight_scale", shared(q, out, cols, FLOATS));
    }
    if !q.symmetric {
        let zeros = match q.packed_zeros() {
            Some(packing) => {
                let groups = q.groups(cols as u64) as usize;
                Expect::one(&[packing.words(out, q.bits), groups], &[Dtype::I32])
            }
            None => shared(q, out, cols, &[Dtype::I8]),
        };
        add("weight_zero_point", zeros);
    }
    if q.indexed {
        add("weight_g_idx", Expect::one(&[cols], &[Dtype::I32, Dtype::I64]));
    }
    match q.inputs {
        InputRule::Fixed { symmetric, .. } => {
            add("input_scale", Expect::scalar(FLOATS));
            if !symmetric {
                add("input_zero_point", Expect::scalar(&[Dtype::I8]));
            }
        }
        InputRule::Group { cols: size, rule, .. } => {
            if rule == GroupRule::Local {
                add("input_global_scale", Expect::scalar(FLOATS));
            }
            let size = u64::from(size);
            if !(cols as u64).is_multiple_of(size) && size < cols as u64 {
                problems.push(group_size(name, cols, size));
            }
        }
        InputRule::Plain | InputRule::Row { .. } => {}
    }
}

/// What quantizing computed, beside weights that were left dense: allowed, never read.
pub(super) fn expect_leftovers(
    name: &str,
    (out, cols): (usize, usize),
    q: Quantized,
    expected: &mut BTreeMap<String, Expect>,
) {
    const ANY: &[Dtype] = &[
        Dtype::BF16,
        Dtype::F16,
        Dtype::F32,
        Dtype::F8_E4M3,
        Dtype::I8,
        Dtype::U8,
        Dtype::I32,
        Dtype::I64,
    ];
    let optional = |expect: Expect| Expect {
        required: false,
        ..expect
    };
    for suffix in ["weight_scale", "weight_zero_point"] {
        expected.insert(format!("{name}.{suffix}"), optional(shared(q, out, cols, ANY)));
    }
    expected.insert(format!("{name}.weight_g_idx"), optional(Expect::one(&[cols], ANY)));
    for suffix in [
        "weight_global_scale",
        "input_scale",
        "input_zero_point",
        "input_global_scale",
    ] {
        expected.insert(format!("{name}.{suffix}"), optional(Expect::scalar(ANY)));
    }
}

/// One value for everything that shares it.
fn shared(q: Quantized, out: usize, cols: usize, dtypes: &'static [Dtype]) -> Expect {
    let rows = q.scale_rows(out as u64) as usize;
    match q.strategy {
        Strategy::Tensor => Expect::scalar(dtypes),
        _ => Expect::one(&[rows, q.groups(cols as u64) as usize], dtypes),
    }
}

fn group_size(name: &str, cols: usize, size: u64) -> assay_contest::Problem {
    problem(
        "group-size",
        name,
        (
            format!("{cols} columns cannot be divided into groups of {size}"),
            format!("열 {cols}개는 {size}개씩 나누어지지 않습니다"),
        ),
        (
            format!("Choose a group size that divides {cols}."),
            format!("{cols}의 약수인 group_size를 쓰세요."),
        ),
    )
}

fn short_group(name: &str, cols: usize, size: u64) -> assay_contest::Problem {
    problem(
        "group-short",
        name,
        (
            format!(
                "{cols} columns do not divide into groups of {size}; the last group is shorter. compressed-tensors and vLLM would refuse to load it"
            ),
            format!(
                "열 {cols}개는 {size}개씩 나누어지지 않아 마지막 그룹이 짧습니다. compressed-tensors와 vLLM은 읽지 못합니다"
            ),
        ),
        (
            format!("Nothing has to be done for this contest; a group size that divides {cols} loads everywhere."),
            format!("이 대회에서는 할 일이 없습니다. {cols}의 약수인 group_size라면 어디서나 읽힙니다."),
        ),
    )
}
