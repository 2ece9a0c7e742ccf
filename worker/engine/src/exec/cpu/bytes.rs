//! The fast mode: integer matrices of at most four bits, multiplied by inputs of eight bits.
//!
//! Codes are multiplied as they are stored, from zero up, and what their zero point makes of a block of columns is taken off its finished
//! sum (rule 11 of [`crate::numerics`]). A step is four columns of the eight outputs that lie side by side in a register: the four inputs go to
//! every output, so that no sum crosses lanes and a block's scales are looked at once for eight outputs.

use assay_checkpoint::{Codebook, Coded, Inputs, Matrix, Rounding, Weights, Zeros};

use super::gemm::PANEL;
use super::isa::{Arithmetic, CodePairs, Isa, Kernel, WIDE};
use super::pool::Pool;
use crate::numerics::{BLOCK, ByteScale};

/// The greatest block divides a group and the columns; this is the least.
const LEAST: usize = 32;

/// Columns of a step.
const STEP: usize = 4;

/// Columns whose codes lie together: of the first step in the low halves of the bytes, of the second in the high ones.
const CHUNK: usize = 2 * STEP;

/// Steps whose products fit 16 bits together: 8 · 2 · 15 · 127 = 30,480.
const STEPS: usize = 8;

/// What makes it possible to hold a matrix so, found before anything is packed.
pub struct Plan<'a> {
    coded: &'a Coded,
    rows: usize,
    cols: usize,
    block: usize,
    zeros: Vec<u8>, // laid out as the scales are
}

impl<'a> Plan<'a> {
    /// `None` for other codes than integers of at most four bits, for scattered groups and for quantized inputs.
    pub fn of(matrix: &'a Matrix) -> Option<Plan<'a>> {
        let Weights::Coded(coded) = &matrix.weights else {
            return None;
        };
        let (cols, group) = (matrix.cols, coded.scales.cols.min(matrix.cols));
        let integers = coded.book == Codebook::Int && matches!(coded.rounding, Rounding::Product(_));
        if !integers || coded.bits > 4 || coded.index.is_some() || matrix.inputs != Inputs::Plain {
            return None;
        }
        let block = [BLOCK, BLOCK / 2, LEAST]
            .into_iter()
            .find(|block| group > 0 && group % block == 0 && cols % block == 0)?;
        let half = 1i16 << (coded.bits - 1);
        let zeros = match &coded.zeros {
            Zeros::None => vec![half as u8; coded.scales.values.len()],
            Zeros::Int(zeros) => zeros
                .iter()
                .map(|z| u8::try_from(z + half).ok())
                .collect::<Option<_>>()?,
            Zeros::Float(_) => return None,
        };
        Some(Plan {
            coded,
            rows: matrix.rows,
            cols,
            block,
            zeros,
        })
    }

    /// Columns that share scales, of weights as of inputs.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Whether the two can be one.
    pub fn joins(&self, other: &Plan) -> bool {
        self.cols == other.cols && self.block == other.block
    }
}

/// How the codes of a block of columns are read, sixteen outputs side by side.
#[derive(Clone, Copy)]
struct Block {
    scales: [f32; WIDE],
    zeros: [u8; WIDE],
}

/// Matrices of equal width and block, in panels of [`PANEL`] rows.
pub struct Bytes {
    cols: usize,
    block: usize,
    codes: Vec<CodePairs>, // (panels, cols / CHUNK)
    blocks: Vec<Block>,    // (panels, cols / block)
}

// The byte of a chunk that has an output's code of a column, and where in it.
const fn place(lane: usize, column: usize) -> (usize, usize) {
    (lane * STEP + column % STEP, column / STEP % 2 * 4)
}

impl Bytes {
    /// Packs matrices that join. Rows that fill the last panel of one are zero.
    pub fn pack(pool: &Pool, plans: &[Plan]) -> Bytes {
        let (cols, block) = plans.first().map_or((LEAST, LEAST), |plan| (plan.cols, plan.block));
        let homes = plans
            .iter()
            .flat_map(|plan| (0..plan.rows).step_by(PANEL).map(move |row| (plan, row)));
        let homes: Vec<(&Plan, usize)> = homes.collect(); // (plan, first row) of each panel
        let mut codes = vec![CodePairs::ZERO; homes.len() * cols / CHUNK];
        let none = Block {
            scales: [0.0; WIDE],
            zeros: [0; WIDE],
        };
        let mut blocks = vec![none; homes.len() * cols / block];
        let (codes_of, blocks_of) = ((&mut codes[..], cols / CHUNK), (&mut blocks[..], cols / block));
        pool.chunks2(codes_of, blocks_of, |panel, codes, blocks| {
            let (plan, first) = homes[panel];
            for lane in 0..PANEL.min(plan.rows - first) {
                for (column, code) in plan.coded.row_codes(first + lane, cols).enumerate() {
                    let (byte, shift) = place(lane, column);
                    codes[column / CHUNK].0[byte] |= (code as u8) << shift;
                }
                for (i, place) in blocks.iter_mut().enumerate() {
                    let group = i * block / plan.coded.scales.cols.min(cols);
                    let index = plan.coded.scale_index(first + lane, group, cols);
                    place.scales[lane] = plan.coded.scales.values[index];
                    place.zeros[lane] = plan.zeros[index];
                }
            }
        });
        Bytes {
            cols,
            block,
            codes,
            blocks,
        }
    }

    /// Columns that share scales, of weights as of inputs.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.codes[..]) + size_of_val(&self.blocks[..])
    }

    /// A row's values.
    pub fn values(&self, row: usize, out: &mut [f32]) {
        let (panel, lane) = (row / PANEL, row % PANEL);
        let codes = &self.codes[panel * self.cols / CHUNK..];
        let blocks = &self.blocks[panel * self.cols / self.block..];
        for (column, out) in out.iter_mut().enumerate() {
            let (byte, shift) = place(lane, column);
            let code = codes[column / CHUNK].0[byte] >> shift & 15;
            let block = &blocks[column / self.block];
            *out = (f32::from(code) - f32::from(block.zeros[lane])) * block.scales[lane];
        }
    }
}

/// A linear layer's input in eight bits.
#[derive(Default)]
pub struct ByteInputs {
    rows: usize,
    together: usize,   // rows that are multiplied together; the last ones may be fewer
    quads: Vec<i32>,   // by rows that are multiplied together: (cols / STEP, those rows), four inputs each
    blocks: Vec<Unit>, // likewise (cols / block, those rows)
}

// What a block's integers are multiplied by, and the integers added.
#[derive(Clone, Copy, Default)]
struct Unit {
    unit: f32,
    sum: f32,
}

impl ByteInputs {
    /// Packs `x`, (rows, cols), in blocks of `block` columns.
    pub fn fill(&mut self, pool: &Pool, isa: Isa, x: &[f32], cols: usize, block: usize) {
        self.rows = x.len() / cols;
        // as few passes as possible, as even as possible
        self.together = self.rows.div_ceil(self.rows.div_ceil(isa.byte_rows()).max(1));
        let together = self.together;
        self.quads.resize(x.len() / STEP, 0);
        self.blocks.resize(x.len() / block, Unit::default());
        let (quads, blocks) = (
            (&mut self.quads[..], together * cols / STEP),
            (&mut self.blocks[..], together * cols / block),
        );
        pool.chunks2(quads, blocks, |task, quads, blocks| {
            let x = &x[task * together * cols..][..quads.len() * STEP];
            isa.run(Pack {
                x,
                cols,
                block,
                quads,
                blocks,
            });
        });
    }
}

struct Pack<'a> {
    x: &'a [f32],
    cols: usize,
    block: usize,
    quads: &'a mut [i32],
    blocks: &'a mut [Unit],
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let size = self.x.len() / self.cols;
        for (row, x) in self.x.chunks_exact(self.cols).enumerate() {
            for (i, x) in x.chunks_exact(self.block).enumerate() {
                let scale = ByteScale::of(x);
                let mut sum = 0;
                let first = i * (self.block / STEP) * size + row;
                let places = self.quads[first..].iter_mut().step_by(size);
                let (x, _) = x.as_chunks::<STEP>();
                for (place, x) in places.zip(x) {
                    let quad = x.map(|x| scale.integer(x));
                    sum += quad.iter().map(|x| i32::from(*x)).sum::<i32>();
                    *place = i32::from_le_bytes(quad.map(|x| x as u8));
                }
                self.blocks[i * size + row] = Unit {
                    unit: scale.unit,
                    sum: sum as f32,
                };
            }
        }
    }
}

/// `out` (panels, rows, PANEL) = the inputs times as many panels of the weights, from panel `first` on.
pub struct Multiply<'a> {
    /// inputs, in the weights' blocks
    pub inputs: &'a ByteInputs,
    /// weights
    pub weights: &'a Bytes,
    /// the first panel's number
    pub first: usize,
    /// outputs
    pub out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (x, w) = (self.inputs, self.weights);
        let (steps, chunks, blocks) = (w.cols / STEP, w.cols / CHUNK, w.cols / w.block);
        let panels = self.out.chunks_exact_mut(x.rows * PANEL);
        for (panel, out) in (self.first..).zip(panels) {
            for first in (0..x.rows).step_by(x.together) {
                let size = x.together.min(x.rows - first);
                let tile = Tile {
                    inputs: &x.quads[first * steps..][..size * steps],
                    units: &x.blocks[first * blocks..][..size * blocks],
                    codes: &w.codes[panel * chunks..][..chunks],
                    blocks: &w.blocks[panel * blocks..][..blocks],
                    chunks: w.block / CHUNK,
                };
                let out = &mut out[first * PANEL..][..size * PANEL];
                match size {
                    8 => tile.run::<A, 8>(out),
                    7 => tile.run::<A, 7>(out),
                    6 => tile.run::<A, 6>(out),
                    5 => tile.run::<A, 5>(out),
                    4 => tile.run::<A, 4>(out),
                    3 => tile.run::<A, 3>(out),
                    2 => tile.run::<A, 2>(out),
                    _ => tile.run::<A, 1>(out),
                }
            }
        }
    }
}

// A few rows and a panel.
struct Tile<'a> {
    inputs: &'a [i32],      // (cols / STEP, ROWS)
    units: &'a [Unit],      // (cols / block, ROWS)
    codes: &'a [CodePairs], // (cols / CHUNK)
    blocks: &'a [Block],    // (cols / block)
    chunks: usize,          // in a block
}

impl Tile<'_> {
    #[inline(always)]
    fn run<A: Arithmetic, const ROWS: usize>(self, out: &mut [f32]) {
        let (inputs, _) = self.inputs.as_chunks::<ROWS>();
        let (units, _) = self.units.as_chunks::<ROWS>();
        let mut sums = [[0f32; WIDE]; ROWS];
        let (inputs, _) = inputs.as_chunks::<2>();
        let blocks = inputs
            .chunks_exact(self.chunks)
            .zip(self.codes.chunks_exact(self.chunks));
        for ((inputs, codes), (units, block)) in blocks.zip(units.iter().zip(self.blocks)) {
            let mut whole = [A::zero(); ROWS];
            for (inputs, codes) in inputs.chunks(STEPS / 2).zip(codes.chunks(STEPS / 2)) {
                let mut few = [A::few(whole[0]); ROWS];
                for row in 1..ROWS {
                    few[row] = A::few(whole[row]);
                }
                for ([first, second], codes) in inputs.iter().zip(codes) {
                    let (low, high) = (A::low(codes), A::high(codes));
                    for row in 0..ROWS {
                        few[row] = A::dot_bytes(few[row], low, A::spread(first[row]));
                    }
                    for row in 0..ROWS {
                        few[row] = A::dot_bytes(few[row], high, A::spread(second[row]));
                    }
                }
                for row in 0..ROWS {
                    whole[row] = A::widen(whole[row], few[row]);
                }
            }
            let mut zeros = [0f32; WIDE];
            for (zero, code) in zeros.iter_mut().zip(block.zeros) {
                *zero = f32::from(code);
            }
            for row in 0..ROWS {
                let whole = A::integers(whole[row]);
                for lane in 0..WIDE {
                    let integer = whole[lane] as f32 - zeros[lane] * units[row].sum;
                    sums[row][lane] += integer * block.scales[lane] * units[row].unit;
                }
            }
        }
        out.copy_from_slice(sums.as_flattened());
    }
}
