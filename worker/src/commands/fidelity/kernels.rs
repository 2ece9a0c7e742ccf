//! Single kernels against f64 from the same rounded inputs.

mod attention;
mod cpu;
mod device;
mod gpu;
mod inputs;
mod linear;
mod matrices;
mod rows;

use anyhow::Context;
use assay_engine::{Device, Options};

pub use self::inputs::Kind;
use crate::synthetic::Random;

/// How far a sum of K products in float32 may be off: this much of K·Σ|a·w|, half a unit in the last place for every addition.
pub const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// The most the differences of a row's results may come to, beside the results: ‖out − exact‖ / ‖exact‖.
pub const NORM_BOUND: f64 = 1e-5;

/// At which sizes kernels are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// the widths of EXAONE-4.0-1.2B, attention over 600 keys
    Real,
    /// a few columns: to try the command itself
    Small,
    /// not at all
    None,
}

impl Size {
    /// Columns of the matrices, and widths of a row.
    pub fn cols(self) -> &'static [usize] {
        match self {
            Size::Real => &[2048, 4096],
            Size::Small => &[256],
            Size::None => &[],
        }
    }

    /// Outputs of a matrix: no multiple of what kernels take at once.
    pub fn outputs(self) -> usize {
        match self {
            Size::Real => 40,
            _ => 20,
        }
    }

    /// Rows of inputs: a single one, more than one block of them, and what cards multiply in tiles.
    pub fn rows(self) -> &'static [usize] {
        match self {
            Size::Real => &[1, 9, 33],
            _ => &[1, 17],
        }
    }

    /// Tokens that attention sees: more than one of the chunks it goes through, and no whole number of them.
    fn context(self) -> usize {
        match self {
            Size::Real => 600,
            _ => 260,
        }
    }
}

/// Products of one kind of matrix on one device; the largest over all widths and rows.
pub struct LinearRow {
    pub device: Device,
    pub weights: &'static str,
    /// how the matrix wants its inputs quantized; empty where it does not
    pub inputs: &'static str,
    /// how the device holds and multiplies it
    pub held: &'static str,
    /// |out − exact| / (K·2^-24·Σ|a·w|) for each [`Kind`] of inputs
    pub over_bound: [f64; Kind::ALL.len()],
    /// ‖out − exact‖ / ‖exact‖ of a row, over all kinds
    pub norm: f64,
    /// the same for normal inputs that `exact` does not round
    pub unrounded: f64,
}

/// Another kernel on one device.
pub struct OtherRow {
    pub device: Device,
    pub kernel: String,
    /// ‖out − exact‖ / ‖exact‖ of a row
    pub norm: f64,
    /// the largest |out − exact| of a row in units of the row's largest |exact|
    pub largest: f64,
}

/// What was measured of all devices.
#[derive(Default)]
pub struct Measured {
    /// at which sizes; `None` before anything was
    pub size: Option<Size>,
    pub linear: Vec<LinearRow>,
    pub others: Vec<OtherRow>,
}

impl Measured {
    /// Measures the kernels of one more device. `reference` has none: it is what they are held to.
    pub fn add(&mut self, device: &Device, size: Size, options: &Options) -> anyhow::Result<()> {
        if size == Size::None {
            return Ok(());
        }
        let Some(kernels) = device::open(device, options)? else {
            return Ok(());
        };
        self.size = Some(size);
        let kernels = kernels.as_ref();
        let random = &mut Random(1);
        let found = linear::measure(kernels, device, size, random);
        self.linear.extend(found.context("linear layers")?);
        let found = rows::measure(kernels, device, size, random);
        self.others.extend(found.context("norms and activation")?);
        let found = attention::measure(kernels, device, size, random);
        self.others.extend(found.context("attention")?);
        Ok(())
    }
}

impl LinearRow {
    /// What is missed of the bounds: the additions of every device are held to the same.
    pub fn failure(&self) -> Option<String> {
        let inputs = match self.inputs {
            "" => String::new(),
            inputs => format!(", inputs {inputs}"),
        };
        let what = format!("{}{inputs} on {}", self.weights, self.device);
        let over = self.over_bound.iter().copied().fold(0.0, f64::max);
        if over > 1.0 {
            return Some(format!("{what}: a sum is off by {over:.2} times its bound"));
        }
        too_far(&what, self.norm)
    }
}

impl OtherRow {
    /// What is missed of the bound.
    pub fn failure(&self) -> Option<String> {
        too_far(&format!("{} on {}", self.kernel, self.device), self.norm)
    }
}

fn too_far(what: &str, norm: f64) -> Option<String> {
    (norm > NORM_BOUND).then(|| format!("{what}: a row is off by {norm:.1e} of its norm"))
}

/// |a − b| / `of`, where nothing off is nothing and what is no number is infinitely far, so that no maximum passes it over.
fn off(got: f32, exact: f64, of: f64) -> f64 {
    let off = (f64::from(got) - exact).abs();
    match off / of {
        _ if off == 0.0 => 0.0,
        ratio if ratio.is_nan() => f64::INFINITY,
        ratio => ratio,
    }
}

/// ‖got − exact‖ / ‖exact‖; infinite for a result of nothing but zeros, beside which nothing shows.
fn norm_of(got: &[f32], exact: &[f64]) -> f64 {
    let norm = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm == 0.0 {
        return f64::INFINITY;
    }
    let parts = got.iter().zip(exact).map(|(got, exact)| off(*got, *exact, norm));
    parts.map(|part| part * part).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_over_every_bound() {
        assert_eq!(off(f32::NAN, 1.0, 1.0), f64::INFINITY);
        assert_eq!(off(1.0, 0.0, 0.0), f64::INFINITY);
        assert_eq!(off(0.0, 0.0, 0.0), 0.0);
        assert_eq!(norm_of(&[f32::NAN, 1.0], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(norm_of(&[0.0, 0.0], &[0.0, 0.0]), f64::INFINITY);
        assert!((norm_of(&[3.0, 5.0], &[3.0, 4.0]) - 0.2).abs() < 1e-12);
        let row = OtherRow {
            device: Device::Cpu,
            kernel: "a kernel".into(),
            norm: f64::INFINITY,
            largest: 0.0,
        };
        assert!(row.failure().is_some());
    }

    #[test]
    fn every_device_is_held_to_the_bounds_of_sums() {
        let row = |over: f64, norm: f64| LinearRow {
            device: Device::Fast,
            weights: "bf16",
            inputs: "",
            held: "bf16",
            over_bound: [0.1, over, 0.1, 0.1],
            norm,
            unrounded: 0.02,
        };
        assert_eq!(row(1.0, 1e-5).failure(), None);
        let over = row(1.5, 1e-7).failure();
        assert_eq!(
            over.as_deref(),
            Some("bf16 on cpu:fast: a sum is off by 1.50 times its bound")
        );
        let far = row(0.5, 2e-5).failure();
        assert_eq!(
            far.as_deref(),
            Some("bf16 on cpu:fast: a row is off by 2.0e-5 of its norm")
        );
    }
}
