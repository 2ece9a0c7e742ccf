//! The tensors of one matrix: which there must be, of what shape and type, given how the matrix is stored.

use std::collections::BTreeMap;

use crate::problem::{Problems, problem};
use crate::quant::{GroupRule, InputRule, Layout, Quantized, Storage, Strategy};
use crate::safetensors::Dtype;

use super::format::Tensors;

pub(super) const FLOATS: &[Dtype] = &[Dtype::BF16, Dtype::F16, Dtype::F32];

/// What a tensor must be. No shapes or no dtypes: any.
pub(super) struct Expect {
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
    fn scalar(dtypes: &'static [Dtype]) -> Expect {
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
    Codes(Layout),
}

impl Stored {
    /// Of the module `name`; `None` when nothing is there, or something nobody knows.
    pub fn of(name: &str, tensors: &Tensors) -> Option<Stored> {
        if tensors.contains_key(format!("{name}.weight_packed").as_str()) {
            return Some(Stored::Codes(Layout::Packed));
        }
        match tensors.get(format!("{name}.weight").as_str())?.dtype {
            Dtype::I8 => Some(Stored::Codes(Layout::Bytes)),
            Dtype::F8_E4M3 => Some(Stored::Codes(Layout::Float8)),
            dtype if dtype.is_plain_float() => Some(Stored::Floats),
            _ => None,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Stored::Floats => "weight",
            Stored::Codes(layout) => layout.suffix(),
        }
    }
}

/// `4-bit words (weight_packed)` and so on, in English and Korean.
fn layout_text(layout: Layout) -> (&'static str, &'static str) {
    match layout {
        Layout::Packed => (
            "integers packed into words (weight_packed)",
            "32비트로 묶은 정수(weight_packed)",
        ),
        Layout::Bytes => ("integers of one byte (weight, I8)", "한 바이트짜리 정수(weight, I8)"),
        Layout::Float8 => ("float8 (weight, F8_E4M3)", "float8(weight, F8_E4M3)"),
    }
}

/// Stored the way the configuration says? If not, one problem.
pub(super) fn told_apart(name: &str, how: Storage, tensors: &Tensors, problems: &mut Problems) -> bool {
    let Some(stored) = Stored::of(name, tensors) else {
        return true;
    };
    let place = format!("{name}.{}", stored.suffix());
    match (how, stored) {
        (Storage::Dense, Stored::Codes(_)) => {
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
        (Storage::Quantized(q), Stored::Codes(layout)) if q.layout != layout => {
            let (said, found) = (layout_text(q.layout), layout_text(layout));
            problems.push(problem(
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
            ));
        }
        _ => return true,
    }
    false
}

const SUFFIXES: [&str; 9] = [
    "weight",
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    "input_scale",
    "input_zero_point",
    "input_global_scale",
];

/// Whatever there is of a module that is already reported.
pub(super) fn expect_anything(name: &str, expected: &mut BTreeMap<String, Expect>) {
    for suffix in SUFFIXES {
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
) {
    let mut put = |suffix: &str, expect: Expect| expected.insert(format!("{name}.{suffix}"), expect);
    let Storage::Quantized(q) = how else {
        put("weight", Expect::one(&[out, cols], FLOATS));
        return;
    };
    if let Strategy::Group(size) = q.strategy
        && !(cols as u64).is_multiple_of(size)
        && size < cols as u64
    {
        problems.push(group_size(name, cols, size));
    }
    let bits = usize::from(q.bits);
    let groups = q.groups(cols as u64) as usize;
    match q.layout {
        Layout::Packed => {
            let words = (cols * bits).div_ceil(32);
            put("weight_packed", Expect::one(&[out, words], &[Dtype::I32]));
            put("weight_shape", Expect::one(&[2], &[Dtype::I64, Dtype::I32]));
        }
        Layout::Bytes => {
            put("weight", Expect::one(&[out, cols], &[Dtype::I8]));
        }
        Layout::Float8 => {
            put("weight", Expect::one(&[out, cols], &[Dtype::F8_E4M3]));
        }
    }
    put("weight_scale", shared(q, out, groups, FLOATS));
    if !q.symmetric {
        let packed = q.layout == Layout::Packed && q.strategy != Strategy::Tensor;
        let zeros = if packed {
            Expect::one(&[(out * bits).div_ceil(32), groups], &[Dtype::I32])
        } else {
            shared(q, out, groups, &[Dtype::I8])
        };
        put("weight_zero_point", zeros);
    }
    if q.indexed {
        put("weight_g_idx", Expect::one(&[cols], &[Dtype::I32, Dtype::I64]));
    }
    match q.inputs {
        InputRule::Fixed { symmetric, .. } => {
            put("input_scale", Expect::scalar(FLOATS));
            if !symmetric {
                put("input_zero_point", Expect::scalar(&[Dtype::I8]));
            }
        }
        InputRule::Group { cols: size, rule, .. } => {
            if rule == GroupRule::Local {
                put("input_global_scale", Expect::scalar(FLOATS));
            }
            let size = u64::from(size);
            if !(cols as u64).is_multiple_of(size) && size < cols as u64 {
                problems.push(group_size(name, cols, size));
            }
        }
        InputRule::Plain | InputRule::Row { .. } => {}
    }
}

/// One value for everything that shares it.
fn shared(q: Quantized, out: usize, groups: usize, dtypes: &'static [Dtype]) -> Expect {
    match q.strategy {
        Strategy::Tensor => Expect::scalar(dtypes),
        _ => Expect::one(&[out, groups], dtypes),
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
