//! The numerics specification: every rounding rule, constant and order of addition that an executor must follow.
//!
//! 1. A weight is `bf16(q·s)`; what enters a linear layer is rounded to a [`Precision`]. Their product is exact in f32.
//! 2. A linear output is a sum over K in [`K_SLICES`] slices ([`k_slices`]): each slice is one chain of f32 additions from zero, in
//!    order of k; the slices are added left to right. Because products are exact (above 2^−149, far below anything a model
//!    holds), fused and unfused multiply-add agree.
//! 3. The residual stream, norms, softmax and the activation function are f32. Only additions, multiplications, divisions and square
//!    roots that IEEE 754 rounds exactly are used, and [`exp`] below, never a platform's own.
//! 4. Keys and values are rounded to the same precision when stored; attention always reads them back from the pages, also
//!    inside a prompt. Where the cache is quantized, what is rounded is a head's code times its scale.
//! 5. Attention walks chunks of [`KV_CHUNK`] keys cut at absolute positions and merges them left to right. A masked key contributes
//!    exactly zero; a chunk in which every key is masked is skipped. A chunk's weighted
//!    values are one chain in order of the keys on a CPU, on a graphics card one for each page, which are added left to right.
//! 6. Sums over a row ([`lane_sum`]) use [`LANES`] partial sums chosen by position, added left to right.
//! 7. The largest logit wins, the lowest id among equals; a logit that is not finite is an error, never a token.
//! 8. A layer with quantized inputs multiplies codes ([`RowCodes`]) instead of rounded values: `q − z` is exact in bf16, so nothing
//!    is rounded to a [`Precision`]; the finished sum is multiplied by the row's scale, once, in f32. Where groups of columns have
//!    scales of their own, a code times its group's factor is rounded to the precision (powers of two and NVFP4's float8 factors
//!    need no rounding), and the finished sum is multiplied by what the groups have in common ([`outer_scale`]).
//! 9. Where a layer's inputs or outputs are rotated ([`turn`]), that is done in f32, row by row: before inputs are rounded or quantized,
//!    after finished sums.
//!
//! 10. The CPU multiplies matrices of at most four bits in integers where its precision is [`Precision::Pair`]. What the codes of a group
//!     stand for is a power of two times integers of at most [`MAX_WEIGHT_SHORT`] (a matrix that spans more is not multiplied so), exactly
//!     rule 1's weight; inputs are integers of 15 bits and a sign times a power of two for each [`BLOCK`] of columns ([`block_unit`]),
//!     or codes. The products of a block of columns go to [`PARTIALS`] integer sums, exact in any order; a block is 128, 64 or
//!     32 columns, the first that divides a group; not 128 where an integer exceeds [`MAX_WEIGHT`]. Its sums are rounded to f32 and added, times both powers of two, to as many f32 sums,
//!     block after block, which [`add_partials`] adds at the end.
//! 11. The fast mode, [`Precision::Byte`], computes as `Pair` does, but multiplies integer matrices of at most four bits whose inputs
//!     are not quantized as their codes, from 0 up: inputs are integers of eight bits times a scale for each block of columns
//!     ([`ByteScale`]; blocks as in rule 10). `Σ q·x` and `Σ x` of a block are exact integers; `(Σ q·x − z·Σ x)·s·u`, every operation rounded to
//!     f32, is added to a row's sum block after block.
//! 12. On a graphics card's matrix units a slice is still one chain and slices are added left to right, but what a unit adds at once, in which
//!     order and how rounded, is its maker's. Its factors are f16: weights times a power of two for each output, inputs times one for
//!     each row, where inputs of 16 bits are the sum of two factors, the higher added first. What that may lose is below 2^−28 of the
//!     largest: of an output's weights, or of a row's inputs.
//!
//! None of these depends on how many rows a step has, which they are, or how many threads work: threads split outputs, never sums.

mod blocks;
mod codes;
mod turn;

use std::ops::Range;

pub use blocks::{BLOCK, ByteScale, MAX_WEIGHT, MAX_WEIGHT_SHORT, PARTIALS, add_partials, block_integer, block_unit};
pub use codes::{RowCodes, code_exponent, code_range, outer_scale};
pub use turn::turn;

/// Tokens in one page of the key/value cache: small enough that a partly filled tail wastes little, large enough that page
/// tables stay short.
pub const PAGE_TOKENS: usize = 64;

/// Keys in one attention chunk; a multiple of [`PAGE_TOKENS`], cut at absolute positions 0, 256, 512, …
pub const KV_CHUNK: usize = 256;

/// Slices of K in every linear layer. Four lets a small batch run its slices in parallel on a wide device and costs a large batch
/// three additions an output.
pub const K_SLICES: usize = 4;

/// Slices begin at multiples of this many inputs: the K step of a tensor-core tile, and it divides every group size in use.
pub const K_SLICE_UNIT: usize = 32;

/// Partial sums of a sum over a row.
pub const LANES: usize = 16;

/// The largest head dimension any executor must hold in registers or on its stack.
pub const MAX_HEAD_DIM: usize = 256;

/// The slices of a matrix with `k` inputs. Late slices of a narrow matrix may be empty: they add nothing.
pub fn k_slices(k: usize) -> [Range<usize>; K_SLICES] {
    let each = k.div_ceil(K_SLICES * K_SLICE_UNIT) * K_SLICE_UNIT;
    std::array::from_fn(|s| (s * each).min(k)..((s + 1) * each).min(k))
}

/// The value of a bf16.
#[inline(always)]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// How finely a linear layer's input and the cached keys and values are rounded. Part of every report: it decides bits.
///
/// Measured on the golden files (f32 throughout, 1,894 positions): with `Bf16` the logits' typical error is 6e-3 and the best token
/// differs in 5 positions, near-ties all, which is more than 0.5% of the positions of four of the twelve files;
/// with `Pair` the error is 3e-5 and no position differs, nor do they where a CPU multiplies integers instead (rule 10; the largest error is
/// 1e-3 to 4e-3). In f32 arithmetic both cost the same; units that multiply bf16 natively run `Bf16` at twice the speed of `Pair`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 16 significant bits: exactly the sum of two bf16, so hardware for bf16 computes it as two products; on a CPU, for matrices of at most
    /// four bits, 15 bits and a sign in blocks
    #[default]
    Pair,
    /// 8 significant bits: bf16, as every bf16 runtime does
    Bf16,
    /// the fast mode: as `Pair`, but 8 bits in blocks for integer matrices of at most four bits on a CPU. For a quick look; scores of
    /// different precisions are not compared
    Byte,
}

impl Precision {
    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Pair => "bf16-pair",
            Precision::Bf16 => "bf16",
            Precision::Byte => "fast, int8",
        }
    }

    /// Rounds, ties to even. A NaN stays a NaN.
    #[inline(always)]
    pub fn round(self, x: f32) -> f32 {
        let dropped = match self {
            Precision::Pair | Precision::Byte => 8,
            Precision::Bf16 => 16,
        };
        let bits = x.to_bits();
        let half = (1 << (dropped - 1)) - 1 + ((bits >> dropped) & 1);
        let rounded = bits.wrapping_add(half) >> dropped << dropped;
        f32::from_bits(if x.is_nan() { 0x7fc0_0000 } else { rounded })
    }
}

/// `e^x` in f32: 2^n·p(r) with Cephes' polynomial, at most 2 ulp off between −87 and 88 and clamped there.
/// Written out so that every machine computes the same bits and the compiler can use vector lanes. A NaN stays a NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2^23: adding it rounds to an integer, ties to even
    const LN2_HIGH: f32 = 0.693_359_4; // nine bits, so n·LN2_HIGH is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let c = if x < -87.0 { -87.0 } else { x };
    let c = if c > 88.0 { 88.0 } else { c };
    let shifted = c * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = c - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    // the low bits of `shifted` hold n; a NaN's bits land here too, but p is then a NaN and stays one
    let scale = f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(0x3f80_0000));
    if x.is_nan() { x } else { p * scale }
}

/// `x·sigmoid(x)`.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Adds a row's terms: term i goes to partial sum `i % LANES`, the partial sums are added left to right.
#[inline(always)]
pub fn lane_sum(terms: &[f32]) -> f32 {
    lanes(terms, |x| x)
}

/// `1/sqrt(mean(x²) + eps)`: what RMSNorm multiplies a row by before its weight.
#[inline(always)]
pub fn inverse_rms(row: &[f32], eps: f32) -> f32 {
    1.0 / (lanes(row, |x| x * x) / row.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn lanes(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for j in 0..LANES {
            lanes[j] += term(chunk[j]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += term(x);
    }
    let mut sum = lanes[0];
    for lane in &lanes[1..] {
        sum += lane;
    }
    sum
}

/// The id of the largest logit, the lowest id among equals; `None` if any logit is not finite.
pub fn argmax(logits: &[f32]) -> Option<u32> {
    // lane by lane, which vector registers can do: in each the first of equals stays
    let mut best = [(f32::NEG_INFINITY, 0u32); LANES];
    let mut finite = [true; LANES];
    let mut look = |values: &[f32], first: u32| {
        for (lane, &x) in values.iter().enumerate() {
            finite[lane] &= x.is_finite();
            if x > best[lane].0 {
                best[lane] = (x, first + lane as u32);
            }
        }
    };
    let (whole, rest) = logits.as_chunks::<LANES>();
    for (i, values) in whole.iter().enumerate() {
        look(values, (i * LANES) as u32);
    }
    look(rest, (whole.len() * LANES) as u32);
    let ahead = |a: (f32, u32), b: (f32, u32)| if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) { b } else { a };
    let (_, id) = best.into_iter().fold((f32::NEG_INFINITY, u32::MAX), ahead);
    (finite.into_iter().all(|finite| finite) && !logits.is_empty()).then_some(id)
}

/// Columns of one partial sum of [`log_sum_exp`].
pub const HEAD_TILE: usize = 128;

/// `ln(Σ e^x)` of a row of finite logits: exponentials in f64 relative to the row's maximum, summed in tiles of [`HEAD_TILE`]
/// columns, the tiles left to right.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0f64;
    for tile in logits.chunks(HEAD_TILE) {
        let mut part = 0f64;
        for &x in tile {
            part += (f64::from(x) - f64::from(max)).exp();
        }
        sum += part;
    }
    f64::from(max) + sum.ln()
}

/// The llama3 rule that stretches RoPE's slow frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// slow frequencies are divided by this
    pub factor: f64,
    /// wavelengths above `original / low` are stretched whole
    pub low: f64,
    /// wavelengths below `original / high` are kept
    pub high: f64,
    /// positions the model was first trained for
    pub original: f64,
}

/// RoPE's inverse frequencies, one for each of the `head_dim / 2` pairs: `theta^(−2k/head_dim)`, stretched.
/// Every step is rounded to f32, as the models' own code does: at high positions the rounding of a frequency is visible.
pub fn inverse_frequencies(head_dim: usize, theta: f64, stretch: Option<Stretch>) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|k| {
            let exponent = (2 * k) as f32 / head_dim as f32;
            let inverse = 1.0 / (theta.powf(f64::from(exponent)) as f32);
            stretch.map_or(inverse, |s| stretched(inverse, s))
        })
        .collect()
}

fn stretched(inverse: f32, s: Stretch) -> f32 {
    let (factor, low, high, original) = (s.factor as f32, s.low as f32, s.high as f32, s.original as f32);
    let wavelength = (2.0 * std::f64::consts::PI) as f32 / inverse;
    if wavelength > original / low {
        inverse / factor
    } else if wavelength < original / high {
        inverse
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * inverse / factor + smooth * inverse
    }
}

/// cos and sin of a position's angle for one frequency: the angle is an f32 product, its cosine and sine are rounded from f64.
pub fn rotation(position: u32, inverse: f32) -> (f32, f32) {
    let angle = f64::from(position as f32 * inverse);
    (angle.cos() as f32, angle.sin() as f32)
}
