//! Matrices of at most four bits, held as stored and multiplied in integers.
//!
//! What the codes of a group stand for is, divided by a power of two, a small integer; so are the inputs ([`block_unit`]). The products
//! of a block of columns are added exactly, whatever the order, and only finished blocks become f32. A code is turned into its
//! integer by a table of sixteen that one byte shuffle looks up; groups share tables, since a table depends on the digits of a scale and
//! not on its size.

use std::cell::RefCell;
use std::collections::HashMap;

use assay_checkpoint::{Coded, Codes, InputScale, Inputs, Matrix, Weights};

use super::gemm::PANEL;
use super::integers::Integers;
use super::isa::{Arithmetic, CodePairs, Kernel, WIDE, WordPair, Words};
use super::pool::Pool;
use crate::numerics::{BLOCK, MAX_WEIGHT, from_bf16};

/// Columns that are decoded together.
pub const CHUNK: usize = 32;

/// Columns of a panel that are decoded before rows pass over them: with a block of rows' inputs they fit the first cache.
const STRETCH: usize = 1024;

/// Bytes ahead of what a single row reads that are asked for: a few microseconds of a memory's delay.
const AHEAD: usize = 4096;

/// Tables a matrix may need; more would not stay in a core's caches.
const MAX_TABLES: usize = 4096;

// Outputs that share a register, and those of a panel.
const PAIR: usize = 2;
const PAIRS: usize = PANEL / PAIR;

/// The integers of sixteen codes: their low bytes, then their high ones.
pub type Table = [u8; 32];

/// How a block of one row is decoded: alike in all blocks of a group of columns.
#[derive(Clone, Copy, Default)]
struct Group {
    table: u16,
    unit: u16, // bf16: what the integers are multiplied by, a power of two
}

/// Matrices of equal width and grouping, in panels of [`PANEL`] rows.
pub struct Nibbles {
    cols: usize,
    block: usize,               // columns whose products are added as integers: 128, 64 or 32
    codes: Vec<CodePairs>,      // (pairs of rows, cols / CHUNK): the low halves of the bytes are the first row's
    groups: Vec<[Group; PAIR]>, // (pairs of rows, cols / block): those of each block
    tables: Vec<Table>,
}

/// What makes it possible to hold a matrix so, found before anything is packed.
pub struct Plan<'a> {
    coded: &'a Coded,
    rows: usize,
    cols: usize,
    group: usize,
    groups: Vec<Group>,
    tables: Vec<Table>,
}

impl<'a> Plan<'a> {
    /// `None` for matrices of more bits, with scattered groups, or whose values are no small integers.
    pub fn of(matrix: &'a Matrix) -> Option<Plan<'a>> {
        let Weights::Coded(coded) = &matrix.weights else {
            return None;
        };
        let (cols, group) = (matrix.cols, coded.scales.cols.min(matrix.cols));
        let multiplied = match matrix.inputs {
            Inputs::Plain => true,
            // their groups have factors of their own
            Inputs::Quantized {
                scale: InputScale::Group { .. },
                ..
            } => false,
            Inputs::Quantized { codes, .. } => matches!(codes, Codes::Int { .. }),
        };
        if !multiplied
            || coded.bits > 4
            || coded.index.is_some()
            || group == 0
            || cols % CHUNK != 0
            || group % CHUNK != 0
        {
            return None;
        }
        let mut known: HashMap<[u16; 16], Group> = HashMap::new();
        let mut numbers: HashMap<[i16; 16], u16> = HashMap::new();
        let mut tables = Vec::new();
        let mut found = Vec::with_capacity(coded.scales.values.len());
        for index in 0..coded.scales.values.len() {
            let mut values = [0; 16];
            coded.values(index, &mut values[..1 << coded.bits]);
            let group = match known.get(&values) {
                Some(group) => *group,
                None => {
                    let (integers, unit) = integers(&values)?;
                    let table = *numbers.entry(integers).or_insert_with(|| {
                        tables.push(table(&integers));
                        (tables.len() - 1) as u16
                    });
                    if tables.len() > MAX_TABLES {
                        return None;
                    }
                    let group = Group { table, unit };
                    known.insert(values, group);
                    group
                }
            };
            found.push(group);
        }
        let rows = 0..matrix.rows;
        let count = coded.groups(cols);
        let groups = rows.flat_map(|row| (0..count).map(move |k| (row, k)));
        let groups = groups.map(|(row, k)| found[coded.scale_index(row, k, cols)]).collect();
        Some(Plan {
            coded,
            rows: matrix.rows,
            cols,
            group,
            groups,
            tables,
        })
    }

    /// Whether the two can be one.
    pub fn joins(&self, other: &Plan) -> bool {
        self.cols == other.cols && self.group == other.group
    }
}

// The values as integers of a common power of two, and that power as bf16. `None` if they span too much.
fn integers(values: &[u16; 16]) -> Option<([i16; 16], u16)> {
    const BIAS: i32 = 127 + 7; // of a bf16's last digit
    let parts = values.map(|bits| {
        let exponent = i32::from(bits >> 7 & 0xff);
        let digits = i32::from(bits & 0x7f) | if exponent > 0 { 0x80 } else { 0 };
        (if bits >> 15 == 0 { digits } else { -digits }, exponent.max(1))
    });
    let least = parts.iter().filter(|(digits, _)| *digits != 0).map(|(_, e)| *e).min();
    let least = least.unwrap_or(BIAS);
    let mut integers = [0; 16];
    for ((digits, exponent), integer) in parts.into_iter().zip(&mut integers) {
        let shift = if digits == 0 { 0 } else { exponent - least };
        let value = (shift < 12).then(|| digits << shift)?;
        *integer = (value.abs() <= MAX_WEIGHT).then_some(value as i16)?;
    }
    // With an input's power of two, at least 2^−74, it must not leave the normal numbers; nor are weights of thousands sane.
    let unit = least - BIAS;
    (-50..=20)
        .contains(&unit)
        .then(|| (integers, ((unit + 127) as u16) << 7))
}

fn table(integers: &[i16; 16]) -> Table {
    let mut table = [0; 32];
    for (i, integer) in integers.iter().enumerate() {
        let [low, high] = integer.to_le_bytes();
        (table[i], table[16 + i]) = (low, high);
    }
    table
}

// Where a column of a chunk lies among the bytes: such that interleaving two registers of low and high bytes, 128 bits by 128 bits, puts
// columns in order.
const fn place(column: usize) -> usize {
    column % 8 + column / 16 * 8 + column / 8 % 2 * 16
}

impl Nibbles {
    /// Packs matrices that join. Rows that fill the last panel of one are zero.
    pub fn pack(pool: &Pool, plans: Vec<Plan>) -> Nibbles {
        let (cols, group) = plans.first().map_or((0, CHUNK), |plan| (plan.cols, plan.group));
        let fits = |block: &usize| group % block == 0 && cols % block == 0;
        let block = [BLOCK, BLOCK / 2].into_iter().find(fits).unwrap_or(CHUNK);
        let (chunks, blocks) = (cols / CHUNK, cols / block);
        let pairs = |plan: &Plan| plan.rows.next_multiple_of(PANEL) / PAIR;
        let all = plans.iter().map(pairs).sum::<usize>();
        let (mut codes, mut tables) = (vec![CodePairs::ZERO; all * chunks], vec![[0; 32]]);
        let mut groups = vec![[Group::default(); PAIR]; all * blocks];
        let mut rest = (&mut codes[..], &mut groups[..]);
        for plan in plans {
            let (codes, other_codes) = rest.0.split_at_mut(pairs(&plan) * chunks);
            let (groups, other_groups) = rest.1.split_at_mut(pairs(&plan) * blocks);
            rest = (other_codes, other_groups);
            let known = tables.len() as u16;
            let count = plan.coded.groups(cols);
            pool.chunks2((codes, chunks), (groups, blocks), |pair, codes, groups| {
                for (half, row) in (pair * PAIR..plan.rows).take(PAIR).enumerate() {
                    for (column, code) in plan.coded.row_codes(row, cols).enumerate() {
                        codes[column / CHUNK].0[place(column % CHUNK)] |= (code as u8) << (4 * half);
                    }
                    for (i, groups) in groups.iter_mut().enumerate() {
                        let own = plan.groups[row * count + i * block / group];
                        groups[half] = Group {
                            table: own.table + known,
                            ..own
                        };
                    }
                }
            });
            tables.extend(plan.tables);
        }
        Nibbles {
            cols,
            block,
            codes,
            groups,
            tables,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.codes[..]) + size_of_val(&self.groups[..]) + size_of_val(&self.tables[..])
    }

    // Two rows' codes and what their blocks are decoded by.
    #[inline(always)]
    fn pair(&self, pair: usize) -> (&[CodePairs], &[[Group; PAIR]]) {
        let (chunks, blocks) = (self.cols / CHUNK, self.cols / self.block);
        (
            &self.codes[pair * chunks..][..chunks],
            &self.groups[pair * blocks..][..blocks],
        )
    }

    #[inline(always)]
    fn table(&self, group: Group) -> &Table {
        &self.tables[usize::from(group.table)]
    }

    #[inline(always)]
    fn tables<A: Arithmetic>(&self, groups: [Group; PAIR]) -> A::Tables {
        A::tables(self.table(groups[0]), self.table(groups[1]))
    }

    /// A row's values.
    pub fn values(&self, row: usize, out: &mut [f32]) {
        let (codes, groups) = self.pair(row / PAIR);
        for (column, out) in out.iter_mut().enumerate() {
            let byte = codes[column / CHUNK].0[place(column % CHUNK)];
            let code = usize::from(byte >> (row % PAIR * 4) & 15);
            let group = groups[column / self.block][row % PAIR];
            let table = self.table(group);
            let integer = i16::from_le_bytes([table[code], table[16 + code]]);
            *out = f32::from(integer) * from_bf16(group.unit);
        }
    }
}

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
        let (steps, blocks) = (stretch / 16, stretch / w.block);
        decoded.resize(PAIRS * steps, WordPair::ZERO);
        units.resize(PAIRS * blocks, [0.0; WIDE]);
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
                    A::fetch_ahead(codes, PAIRS * w.cols);
                    let (left, right) = A::decode(tables, A::halves(codes));
                    A::store(left, &mut decoded[0][pair % N]);
                    A::store(right, &mut decoded[1][pair % N]);
                }
            }
        }
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
    let rows = out.chunks_mut(x.together * PANEL).zip(sums.chunks(x.together * PAIRS));
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
