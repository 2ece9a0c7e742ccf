//! Linear layers: `out[m, n] = Σ_k x[m, k]·w[n, k]`, in the order of additions that [`crate::numerics`] lays down.
//!
//! Matrices of few bits are multiplied in integers ([`super::nibbles`], [`super::bytes`]), all others in f32, here: their weights lie in panels of [`PANEL`]
//! outputs, (panels, K, PANEL), so that a vector register holds one k of neighbouring outputs and no sum ever crosses lanes. Outputs stay in panels, (panels, M, PANEL): a thread's share is one piece of memory.

mod dense;

use std::ops::Range;
use std::sync::Arc;

use assay_checkpoint::{Inputs, Matrix, Transform, same};

use super::bytes::{self, Bytes};
use super::inputs::Packed;
use super::isa::Isa;
use super::nibbles::{self, Nibbles};
use super::pool::Pool;
use crate::numerics::{Precision, from_bf16, turn};

/// Outputs in a panel: one AVX-512 register, two of AVX2.
pub const PANEL: usize = 16;

/// Multiplications worth a trip to another thread.
const TASK: usize = 1 << 17;

/// Matrices that read the same input, packed for this machine's kernels. Each begins at a panel boundary.
pub struct Panels {
    /// inputs
    pub cols: usize,
    starts: Vec<usize>,
    runs: Vec<Run>,
    outputs: Vec<Option<Arc<Transform>>>, // of each part
    panels: usize,
}

// Neighbouring parts whose inputs are treated alike and whose weights are held alike.
struct Run {
    turn: Option<Arc<Transform>>,
    inputs: Inputs,
    panels: Range<usize>,
    weights: Held,
}

enum Held {
    Dense(Vec<u16>), // bf16 (panels, cols, PANEL)
    Nibbles(Nibbles),
    Bytes(Bytes),
}

impl Held {
    // Whether both take the same packed inputs, if these are made from the same.
    fn reads_alike(&self, other: &Held) -> bool {
        match (self, other) {
            (Held::Bytes(a), Held::Bytes(b)) => a.block() == b.block(),
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

// How a matrix can be held.
enum Way<'a> {
    Dense,
    Nibbles(nibbles::Plan<'a>),
    Bytes(bytes::Plan<'a>),
}

impl<'a> Way<'a> {
    fn of(matrix: &'a Matrix, precision: Precision) -> Way<'a> {
        let bytes = || bytes::Plan::of(matrix).map(Way::Bytes);
        let nibbles = || nibbles::Plan::of(matrix).map(Way::Nibbles);
        let found = match precision {
            Precision::Bf16 => None,
            Precision::Pair => nibbles(),
            Precision::Byte => bytes().or_else(nibbles),
        };
        found.unwrap_or(Way::Dense)
    }

    fn joins(&self, other: &Way) -> bool {
        match (self, other) {
            (Way::Dense, Way::Dense) => true,
            (Way::Nibbles(a), Way::Nibbles(b)) => a.joins(b),
            (Way::Bytes(a), Way::Bytes(b)) => a.joins(b),
            _ => false,
        }
    }
}

impl Panels {
    /// Packs matrices of equal width for inputs of a precision. Rows beyond a matrix's last are zero.
    pub fn pack(pool: &Pool, precision: Precision, parts: &[&Matrix]) -> Panels {
        let cols = parts.first().map_or(0, |m| m.cols);
        let mut starts = Vec::with_capacity(parts.len());
        let mut runs = Vec::new();
        let mut panels = 0;
        let mut outputs = Vec::new();
        let ways = parts.iter().map(|matrix| Way::of(matrix, precision));
        let mut parts = parts.iter().copied().zip(ways).peekable();
        while let Some((first, way)) = parts.next() {
            let start = panels;
            let turn = first.transforms.input.clone();
            let alike = |m: &Matrix| m.inputs == first.inputs && same(&m.transforms.input, &turn);
            let mut joined = vec![(first, way)];
            while let Some(next) = parts.next_if(|(matrix, way)| alike(matrix) && way.joins(&joined[0].1)) {
                joined.push(next);
            }
            let (mut dense, mut nibbles, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
            for (matrix, way) in joined {
                starts.push(panels);
                outputs.push(matrix.transforms.output.clone());
                panels += matrix.rows.div_ceil(PANEL);
                match way {
                    Way::Dense => dense.push(matrix),
                    Way::Nibbles(plan) => nibbles.push(plan),
                    Way::Bytes(plan) => bytes.push(plan),
                }
            }
            let weights = match (nibbles.is_empty(), bytes.is_empty()) {
                (false, _) => Held::Nibbles(Nibbles::pack(pool, nibbles)),
                (_, false) => Held::Bytes(Bytes::pack(pool, &bytes)),
                _ => Held::Dense(pack_dense(pool, cols, &dense)),
            };
            runs.push(Run {
                inputs: first.inputs,
                turn,
                panels: start..panels,
                weights,
            });
        }
        Panels {
            cols,
            starts,
            runs,
            outputs,
            panels,
        }
    }

    /// Bytes of the weights as they are held: what a step of one row reads.
    pub fn bytes(&self) -> usize {
        let held = |run: &Run| match &run.weights {
            Held::Dense(weights) => 2 * weights.len(),
            Held::Nibbles(weights) => weights.bytes(),
            Held::Bytes(weights) => weights.bytes(),
        };
        self.runs.iter().map(held).sum()
    }

    /// Outputs including the padding of every part: what a row of the output buffer takes.
    pub fn width(&self) -> usize {
        self.panels * PANEL
    }

    /// Row `row` of the first matrix.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        match self.runs.first().map(|run| &run.weights) {
            Some(Held::Dense(weights)) => {
                let panel = &weights[row / PANEL * self.cols * PANEL..][..self.cols * PANEL];
                let lane = panel.iter().skip(row % PANEL).step_by(PANEL);
                lane.zip(out).for_each(|(&w, o)| *o = from_bf16(w));
            }
            Some(Held::Nibbles(weights)) => weights.values(row, out),
            Some(Held::Bytes(weights)) => weights.values(row, out),
            None => {}
        }
    }

    /// Copies, and turns where they are turned, `width` outputs of the part `part` out of the output buffer of a step with `rows` rows: those of
    /// the rows from `first` on to rows of `out`, each `stride` after the one before.
    pub fn gather(
        &self,
        buffer: &[f32],
        (rows, first): (usize, usize),
        (part, width): (usize, usize),
        out: &mut [f32],
        stride: usize,
    ) {
        // panel by panel: there, rows lie side by side
        for (i, start) in (0..width).step_by(PANEL).enumerate() {
            let panel = &buffer[((self.starts[part] + i) * rows + first) * PANEL..];
            let len = PANEL.min(width - start);
            for (out, values) in out.chunks_mut(stride).zip(panel.chunks_exact(PANEL)) {
                out[start..start + len].copy_from_slice(&values[..len]);
            }
        }
        if let Some(transform) = &self.outputs[part] {
            out.chunks_mut(stride)
                .for_each(|out| turn(transform, &mut out[..width]));
        }
    }
}

// bf16 (panels, cols, PANEL)
fn pack_dense(pool: &Pool, cols: usize, matrices: &[&Matrix]) -> Vec<u16> {
    let homes = matrices
        .iter()
        .flat_map(|matrix| (0..matrix.rows).step_by(PANEL).map(move |row| (*matrix, row)));
    let homes: Vec<(&Matrix, usize)> = homes.collect(); // (matrix, first row) of each panel
    let mut weights = vec![0u16; homes.len() * cols * PANEL];
    pool.chunks(&mut weights, cols * PANEL, |panel, out| {
        let (matrix, first) = homes[panel];
        let mut row = vec![0u16; cols];
        for lane in 0..PANEL.min(matrix.rows - first) {
            matrix.row_bf16(first + lane, &mut row);
            let places = out.iter_mut().skip(lane).step_by(PANEL);
            places.zip(&row).for_each(|(o, &w)| *o = w);
        }
    });
    weights
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
    let (rows, cols) = (x.len() / weights.cols, weights.cols);
    let mut turned = std::mem::take(&mut packed.turned);
    let mut before: Option<&Run> = None;
    for run in &weights.runs {
        let as_before = before.is_some_and(|b| b.inputs == run.inputs && same(&b.turn, &run.turn));
        let x = match &run.turn {
            None => x,
            Some(_) if as_before => &turned[..],
            Some(transform) => {
                turned.clear();
                turned.extend_from_slice(x);
                pool.chunks(&mut turned, cols, |_, row| turn(transform, row));
                &turned[..]
            }
        };
        let out = &mut out[run.panels.start * rows * PANEL..run.panels.end * rows * PANEL];
        // some kernels take panels in pairs
        let pairs = (TASK / (rows * cols * PANEL).max(1)).max(1).next_multiple_of(2);
        let packed_before = as_before && before.is_some_and(|b| b.weights.reads_alike(&run.weights));
        match &run.weights {
            Held::Dense(weights) => {
                if !packed_before {
                    packed.fill(pool, isa, precision, run.inputs, x, cols);
                }
                pool.spans(out, rows * PANEL, pairs, |first, out| {
                    isa.run(dense::Multiply {
                        packed: &packed.values,
                        scales: packed.codes.then_some(packed.scales.as_slice()),
                        rows,
                        cols,
                        together: isa.together(rows),
                        weights: &weights[first * cols * PANEL..][..out.len() / rows * cols],
                        out,
                    });
                });
            }
            Held::Nibbles(weights) => {
                if !packed_before {
                    packed.integers.fill(pool, isa, run.inputs, x, cols);
                }
                let inputs = &packed.integers;
                pool.spans(out, rows * PANEL, pairs, |first, out| {
                    isa.run(nibbles::Multiply {
                        inputs,
                        weights,
                        first,
                        out,
                    });
                });
            }
            Held::Bytes(weights) => {
                if !packed_before {
                    packed.bytes.fill(pool, isa, x, cols, weights.block());
                }
                let inputs = &packed.bytes;
                pool.spans(out, rows * PANEL, pairs, |first, out| {
                    isa.run(bytes::Multiply {
                        inputs,
                        weights,
                        first,
                        out,
                    });
                });
            }
        }
        before = Some(run);
    }
    packed.turned = turned;
}
