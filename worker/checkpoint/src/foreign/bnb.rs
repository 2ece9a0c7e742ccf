//! bitsandbytes: four-bit tables (nf4, fp4) over blocks of the flattened matrix, absmax nested or not; and LLM.int8's rows.

use std::collections::BTreeMap;

use assay_contest::Problem;
use serde_json::Value;

use super::companions::{QUANTIZE_AGAIN, spread};
use super::float8::inputs_stay;
use super::keys::Keys;
use super::refuse::because;
use super::skip::Skip;
use super::{Foreign, Look};
use crate::load::{Codebook, Coded, OpenError, Rounding, Scales, Shards, Zeros, stream};
use crate::model::Module;
use crate::problem::{Problems, problem};
use crate::quant::{InputRule, Layout, Quantized, Storage, Strategy};
use crate::safetensors::Dtype;
use crate::verify::Expect;

/// Which of its storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bnb {
    /// 4-bit normal float
    Nf4 { nested: bool },
    /// 4-bit float
    Fp4 { nested: bool },
    /// LLM.int8: one absmax a row
    Int8,
}

#[allow(clippy::excessive_precision)] // as bitsandbytes prints them
const NF4: [f32; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];
/// Twelfths.
const FP4: [f32; 8] = [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
/// Sizes that its kernels have.
const BLOCKS: [usize; 8] = [32, 64, 128, 256, 512, 1024, 2048, 4096];
/// Longest state, bytes; the real ones have about 170.
const MAX_STATE: u64 = 2048;

impl Bnb {
    fn nested(self) -> bool {
        matches!(self, Bnb::Nf4 { nested: true } | Bnb::Fp4 { nested: true })
    }

    fn kind(self) -> &'static str {
        if matches!(self, Bnb::Fp4 { .. }) { "fp4" } else { "nf4" }
    }

    /// `nf4`, `fp4 nested`.
    pub fn text(self) -> String {
        let nested = if self.nested() { " nested" } else { "" };
        format!("{}{nested}", self.kind())
    }

    fn table(self) -> Vec<f32> {
        match self {
            Bnb::Fp4 { .. } => [1.0, -1.0]
                .iter()
                .flat_map(|sign| FP4.map(|v| sign * v / 12.0))
                .collect(),
            _ => NF4.to_vec(),
        }
    }
}

pub(super) fn plan(look: &Look, findings: &mut Problems) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    let eight = keys.flag("load_in_8bit", false)? || keys.flag("_load_in_8bit", false)?;
    let kept = keys
        .text("bnb_4bit_quant_storage")?
        .unwrap_or_else(|| "uint8".to_owned());
    if !eight && kept.trim_start_matches("torch.") != "uint8" {
        return Err(Box::new(because(
            "bitsandbytes",
            (
                "codes stored as another type than uint8 (bnb_4bit_quant_storage) are not read",
                "uint8이 아닌 자료형(bnb_4bit_quant_storage)에 담은 코드는 읽지 않습니다",
            ),
            (
                "Quantize with bnb_4bit_quant_storage=torch.uint8, the default.",
                "기본값인 bnb_4bit_quant_storage=torch.uint8로 양자화하세요.",
            ),
        )));
    }
    let fp4 = match keys.text("bnb_4bit_quant_type")?.as_deref() {
        Some("nf4") => false,
        Some("fp4") | None => true,
        Some(other) => {
            return Err(Box::new(crate::verify::invalid(&format!(
                "bnb_4bit_quant_type: {}",
                crate::problem::quoted(other)
            ))));
        }
    };
    if eight {
        findings.push(inputs_stay(
            "bitsandbytes",
            "per token to int8, large columns in float16",
            "토큰마다 int8로(큰 열은 float16으로)",
        ));
    }
    let skip = Skip::new(keys.strings("llm_int8_skip_modules")?)?;
    super::assign(look, |module, name| {
        if skip.skips(name)? || (module == Module::Head && super::marker(name, look.tensors).is_none()) {
            return Ok(None);
        }
        let nested = look
            .tensors
            .contains_key(format!("{name}.weight.nested_absmax").as_str());
        let kind = match (eight, fp4) {
            (true, _) => Bnb::Int8,
            (_, true) => Bnb::Fp4 { nested },
            (_, false) => Bnb::Nf4 { nested },
        };
        Ok(Some(Quantized {
            layout: Layout::Foreign(Foreign::Bnb(kind)),
            bits: if eight { 8 } else { 4 },
            // blocks of the flattened matrix; their size is in the tensors
            strategy: if eight { Strategy::Channel } else { Strategy::Tensor },
            symmetric: true,
            indexed: false,
            inputs: InputRule::Plain,
        }))
    })
}

pub(super) fn expect((out, cols): (usize, usize), kind: Bnb, put: &mut dyn FnMut(&str, Expect)) {
    if kind == Bnb::Int8 {
        put("weight", Expect::one(&[out, cols], &[Dtype::I8]));
        put("SCB", Expect::one(&[out], &[Dtype::F32]));
        let format = Expect {
            shapes: vec![vec![], vec![1]],
            dtypes: &[Dtype::U8],
            required: false,
        };
        put("weight_format", format);
        return;
    }
    let n = out * cols;
    let lengths = |of: &dyn Fn(usize) -> usize| {
        BLOCKS
            .iter()
            .map(|b| vec![of(n.div_ceil(*b)) as u64])
            .collect::<Vec<_>>()
    };
    let list = |shapes, dtypes| Expect {
        shapes,
        dtypes,
        required: true,
    };
    put("weight", Expect::one(&[n.div_ceil(2), 1], &[Dtype::U8]));
    put("weight.quant_map", Expect::one(&[16], &[Dtype::F32]));
    put(
        &format!("weight.quant_state.bitsandbytes__{}", kind.kind()),
        list(Vec::new(), &[Dtype::U8]),
    );
    let absmax: &[Dtype] = if kind.nested() { &[Dtype::U8] } else { &[Dtype::F32] };
    put("weight.absmax", list(lengths(&|blocks| blocks), absmax));
    if kind.nested() {
        put(
            "weight.nested_absmax",
            list(lengths(&|blocks| blocks.div_ceil(256)), &[Dtype::F32]),
        );
        put("weight.nested_quant_map", Expect::one(&[256], &[Dtype::F32]));
    }
}

/// What `quant_state` says.
struct State {
    block: usize,
    dtype: Dtype,
    offset: f32,
}

/// The state, or what is wrong with it; nothing of it is believed that the tensors' lengths contradict.
fn state(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    kind: Bnb,
) -> Result<Result<State, String>, OpenError> {
    let tensor = format!("{name}.weight.quant_state.bitsandbytes__{}", kind.kind());
    let bytes = shards.info(&tensor).map_or(0, |info| info.bytes());
    if bytes > MAX_STATE {
        return Ok(Err(format!("{bytes} bytes, at most {MAX_STATE} are read")));
    }
    let (_, text) = shards.bytes(&tensor, bytes as usize, &[Dtype::U8])?;
    let absmax = shards
        .info(&format!("{name}.weight.absmax"))
        .map_or(0, |info| info.bytes() / (info.dtype.bits() / 8));
    let table = shards.floats(&format!("{name}.weight.quant_map"), 16)?.1;
    Ok(parse(&text, (rows, cols), kind, absmax as usize).and_then(|state| {
        let standard = kind.table();
        let same = table.iter().zip(&standard).all(|(a, b)| (a - b).abs() <= 1e-6);
        if same {
            Ok(state)
        } else {
            Err(format!("quant_map is not the table of {}", kind.kind()))
        }
    }))
}

fn parse(text: &[u8], (rows, cols): (usize, usize), kind: Bnb, absmax: usize) -> Result<State, String> {
    let value = crate::config::read_json(text).map_err(|_| "not a JSON object".to_owned())?;
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    if value.get("quant_type").and_then(Value::as_str) != Some(kind.kind()) {
        return Err("quant_type is another one".to_owned());
    }
    let shape: Option<Vec<u64>> = value
        .get("shape")
        .and_then(Value::as_array)
        .map(|l| l.iter().filter_map(Value::as_u64).collect());
    if shape != Some(vec![rows as u64, cols as u64]) {
        return Err(format!("shape is not [{rows}, {cols}]"));
    }
    let block = number("blocksize").and_then(|b| BLOCKS.into_iter().find(|known| *known as u64 == b));
    let Some(block) = block.filter(|b| (rows * cols).div_ceil(*b) == absmax) else {
        return Err(format!("blocksize does not give the {absmax} blocks that are stored"));
    };
    let dtype = match value.get("dtype").and_then(Value::as_str) {
        Some("bfloat16") => Dtype::BF16,
        Some("float16") => Dtype::F16,
        Some("float32") => Dtype::F32,
        _ => return Err("dtype is none of bfloat16, float16, float32".to_owned()),
    };
    let mut offset = 0.0;
    if kind.nested() {
        offset = match value.get("nested_offset").and_then(Value::as_f64) {
            Some(offset) if (offset as f32).is_finite() => offset as f32,
            _ => return Err("nested_offset is missing".to_owned()),
        };
        if number("nested_blocksize") != Some(256) {
            return Err("nested_blocksize is not 256".to_owned());
        }
    }
    Ok(State { block, dtype, offset })
}

pub(super) fn load(shards: &Shards, name: &str, (rows, cols): (usize, usize), kind: Bnb) -> Result<Coded, OpenError> {
    if kind == Bnb::Int8 {
        return int8(shards, name, (rows, cols));
    }
    let state = state(shards, name, (rows, cols), kind)?.map_err(|reason| OpenError::Tensor {
        tensor: format!("{name}.weight.quant_state"),
        reason,
    })?;
    let n = rows * cols;
    let (_, bytes) = shards.bytes(&format!("{name}.weight"), n.div_ceil(2), &[Dtype::U8])?;
    // the first of two is in the high half
    let code = |i: usize| u32::from(bytes[i / 2] >> (4 * (1 - i % 2)) & 15);
    let codes = (0..rows)
        .flat_map(|r| stream((r * cols..(r + 1) * cols).map(code), 4))
        .collect();
    let blocks = n.div_ceil(state.block);
    let absmax = if kind.nested() {
        let (_, stored) = shards.bytes(&format!("{name}.weight.absmax"), blocks, &[Dtype::U8])?;
        let scale = shards
            .floats(&format!("{name}.weight.nested_absmax"), blocks.div_ceil(256))?
            .1;
        let map = shards.floats(&format!("{name}.weight.nested_quant_map"), 256)?.1;
        let value = |(j, code): (usize, &u8)| map[usize::from(*code)] * scale[j / 256] + state.offset;
        stored.iter().enumerate().map(value).collect()
    } else {
        shards.floats(&format!("{name}.weight.absmax"), blocks)?.1
    };
    let (values, size) = spread(&absmax, state.block, rows, cols);
    let table = shards.floats(&format!("{name}.weight.quant_map"), 16)?.1;
    Ok(Coded {
        bits: 4,
        codes,
        book: Codebook::Table(table),
        scales: Scales::grouped(values, size),
        zeros: Zeros::None,
        index: None,
        rounding: Rounding::Product(state.dtype),
    })
}

fn int8(shards: &Shards, name: &str, (rows, cols): (usize, usize)) -> Result<Coded, OpenError> {
    let (_, bytes) = shards.bytes(&format!("{name}.weight"), rows * cols, &[Dtype::I8])?;
    let field = |b: &u8| u32::from(*b ^ 0x80);
    let codes = bytes
        .chunks(cols.max(1))
        .flat_map(|row| stream(row.iter().map(field), 8))
        .collect();
    let absmax = shards.floats(&format!("{name}.SCB"), rows)?.1;
    let scales = absmax.into_iter().map(|a| a * (1.0 / 127.0)).collect();
    Ok(Coded::int(
        8,
        codes,
        Scales::grouped(scales, cols),
        Zeros::None,
        Dtype::F32,
    ))
}

pub(super) fn check(
    shards: &Shards,
    name: &str,
    shape: (usize, usize),
    kind: Bnb,
    problems: &mut Problems,
) -> Result<(), OpenError> {
    let wrong = if kind == Bnb::Int8 {
        let tensor = format!("{name}.weight_format");
        match shards.info(&tensor) {
            Some(_) if shards.bytes(&tensor, 1, &[Dtype::U8])?.1 != [0] => {
                Some((tensor, "not 0, the order of rows".to_owned()))
            }
            _ => None,
        }
    } else {
        let tensor = format!("{name}.weight.quant_state.bitsandbytes__{}", kind.kind());
        state(shards, name, shape, kind)?.err().map(|why| (tensor, why))
    };
    if let Some((tensor, why)) = wrong {
        problems.push(problem(
            "quant-state",
            &tensor,
            (
                format!("{tensor}: {why}"),
                format!("{tensor} 값이 맞지 않습니다: {why}"),
            ),
            QUANTIZE_AGAIN,
        ));
    }
    Ok(())
}
