//! What single kernels should give: in f64 from the same rounded inputs, so that all that is left of a difference is a kernel's own
//! rounding. For tests and for the page on fidelity; the whole model in f64 is [`super::reference`].
//!
//! Rotations of a layer's inputs and outputs are left out: a product here begins with what is multiplied and ends with its sums.

use assay_checkpoint::{InputScale, Inputs, Matrix, Weights, Zeros};

use super::cpu::{bytes, nibbles};
use crate::numerics::{BLOCK, ByteScale, Precision, RowCodes, block_integer, block_unit, outer_scale};

/// What a kernel multiplies. Inputs that the matrix itself wants quantized are codes in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// rule 1's weights and inputs as they come: the definition, which every kernel rounds something of
    Unrounded,
    /// rule 1's weights and each input rounded by itself
    Values(Precision),
    /// rule 10: rule 1's weights and inputs of 15 bits and a sign in blocks
    Integers,
    /// rule 11: weights not rounded after their scale and inputs of eight bits in blocks of so many columns
    Bytes {
        /// columns
        block: usize,
    },
}

impl Taken {
    /// What the CPU's kernels take of a matrix.
    pub fn by_cpu(matrix: &Matrix, precision: Precision) -> Taken {
        let bytes = bytes::Plan::of(matrix).filter(|_| precision == Precision::Byte);
        if let Some(plan) = bytes {
            return Taken::Bytes { block: plan.block() };
        }
        match precision {
            Precision::Pair | Precision::Byte if nibbles::Plan::of(matrix).is_some() => Taken::Integers,
            _ => Taken::Values(precision),
        }
    }

    /// A row of inputs as it is multiplied, and what its finished sums are multiplied by.
    pub fn inputs(self, matrix: &Matrix, x: &[f32]) -> (Vec<f64>, f64) {
        match matrix.inputs {
            Inputs::Plain => (self.plain(x), 1.0),
            Inputs::Quantized {
                codes,
                scale: scale @ InputScale::Group { cols, rule },
            } => {
                let value = |by: RowCodes, x: f32| match self {
                    Taken::Values(precision) => f64::from(precision.round(by.code(x) * by.factor)),
                    _ => f64::from(by.code(x)) * f64::from(by.factor),
                };
                let groups = x.chunks(cols.max(1) as usize).flat_map(|group| {
                    let by = RowCodes::of(codes, scale, group);
                    group.iter().map(move |&x| value(by, x))
                });
                (groups.collect(), f64::from(outer_scale(rule)))
            }
            Inputs::Quantized { codes, scale } => {
                let by = RowCodes::of(codes, scale, x);
                (x.iter().map(|&x| f64::from(by.code(x))).collect(), f64::from(by.scale))
            }
        }
    }

    fn plain(self, x: &[f32]) -> Vec<f64> {
        match self {
            Taken::Unrounded => x.iter().map(|&x| f64::from(x)).collect(),
            Taken::Values(precision) => x.iter().map(|&x| f64::from(precision.round(x))).collect(),
            Taken::Integers => {
                let blocks = x.chunks(BLOCK).map(|block| (block, block_unit(block)));
                let values = blocks.flat_map(|(block, unit)| {
                    let value = move |&x: &f32| f64::from(block_integer(x, unit)) * f64::from(unit);
                    block.iter().map(value)
                });
                values.collect()
            }
            Taken::Bytes { block } => {
                let blocks = x.chunks(block).map(|block| (block, ByteScale::of(block)));
                let values = blocks.flat_map(|(block, scale)| {
                    let value = move |&x: &f32| f64::from(scale.integer(x)) * f64::from(scale.unit);
                    block.iter().map(value)
                });
                values.collect()
            }
        }
    }

    /// A row of weights as it is multiplied.
    pub fn weights(self, matrix: &Matrix, row: usize) -> Vec<f64> {
        match (self, &matrix.weights) {
            (Taken::Bytes { .. }, Weights::Coded(coded)) => {
                let value = |(column, code)| {
                    let index = coded.scale_index(row, column / coded.scales.cols, matrix.cols);
                    let zero = match &coded.zeros {
                        Zeros::Int(zeros) => f64::from(zeros[index]),
                        _ => 0.0,
                    };
                    (f64::from(coded.book.value(code, coded.bits)) - zero) * f64::from(coded.scales.values[index])
                };
                coded.row_codes(row, matrix.cols).enumerate().map(value).collect()
            }
            _ => {
                let mut values = vec![0f32; matrix.cols];
                matrix.row_f32(row, &mut values);
                values.into_iter().map(f64::from).collect()
            }
        }
    }
}

/// What a product should be.
pub struct Product {
    /// Σ a·w, (rows, outputs)
    pub sums: Vec<f64>,
    /// Σ |a·w|, (rows, outputs): additions may round away so much of it, whatever the sum itself cancels to
    pub sizes: Vec<f64>,
}

/// `x` (rows, cols) times a matrix.
pub fn product(matrix: &Matrix, taken: Taken, x: &[f32]) -> Product {
    let weights: Vec<Vec<f64>> = (0..matrix.rows).map(|row| taken.weights(matrix, row)).collect();
    let (mut sums, mut sizes) = (Vec::new(), Vec::new());
    for row in x.chunks_exact(matrix.cols) {
        let (row, outer) = taken.inputs(matrix, row);
        for weights in &weights {
            let (sum, size) = dot(&row, weights);
            sums.push(sum * outer);
            sizes.push(size * outer.abs());
        }
    }
    Product { sums, sizes }
}

// Σ a·w and Σ |a·w|, in partial sums that a compiler can keep side by side: in f64 their order is of no account.
fn dot(a: &[f64], w: &[f64]) -> (f64, f64) {
    const PARTS: usize = 8;
    let (mut sums, mut sizes) = ([0f64; PARTS], [0f64; PARTS]);
    for (a, w) in a.chunks(PARTS).zip(w.chunks(PARTS)) {
        for (part, (a, w)) in a.iter().zip(w).enumerate() {
            sums[part] += a * w;
            sizes[part] += (a * w).abs();
        }
    }
    (sums.iter().sum(), sizes.iter().sum())
}

/// `softmax(q·k)·v` of one head over the keys and values it sees, (keys, head_dim) as they are stored; `q` carries the softmax scale.
pub fn attention(q: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
    let scores = keys.chunks_exact(q.len()).map(|key| {
        let terms = q.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k));
        terms.sum::<f64>()
    });
    let scores: Vec<f64> = scores.collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut out) = (0f64, vec![0f64; q.len()]);
    for (score, value) in scores.iter().zip(values.chunks_exact(q.len())) {
        let weight = (score - max).exp();
        sum += weight;
        out.iter_mut()
            .zip(value)
            .for_each(|(o, v)| *o += weight * f64::from(*v));
    }
    out.iter_mut().for_each(|o| *o /= sum);
    out
}

/// `x / √(mean(x²) + eps)·weight`.
pub fn norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
    let root = (mean + f64::from(eps)).sqrt();
    let pairs = x.iter().zip(weight);
    pairs.map(|(&x, &w)| f64::from(x) / root * f64::from(w)).collect()
}

/// A head normed, rotated by (cos, sin) of each of its pairs, and scaled.
pub fn head(x: &[f32], weight: &[f32], eps: f32, rotations: &[(f32, f32)], scale: f32) -> Vec<f64> {
    let mut out = norm(x, weight, eps);
    let (left, right) = out.split_at_mut(x.len() / 2);
    for ((x, y), &(cos, sin)) in left.iter_mut().zip(right).zip(rotations) {
        let (cos, sin) = (f64::from(cos), f64::from(sin));
        (*x, *y) = (*x * cos - *y * sin, *y * cos + *x * sin);
    }
    out.iter_mut().for_each(|x| *x *= f64::from(scale));
    out
}

/// `silu(gate)·up`.
pub fn activation(gate: f32, up: f32) -> f64 {
    let gate = f64::from(gate);
    gate / (1.0 + (-gate).exp()) * f64::from(up)
}
