//! What happens to a row between the linear layers: norms, RoPE, the activation function.

use super::isa::{Arithmetic, Isa, Kernel};
use crate::numerics::{inverse_rms, rotation, silu};

/// `x·inverse_rms(x)·weight`, in place.
#[inline(always)]
pub fn normalise(x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = inverse_rms(x, eps);
    for (x, w) in x.iter_mut().zip(weight) {
        *x = *x * scale * w;
    }
}

/// Normalises a row; for use outside other kernels.
pub struct Normalise<'a> {
    /// the row
    pub x: &'a mut [f32],
    /// as long as the row
    pub weight: &'a [f32],
    /// added to the mean square
    pub eps: f32,
}

impl Kernel for Normalise<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        normalise(self.x, self.weight, self.eps);
    }
}

/// `h += branch`, the branch normalised first if it has a weight.
pub struct AddBranch<'a> {
    /// residual stream
    pub h: &'a mut [f32],
    /// what attention or MLP gave; overwritten
    pub branch: &'a mut [f32],
    /// the norm on the branch, in models that have it there
    pub weight: Option<&'a [f32]>,
    /// added to the mean square
    pub eps: f32,
}

impl Kernel for AddBranch<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        if let Some(weight) = self.weight {
            normalise(self.branch, weight, self.eps);
        }
        for (h, b) in self.h.iter_mut().zip(self.branch.iter()) {
            *h += b;
        }
    }
}

/// Prepares the heads of one row for attention: norm, RoPE, and for queries the softmax scale.
pub struct Heads<'a> {
    /// (heads, head_dim)
    pub x: &'a mut [f32],
    /// width of a head
    pub head_dim: usize,
    /// the norm's weight (head_dim), in models that have one
    pub weight: Option<&'a [f32]>,
    /// added to the mean square
    pub eps: f32,
    /// cos and sin for each pair of the head, in layers that rotate
    pub rotations: Option<&'a [(f32, f32)]>,
    /// multiplied last
    pub scale: f32,
}

impl Kernel for Heads<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        for head in self.x.chunks_exact_mut(self.head_dim) {
            if let Some(weight) = self.weight {
                normalise(head, weight, self.eps);
            }
            let (left, right) = head.split_at_mut(self.head_dim / 2);
            if let Some(rotations) = self.rotations {
                for ((x, y), (cos, sin)) in left.iter_mut().zip(right.iter_mut()).zip(rotations) {
                    (*x, *y) = (*x * cos - *y * sin, *y * cos + *x * sin);
                }
            }
            for x in head {
                *x *= self.scale;
            }
        }
    }
}

/// `gate = silu(gate)·up`.
pub struct Activate<'a> {
    /// overwritten with the result
    pub gate: &'a mut [f32],
    /// as long as the gate
    pub up: &'a [f32],
}

impl Kernel for Activate<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        for (g, u) in self.gate.iter_mut().zip(self.up) {
            *g = silu(*g) * u;
        }
    }
}

/// cos and sin by position, computed once.
pub struct Rotations {
    inverse: Vec<f32>,
    table: Vec<(f32, f32)>, // (positions so far, head_dim / 2)
}

impl Rotations {
    /// For the given inverse frequencies.
    pub fn new(inverse: &[f32]) -> Rotations {
        Rotations {
            inverse: inverse.to_vec(),
            table: Vec::new(),
        }
    }

    /// Makes every position up to `last` available.
    pub fn reach(&mut self, last: u32) {
        let known = self.table.len() / self.inverse.len().max(1);
        for position in known as u32..=last {
            self.table.extend(self.inverse.iter().map(|&f| rotation(position, f)));
        }
    }

    /// The pairs of one position.
    pub fn at(&self, position: u32) -> &[(f32, f32)] {
        &self.table[position as usize * self.inverse.len()..][..self.inverse.len()]
    }
}

/// Runs the norm of a whole row on the given instruction set.
pub fn normalise_row(isa: Isa, x: &mut [f32], weight: &[f32], eps: f32) {
    isa.run(Normalise { x, weight, eps });
}
