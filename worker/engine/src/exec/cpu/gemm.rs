//! Linear layers: `out[m, n] = Σ_k x[m, k]·w[n, k]`, in the order of additions that [`crate::numerics`] lays down.
//!
//! Weights lie in panels of [`PANEL`] outputs, (panels, K, PANEL), so that a vector register holds one k of neighbouring outputs
//! and no sum ever crosses lanes. Outputs stay in panels, (panels, M, PANEL): a thread's share is one piece of memory.

use std::ops::Range;
use std::sync::Arc;

use assay_checkpoint::{Inputs, Matrix, Transform, same};

use super::inputs::{Packed, sizes};
use super::isa::{Arithmetic, Isa, Kernel};
use super::pool::Pool;
use crate::numerics::{Precision, from_bf16, k_slices, turn};

/// Outputs in a panel: one AVX-512 register, two of AVX2.
pub const PANEL: usize = 16;

/// Multiplications worth a trip to another thread.
const TASK: usize = 1 << 17;

/// Matrices that read the same input, packed for this kernel. Each begins at a panel boundary.
pub struct Panels {
    /// inputs
    pub cols: usize,
    starts: Vec<usize>,
    inputs: Vec<Treatment>,
    outputs: Vec<Option<Arc<Transform>>>, // of each part
    panels: usize,
    weights: Vec<u16>, // (panels, cols, PANEL)
}

// Neighbouring panels whose inputs are treated alike.
struct Treatment {
    turn: Option<Arc<Transform>>,
    inputs: Inputs,
    panels: Range<usize>,
}

impl Panels {
    /// Packs matrices of equal width. Rows beyond a matrix's last are zero.
    pub fn pack(pool: &Pool, parts: &[&Matrix]) -> Panels {
        let cols = parts.first().map_or(0, |m| m.cols);
        let mut starts = Vec::with_capacity(parts.len());
        let mut homes = Vec::new(); // (matrix, first row) of each panel
        let mut inputs: Vec<Treatment> = Vec::new();
        for matrix in parts {
            let start = homes.len();
            starts.push(start);
            homes.extend((0..matrix.rows).step_by(PANEL).map(|row| (*matrix, row)));
            let turn = &matrix.transforms.input;
            match inputs.last_mut() {
                Some(last) if last.inputs == matrix.inputs && same(&last.turn, turn) => last.panels.end = homes.len(),
                _ => inputs.push(Treatment {
                    turn: turn.clone(),
                    inputs: matrix.inputs,
                    panels: start..homes.len(),
                }),
            }
        }
        let mut weights = vec![0u16; homes.len() * cols * PANEL];
        pool.chunks(&mut weights, cols * PANEL, |panel, out| {
            let (matrix, first) = homes[panel];
            let mut row = vec![0u16; cols];
            for lane in 0..PANEL.min(matrix.rows - first) {
                matrix.row_bf16(first + lane, &mut row);
                out.iter_mut()
                    .skip(lane)
                    .step_by(PANEL)
                    .zip(&row)
                    .for_each(|(o, &w)| *o = w);
            }
        });
        Panels {
            cols,
            starts,
            inputs,
            outputs: parts.iter().map(|m| m.transforms.output.clone()).collect(),
            panels: homes.len(),
            weights,
        }
    }

    /// Outputs including the padding of every part: what a row of the output buffer takes.
    pub fn width(&self) -> usize {
        self.panels * PANEL
    }

    /// Row `row` of the first matrix, widened to f32.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let panel = &self.weights[row / PANEL * self.cols * PANEL..][..self.cols * PANEL];
        panel
            .iter()
            .skip(row % PANEL)
            .step_by(PANEL)
            .zip(out)
            .for_each(|(&w, o)| *o = from_bf16(w));
    }

    /// Copies, and turns where they are turned, the outputs of row `row` of a step with `rows` rows, for the part `part`, out of the output buffer.
    pub fn gather(&self, buffer: &[f32], rows: usize, row: usize, part: usize, out: &mut [f32]) {
        let first = self.starts[part];
        for (i, out) in out.chunks_mut(PANEL).enumerate() {
            out.copy_from_slice(&buffer[((first + i) * rows + row) * PANEL..][..out.len()]);
        }
        if let Some(transform) = &self.outputs[part] {
            turn(transform, out);
        }
    }
}

/// `out` (panels, rows, PANEL) = `x` (rows, cols) times the panels' weights, with every part's own treatment of its inputs.
pub fn linear(
    pool: &Pool,
    isa: Isa,
    precision: Precision,
    x: &[f32],
    weights: &Panels,
    packed: &mut Packed,
    out: &mut [f32],
) {
    let rows = x.len() / weights.cols;
    let mut turned = std::mem::take(&mut packed.turned);
    for Treatment {
        turn: by,
        inputs,
        panels,
    } in &weights.inputs
    {
        let x = match by {
            None => x,
            Some(transform) => {
                turned.clear();
                turned.extend_from_slice(x);
                pool.chunks(&mut turned, weights.cols, |_, row| turn(transform, row));
                &turned[..]
            }
        };
        packed.fill(pool, isa, precision, *inputs, x, weights.cols);
        let out = &mut out[panels.start * rows * PANEL..panels.end * rows * PANEL];
        multiply(pool, isa, packed, weights, panels.start, out);
    }
    packed.turned = turned;
}

/// `out` (panels, rows, PANEL) = packed inputs (rows, cols) times the weights of as many panels, from panel `first` on.
fn multiply(pool: &Pool, isa: Isa, packed: &Packed, weights: &Panels, first: usize, out: &mut [f32]) {
    let (rows, cols) = (packed.scales.len(), weights.cols);
    debug_assert!(packed.values.len() == rows * cols);
    let panels = (TASK / (rows * cols * PANEL).max(1)).max(1);
    pool.chunks(out, panels * rows * PANEL, |task, out| {
        let panel = first + task * panels;
        let weights = &weights.weights[panel * cols * PANEL..][..out.len() / rows * cols];
        isa.run(Multiply {
            packed: &packed.values,
            scales: packed.codes.then_some(packed.scales.as_slice()),
            rows,
            cols,
            block: isa.block_rows(),
            weights,
            out,
        });
    });
}

struct Multiply<'a> {
    packed: &'a [f32],
    scales: Option<&'a [f32]>,
    rows: usize,
    cols: usize,
    block: usize,
    weights: &'a [u16],
    out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let panels = self.weights.chunks_exact(self.cols * PANEL);
        for (panel, out) in panels.zip(self.out.chunks_exact_mut(self.rows * PANEL)) {
            out.fill(0.0);
            // a slice of a panel stays in the first cache while all rows pass over it
            for slice in k_slices(self.cols) {
                let (weights, _) = panel[slice.start * PANEL..slice.end * PANEL].as_chunks::<PANEL>();
                let mut first = 0;
                for size in sizes(self.rows, self.block) {
                    let inputs = &self.packed[first * self.cols..][slice.start * size..slice.end * size];
                    let out = &mut out[first * PANEL..(first + size) * PANEL];
                    match size {
                        8 => block::<A, 8>(inputs, weights, out),
                        6 => block::<A, 6>(inputs, weights, out),
                        4 => block::<A, 4>(inputs, weights, out),
                        2 => block::<A, 2>(inputs, weights, out),
                        _ => block::<A, 1>(inputs, weights, out),
                    }
                    first += size;
                }
            }
            for (out, scale) in out.chunks_exact_mut(PANEL).zip(self.scales.into_iter().flatten()) {
                out.iter_mut().for_each(|out| *out *= scale);
            }
        }
    }
}

// One slice for ROWS rows and one panel: chains from zero, then one addition to what earlier slices gave.
// Adding the first slice to zero changes no bit but the sign of a zero, and does so for every row alike.
#[inline(always)]
fn block<A: Arithmetic, const ROWS: usize>(inputs: &[f32], weights: &[[u16; PANEL]], out: &mut [f32]) {
    let (inputs, _) = inputs.as_chunks::<ROWS>();
    let mut sums = [[0f32; PANEL]; ROWS];
    for (x, w) in inputs.iter().zip(weights) {
        let mut wide = [0f32; PANEL];
        for lane in 0..PANEL {
            wide[lane] = from_bf16(w[lane]);
        }
        for row in 0..ROWS {
            for lane in 0..PANEL {
                sums[row][lane] = A::multiply_add(x[row], wide[lane], sums[row][lane]);
            }
        }
    }
    let (out, _) = out.as_chunks_mut::<PANEL>();
    for (out, sums) in out.iter_mut().zip(&sums) {
        for lane in 0..PANEL {
            out[lane] += sums[lane];
        }
    }
}
