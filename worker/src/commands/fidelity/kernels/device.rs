//! The kernels of a device, one at a time.

use assay_checkpoint::Matrix;
use assay_engine::exec::exact::Taken;
use assay_engine::exec::gpu::device::Card;
use assay_engine::exec::gpu::self_test;
use assay_engine::{Chosen, Device, Options, Precision};

use super::cpu::Cpu;
use super::gpu::Gpu;

/// What both kinds of devices do. Inputs and outputs are (rows, width) row-major, and devices round inputs themselves.
pub trait Kernels {
    /// How a matrix is held and multiplied.
    fn held(&self, matrix: &Matrix) -> anyhow::Result<&'static str>;

    /// What is multiplied.
    fn taken(&self, matrix: &Matrix) -> Taken;

    /// `x` times a matrix.
    fn product(&self, matrix: &Matrix, x: &[f32]) -> anyhow::Result<Vec<f32>>;

    /// Every row normed.
    fn norm(&self, x: &[f32], weight: &[f32], eps: f32) -> anyhow::Result<Vec<f32>>;

    /// `h` plus every row of a branch normed.
    fn add_branch(&self, h: &[f32], branch: &[f32], weight: &[f32], eps: f32) -> anyhow::Result<Vec<f32>>;

    /// Heads of queries normed, rotated and scaled by 1/√(their width). `rotations` are (rows, head_dim / 2).
    fn queries(&self, x: &[f32], weight: &[f32], eps: f32, rotations: &[(f32, f32)]) -> anyhow::Result<Vec<f32>>;

    /// `silu(gate)·up`.
    fn activate(&self, gate: &[f32], up: &[f32]) -> anyhow::Result<Vec<f32>>;

    /// Attention of every row, computed in steps of so many rows.
    fn attend(&self, sequence: &Sequence, steps: &[usize]) -> anyhow::Result<Vec<f32>>;
}

/// One sequence before attention.
pub struct Sequence {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// keys that a row sees, its own included; all of them without
    pub window: Option<usize>,
    pub tokens: usize,
    pub q: Vec<f32>, // (tokens, heads, head_dim), not scaled yet
    pub k: Vec<f32>, // (tokens, kv_heads, head_dim)
    pub v: Vec<f32>, // likewise
}

/// The kernels of a device; `None` for `reference`.
pub fn open(device: &Device, options: &Options) -> anyhow::Result<Option<Box<dyn Kernels>>> {
    let precision = match device {
        Device::Fast => Precision::Byte,
        _ => options.precision,
    };
    Ok(match device.choose()? {
        Chosen::Reference => None,
        Chosen::Cpu => Some(Box::new(Cpu::new(options.threads, precision))),
        Chosen::Gpu(card) => Some(Box::new(gpu(&card, precision, options.matrix_units)?)),
    })
}

fn gpu(card: &Card, precision: Precision, matrix_units: bool) -> anyhow::Result<Gpu> {
    let (probe, without) = self_test::tested(card, precision, matrix_units)?;
    if let Some(error) = without {
        eprintln!("matrix units are not used: {error}");
    }
    Ok(Gpu { probe, precision })
}
