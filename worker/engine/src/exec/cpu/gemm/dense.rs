//! Rows of inputs times matrices held in bf16.

use std::ops::Range;

use super::super::inputs::sizes;
use super::super::isa::{Arithmetic, Kernel};
use super::PANEL;
use crate::numerics::{K_SLICES, k_slices};

/// Bytes ahead of what a few rows read that are asked for.
const AHEAD: usize = 2048;

/// Inputs whose weights are a line of the cache. It divides a slice.
const LINE: usize = 2;

/// `out` (panels, rows, PANEL) = the inputs times as many panels of the weights.
pub struct Multiply<'a> {
    /// inputs, block by block of rows: (cols, rows of the block)
    pub packed: &'a [f32],
    /// what each row's finished sums are multiplied by
    pub scales: Option<&'a [f32]>,
    /// rows
    pub rows: usize,
    /// columns
    pub cols: usize,
    /// rows of a block
    pub block: usize,
    /// weights: bf16 (panels, cols, PANEL)
    pub weights: &'a [u16],
    /// outputs
    pub out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let out = std::mem::take(&mut self.out);
        let panels = self.weights.chunks_exact(self.cols * PANEL);
        let slices = k_slices(self.cols);
        let even = slices.iter().all(|slice| slice.len() == slices[0].len());
        for (panel, out) in panels.zip(out.chunks_exact_mut(self.rows * PANEL)) {
            out.fill(0.0);
            // four chains a row: where few rows are but two, one is all that the registers hold
            match (even, self.rows, A::FEW) {
                (true, 1, _) => few_rows::<A, 1>(self.packed, panel, out),
                (true, 2, 4..) => few_rows::<A, 2>(self.packed, panel, out),
                (true, 4, 4..) => few_rows::<A, 4>(self.packed, panel, out),
                _ => {
                    // a slice of a panel stays in the first cache while all rows pass over it
                    for slice in slices.clone() {
                        self.slice::<A>(slice, panel, out);
                    }
                }
            }
            for (out, scale) in out.chunks_exact_mut(PANEL).zip(self.scales.into_iter().flatten()) {
                out.iter_mut().for_each(|out| *out *= scale);
            }
        }
    }
}

impl Multiply<'_> {
    // All rows over one slice of a panel.
    #[inline(always)]
    fn slice<A: Arithmetic>(&self, slice: Range<usize>, panel: &[u16], out: &mut [f32]) {
        let (weights, _) = panel[slice.start * PANEL..slice.end * PANEL].as_chunks::<PANEL>();
        let mut first = 0;
        for size in sizes(self.rows, self.block) {
            let inputs = &self.packed[first * self.cols..][slice.start * size..slice.end * size];
            let out = &mut out[first * PANEL..(first + size) * PANEL];
            match size {
                16 => block::<A, 16>(inputs, weights, out),
                8 => block::<A, 8>(inputs, weights, out),
                6 => block::<A, 6>(inputs, weights, out),
                4 => block::<A, 4>(inputs, weights, out),
                2 => block::<A, 2>(inputs, weights, out),
                _ => block::<A, 1>(inputs, weights, out),
            }
            first += size;
        }
    }
}

// ROWS rows and one panel, whose slices are equally long: side by side, since a single chain a row would be slower than the memory.
#[inline(always)]
fn few_rows<A: Arithmetic, const ROWS: usize>(inputs: &[f32], panel: &[u16], out: &mut [f32]) {
    let (inputs, _) = inputs.as_chunks::<ROWS>();
    let (weights, _) = panel.as_chunks::<PANEL>();
    let each = inputs.len() / K_SLICES;
    let (mut x, mut w) = ([inputs; K_SLICES], [weights; K_SLICES]);
    for s in 0..K_SLICES {
        (x[s], w[s]) = (&inputs[s * each..][..each], &weights[s * each..][..each]);
    }
    let mut sums = [[A::floats(&[0.0; PANEL]); ROWS]; K_SLICES];
    for k in (0..each).step_by(LINE) {
        for s in 0..K_SLICES {
            A::fetch_ahead(&w[s][k], AHEAD);
            for k in k..k + LINE {
                let w = A::widen_bf16(&w[s][k]);
                for row in 0..ROWS {
                    sums[s][row] = A::multiply_add(x[s][k][row], w, sums[s][row]);
                }
            }
        }
    }
    for sums in sums {
        add::<A, ROWS>(&sums, out);
    }
}

// One slice for ROWS rows and one panel: chains from zero, then one addition to what earlier slices gave.
// Adding the first slice to zero changes no bit but the sign of a zero, and does so for every row alike.
#[inline(always)]
fn block<A: Arithmetic, const ROWS: usize>(inputs: &[f32], weights: &[[u16; PANEL]], out: &mut [f32]) {
    let (inputs, _) = inputs.as_chunks::<ROWS>();
    let mut sums = [A::floats(&[0.0; PANEL]); ROWS];
    for (x, w) in inputs.iter().zip(weights) {
        let w = A::widen_bf16(w);
        for row in 0..ROWS {
            sums[row] = A::multiply_add(x[row], w, sums[row]);
        }
    }
    add::<A, ROWS>(&sums, out);
}

// What a slice gives, to what earlier ones gave.
#[inline(always)]
fn add<A: Arithmetic, const ROWS: usize>(sums: &[A::Floats; ROWS], out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<PANEL>();
    for row in 0..ROWS {
        let mut own = [0.0; PANEL];
        A::write(sums[row], &mut own);
        for lane in 0..PANEL {
            out[row][lane] += own[lane];
        }
    }
}
