//! A card's kernels.

use assay_checkpoint::{Inputs, Matrix};
use assay_engine::Precision;
use assay_engine::exec::exact::Taken;
use assay_engine::exec::gpu::probe::{self, Probe, Shape};
use assay_engine::exec::gpu::weights::Layout;
use assay_engine::numerics::PAGE_TOKENS;

use super::device::{Kernels, Sequence};

/// Rows that the kernel for few of them still takes in the executor.
const FEW: usize = 16;

/// An open card.
pub struct Gpu {
    pub probe: Probe,
    pub precision: Precision,
}

impl Kernels for Gpu {
    fn held(&self, matrix: &Matrix) -> anyhow::Result<&'static str> {
        Ok(match self.probe.layout(matrix)? {
            Layout::Dense => "bf16",
            Layout::Int4 => "int4",
            Layout::Int8 => "int8",
            Layout::Float8 => "fp8",
        })
    }

    fn taken(&self, _: &Matrix) -> Taken {
        Taken::Values(self.precision)
    }

    fn product(&self, matrix: &Matrix, x: &[f32]) -> anyhow::Result<Vec<f32>> {
        let rows = x.len() / matrix.cols;
        // what the kernels before a product leave for it
        let (x, scales) = match matrix.inputs {
            Inputs::Plain => (x.iter().map(|&x| self.precision.round(x)).collect(), vec![1.0; rows]),
            Inputs::Quantized { codes, scale } => self.probe.quantize(codes, scale, x, matrix.cols)?,
        };
        let shape = if rows > FEW { Shape::Wide } else { Shape::Narrow };
        Ok(self.probe.product(matrix, &x, &scales, shape)?)
    }

    fn norm(&self, x: &[f32], weight: &[f32], eps: f32) -> anyhow::Result<Vec<f32>> {
        Ok(self.probe.norm(x, weight, eps)?.0)
    }

    fn add_branch(&self, h: &[f32], branch: &[f32], weight: &[f32], eps: f32) -> anyhow::Result<Vec<f32>> {
        Ok(self.probe.add(h, branch, Some(weight), weight.len(), eps)?)
    }

    fn queries(&self, x: &[f32], weight: &[f32], eps: f32, rotations: &[(f32, f32)]) -> anyhow::Result<Vec<f32>> {
        let head_dim = weight.len();
        let rows = rotations.len() / (head_dim / 2);
        let sizes = probe::Heads {
            heads: x.len() / rows / head_dim,
            kv_heads: 1,
            head_dim,
            window: None,
        };
        // where keys would go, were they looked at; how far a row is turned does not depend on it
        let (positions, pages) = ids(rows);
        let rotations: Vec<[f32; 2]> = rotations.iter().map(|&(cos, sin)| [cos, sin]).collect();
        let sequence = probe::Sequence {
            positions: &positions,
            pages: &pages,
            rotations: &rotations,
        };
        Ok(self.probe.queries(sizes, &sequence, weight, eps, x)?)
    }

    fn activate(&self, gate: &[f32], up: &[f32]) -> anyhow::Result<Vec<f32>> {
        Ok(self.probe.activate(gate, up)?)
    }

    fn attend(&self, s: &Sequence, steps: &[usize]) -> anyhow::Result<Vec<f32>> {
        let sizes = probe::Heads {
            heads: s.heads,
            kv_heads: s.kv_heads,
            head_dim: s.head_dim,
            window: s.window,
        };
        let (positions, pages) = ids(s.tokens);
        let unturned = vec![[1.0, 0.0]; s.tokens * s.head_dim / 2];
        let sequence = probe::Sequence {
            positions: &positions,
            pages: &pages,
            rotations: &unturned,
        };
        let qkv = [&s.q[..], &s.k, &s.v];
        let out = self
            .probe
            .attend_in_steps(sizes, &sequence, None, qkv, pages.len(), steps)?;
        Ok(out)
    }
}

// The positions of so many tokens, and their pages, which are not in order.
fn ids(tokens: usize) -> (Vec<u32>, Vec<u32>) {
    let pages = tokens.div_ceil(PAGE_TOKENS) as u32;
    ((0..tokens as u32).collect(), (0..pages).rev().collect())
}
