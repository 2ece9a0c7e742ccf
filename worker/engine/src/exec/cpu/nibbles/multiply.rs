//! Rows of inputs times few-bit matrices.

use std::cell::RefCell;

use super::super::integers::Integers;
use super::super::isa::{Arithmetic, Kernel, QUAD, WIDE, WORDS, WordQuad, Words};
use super::{CHUNK, Groups, Nibbles, PANEL, QUADS};
use crate::numerics::{BLOCK, from_bf16};

/// Columns of a panel that are decoded before rows pass over them. Shorter stretches have more passes; of longer ones the weights and the
/// inputs of a pass have no room in the nearest cache.
const STRETCH: usize = 512;

/// Bytes ahead of what a few rows read that are asked for: a memory's delay, and more.
const AHEAD: usize = 4096;

/// `out` (panels, rows, PANEL) = the inputs times as many panels of the weights, from panel `first` on.
pub struct Multiply<'a> {
    /// inputs
    pub inputs: &'a Integers,
    /// weights
    pub weights: &'a Nibbles,
    /// the first panel's number
    pub first: usize,
    /// outputs
    pub out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (x, w) = (self.inputs, self.weights);
        // Taken out and put back: what is called through a closure would not be compiled for this instruction set.
        let mut scratch = SCRATCH.take();
        let panels = self.out.chunks_exact_mut(x.rows * PANEL);
        for (panel, out) in (self.first..).zip(panels) {
            match (x.rows <= A::FEW, A::QUADS) {
                (true, _) => few_rows::<A>(x, w, panel, out),
                (_, QUADS) => many_rows::<A, QUADS>(x, w, panel, &mut scratch, out),
                _ => many_rows::<A, 1>(x, w, panel, &mut scratch, out),
            }
            for (row, out) in out.chunks_exact_mut(PANEL).enumerate() {
                let scale = x.scale(row);
                out.iter_mut().for_each(|out| *out *= scale);
            }
        }
        SCRATCH.set(scratch);
    }
}

#[derive(Default)]
struct Scratch {
    decoded: Vec<WordQuad>,  // (QUADS / N, stretch / WORDS, N), where N quads of outputs share a pass
    units: Vec<[f32; WIDE]>, // (QUADS / N, blocks of a stretch, N): what the weights' integers are multiplied by
    sums: Vec<[f32; WIDE]>,  // (QUADS / N, rows, N): partial sums
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

// Codes are decoded on their way from memory, which is what few rows wait for. All of them share a pass, and as many quads of outputs as
// leave registers for them: what is read of the inputs serves all.
#[inline(always)]
fn few_rows<A: Arithmetic>(x: &Integers, w: &Nibbles, panel: usize, out: &mut [f32]) {
    let few = Few { x, w, panel };
    match (A::QUADS, x.rows) {
        (QUADS, 6) => few.run::<A, 6, 2, 1>(out),
        (QUADS, 5) => few.run::<A, 5, 2, 1>(out),
        (QUADS, 4) => few.run::<A, 4, 2, 1>(out),
        (QUADS, 3) => few.run::<A, 3, 2, 2>(out),
        (QUADS, 2) => few.run::<A, 2, 2, 2>(out),
        (QUADS, _) => few.run::<A, 1, 4, 2>(out),
        (_, 2) => few.run::<A, 2, 1, 2>(out),
        _ => few.run::<A, 1, 1, 2>(out),
    }
}

// All rows and a panel.
struct Few<'a> {
    x: &'a Integers,
    w: &'a Nibbles,
    panel: usize,
}

impl Few<'_> {
    // ROWS rows, each PANEL after the one before in `out`, N quads at a time, with so many CHAINS of additions for each row and quad.
    #[inline(always)]
    fn run<A: Arithmetic, const ROWS: usize, const N: usize, const CHAINS: usize>(&self, out: &mut [f32]) {
        let (inputs, _) = self.x.words.as_chunks::<ROWS>();
        let (inputs, _) = inputs.as_chunks::<2>();
        let (input_units, _) = self.x.units.as_chunks::<ROWS>();
        let (codes, groups) = self.w.panel(self.panel);
        let chunks = self.w.block / CHUNK;
        for quad in (0..QUADS).step_by(N) {
            let mut sums = [[A::floats(&[0.0; WIDE]); N]; ROWS];
            let blocks = codes.chunks_exact(chunks).zip(inputs.chunks_exact(chunks));
            for (block, ((codes, inputs), groups)) in blocks.zip(groups).enumerate() {
                let mut tables = [self.w.tables::<A>(groups, quad); N];
                for (i, table) in tables.iter_mut().enumerate().skip(1) {
                    *table = self.w.tables::<A>(groups, quad + i);
                }
                let mut integers = [[[A::zero(); CHAINS]; N]; ROWS];
                for (codes, [left, right]) in codes.iter().zip(inputs) {
                    for i in 0..N {
                        let pair = &codes[(quad + i) / 2];
                        let own = if (quad + i) % 2 == 0 {
                            A::fetch_ahead(pair, AHEAD);
                            A::low(pair)
                        } else {
                            A::high(pair)
                        };
                        let (w_left, w_right) = A::decode(tables[i], own);
                        for row in 0..ROWS {
                            let chains = &mut integers[row][i];
                            chains[0] = A::dot(chains[0], A::inputs(&left[row]), w_left);
                            chains[CHAINS - 1] = A::dot(chains[CHAINS - 1], A::inputs(&right[row]), w_right);
                        }
                    }
                }
                let input_units = &input_units[block * self.w.block / BLOCK];
                for i in 0..N {
                    let own = units::<A>(groups, quad + i);
                    for row in 0..ROWS {
                        let mut whole = integers[row][i][0];
                        for chain in &integers[row][i][1..] {
                            whole = A::join(whole, *chain);
                        }
                        sums[row][i] = A::add(sums[row][i], whole, input_units[row], own);
                    }
                }
            }
            for row in 0..ROWS {
                for i in 0..N {
                    out[row * PANEL + (quad + i) * QUAD..][..QUAD].copy_from_slice(&A::finish(sums[row][i]));
                }
            }
        }
    }
}

#[inline(always)]
fn units<A: Arithmetic>(groups: &Groups, quad: usize) -> A::Floats {
    let first = quad * QUAD;
    A::units([
        from_bf16(groups.units[first]),
        from_bf16(groups.units[first + 1]),
        from_bf16(groups.units[first + 2]),
        from_bf16(groups.units[first + 3]),
    ])
}

// A stretch of a panel is decoded once for all rows, which pass over it by N quads of outputs.
#[inline(always)]
fn many_rows<A: Arithmetic, const N: usize>(
    x: &Integers,
    w: &Nibbles,
    panel: usize,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let Scratch { decoded, units, sums } = scratch;
    sums.clear();
    sums.resize(x.rows * QUADS, [0.0; WIDE]);
    for start in (0..w.cols).step_by(STRETCH) {
        let stretch = STRETCH.min(w.cols - start);
        let (steps, blocks) = (stretch / WORDS, stretch / w.block);
        decoded.resize(QUADS * steps, WordQuad::ZERO);
        units.resize(QUADS * blocks, [0.0; WIDE]);
        decode::<A, N>(w, panel, start, decoded, units);
        let passes = decoded.chunks_exact(N * steps).zip(units.chunks_exact(N * blocks));
        for ((decoded, units), sums) in passes.zip(sums.chunks_exact_mut(N * x.rows)) {
            for first in (0..x.rows).step_by(x.together) {
                let size = x.together.min(x.rows - first);
                let pass = Pass::<N> {
                    inputs: &x.words[(first * w.cols + start * size) / WORDS..][..steps * size],
                    input_units: &x.units[first * x.blocks()..][..x.blocks() * size],
                    weights: decoded.as_chunks().0,
                    units: units.as_chunks().0,
                    start,
                    block: w.block,
                };
                let sums = &mut sums[first * N..][..size * N];
                match size {
                    6 => pass.run::<A, 6>(sums),
                    5 => pass.run::<A, 5>(sums),
                    4 => pass.run::<A, 4>(sums),
                    3 => pass.run::<A, 3>(sums),
                    2 => pass.run::<A, 2>(sums),
                    _ => pass.run::<A, 1>(sums),
                }
            }
        }
    }
    let (out, _) = out.as_chunks_mut::<QUAD>();
    for (pass, sums) in sums.chunks_exact(N * x.rows).enumerate() {
        for (row, sums) in sums.chunks_exact(N).enumerate() {
            for i in 0..N {
                out[row * QUADS + pass * N + i] = A::finish(A::floats(&sums[i]));
            }
        }
    }
}

// A stretch of a panel, from column `start` on: its weights' integers, (QUADS / N, stretch / WORDS, N), and what they are multiplied by.
#[inline(always)]
fn decode<A: Arithmetic, const N: usize>(
    w: &Nibbles,
    panel: usize,
    start: usize,
    decoded: &mut [WordQuad],
    all_units: &mut [[f32; WIDE]],
) {
    let (steps, blocks) = (decoded.len() / QUADS, all_units.len() / QUADS);
    let (codes, groups) = w.panel(panel);
    let (codes, groups) = (&codes[start / CHUNK..], &groups[start / w.block..]);
    for quad in 0..QUADS {
        let (decoded, _) = decoded[quad / N * N * steps..].as_chunks_mut::<N>();
        let (all_units, _) = all_units[quad / N * N * blocks..][..N * blocks].as_chunks_mut::<N>();
        let places = decoded.chunks_exact_mut(w.block / WORDS).zip(all_units);
        let codes = codes.chunks_exact(w.block / CHUNK);
        for ((codes, groups), (decoded, all_units)) in codes.zip(groups).zip(places) {
            A::write(units::<A>(groups, quad), &mut all_units[quad % N]);
            let tables = w.tables::<A>(groups, quad);
            let (decoded, _) = decoded.as_chunks_mut::<2>();
            for (codes, decoded) in codes.iter().zip(decoded) {
                let pair = &codes[quad / 2];
                let own = if quad % 2 == 0 {
                    // the next panel's, which will be wanted when all rows have passed
                    A::fetch_ahead(pair, PANEL / 2 * w.cols);
                    A::low(pair)
                } else {
                    A::high(pair)
                };
                let (left, right) = A::decode(tables, own);
                A::store(left, &mut decoded[0][quad % N]);
                A::store(right, &mut decoded[1][quad % N]);
            }
        }
    }
}

// N quads of outputs over a stretch of columns, and rows that share a pass over them.
struct Pass<'a, const N: usize> {
    inputs: &'a [Words],           // (stretch / WORDS, rows)
    input_units: &'a [f32],        // (blocks of the whole row, rows)
    weights: &'a [[WordQuad; N]],  // (stretch / WORDS)
    units: &'a [[[f32; WIDE]; N]], // (blocks of the stretch)
    start: usize,
    block: usize,
}

impl<const N: usize> Pass<'_, N> {
    // ROWS rows; `sums` is (ROWS, N).
    #[inline(always)]
    fn run<A: Arithmetic, const ROWS: usize>(&self, sums: &mut [[f32; WIDE]]) {
        let (inputs, _) = self.inputs.as_chunks::<ROWS>();
        let (input_units, _) = self.input_units.as_chunks::<ROWS>();
        let (sums, _) = sums.as_chunks_mut::<N>();
        let steps = self.block / WORDS;
        let blocks = self.weights.chunks_exact(steps).zip(inputs.chunks_exact(steps));
        for (block, ((weights, inputs), units)) in blocks.zip(self.units).enumerate() {
            // All registers are theirs; f32 sums stay in memory, where a block asks for them once.
            let mut integers = [[A::zero(); N]; ROWS];
            let (weights, _) = weights.as_chunks::<2>();
            let (inputs, _) = inputs.as_chunks::<2>();
            for (w, x) in weights.iter().zip(inputs) {
                for step in 0..2 {
                    let (w, x) = (&w[step], &x[step]);
                    let mut quads = [A::weights(&w[0]); N];
                    for i in 1..N {
                        quads[i] = A::weights(&w[i]);
                    }
                    for row in 0..ROWS {
                        let x = A::inputs(&x[row]);
                        for i in 0..N {
                            integers[row][i] = A::dot(integers[row][i], x, quads[i]);
                        }
                    }
                }
            }
            let input_units = &input_units[(self.start + block * self.block) / BLOCK];
            for row in 0..ROWS {
                for i in 0..N {
                    let (sum, own) = (A::floats(&sums[row][i]), A::floats(&units[i]));
                    A::write(A::add(sum, integers[row][i], input_units[row], own), &mut sums[row][i]);
                }
            }
        }
    }
}
