//! The one canonical matrix every storage format is turned into.

use crate::number::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::safetensors::Dtype;

/// A weight matrix, rows = output features, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// output features
    pub rows: usize,
    /// input features
    pub cols: usize,
    /// the values
    pub weights: Weights,
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
    /// Quantized integers: `W[r, c] = (q[r, c] − z[r, k]) · s[r, k]` with `k = c / group`.
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
    },
}

impl Matrix {
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
            } => {
                let bits = usize::from(*bits);
                let words = (self.cols * bits).div_ceil(32);
                let codes = &codes[row * words..(row + 1) * words];
                let groups = self.cols.div_ceil(*group);
                let scales = &scales[row * groups..(row + 1) * groups];
                let offset = 1i32 << (bits - 1);
                let mask = (1u32 << bits) - 1;
                // 4 or 8 bits: fields never straddle words
                let per_word = 32 / bits;
                let field = |c: usize| (codes[c / per_word] >> (bits * (c % per_word))) & mask;
                let mut table = [0u16; 256];
                for (k, scale) in scales.iter().enumerate() {
                    let zero = zeros.as_ref().map_or(0, |z| i32::from(z[row * groups + k]));
                    let value = |code: u32| product(code as i32 - offset - zero, *scale, *scale_dtype);
                    let first = k * group;
                    let columns = first..(first + group).min(self.cols);
                    if columns.len() > mask as usize {
                        // more columns than codes: multiply each code once
                        (0..=mask).for_each(|code| table[code as usize] = value(code));
                        columns.for_each(|c| out[c] = table[field(c) as usize]);
                    } else {
                        columns.for_each(|c| out[c] = value(field(c)));
                    }
                }
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
                codes, scales, zeros, ..
            } => 4 * codes.len() + 4 * scales.len() + zeros.as_ref().map_or(0, Vec::len),
        }
    }
}

/// `bf16(dtype(q · s))`. `q` has at most nine bits and the scale at most 24, so the f32 product rounds at most once, to f32 itself.
fn product(q: i32, scale: f32, dtype: Dtype) -> u16 {
    let exact = q as f32 * scale;
    match dtype {
        Dtype::F16 => f32_to_bf16(f16_to_f32(f32_to_f16(exact))),
        _ => f32_to_bf16(exact),
    }
}
