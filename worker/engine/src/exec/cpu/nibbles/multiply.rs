//! Rows of inputs times few-bit matrices.

use std::cell::RefCell;

use super::super::integers::Integers;
use super::super::isa::{Arithmetic, CodePairs, Kernel, WIDE, WordPair, Words};
use super::{CHUNK, Group, Nibbles, PAIR, PAIRS, PANEL};
use crate::numerics::{BLOCK, from_bf16};

/// Columns of a panel that are decoded before rows pass over them. Shorter stretches have more passes, whose sums come and go; longer ones
/// leave no room for inputs in the nearer caches.
const STRETCH: usize = 1024;

/// Bytes ahead of what a single row reads that are asked for: a few microseconds of a memory's delay.
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
            match (x.rows, A::PAIRS) {
                (1, _) => one_row::<A>(x, w, panel, out),
                (_, 2) => many_rows::<A, 2>(x, w, panel, &mut scratch, out),
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
    decoded: Vec<WordPair>,  // (PAIRS / N, stretch / 16, N), where N pairs of outputs share a pass
    units: Vec<[f32; WIDE]>, // (PAIRS / N, blocks of a stretch, N): what the weights' integers are multiplied by
    sums: Vec<[f32; WIDE]>,  // by rows that share a pass (PAIRS / N, those rows, N): partial sums
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

// Codes are decoded on their way from memory, which is what a single row waits for.
#[inline(always)]
fn one_row<A: Arithmetic>(x: &Integers, w: &Nibbles, panel: usize, out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<PAIR>();
    for (pair, out) in out.iter_mut().enumerate() {
        let (codes, groups) = w.pair(panel * PAIRS + pair);
        let sums = match w.block / CHUNK {
            4 => dot::<A, 4>(x, w, codes, groups),
            2 => dot::<A, 2>(x, w, codes, groups),
            _ => dot::<A, 1>(x, w, codes, groups),
        };
        *out = A::finish(sums);
    }
}

// Two outputs of one row, in blocks of CHUNKS chunks.
#[inline(always)]
fn dot<A: Arithmetic, const CHUNKS: usize>(
    x: &Integers,
    w: &Nibbles,
    codes: &[CodePairs],
    groups: &[[Group; PAIR]],
) -> A::Floats {
    let (codes, _) = codes.as_chunks::<CHUNKS>();
    let (inputs, _) = x.words.as_chunks::<2>();
    let (inputs, _) = inputs.as_chunks::<CHUNKS>();
    let mut sums = A::floats(&[0.0; WIDE]);
    for (i, ((codes, groups), inputs)) in codes.iter().zip(groups).zip(inputs).enumerate() {
        // a line of the cache is two chunks
        for codes in codes.iter().step_by(2) {
            A::fetch_ahead(codes, AHEAD);
        }
        let tables = w.tables::<A>(*groups);
        // two chains, for their latency
        let (mut first, mut second) = (A::zero(), A::zero());
        for (codes, inputs) in codes.iter().zip(inputs) {
            let (left, right) = A::decode(tables, A::halves(codes));
            first = A::dot(first, A::inputs(&inputs[0]), left);
            second = A::dot(second, A::inputs(&inputs[1]), right);
        }
        let units = A::units(from_bf16(groups[0].unit), from_bf16(groups[1].unit));
        sums = A::add(
            sums,
            A::join(first, second),
            x.units[i * CHUNKS / (BLOCK / CHUNK)],
            units,
        );
    }
    sums
}

// A stretch of a panel is decoded once for all rows, which pass over it by N pairs of outputs.
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
    sums.resize(x.rows * PAIRS, [0.0; WIDE]);
    for start in (0..w.cols).step_by(STRETCH) {
        let stretch = STRETCH.min(w.cols - start);
        let steps = stretch / 16;
        decoded.resize(PAIRS * steps, WordPair::ZERO);
        units.resize(PAIRS * (stretch / w.block), [0.0; WIDE]);
        decode::<A, N>(w, panel, start, decoded, units);
        for first in (0..x.rows).step_by(x.together) {
            let size = x.together.min(x.rows - first);
            let stretch = Stretch::<N> {
                inputs: &x.words[(first * w.cols + start * size) / 16..][..steps * size],
                input_units: &x.units[first * x.blocks()..][..x.blocks() * size],
                weights: decoded.as_chunks().0,
                units: units.as_chunks().0,
                start,
                block: w.block,
            };
            let sums = &mut sums[first * PAIRS..][..size * PAIRS];
            match size {
                6 => stretch.pass::<A, 6>(sums),
                5 => stretch.pass::<A, 5>(sums),
                4 => stretch.pass::<A, 4>(sums),
                3 => stretch.pass::<A, 3>(sums),
                2 => stretch.pass::<A, 2>(sums),
                _ => stretch.pass::<A, 1>(sums),
            }
        }
    }
    finish::<A, N>(x.together, sums, out);
}

// A stretch of a panel, from column `start` on: its weights' integers, (PAIRS / N, stretch / 16, N), and what they are multiplied by.
#[inline(always)]
fn decode<A: Arithmetic, const N: usize>(
    w: &Nibbles,
    panel: usize,
    start: usize,
    decoded: &mut [WordPair],
    units: &mut [[f32; WIDE]],
) {
    let (steps, blocks) = (decoded.len() / PAIRS, units.len() / PAIRS);
    for pair in 0..PAIRS {
        let (codes, groups) = w.pair(panel * PAIRS + pair);
        let codes = codes[start / CHUNK..].chunks_exact(w.block / CHUNK);
        let (decoded, _) = decoded[pair / N * N * steps..].as_chunks_mut::<N>();
        let (units, _) = units[pair / N * N * blocks..][..N * blocks].as_chunks_mut::<N>();
        let places = decoded.chunks_exact_mut(w.block / 16).zip(units);
        for ((codes, groups), (decoded, units)) in codes.zip(&groups[start / w.block..]).zip(places) {
            let own = A::units(from_bf16(groups[0].unit), from_bf16(groups[1].unit));
            A::write(own, &mut units[pair % N]);
            let tables = w.tables::<A>(*groups);
            let (decoded, _) = decoded.as_chunks_mut::<2>();
            for (codes, decoded) in codes.iter().zip(decoded) {
                // the next panel's, which will be wanted when all rows have passed
                A::fetch_ahead(codes, PAIRS * w.cols);
                let (left, right) = A::decode(tables, A::halves(codes));
                A::store(left, &mut decoded[0][pair % N]);
                A::store(right, &mut decoded[1][pair % N]);
            }
        }
    }
}

// (rows, PANEL) from partial sums, by as many rows as share a pass (PAIRS / N, those rows, N).
#[inline(always)]
fn finish<A: Arithmetic, const N: usize>(together: usize, sums: &[[f32; WIDE]], out: &mut [f32]) {
    let rows = out.chunks_mut(together * PANEL).zip(sums.chunks(together * PAIRS));
    for (out, sums) in rows {
        let size = out.len() / PANEL;
        let (out, _) = out.as_chunks_mut::<PAIR>();
        for (first, sums) in (0..PAIRS).step_by(N).zip(sums.chunks_exact(size * N)) {
            for (row, sums) in sums.chunks_exact(N).enumerate() {
                for (out, sums) in out[row * PAIRS + first..].iter_mut().zip(sums) {
                    *out = A::finish(A::floats(sums));
                }
            }
        }
    }
}

// A stretch of columns of a panel, and rows that share a pass.
struct Stretch<'a, const N: usize> {
    inputs: &'a [Words],           // (stretch / 16, rows)
    input_units: &'a [f32],        // (blocks of the whole row, rows)
    weights: &'a [[WordPair; N]],  // (PAIRS / N, stretch / 16)
    units: &'a [[[f32; WIDE]; N]], // (PAIRS / N, blocks of the stretch)
    start: usize,
    block: usize,
}

impl<const N: usize> Stretch<'_, N> {
    // ROWS rows; `sums` is (PAIRS / N, ROWS, N).
    #[inline(always)]
    fn pass<A: Arithmetic, const ROWS: usize>(&self, sums: &mut [[f32; WIDE]]) {
        let (inputs, _) = self.inputs.as_chunks::<ROWS>();
        let (input_units, _) = self.input_units.as_chunks::<ROWS>();
        let (sums, _) = sums.as_chunks_mut::<N>();
        let (sums, _) = sums.as_chunks_mut::<ROWS>();
        let passes = self.weights.chunks_exact(inputs.len());
        let units = self.units.chunks_exact(self.units.len() * N / PAIRS);
        for ((weights, units), sums) in passes.zip(units).zip(sums) {
            // In registers, as far as they reach: stores between loads that agree in their last twelve bits hold these up.
            let mut floats = [[A::floats(&[0.0; WIDE]); N]; ROWS];
            for row in 0..ROWS {
                for i in 0..N {
                    floats[row][i] = A::floats(&sums[row][i]);
                }
            }
            let blocks = weights
                .chunks_exact(self.block / 16)
                .zip(inputs.chunks_exact(self.block / 16));
            for (block, ((weights, inputs), units)) in blocks.zip(units).enumerate() {
                let mut integers = [[A::zero(); N]; ROWS];
                for (w, x) in weights.iter().zip(inputs) {
                    let mut pairs = [A::weights(&w[0]); N];
                    for i in 1..N {
                        pairs[i] = A::weights(&w[i]);
                    }
                    for row in 0..ROWS {
                        let x = A::inputs(&x[row]);
                        for i in 0..N {
                            integers[row][i] = A::dot(integers[row][i], x, pairs[i]);
                        }
                    }
                }
                let input_units = &input_units[(self.start + block * self.block) / BLOCK];
                for row in 0..ROWS {
                    for i in 0..N {
                        let own = A::floats(&units[i]);
                        floats[row][i] = A::add(floats[row][i], integers[row][i], input_units[row], own);
                    }
                }
            }
            for row in 0..ROWS {
                for i in 0..N {
                    A::write(floats[row][i], &mut sums[row][i]);
                }
            }
        }
    }
}
