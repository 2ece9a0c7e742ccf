//! Quantized inputs in f64, written from compressed-tensors' formulas and sharing nothing with the rule the other executors follow.

use assay_checkpoint::{Codes, InputScale, Inputs};

/// What a layer multiplies with: the row itself, or `s·(q − z)` of each value.
pub(super) fn fake_quantized(inputs: Inputs, row: &[f64]) -> Vec<f64> {
    let Inputs::Quantized { codes, scale } = inputs else {
        return row.to_vec();
    };
    let (low, high) = match codes {
        Codes::Int { bits } => (-(2f64.powi(i32::from(bits) - 1)), 2f64.powi(i32::from(bits) - 1) - 1.0),
        Codes::Float8 => (-448.0, 448.0),
    };
    let (scale, zero) = match scale {
        InputScale::Fixed { scale, zero } => (f64::from(scale), f64::from(zero)),
        InputScale::Row { symmetric } => {
            let min = row.iter().copied().fold(0.0, f64::min);
            let max = row.iter().copied().fold(0.0, f64::max);
            match symmetric {
                _ if max == min => (1.0, 0.0),
                true => (max.max(-min) / ((high - low) / 2.0), 0.0),
                false => {
                    let scale = (max - min) / (high - low);
                    (scale, (low - min / scale).clamp(low, high).round_ties_even())
                }
            }
        }
    };
    row.iter()
        .map(|x| {
            let q = (x / scale + zero).clamp(low, high);
            let q = match codes {
                Codes::Int { .. } => q.round_ties_even(),
                Codes::Float8 => float8(q),
            };
            (q - zero) * scale
        })
        .collect()
}

// The nearest multiple of the last place: three bits of mantissa, exponents from -6 on.
fn float8(x: f64) -> f64 {
    let exponent = x.abs().max(2f64.powi(-6)).log2().floor() as i32;
    let place = 2f64.powi(exponent - 3);
    (x / place).round_ties_even() * place
}
