//! The one canonical matrix every storage format is turned into.

use crate::number::{bf16_to_f32, e4m3_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::safetensors::Dtype;

/// A weight matrix, rows = output features, row-major, and what becomes of the inputs it is multiplied with.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// output features
    pub rows: usize,
    /// input features
    pub cols: usize,
    /// the values
    pub weights: Weights,
    /// how its inputs are quantized
    pub inputs: Inputs,
}

/// How a layer's input row is quantized before the product: `x̂ = s·(q − z)`, as compressed-tensors' fake quantization has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Inputs {
    /// not at all
    #[default]
    Plain,
    /// to codes that share one scale (and zero point) a row
    Quantized {
        /// what a code can be
        codes: Codes,
        /// where the scale comes from
        scale: InputScale,
    },
}

/// The codes of quantized inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// signed integers, `−2^(bits−1) … 2^(bits−1) − 1`; 2 to 8 bits
    Int {
        /// bits of a code
        bits: u8,
    },
    /// float8 e4m3fn, −448 … 448
    Float8,
}

/// The scale of quantized inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputScale {
    /// computed from each row by itself (`strategy: token`, dynamic)
    Row {
        /// no zero point; always so for floats
        symmetric: bool,
    },
    /// calibrated and stored, the same for every row (`strategy: tensor`, static)
    Fixed {
        /// `input_scale`, finite and positive, exactly the stored value
        scale: f32,
        /// `input_zero_point`; 0 when symmetric
        zero: i8,
    },
}

/// How the values of a [`Matrix`] are held: as stored, only regrouped.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// bfloat16 bits, rows × cols
    Bf16(Vec<u16>),
    /// binary16 bits, rows × cols
    F16(Vec<u16>),
    /// rows × cols
    F32(Vec<f32>),
    /// Quantized integers: `W[r, c] = (q[r, c] − z[r, k]) · s[r, k]` with `k = index[c]`, or `c / group` without an index.
    /// Codes that were stored one in a byte are packed the same way.
    Int {
        /// bits of a code, 4 or 8
        bits: u8,
        /// rows × ceil(cols · bits / 32) words; field i of a row is bits `[bits · i, +bits)` of its little-endian stream and holds `q + 2^(bits−1)`
        codes: Vec<u32>,
        /// rows × groups, the exact values of the stored dtype
        scales: Vec<f32>,
        /// BF16, F16 or F32: products are rounded to it before they are rounded to bfloat16
        scale_dtype: Dtype,
        /// rows × groups, signed; `None` when symmetric
        zeros: Option<Vec<i8>>,
        /// columns that share a scale; `cols` for one scale a row
        group: usize,
        /// group of each column (each below the number of groups), where they are not consecutive: GPTQ's act-order with groups
        index: Option<Vec<u32>>,
    },
    /// Float8 e4m3fn: `W[r, c] = q[r, c] · s[r, c / group]`.
    Float8 {
        /// rows × cols, never a NaN's pattern
        codes: Vec<u8>,
        /// rows × groups, the exact values of the stored dtype
        scales: Vec<f32>,
        /// BF16, F16 or F32: products are rounded to it before they are rounded to bfloat16
        scale_dtype: Dtype,
        /// columns that share a scale; `cols` for one scale a row
        group: usize,
    },
}

impl Matrix {
    /// A matrix whose inputs are not quantized.
    pub fn plain(rows: usize, cols: usize, weights: Weights) -> Matrix {
        Matrix {
            rows,
            cols,
            weights,
            inputs: Inputs::Plain,
        }
    }

    /// Row `row` as every bfloat16 runtime holds it: dense values rounded to bfloat16; quantized ones `(q − z) · s` rounded to
    /// the scale's dtype, then to bfloat16 (both half to even).
    ///
    /// # Panics
    /// If `row >= rows` or `out.len() != cols`: a caller's mistake, never a file's.
    pub fn row_bf16(&self, row: usize, out: &mut [u16]) {
        assert!(
            row < self.rows && out.len() == self.cols,
            "row {row} of {}, {} of {} columns",
            self.rows,
            out.len(),
            self.cols
        );
        let span = row * self.cols..(row + 1) * self.cols;
        match &self.weights {
            Weights::Bf16(bits) => out.copy_from_slice(&bits[span]),
            Weights::F16(bits) => out
                .iter_mut()
                .zip(&bits[span])
                .for_each(|(o, b)| *o = f32_to_bf16(f16_to_f32(*b))),
            Weights::F32(values) => out
                .iter_mut()
                .zip(&values[span])
                .for_each(|(o, v)| *o = f32_to_bf16(*v)),
            Weights::Int {
                bits,
                codes,
                scales,
                scale_dtype,
                zeros,
                group,
                index,
            } => {
                let bits = usize::from(*bits);
                let words = (self.cols * bits).div_ceil(32);
                let codes = &codes[row * words..(row + 1) * words];
                let groups = self.cols.div_ceil(*group);
                let scales = &scales[row * groups..(row + 1) * groups];
                let zero = |k: usize| zeros.as_ref().map_or(0, |z| i32::from(z[row * groups + k]));
                let offset = 1i32 << (bits - 1);
                let mask = (1u32 << bits) - 1;
                // 4 or 8 bits: fields never straddle words
                let per_word = 32 / bits;
                let field = |c: usize| ((codes[c / per_word] >> (bits * (c % per_word))) & mask) as usize;
                let value = |code: usize, k: usize| {
                    let q = code as i32 - offset - zero(k);
                    product(q as f32, scales[k], *scale_dtype)
                };
                match index {
                    Some(index) => (0..self.cols).for_each(|c| out[c] = value(field(c), index[c] as usize)),
                    None => by_group(out, *group, 1 << bits, field, value),
                }
            }
            Weights::Float8 {
                codes,
                scales,
                scale_dtype,
                group,
            } => {
                let codes = &codes[span];
                let groups = self.cols.div_ceil(*group);
                let scales = &scales[row * groups..(row + 1) * groups];
                let value = |code: usize, k: usize| product(e4m3_to_f32(code as u8), scales[k], *scale_dtype);
                by_group(out, *group, 256, |c| usize::from(codes[c]), value);
            }
        }
    }

    /// As [`Matrix::row_bf16`], widened to f32 (exact).
    pub fn row_f32(&self, row: usize, out: &mut [f32]) {
        let mut bits = vec![0u16; self.cols];
        self.row_bf16(row, &mut bits);
        out.iter_mut().zip(bits).for_each(|(o, b)| *o = bf16_to_f32(b));
    }

    /// Memory of the values, bytes.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Bf16(v) | Weights::F16(v) => 2 * v.len(),
            Weights::F32(v) => 4 * v.len(),
            Weights::Int {
                codes,
                scales,
                zeros,
                index,
                ..
            } => {
                let index = index.as_ref().map_or(0, Vec::len);
                4 * (codes.len() + scales.len() + index) + zeros.as_ref().map_or(0, Vec::len)
            }
            Weights::Float8 { codes, scales, .. } => codes.len() + 4 * scales.len(),
        }
    }
}

/// Fills a row group by group. Where a group has at least as many columns as there are codes, each code is multiplied once.
fn by_group(
    out: &mut [u16],
    group: usize,
    codes: usize,
    code: impl Fn(usize) -> usize,
    value: impl Fn(usize, usize) -> u16,
) {
    let mut table = [0u16; 256];
    for (k, out) in out.chunks_mut(group).enumerate() {
        let tabled = out.len() >= codes;
        let columns = out.iter_mut().zip(k * group..);
        if tabled {
            (0..codes).for_each(|code| table[code] = value(code, k));
            columns.for_each(|(o, c)| *o = table[code(c)]);
        } else {
            columns.for_each(|(o, c)| *o = value(code(c), k));
        }
    }
}

/// `bf16(dtype(q · s))`. `q` has at most nine bits and the scale at most 24, so the f32 product rounds at most once, to f32 itself.
fn product(q: f32, scale: f32, dtype: Dtype) -> u16 {
    let exact = q * scale;
    match dtype {
        Dtype::F16 => f32_to_bf16(f16_to_f32(f32_to_f16(exact))),
        _ => f32_to_bf16(exact),
    }
}
