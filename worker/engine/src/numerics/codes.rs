//! Quantized inputs: how a row of floats becomes codes.

use assay_checkpoint::{Codes, InputScale};

use super::LANES;

/// How one row of a layer's input becomes codes: `q − z` of `x̂ = s·(q − z)`, where `q = round(clamp(x/s + z))`. As compressed-tensors
/// computes it in f32; every operation below is rounded exactly as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowCodes {
    /// s: what the row's finished sums are multiplied by
    pub scale: f32,
    zero: f32,
    low: f32,
    high: f32,
    codes: Codes,
}

impl RowCodes {
    /// For one row; only [`InputScale::Row`] looks at it. A row of zeros gives zeros. NaN becomes NaN, and so does what follows.
    #[inline(always)]
    pub fn of(codes: Codes, scale: InputScale, row: &[f32]) -> RowCodes {
        let (low, high) = code_range(codes);
        let (scale, zero) = match scale {
            InputScale::Fixed { scale, zero } => (scale, f32::from(zero)),
            InputScale::Row { symmetric } => {
                let (min, max) = extremes(row);
                if symmetric {
                    let most = if -min > max { -min } else { max };
                    (most / ((high - low) / 2.0), 0.0)
                } else {
                    let scale = (max - min) / (high - low);
                    let zero = if scale > 0.0 {
                        round_to_integer(clamp(low - min / scale, low, high))
                    } else {
                        0.0
                    };
                    (scale, zero)
                }
            }
        };
        RowCodes {
            scale: if scale == 0.0 { f32::EPSILON } else { scale },
            zero,
            low,
            high,
            codes,
        }
    }

    /// `q − z` of one value: an integer of at most nine bits with its sign, or a float8 value.
    #[inline(always)]
    pub fn code(self, x: f32) -> f32 {
        match self.codes {
            Codes::Int { .. } => self.integer(x),
            Codes::Float8 => self.float8(x),
        }
    }

    /// [`RowCodes::code`] where the codes are integers.
    #[inline(always)]
    pub fn integer(self, x: f32) -> f32 {
        round_to_integer(clamp(x / self.scale + self.zero, self.low, self.high)) - self.zero
    }

    /// [`RowCodes::code`] where they are float8, which have no zero point.
    #[inline(always)]
    pub fn float8(self, x: f32) -> f32 {
        round_to_float8(clamp(x / self.scale, self.low, self.high))
    }
}

/// The least and the greatest code.
#[inline(always)]
pub fn code_range(codes: Codes) -> (f32, f32) {
    match codes {
        Codes::Int { bits } => {
            let half = (1u32 << (bits - 1)) as f32;
            (-half, half - 1.0)
        }
        Codes::Float8 => (-448.0, 448.0),
    }
}

// (min(row, 0), max(row, 0)). Exact, so the order does not matter; a NaN is passed over.
#[inline(always)]
fn extremes(row: &[f32]) -> (f32, f32) {
    let (mut min, mut max) = ([0f32; LANES], [0f32; LANES]);
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut take = |j: usize, x: f32| {
        min[j] = if x < min[j] { x } else { min[j] };
        max[j] = if x > max[j] { x } else { max[j] };
    };
    for chunk in whole {
        chunk.iter().enumerate().for_each(|(j, &x)| take(j, x));
    }
    rest.iter().enumerate().for_each(|(j, &x)| take(j, x));
    (min.into_iter().fold(0.0, f32::min), max.into_iter().fold(0.0, f32::max))
}

// A NaN stays a NaN.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

// Ties to even; |x| below 2^22.
#[inline(always)]
fn round_to_integer(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2^23
    (x + ROUND) - ROUND
}

// To float8 e4m3fn, ties to even; |x| at most 448.
#[inline(always)]
fn round_to_float8(x: f32) -> f32 {
    // four significant bits from 2^-6 on, below that multiples of 2^-9
    const FINE: f32 = 24_576.0; // 1.5·2^14, whose last place is 2^-9
    let bits = x.to_bits();
    let half = 0x0007_FFFF + ((bits >> 20) & 1);
    let normal = f32::from_bits(bits.wrapping_add(half) >> 20 << 20);
    let subnormal = (x + FINE) - FINE;
    let rounded = if x.abs() < 0.015_625 { subnormal } else { normal };
    if x.is_nan() { x } else { rounded }
}
