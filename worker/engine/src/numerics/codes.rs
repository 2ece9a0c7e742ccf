//! Quantized inputs: how a row of floats becomes codes.

use assay_checkpoint::{Codes, GroupScale, InputScale};

use super::LANES;

/// How a row of a layer's input, or one group of its columns, becomes codes: `q − z` of `x̂ = s·(q − z)`, where
/// `q = round(clamp(x/s + z))`. As compressed-tensors computes it in f32; every operation below is rounded exactly as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowCodes {
    /// s: what the codes are divided out by; of a whole row also what its finished sums are multiplied by
    pub scale: f32,
    /// Of a group: what its codes are multiplied by before the product, the sums being multiplied by [`outer_scale`] afterwards.
    pub factor: f32,
    zero: f32,
    low: f32,
    high: f32,
    codes: Codes,
}

/// What the finished sums of a row are multiplied by whose codes have scales by group.
#[inline(always)]
pub fn outer_scale(rule: GroupScale) -> f32 {
    match rule {
        GroupScale::Local { global } => 1.0 / global,
        _ => 1.0,
    }
}

impl RowCodes {
    /// For one row, or one group of a row where the scale is a group's; [`InputScale::Fixed`] does not look at it. Zeros give zeros.
    /// NaN becomes NaN, and so does what follows.
    #[inline(always)]
    pub fn of(codes: Codes, scale: InputScale, row: &[f32]) -> RowCodes {
        let (low, high) = code_range(codes);
        let half = (high - low) / 2.0;
        let (mut zero, mut factor) = (0.0, None);
        let scale = match scale {
            InputScale::Fixed { scale, zero: stored } => {
                zero = f32::from(stored);
                scale
            }
            InputScale::Row { symmetric: true }
            | InputScale::Group {
                rule: GroupScale::Float { symmetric: true },
                ..
            } => largest(row) / half,
            InputScale::Bounded { most } => {
                let largest = largest(row);
                (if largest > most { most } else { largest }) / half
            }
            InputScale::Row { symmetric: false }
            | InputScale::Group {
                rule: GroupScale::Float { symmetric: false },
                ..
            } => {
                let (min, max) = extremes(row);
                let scale = (max - min) / (high - low);
                if scale > 0.0 {
                    zero = round_to_integer(clamp(low - min / scale, low, high));
                }
                scale
            }
            InputScale::Group {
                rule: GroupScale::PowerOfTwo,
                ..
            } => power_of_two(largest(row), codes),
            InputScale::Group {
                rule: GroupScale::Ceiling,
                ..
            } => ceiling(largest(row) / half),
            InputScale::Group {
                rule: GroupScale::Local { global },
                ..
            } => {
                let local = round_to_float8(clamp(global * (largest(row) / half), -448.0, 448.0));
                let local = if local == 0.0 { 0.125 } else { local };
                factor = Some(local);
                local / global
            }
        };
        let scale = if scale == 0.0 { f32::EPSILON } else { scale };
        RowCodes {
            scale,
            factor: factor.unwrap_or(scale),
            zero,
            low,
            high,
            codes,
        }
    }

    /// `q − z` of one value: an integer of at most nine bits with its sign, or a small float's value.
    #[inline(always)]
    pub fn code(self, x: f32) -> f32 {
        match self.codes {
            Codes::Int { .. } => self.integer(x),
            Codes::Float8 => self.float8(x),
            Codes::Float6 => round_to_float6(clamp(x / self.scale, self.low, self.high)),
            Codes::Float4 => round_to_float4(clamp(x / self.scale, self.low, self.high)),
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
        Codes::Float6 => (-7.5, 7.5),
        Codes::Float4 => (-6.0, 6.0),
    }
}

/// The exponent of the largest power of two among the codes: what a power-of-two scale leaves to them.
pub fn code_exponent(codes: Codes) -> u32 {
    match codes {
        Codes::Int { bits } => u32::from(bits) - 2,
        Codes::Float8 => 8,
        Codes::Float6 | Codes::Float4 => 2,
    }
}

// The power of two below `largest`, or above it from 1.75 times that on, over that of the greatest code. Scales below 2^-126 are not
// made: nothing a model holds needs one, and graphics cards have no smaller number.
#[inline(always)]
fn power_of_two(largest: f32, codes: Codes) -> f32 {
    let exponent = largest.to_bits().wrapping_add(0x0020_0000) >> 23;
    let scale = exponent.saturating_sub(code_exponent(codes)).max(1);
    if exponent >= 255 {
        return largest * f32::INFINITY; // an infinity makes every code NaN
    }
    f32::from_bits(scale << 23)
}

// The least power of two not below a scale.
#[inline(always)]
fn ceiling(scale: f32) -> f32 {
    let bits = scale.to_bits();
    if bits & 0x007f_ffff == 0 || bits >= 0x7f80_0000 {
        return scale;
    }
    f32::from_bits(((bits >> 23) + 1) << 23)
}

// max |x|, at least 0.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let (min, max) = extremes(row);
    if -min > max { -min } else { max }
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

// To float8 e4m3fn, ties to even; |x| at most 448: four significant bits from 2^-6 on, below that multiples of 2^-9.
#[inline(always)]
fn round_to_float8(x: f32) -> f32 {
    round_to_float(x, 20, 0.015_625, 24_576.0) // 1.5·2^14, whose last place is 2^-9
}

// To float6 e2m3, ties to even; |x| at most 7.5: four significant bits from 1 on, below that multiples of 1/8.
#[inline(always)]
fn round_to_float6(x: f32) -> f32 {
    round_to_float(x, 20, 1.0, 1_572_864.0) // 1.5·2^20
}

// To float4 e2m1, ties to even; |x| at most 6: two significant bits from 1 on, below that multiples of 1/2.
#[inline(always)]
fn round_to_float4(x: f32) -> f32 {
    round_to_float(x, 22, 1.0, 6_291_456.0) // 1.5·2^22
}

#[inline(always)]
fn round_to_float(x: f32, dropped: u32, least: f32, fine: f32) -> f32 {
    let bits = x.to_bits();
    let half = (1 << (dropped - 1)) - 1 + ((bits >> dropped) & 1);
    let normal = f32::from_bits(bits.wrapping_add(half) >> dropped << dropped);
    let subnormal = (x + fine) - fine;
    let rounded = if x.abs() < least { subnormal } else { normal };
    if x.is_nan() { x } else { rounded }
}
