//! The one canonical matrix every storage format is turned into.

use super::transform::Transforms;
use crate::number::{bf16_to_f32, e2m1_to_f32, e2m3_to_f32, e4m3_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
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
    /// what is applied to its inputs before that, and to its outputs
    pub transforms: Transforms,
}

/// How a layer's input row is quantized before the product: `x̂ = s·(q − z)`, as compressed-tensors' fake quantization has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Inputs {
    /// not at all
    #[default]
    Plain,
    /// to codes that share a scale (and zero point), a row or a group of columns of a row
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
    /// float6 e2m3, −7.5 … 7.5
    Float6,
    /// float4 e2m1, −6 … 6
    Float4,
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
        /// `input_scale`, finite and positive, as runtimes hold it: compressed-tensors' in bfloat16, others' as stored
        scale: f32,
        /// `input_zero_point`; 0 when symmetric
        zero: i8,
    },
    /// computed from each row by itself, of magnitudes up to a bound (fbgemm's `activation_scale_ub`)
    Bounded {
        /// the bound, positive
        most: f32,
    },
    /// computed from each group of columns of each row by itself
    Group {
        /// columns of a group, at least 1; the last group of a row may have fewer
        cols: u32,
        /// how
        rule: GroupScale,
    },
}

/// How the scale of a group of inputs follows from its largest magnitude `a` (zero points as a row's).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GroupScale {
    /// as a row's: `a` over half the range of the codes
    Float {
        /// no zero point; always so for floats
        symmetric: bool,
    },
    /// a power of two that brings `a` near the greatest code (MXFP4, MXFP6, MXFP8)
    PowerOfTwo,
    /// the least power of two that brings `a` within the codes (`ue8m0` of block-wise float8)
    Ceiling,
    /// `e4m3(global · a / 6) / global` (NVFP4)
    Local {
        /// `input_global_scale`, finite and positive, exactly the stored value
        global: f32,
    },
}

/// How a layer's keys and values are quantized on their way into the cache: `x̂ = s·(q − z)` of what would be stored, keys after norm
/// and rotation.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheCodes {
    /// what a code can be
    pub codes: Codes,
    /// of each key/value head's keys
    pub keys: Vec<HeadScale>,
    /// of each key/value head's values
    pub values: Vec<HeadScale>,
}

/// One head's scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadScale {
    /// s, finite and positive
    pub scale: f32,
    /// z; 0 when symmetric
    pub zero: i8,
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
    /// codes with scales
    Coded(Coded),
}

/// Codes with scales: `W[r, c] = (v[r, c] − z[r, k]) · s[r, k]`, where `v` is what the code stands for and `k` the group of column `c`.
///
/// With `C = scales.cols` columns in a group, a row has `groups = ceil(cols / C)` of them and column `c` belongs to `index[c]`, or to `c / C` without
/// an index. With `R = scales.rows` rows to a scale, row `r` reads row `r / R` of the scales and zero points.
#[derive(Clone, Debug, PartialEq)]
pub struct Coded {
    /// bits of a code, 1 to 8
    pub bits: u8,
    /// rows × ceil(cols · bits / 32) words; code i of a row is bits `[bits · i, +bits)` of the row's little-endian stream
    pub codes: Vec<u32>,
    /// what a code stands for
    pub book: Codebook,
    /// s
    pub scales: Scales,
    /// z
    pub zeros: Zeros,
    /// group of each column (each below the number of groups), where groups are not consecutive: GPTQ's act-order
    pub index: Option<Vec<u32>>,
    /// how the product is rounded on its way to bfloat16
    pub rounding: Rounding,
}

/// What the codes of a matrix stand for.
#[derive(Clone, Debug, PartialEq)]
pub enum Codebook {
    /// integers: code − 2^(bits−1)
    Int,
    /// float8 e4m3fn, never a NaN's pattern
    E4m3,
    /// float4 e2m1
    E2m1,
    /// float6 e2m3
    E2m3,
    /// a table of 2^bits values
    Table(Vec<f32>),
}

impl Codebook {
    /// The value of a code of `bits` bits.
    pub fn value(&self, code: u32, bits: u8) -> f32 {
        match self {
            Codebook::Int => (code as i32 - (1 << (bits - 1))) as f32,
            Codebook::E4m3 => e4m3_to_f32(code as u8),
            Codebook::E2m1 => e2m1_to_f32(code as u8),
            Codebook::E2m3 => e2m3_to_f32(code as u8),
            Codebook::Table(values) => values[code as usize],
        }
    }
}

/// Scales: ceil(matrix rows / `rows`) × ceil(matrix columns / `cols`), row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// the exact values of the stored dtype
    pub values: Vec<f32>,
    /// rows that share a scale, at least 1
    pub rows: usize,
    /// columns that share a scale, at least 1; the matrix's for one scale a row
    pub cols: usize,
}

impl Scales {
    /// One scale a row and group of columns.
    pub fn grouped(values: Vec<f32>, cols: usize) -> Scales {
        Scales { values, rows: 1, cols }
    }
}

/// Zero points, laid out as the scales are.
#[derive(Clone, Debug, PartialEq)]
pub enum Zeros {
    /// symmetric
    None,
    /// integers
    Int(Vec<i16>),
    /// floats, the exact values of the stored dtype
    Float(Vec<f32>),
}

/// Where the tools round between code and bfloat16. All round half to even; `dtype` is BF16, F16 or F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// `bf16(dtype((v − z) · s))`, the difference exact: compressed-tensors, GPTQ, AWQ, float8
    Product(Dtype),
    /// `bf16(dtype(dtype(v − z) · s))`: HQQ, whose zero points are floats
    Difference(Dtype),
    /// `bf16(dtype(dtype(v · s) + z))`, the zero point an offset of its own: torchao's int4
    Offset(Dtype),
}

impl Rounding {
    /// The bfloat16 bits of one weight.
    pub(crate) fn weight(self, value: f32, zero: f32, scale: f32) -> u16 {
        // A code has at most nine bits and a scale at most 24, so an f32 product rounds at most once, to f32 itself.
        f32_to_bf16(match self {
            Rounding::Product(dtype) => narrow((value - zero) * scale, dtype),
            Rounding::Difference(dtype) => narrow(narrow(value - zero, dtype) * scale, dtype),
            Rounding::Offset(dtype) => narrow(narrow(value * scale, dtype) + zero, dtype),
        })
    }
}

/// Rounds to a dtype's precision.
pub(super) fn narrow(value: f32, dtype: Dtype) -> f32 {
    match dtype {
        Dtype::F16 => f16_to_f32(f32_to_f16(value)),
        Dtype::BF16 => bf16_to_f32(f32_to_bf16(value)),
        _ => value,
    }
}

impl Matrix {
    /// A matrix whose inputs are not quantized.
    pub fn plain(rows: usize, cols: usize, weights: Weights) -> Matrix {
        Matrix {
            rows,
            cols,
            weights,
            inputs: Inputs::Plain,
            transforms: Transforms::default(),
        }
    }

    /// Row `row` as every bfloat16 runtime holds it: dense values rounded to bfloat16, coded ones as their [`Rounding`] says.
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
            Weights::Coded(coded) => coded.row(row, out),
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
            Weights::Coded(coded) => {
                let zeros = match &coded.zeros {
                    Zeros::None => 0,
                    Zeros::Int(z) => 2 * z.len(),
                    Zeros::Float(z) => 4 * z.len(),
                };
                let index = coded.index.as_ref().map_or(0, Vec::len);
                4 * (coded.codes.len() + coded.scales.values.len() + index) + zeros
            }
        }
    }
}

impl Coded {
    /// Integers with consecutive groups.
    pub fn int(bits: u8, codes: Vec<u32>, scales: Scales, zeros: Zeros, dtype: Dtype) -> Coded {
        Coded {
            bits,
            codes,
            book: Codebook::Int,
            scales,
            zeros,
            index: None,
            rounding: Rounding::Product(dtype),
        }
    }

    /// Symmetric floats (or whatever `book` says) with consecutive groups.
    pub fn float(bits: u8, book: Codebook, codes: Vec<u32>, scales: Scales, dtype: Dtype) -> Coded {
        Coded {
            bits,
            codes,
            book,
            scales,
            zeros: Zeros::None,
            index: None,
            rounding: Rounding::Product(dtype),
        }
    }

    /// Groups of columns in a row of `cols` columns.
    pub fn groups(&self, cols: usize) -> usize {
        cols.div_ceil(self.scales.cols.max(1))
    }

    /// Where the scale of `group` of row `row` lies among the scales of a matrix with `cols` columns.
    pub fn scale_index(&self, row: usize, group: usize, cols: usize) -> usize {
        row / self.scales.rows * self.groups(cols) + group
    }

    /// The bfloat16 bits of what the codes 0, 1, 2, … stand for under the scale at `index`.
    pub fn values(&self, index: usize, out: &mut [u16]) {
        (0..).zip(out).for_each(|(code, o)| *o = self.value(index, code));
    }

    /// The codes of a row of `cols` columns.
    pub fn row_codes(&self, row: usize, cols: usize) -> impl Iterator<Item = u32> {
        let words = (cols * usize::from(self.bits)).div_ceil(32);
        let codes = &self.codes[row * words..(row + 1) * words];
        (0..cols).map(move |c| field(codes, self.bits, c))
    }

    // The bfloat16 bits of a code under the scale at `index`.
    fn value(&self, index: usize, code: u32) -> u16 {
        let zero = match &self.zeros {
            Zeros::None => 0.0,
            Zeros::Int(z) => f32::from(z[index]),
            Zeros::Float(z) => z[index],
        };
        let value = self.book.value(code, self.bits);
        self.rounding.weight(value, zero, self.scales.values[index])
    }

    /// Dequantizes one row of `out.len()` columns.
    fn row(&self, row: usize, out: &mut [u16]) {
        let cols = out.len();
        let first = self.scale_index(row, 0, cols);
        let codes = self.row_codes(row, cols);
        if let Some(index) = &self.index {
            let places = out.iter_mut().zip(codes).zip(index);
            places.for_each(|((o, code), k)| *o = self.value(first + *k as usize, code));
            return;
        }
        // Where a group has at least as many columns as there are codes, each code is multiplied once.
        let mut table = [0u16; 256];
        let table = &mut table[..1 << self.bits];
        let mut codes = codes;
        for (k, out) in (first..).zip(out.chunks_mut(self.scales.cols)) {
            if out.len() >= table.len() {
                self.values(k, table);
                out.iter_mut()
                    .zip(&mut codes)
                    .for_each(|(o, code)| *o = table[code as usize]);
            } else {
                out.iter_mut()
                    .zip(&mut codes)
                    .for_each(|(o, code)| *o = self.value(k, code));
            }
        }
    }
}

/// Field `i` of a little-endian stream of `bits`-bit fields in words; a field may straddle two words.
pub(crate) fn field(words: &[u32], bits: u8, i: usize) -> u32 {
    let bits = usize::from(bits);
    let (word, at) = (i * bits / 32, i * bits % 32);
    let low = words[word] >> at;
    let straddles = at + bits > 32;
    let value = if straddles {
        low | words[word + 1] << (32 - at)
    } else {
        low
    };
    value & ((1 << bits) - 1)
}

/// Packs fields of `bits` bits into a little-endian stream of words, the last word padded with zeros.
pub(crate) fn stream(fields: impl IntoIterator<Item = u32>, bits: u8) -> Vec<u32> {
    let mut words = Vec::new();
    let (mut held, mut used) = (0u64, 0u32);
    for field in fields {
        held |= u64::from(field) << used;
        used += u32::from(bits);
        if used >= 32 {
            words.push(held as u32);
            held >>= 32;
            used -= 32;
        }
    }
    if used > 0 {
        words.push(held as u32);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words compressed-tensors writes for 3-bit fields 0 to 7, four times over.
    #[test]
    fn fields_straddle_words() {
        let fields: Vec<u32> = (0..32).map(|i| i % 8).collect();
        let words = stream(fields.iter().copied(), 3);
        assert_eq!(words, [0x88FA_C688, 0xC688_FAC6, 0xFAC6_88FA]);
        for bits in 1..=8u8 {
            let fields: Vec<u32> = (0..77u32)
                .map(|i| i.wrapping_mul(2_654_435_761) >> (32 - bits))
                .collect();
            let words = stream(fields.iter().copied(), bits);
            assert_eq!(words.len(), (77 * usize::from(bits)).div_ceil(32));
            let back: Vec<u32> = (0..77).map(|i| field(&words, bits, i)).collect();
            assert_eq!(back, fields, "{bits} bits");
        }
    }
}
