//! Quantized checkpoints of any layout, written by the book from random codes, with the weights they stand for computed by a naive formula
//! in f64 and rounded with arithmetic of its own.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Linear};
use serde_json::{Value, json};

use crate::support::*;

/// xorshift64*: small, seeded, and nobody else's.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Codes {
    /// words, before and since 0.18
    Packed {
        legacy: bool,
    },
    Bytes,
    Float8,
    Nvfp4,
    Mxfp4,
    Mxfp6,
    Mxfp8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shared {
    Tensor,
    Channel,
    Group(u64),
    Block(u64, u64),
}

/// How every matrix is written.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub codes: Codes,
    pub bits: u8,
    pub symmetric: bool,
    pub shared: Shared,
    pub indexed: bool,
    pub scale: Dtype,
    pub hidden: u64,
    pub mlp: u64,
}

fn quantum(x: f64, mantissa: i32, least: i32) -> f64 {
    let exponent = (x.to_bits() >> 52 & 0x7FF) as i32 - 1023;
    2f64.powi(exponent.max(least) - mantissa)
}

/// Half to even, to a dtype's precision; beyond its range infinite.
pub fn rounded(x: f64, dtype: Dtype) -> f64 {
    let (mantissa, least, most) = match dtype {
        Dtype::BF16 => (7, -126, (2.0 - 2f64.powi(-7)) * 2f64.powi(127)),
        Dtype::F16 => (10, -14, 65504.0),
        _ => return f64::from(x as f32),
    };
    if x == 0.0 {
        return x;
    }
    let q = quantum(x, mantissa, least);
    let y = (x / q).round_ties_even() * q;
    if y.abs() > most { y.signum() * f64::INFINITY } else { y }
}

fn e4m3(bits: u8) -> f64 {
    let (sign, e, m) = (
        if bits & 0x80 == 0 { 1.0 } else { -1.0 },
        i32::from(bits >> 3 & 15),
        f64::from(bits & 7),
    );
    sign * if e == 0 {
        m / 8.0 * 2f64.powi(-6)
    } else {
        (1.0 + m / 8.0) * 2f64.powi(e - 7)
    }
}

fn e2m1(code: u32) -> f64 {
    let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][code as usize & 7];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

fn e2m3(code: u32) -> f64 {
    let (e, m) = ((code >> 3 & 3) as i32, f64::from(code & 7) / 8.0);
    let magnitude = if e == 0 { m } else { (1.0 + m) * 2f64.powi(e - 1) };
    if code & 32 == 0 { magnitude } else { -magnitude }
}

/// One bit after the other.
pub fn bit_stream(fields: &[u32], bits: u8) -> Vec<u8> {
    let bits = usize::from(bits);
    let mut bytes = vec![0u8; (fields.len() * bits).div_ceil(8)];
    for (i, field) in fields.iter().enumerate() {
        for b in (0..bits).filter(|b| field >> b & 1 == 1) {
            let at = i * bits + b;
            bytes[at / 8] |= 1 << (at % 8);
        }
    }
    bytes
}

pub fn packed_words(fields: &[u32], bits: u8, legacy: bool) -> Vec<u32> {
    if legacy {
        let word = |part: &[u32]| part.iter().rev().fold(0u32, |word, field| word << bits | field);
        return fields.chunks(32 / usize::from(bits)).map(word).collect();
    }
    let mut bytes = bit_stream(fields, bits);
    bytes.resize(bytes.len().div_ceil(4) * 4, 0);
    bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// A number as a dtype stores it; it has to fit exactly.
fn stored(x: f64, dtype: Dtype) -> Vec<u8> {
    assert_eq!(rounded(x, dtype), x);
    match dtype {
        Dtype::BF16 => (((x as f32).to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        Dtype::F16 => assay_checkpoint::number::f32_to_f16(x as f32).to_le_bytes().to_vec(),
        _ => (x as f32).to_le_bytes().to_vec(),
    }
}

fn tensor(name: String, dtype: Dtype, shape: &[u64], data: Vec<u8>) -> Tensor {
    let bytes = shape.iter().product::<u64>() * dtype.bits() / 8;
    assert_eq!(bytes, data.len() as u64, "{name}");
    Tensor {
        name,
        dtype,
        shape: shape.into(),
        data,
    }
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A matrix's tensors and, row by row, its weights.
pub fn matrix(name: &str, (rows, cols): (u64, u64), plan: &Plan, random: &mut Random) -> (Vec<Tensor>, Vec<f64>) {
    let named = |suffix: &str| format!("{name}.{suffix}");
    let (scale_rows, groups) = match plan.shared {
        Shared::Tensor => (1, 1),
        Shared::Channel => (rows, 1),
        Shared::Group(size) => (rows, cols.div_ceil(size)),
        Shared::Block(r, c) => (rows.div_ceil(r), cols.div_ceil(c)),
    };
    let count = (scale_rows * groups) as usize;
    let bits = plan.bits;
    let mut fields: Vec<u32> = (0..rows * cols).map(|_| random.below(1 << bits) as u32).collect();
    if matches!(plan.codes, Codes::Float8 | Codes::Mxfp8) {
        fields.iter_mut().filter(|f| **f & 0x7F == 0x7F).for_each(|f| *f ^= 1);
    }
    let half = 1i64 << (bits - 1);
    let index: Option<Vec<u64>> = plan.indexed.then(|| {
        let mut index: Vec<u64> = (0..cols).map(|c| c * groups / cols).collect();
        (0..cols).for_each(|c| index.swap(c as usize, random.below(cols) as usize));
        index
    });

    let mut tensors = Vec::new();
    let micro = matches!(plan.codes, Codes::Nvfp4 | Codes::Mxfp4 | Codes::Mxfp6 | Codes::Mxfp8);
    // scales, the dtype of the product
    let (scales, product): (Vec<f64>, Dtype) = if plan.codes == Codes::Nvfp4 {
        let codes: Vec<u8> = (0..count).map(|_| 1 + random.below(0x7E) as u8).collect();
        let global = (1.0 + random.below(1 << 20) as f64 / f64::from(1 << 20)) * 256.0;
        let global = f64::from(global as f32);
        tensors.push(tensor(
            named("weight_scale"),
            Dtype::F8_E4M3,
            &[rows, groups],
            codes.clone(),
        ));
        tensors.push(tensor(
            named("weight_global_scale"),
            Dtype::F32,
            &[1],
            stored(global, Dtype::F32),
        ));
        (
            codes
                .into_iter()
                .map(|c| rounded(e4m3(c) / global, Dtype::F32))
                .collect(),
            Dtype::F32,
        )
    } else if micro {
        let codes: Vec<u8> = (0..count).map(|_| random.below(150) as u8).collect();
        tensors.push(tensor(named("weight_scale"), Dtype::U8, &[rows, groups], codes.clone()));
        (
            codes.into_iter().map(|c| 2f64.powi(i32::from(c) - 127)).collect(),
            Dtype::BF16,
        )
    } else {
        let one = |random: &mut Random| {
            let sign = if random.below(16) == 0 { -1.0 } else { 1.0 };
            let x = (1.0 + random.below(1 << 24) as f64 / f64::from(1 << 24)) * 2f64.powi(random.below(9) as i32 - 8);
            rounded(sign * x, plan.scale)
        };
        let scales: Vec<f64> = (0..count).map(|_| one(random)).collect();
        let data = scales.iter().flat_map(|s| stored(*s, plan.scale)).collect();
        let shape: &[u64] = if plan.shared == Shared::Tensor {
            &[1]
        } else {
            &[scale_rows, groups]
        };
        tensors.push(tensor(named("weight_scale"), plan.scale, shape, data));
        // whatever they are stored in, they are held in the model's bfloat16
        (scales.iter().map(|s| rounded(*s, Dtype::BF16)).collect(), Dtype::BF16)
    };
    let zeros: Vec<i64> = if plan.symmetric {
        vec![0; count]
    } else {
        (0..count).map(|_| random.below(1 << bits) as i64 - half).collect()
    };
    if !plan.symmetric {
        let packed = match (plan.codes, plan.shared) {
            (Codes::Packed { legacy }, Shared::Channel | Shared::Group(_)) => Some(legacy),
            _ => None,
        };
        let shape: &[u64] = if plan.shared == Shared::Tensor {
            &[1]
        } else {
            &[scale_rows, groups]
        };
        tensors.push(match packed {
            None => tensor(
                named("weight_zero_point"),
                Dtype::I8,
                shape,
                zeros.iter().map(|z| *z as u8).collect(),
            ),
            Some(legacy) => {
                let column = |k: u64| -> Vec<u32> {
                    let down: Vec<u32> = (0..rows)
                        .map(|r| (zeros[(r * groups + k) as usize] + half) as u32)
                        .collect();
                    packed_words(&down, bits, legacy)
                };
                let columns: Vec<Vec<u32>> = (0..groups).map(column).collect();
                let height = columns[0].len();
                let words: Vec<u32> = (0..height).flat_map(|w| columns.iter().map(move |c| c[w])).collect();
                tensor(
                    named("weight_zero_point"),
                    Dtype::I32,
                    &[height as u64, groups],
                    bytes_of(&words),
                )
            }
        });
    }
    let lines = || fields.chunks(cols as usize);
    match plan.codes {
        Codes::Packed { legacy } => {
            let words: Vec<u32> = lines().flat_map(|row| packed_words(row, bits, legacy)).collect();
            tensors.push(tensor(
                named("weight_packed"),
                Dtype::I32,
                &[rows, words.len() as u64 / rows],
                bytes_of(&words),
            ));
            let shape = [rows.to_le_bytes(), cols.to_le_bytes()].concat();
            tensors.push(tensor(named("weight_shape"), Dtype::I64, &[2], shape));
        }
        Codes::Bytes => {
            let data = fields.iter().map(|f| (i64::from(*f) - half) as u8).collect();
            tensors.push(tensor(named("weight"), Dtype::I8, &[rows, cols], data));
        }
        Codes::Float8 | Codes::Mxfp8 => {
            tensors.push(tensor(
                named("weight"),
                Dtype::F8_E4M3,
                &[rows, cols],
                fields.iter().map(|f| *f as u8).collect(),
            ));
        }
        Codes::Nvfp4 | Codes::Mxfp4 | Codes::Mxfp6 => {
            let data: Vec<u8> = lines().flat_map(|row| bit_stream(row, bits)).collect();
            tensors.push(tensor(
                named("weight_packed"),
                Dtype::U8,
                &[rows, data.len() as u64 / rows],
                data,
            ));
        }
    }
    if let Some(index) = &index {
        let data = index.iter().flat_map(|k| (*k as u32).to_le_bytes()).collect();
        tensors.push(tensor(named("weight_g_idx"), Dtype::I32, &[cols], data));
    }
    let mut weights = Vec::new();
    for r in 0..rows {
        for c in 0..cols {
            let at = match plan.shared {
                Shared::Tensor => 0,
                Shared::Channel => r,
                Shared::Group(size) => r * groups + index.as_ref().map_or(c / size, |index| index[c as usize]),
                Shared::Block(down, across) => r / down * groups + c / across,
            } as usize;
            let field = fields[(r * cols + c) as usize];
            let value = match plan.codes {
                Codes::Packed { .. } | Codes::Bytes => (i64::from(field) - half - zeros[at]) as f64,
                Codes::Float8 | Codes::Mxfp8 => e4m3(field as u8),
                Codes::Nvfp4 | Codes::Mxfp4 => e2m1(field),
                Codes::Mxfp6 => e2m3(field),
            };
            weights.push(rounded(rounded(value * scales[at], product), Dtype::BF16));
        }
    }
    (tensors, weights)
}

fn quantization(plan: &Plan) -> Value {
    let integer = matches!(plan.codes, Codes::Packed { .. } | Codes::Bytes);
    let (format, scale_dtype) = match plan.codes {
        Codes::Packed { .. } => ("pack-quantized", json!(null)),
        Codes::Bytes => ("int-quantized", json!(null)),
        Codes::Float8 => ("float-quantized", json!(null)),
        Codes::Nvfp4 => ("nvfp4-pack-quantized", json!("torch.float8_e4m3fn")),
        Codes::Mxfp4 => ("mxfp4-pack-quantized", json!("torch.uint8")),
        Codes::Mxfp6 => ("mxfp6-pack-quantized", json!("torch.uint8")),
        Codes::Mxfp8 => ("mxfp8-quantized", json!("torch.uint8")),
    };
    let (strategy, group, block) = match plan.shared {
        Shared::Tensor => ("tensor", json!(null), json!(null)),
        Shared::Channel => ("channel", json!(null), json!(null)),
        Shared::Group(size) if plan.codes == Codes::Nvfp4 => ("tensor_group", json!(size), json!(null)),
        Shared::Group(size) => ("group", json!(size), json!(null)),
        Shared::Block(r, c) => ("block", json!(null), json!([r, c])),
    };
    let weights = json!({"num_bits": plan.bits, "type": if integer { "int" } else { "float" }, "symmetric": plan.symmetric,
        "strategy": strategy, "group_size": group, "block_structure": block, "dynamic": false, "scale_dtype": scale_dtype,
        "actorder": if plan.indexed { json!("group") } else { json!(null) }});
    let version = if plan.codes == (Codes::Packed { legacy: true }) {
        "0.17.1"
    } else {
        "0.19.0"
    };
    json!({"quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed", "ignore": ["lm_head"], "version": version,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": null, "output_activations": null}}})
}

/// The rows and columns of a layer's seven matrices.
pub fn shapes(plan: &Plan) -> [(Linear, &'static str, u64, u64); 7] {
    let (h, m) = (plan.hidden, plan.mlp);
    [
        (Linear::Q, "self_attn.q_proj", 32, h),
        (Linear::K, "self_attn.k_proj", 16, h),
        (Linear::V, "self_attn.v_proj", 16, h),
        (Linear::O, "self_attn.o_proj", h, 32),
        (Linear::Gate, "mlp.gate_proj", m, h),
        (Linear::Up, "mlp.up_proj", m, h),
        (Linear::Down, "mlp.down_proj", h, m),
    ]
}

/// A submission written so, and the weights of its seven matrices.
pub fn submission(plan: &Plan, random: &mut Random) -> (Small, Vec<Vec<f64>>) {
    let mut small = Small::dense();
    small
        .tensors
        .retain(|t| !t.name.contains("_proj.") && !t.name.contains("layers.1."));
    for t in &mut small.tensors {
        for d in t.shape.iter_mut().filter(|d| **d == HIDDEN) {
            *d = plan.hidden;
        }
        t.data = vec![0x3C; (t.shape.iter().product::<u64>() * 2) as usize];
    }
    let mut expected = Vec::new();
    for (_, part, rows, cols) in shapes(plan) {
        let (tensors, weights) = matrix(&format!("model.layers.0.{part}"), (rows, cols), plan, random);
        small.tensors.extend(tensors);
        expected.push(weights);
    }
    for (field, value) in [
        ("hidden_size", json!(plan.hidden)),
        ("intermediate_size", json!(plan.mlp)),
        ("num_hidden_layers", json!(1)),
        ("layer_types", json!(["full_attention"])),
        ("quantization_config", quantization(plan)),
    ] {
        small.config[field] = value;
    }
    (small, expected)
}

/// What loading gives for each matrix, bit for bit, against what is expected; zeros may differ in sign.
pub fn assert_reads(small: &Small, plan: &Plan, expected: &[Vec<f64>]) {
    let dir = small.save();
    let checkpoint = Checkpoint::open(dir.path()).unwrap_or_else(|e| panic!("{plan:?}: {e}"));
    for ((which, part, rows, cols), expected) in shapes(plan).into_iter().zip(expected) {
        let matrix = checkpoint.linear(0, which).unwrap();
        assert_eq!((matrix.rows as u64, matrix.cols as u64), (rows, cols));
        let mut row = vec![0f32; matrix.cols];
        for (r, line) in expected.chunks(matrix.cols).enumerate() {
            matrix.row_f32(r, &mut row);
            for (c, (have, want)) in row.iter().zip(line).enumerate() {
                assert!(
                    f64::from(*have) == *want,
                    "{plan:?}: {part}[{r}, {c}] is {have}, not {want}"
                );
            }
        }
    }
}
