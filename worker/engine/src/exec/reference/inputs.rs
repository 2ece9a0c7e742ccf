//! Quantized inputs in f64, written from compressed-tensors' formulas and sharing nothing with the rule the other executors follow.

use assay_checkpoint::{Codes, GroupScale, InputScale, Inputs};

/// What a layer multiplies with: the row itself, or `s·(q − z)` of each value.
pub(super) fn fake_quantized(inputs: Inputs, row: &[f64]) -> Vec<f64> {
    let Inputs::Quantized { codes, scale } = inputs else {
        return row.to_vec();
    };
    let width = match scale {
        InputScale::Group { cols, .. } => cols as usize,
        _ => row.len(),
    };
    let mut out = row.to_vec();
    for group in out.chunks_mut(width.max(1)) {
        let (scale, zero) = parameters(codes, scale, group);
        group.iter_mut().for_each(|x| *x = quantized(codes, scale, zero, *x));
    }
    out
}

/// One value to the nearest code and back.
pub(super) fn quantized(codes: Codes, scale: f64, zero: f64, x: f64) -> f64 {
    let (low, high) = range(codes);
    let q = (x / scale + zero).clamp(low, high);
    let q = match codes {
        Codes::Int { .. } => q.round_ties_even(),
        Codes::Float8 => float(q, -6, 3),
        Codes::Float6 => float(q, 0, 3),
        Codes::Float4 => float(q, 0, 1),
    };
    (q - zero) * scale
}

fn range(codes: Codes) -> (f64, f64) {
    match codes {
        Codes::Int { bits } => (-(2f64.powi(i32::from(bits) - 1)), 2f64.powi(i32::from(bits) - 1) - 1.0),
        Codes::Float8 => (-448.0, 448.0),
        Codes::Float6 => (-7.5, 7.5),
        Codes::Float4 => (-6.0, 6.0),
    }
}

// Scale and zero point of a row or a group.
fn parameters(codes: Codes, scale: InputScale, values: &[f64]) -> (f64, f64) {
    let (low, high) = range(codes);
    let min = values.iter().copied().fold(0.0, f64::min);
    let max = values.iter().copied().fold(0.0, f64::max);
    let largest = max.max(-min);
    let half = (high - low) / 2.0;
    if largest == 0.0 && !matches!(scale, InputScale::Fixed { .. }) {
        return (1.0, 0.0);
    }
    match scale {
        InputScale::Fixed { scale, zero } => (f64::from(scale), f64::from(zero)),
        InputScale::Row { symmetric } => plain(symmetric, (min, max), (low, high)),
        InputScale::Bounded { most } => (largest.min(f64::from(most)) / half, 0.0),
        InputScale::Group { rule, .. } => match rule {
            GroupScale::Float { symmetric } => plain(symmetric, (min, max), (low, high)),
            GroupScale::PowerOfTwo => {
                let largest = f64::from(largest as f32);
                let below = 2f64.powf(largest.log2().floor());
                let power = if largest / below >= 1.75 { 2.0 * below } else { below };
                (power / 2f64.powf(high.log2().floor()), 0.0)
            }
            GroupScale::Ceiling => (2f64.powf((largest / half).log2().ceil()), 0.0),
            GroupScale::Local { global } => {
                let global = f64::from(global);
                let local = float((global * largest / half).min(448.0), -6, 3);
                (if local == 0.0 { 0.125 } else { local } / global, 0.0)
            }
        },
    }
}

fn plain(symmetric: bool, (min, max): (f64, f64), (low, high): (f64, f64)) -> (f64, f64) {
    if symmetric {
        return (max.max(-min) / ((high - low) / 2.0), 0.0);
    }
    let scale = (max - min) / (high - low);
    (scale, (low - min / scale).clamp(low, high).round_ties_even())
}

// The nearest multiple of the last place, given the least exponent and the bits of mantissa.
// Casts to small floats go through an f32, which settles ties: where attention looks at one token alone its value comes back to within
// 1e-9, and a product with a global scale of 24 bits lies as near to the middle of two codes.
fn float(x: f64, least: i32, mantissa: i32) -> f64 {
    let x = f64::from(x as f32);
    let exponent = x.abs().max(2f64.powi(least)).log2().floor() as i32;
    let place = 2f64.powi(exponent - mantissa);
    (x / place).round_ties_even() * place
}
