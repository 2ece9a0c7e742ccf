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
        self.together = isa.together(self.rows);
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
                let mut places = self.quads[first..].iter_mut().step_by(size);
                let (x, _) = x.as_chunks::<LEAST>();
                for x in x {
                    let mut integers = [0u8; LEAST];
                    for (integer, x) in integers.iter_mut().zip(x) {
                        let x = scale.integer(*x);
                        sum += i32::from(x);
                        *integer = x as u8;
                    }
                    let (quads, _) = integers.as_chunks::<STEP>();
                    for (quad, place) in quads.iter().zip(&mut places) {
                        *place = i32::from_le_bytes(*quad);
                    }
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
        let mut panel = self.first;
        for out in self.out.chunks_mut(A::PANELS * self.inputs.rows * PANEL) {
            if A::PANELS == 2 && out.len() == 2 * self.inputs.rows * PANEL {
                multiply::<A, 2>(self.inputs, self.weights, panel, out);
            } else {
                multiply::<A, 1>(self.inputs, self.weights, panel, out);
            }
            panel += A::PANELS;
        }
    }
}

// `out` (PANELS, rows, PANEL) from panel `first` on.
#[inline(always)]
fn multiply<A: Arithmetic, const PANELS: usize>(x: &ByteInputs, w: &Bytes, first: usize, out: &mut [f32]) {
    let (steps, chunks, blocks) = (w.cols / STEP, w.cols / CHUNK, w.cols / w.block);
    for row in (0..x.rows).step_by(x.together) {
        let size = x.together.min(x.rows - row);
        let tile = Tile {
            inputs: &x.quads[row * steps..][..size * steps],
            units: &x.blocks[row * blocks..][..size * blocks],
            codes: &w.codes[first * chunks..][..PANELS * chunks],
            blocks: &w.blocks[first * blocks..][..PANELS * blocks],
            chunks: w.block / CHUNK,
        };
        let out = &mut out[row * PANEL..];
        let stride = x.rows * PANEL;
        match size {
            11 => tile.run::<A, 11, PANELS>(out, stride),
            10 => tile.run::<A, 10, PANELS>(out, stride),
            9 => tile.run::<A, 9, PANELS>(out, stride),
            8 => tile.run::<A, 8, PANELS>(out, stride),
            7 => tile.run::<A, 7, PANELS>(out, stride),
            6 => tile.run::<A, 6, PANELS>(out, stride),
            5 => tile.run::<A, 5, PANELS>(out, stride),
            4 => tile.run::<A, 4, PANELS>(out, stride),
            3 => tile.run::<A, 3, PANELS>(out, stride),
            2 => tile.run::<A, 2, PANELS>(out, stride),
            _ => tile.run::<A, 1, PANELS>(out, stride),
        }
    }
}

// A few rows and a few panels.
struct Tile<'a> {
    inputs: &'a [i32],      // (cols / STEP, ROWS)
    units: &'a [Unit],      // (cols / block, ROWS)
    codes: &'a [CodePairs], // (PANELS, cols / CHUNK)
    blocks: &'a [Block],    // (PANELS, cols / block)
    chunks: usize,          // in a block
}

impl Tile<'_> {
    // Writes the panels' sums `stride` apart.
    #[inline(always)]
    fn run<A: Arithmetic, const ROWS: usize, const PANELS: usize>(self, out: &mut [f32], stride: usize) {
        let (inputs, _) = self.inputs.as_chunks::<ROWS>();
        let (inputs, _) = inputs.as_chunks::<2>();
        let (units, _) = self.units.as_chunks::<ROWS>();
        let (size, blocks) = (self.chunks, units.len());
        let mut sums = [[[0f32; WIDE]; ROWS]; PANELS];
        for (i, units) in units.iter().enumerate() {
            let inputs = &inputs[i * size..][..size];
            let codes: [&[CodePairs]; PANELS] =
                std::array::from_fn(|panel| &self.codes[(panel * blocks + i) * size..][..size]);
            let mut whole = [[A::zero(); ROWS]; PANELS];
            let mut start = 0;
            while start < size {
                let end = size.min(start + A::STEPS * STEP / CHUNK);
                let mut few = [[A::few(A::zero()); ROWS]; PANELS];
                for panel in 0..PANELS {
                    for row in 0..ROWS {
                        few[panel][row] = A::few(whole[panel][row]);
                    }
                }
                for chunk in start..end {
                    let mut low = [A::low(&codes[0][chunk]); PANELS];
                    let mut high = [A::high(&codes[0][chunk]); PANELS];
                    for panel in 1..PANELS {
                        low[panel] = A::low(&codes[panel][chunk]);
                        high[panel] = A::high(&codes[panel][chunk]);
                    }
                    for row in 0..ROWS {
                        let spread = A::spread(inputs[chunk][0][row]);
                        for panel in 0..PANELS {
                            few[panel][row] = A::dot_bytes(few[panel][row], low[panel], spread);
                        }
                    }
                    for row in 0..ROWS {
                        let spread = A::spread(inputs[chunk][1][row]);
                        for panel in 0..PANELS {
                            few[panel][row] = A::dot_bytes(few[panel][row], high[panel], spread);
                        }
                    }
                }
                for panel in 0..PANELS {
                    for row in 0..ROWS {
                        whole[panel][row] = A::widen(whole[panel][row], few[panel][row]);
                    }
                }
                start = end;
            }
            for panel in 0..PANELS {
                let block = &self.blocks[panel * blocks + i];
                let mut zeros = [0f32; WIDE];
                for (zero, code) in zeros.iter_mut().zip(block.zeros) {
                    *zero = f32::from(code);
                }
                for row in 0..ROWS {
                    let whole = A::integers(whole[panel][row]);
                    let Unit { unit, sum } = units[row];
                    for lane in 0..WIDE {
                        let integer = whole[lane] as f32 - zeros[lane] * sum;
                        sums[panel][row][lane] += integer * block.scales[lane] * unit;
                    }
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_mut(stride)) {
            out[..ROWS * WIDE].copy_from_slice(sums.as_flattened());
        }
    }
}
