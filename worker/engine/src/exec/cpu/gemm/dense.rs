//! Rows of inputs times matrices held in bf16.

use std::ops::Range;

use super::super::isa::{Arithmetic, Kernel};
use super::PANEL;
use crate::numerics::{K_SLICES, k_slices};

/// Bytes ahead of what a few rows read that are asked for.
const AHEAD: usize = 2048;

/// Inputs whose weights are a line of the cache. It divides a slice.
const LINE: usize = 2;

/// `out` (panels, rows, PANEL) = the inputs times as many panels of the weights.
pub struct Multiply<'a> {
    /// inputs, by rows that are multiplied together: (cols, those rows)
    pub packed: &'a [f32],
    /// what each row's finished sums are multiplied by
    pub scales: Option<&'a [f32]>,
    /// rows
    pub rows: usize,
    /// columns
    pub cols: usize,
    /// rows that are multiplied together; the last ones may be fewer
    pub together: usize,
    /// weights: bf16 (panels, cols, PANEL)
    pub weights: &'a [u16],
    /// outputs
    pub out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let out = std::mem::take(&mut self.out);
        let slices = k_slices(self.cols);
        let even = slices.iter().all(|slice| slice.len() == slices[0].len());
        let panels = self.weights.chunks(A::PANELS * self.cols * PANEL);
        for (panels, out) in panels.zip(out.chunks_mut(A::PANELS * self.rows * PANEL)) {
            out.fill(0.0);
            // four chains a row: where few rows are but two, one is all that the registers hold
            match (even, self.rows, A::FEW) {
                (true, 1, _) => self.few_rows::<A, 1>(panels, out),
                (true, 2, 4..) => self.few_rows::<A, 2>(panels, out),
                (true, 4, 4..) => self.few_rows::<A, 4>(panels, out),
                _ => {
                    // a slice of the panels stays in the nearer caches while all rows pass over it
                    for slice in slices.clone() {
                        if A::PANELS == 2 && panels.len() == 2 * self.cols * PANEL {
                            self.slice::<A, 2>(slice, panels, out);
                        } else {
                            self.slice::<A, 1>(slice, panels, out);
                        }
                    }
                }
            }
            for (i, out) in out.chunks_exact_mut(PANEL).enumerate() {
                if let Some(scales) = self.scales {
                    out.iter_mut().for_each(|out| *out *= scales[i % self.rows]);
                }
            }
        }
    }
}

impl Multiply<'_> {
    // All rows over one slice of N panels.
    #[inline(always)]
    fn slice<A: Arithmetic, const N: usize>(&self, slice: Range<usize>, panels: &[u16], out: &mut [f32]) {
        let mut weights: [&[[u16; PANEL]]; N] = [&[]; N];
        for (weights, panel) in weights.iter_mut().zip(panels.chunks_exact(self.cols * PANEL)) {
            *weights = panel[slice.start * PANEL..slice.end * PANEL].as_chunks().0;
        }
        let stride = self.rows * PANEL;
        for first in (0..self.rows).step_by(self.together) {
            let size = self.together.min(self.rows - first);
            let inputs = &self.packed[first * self.cols..][slice.start * size..slice.end * size];
            let out = &mut out[first * PANEL..];
            match size {
                11 => block::<A, 11, N>(inputs, weights, out, stride),
                10 => block::<A, 10, N>(inputs, weights, out, stride),
                9 => block::<A, 9, N>(inputs, weights, out, stride),
                8 => block::<A, 8, N>(inputs, weights, out, stride),
                7 => block::<A, 7, N>(inputs, weights, out, stride),
                6 => block::<A, 6, N>(inputs, weights, out, stride),
                5 => block::<A, 5, N>(inputs, weights, out, stride),
                4 => block::<A, 4, N>(inputs, weights, out, stride),
                3 => block::<A, 3, N>(inputs, weights, out, stride),
                2 => block::<A, 2, N>(inputs, weights, out, stride),
                _ => block::<A, 1, N>(inputs, weights, out, stride),
            }
        }
    }

    #[inline(always)]
    fn few_rows<A: Arithmetic, const ROWS: usize>(&self, panels: &[u16], out: &mut [f32]) {
        let panels = panels.chunks_exact(self.cols * PANEL);
        for (panel, out) in panels.zip(out.chunks_exact_mut(ROWS * PANEL)) {
            few_rows::<A, ROWS>(self.packed, panel, out);
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

// One slice for ROWS rows and N panels, whose outputs are `stride` apart: chains from zero, then one addition to what earlier slices gave.
// Adding the first slice to zero changes no bit but the sign of a zero, and does so for every row alike.
#[inline(always)]
fn block<A: Arithmetic, const ROWS: usize, const N: usize>(
    inputs: &[f32],
    weights: [&[[u16; PANEL]]; N],
    out: &mut [f32],
    stride: usize,
) {
    let (inputs, _) = inputs.as_chunks::<ROWS>();
    let mut sums = [[A::floats(&[0.0; PANEL]); ROWS]; N];
    let mut own = weights;
    for weights in &mut own {
        *weights = &weights[..inputs.len()];
    }
    for (k, x) in inputs.iter().enumerate() {
        let mut w = [A::widen_bf16(&own[0][k]); N];
        for panel in 1..N {
            w[panel] = A::widen_bf16(&own[panel][k]);
        }
        for row in 0..ROWS {
            for panel in 0..N {
                sums[panel][row] = A::multiply_add(x[row], w[panel], sums[panel][row]);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_mut(stride)) {
        add::<A, ROWS>(sums, out);
    }
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
