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
use super::isa::{Arithmetic, Kernel, Words};
use super::pool::Pool;
use crate::numerics::{BLOCK, MAX_WEIGHT, PARTIALS, add_partials, from_bf16};

/// Columns that are decoded together.
pub const CHUNK: usize = 32;

/// Columns of a panel that are decoded before rows pass over them: with a block of rows' inputs they fit the first cache.
const STRETCH: usize = 512;

/// Tables a matrix may need; more would not stay in a core's caches.
const MAX_TABLES: usize = 4096;

/// Rows of inputs that share a pass, at most: their sums, two outputs each, fill sixteen registers.
pub const MAX_ROWS: usize = 6;

// Outputs in a pass.
const PAIR: usize = 2;

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
    block: usize,       // columns whose products are added as integers: 128, 64 or 32
    codes: Vec<u8>,     // (rows, cols / CHUNK, 16)
    groups: Vec<Group>, // (rows, cols / block): that of each block
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

impl Nibbles {
    /// Packs matrices that join. Rows that fill the last panel of one are zero.
    pub fn pack(pool: &Pool, plans: Vec<Plan>) -> Nibbles {
        let (cols, group) = plans.first().map_or((0, CHUNK), |plan| (plan.cols, plan.group));
        let fits = |block: &usize| group % block == 0 && cols % block == 0;
        let block = [BLOCK, BLOCK / 2].into_iter().find(fits).unwrap_or(CHUNK);
        let panels = |plan: &Plan| plan.rows.next_multiple_of(PANEL);
        let mut codes = vec![0; plans.iter().map(panels).sum::<usize>() * cols / 2];
        let (mut groups, mut tables) = (Vec::new(), vec![[0; 32]]);
        let mut rest = &mut codes[..];
        for plan in plans {
            let (own, others) = rest.split_at_mut(panels(&plan) * cols / 2);
            rest = others;
            pool.chunks(&mut own[..plan.rows * cols / 2], cols / 2, |row, out| {
                let mut codes = plan.coded.row_codes(row, cols);
                for out in out.chunks_exact_mut(CHUNK / 2) {
                    // bytes 0 to 7 hold columns 0 to 7 and, in their high halves, 8 to 15; the others the next sixteen
                    let chunk: [u8; CHUNK] = std::array::from_fn(|_| codes.next().unwrap_or(0) as u8);
                    for (i, byte) in out.iter_mut().enumerate() {
                        let column = i % 8 + i / 8 * 16;
                        *byte = chunk[column] | chunk[column + 8] << 4;
                    }
                }
            });
            let known = tables.len() as u16;
            let count = plan.coded.groups(cols);
            for groups_of_row in plan.groups.chunks(count) {
                groups.extend((0..cols / block).map(|i| {
                    let own = groups_of_row[i * block / group];
                    Group {
                        table: own.table + known,
                        ..own
                    }
                }));
            }
            let padding = (panels(&plan) - plan.rows) * (cols / block);
            groups.resize(groups.len() + padding, Group::default());
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
        self.codes.len() + self.groups.len() * size_of::<Group>() + self.tables.len() * size_of::<Table>()
    }

    // A row's codes and what its blocks are decoded by.
    #[inline(always)]
    fn row(&self, row: usize) -> (&[[u8; 16]], &[Group]) {
        let (codes, _) = self.codes[row * self.cols / 2..(row + 1) * self.cols / 2].as_chunks();
        let blocks = self.cols / self.block;
        (codes, &self.groups[row * blocks..(row + 1) * blocks])
    }

    #[inline(always)]
    fn table(&self, group: Group) -> &Table {
        &self.tables[usize::from(group.table)]
    }

    /// A row's values.
    pub fn values(&self, row: usize, out: &mut [f32]) {
        let (codes, groups) = self.row(row);
        for (column, out) in out.iter_mut().enumerate() {
            let (i, column_in) = (column / CHUNK, column % CHUNK);
            let byte = codes[i][column_in % 8 + column_in / 16 * 8];
            let code = usize::from(byte >> (column_in / 8 % 2 * 4) & 15);
            let group = groups[column / self.block];
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
        let mut sums = SUMS.take();
        let panels = self.out.chunks_exact_mut(x.rows * PANEL);
        for (panel, out) in (self.first..).zip(panels) {
            if x.rows == 1 {
                one_row::<A>(x, w, panel, out);
            } else {
                many_rows::<A>(x, w, panel, &mut sums, out);
            }
            for (row, out) in out.chunks_exact_mut(PANEL).enumerate() {
                let scale = x.scale(row);
                out.iter_mut().for_each(|out| *out *= scale);
            }
        }
        SUMS.set(sums);
    }
}

// The partial sums of one row and panel.
type PanelSums = [[[f32; PARTIALS]; PAIR]; PANEL / PAIR];

thread_local! {
    static SUMS: RefCell<Vec<PanelSums>> = const { RefCell::new(Vec::new()) };
}

// Codes are decoded on their way from memory, which is what a single row waits for.
#[inline(always)]
fn one_row<A: Arithmetic>(x: &Integers, w: &Nibbles, panel: usize, out: &mut [f32]) {
    for (lane, out) in out.iter_mut().enumerate() {
        let (codes, groups) = w.row(panel * PANEL + lane);
        let sum = match w.block / CHUNK {
            4 => dot::<A, 4>(x, w, codes, groups),
            2 => dot::<A, 2>(x, w, codes, groups),
            _ => dot::<A, 1>(x, w, codes, groups),
        };
        *out = add_partials(A::lanes(sum));
    }
}

// One output of one row, in blocks of CHUNKS chunks.
#[inline(always)]
fn dot<A: Arithmetic, const CHUNKS: usize>(
    x: &Integers,
    w: &Nibbles,
    codes: &[[u8; 16]],
    groups: &[Group],
) -> A::Floats {
    let (codes, _) = codes.as_chunks::<CHUNKS>();
    let (inputs, _) = x.words.as_chunks::<2>();
    let (inputs, _) = inputs.as_chunks::<CHUNKS>();
    let mut sums = A::partials(&[0.0; PARTIALS]);
    for (i, ((codes, group), inputs)) in codes.iter().zip(groups).zip(inputs).enumerate() {
        A::fetch_ahead(&codes[0]);
        let table = A::table(w.table(*group));
        let mut sum = A::zero();
        for (codes, inputs) in codes.iter().zip(inputs) {
            let (low, high) = A::decode(table, codes);
            sum = A::dot(sum, low, A::load(&inputs[0]));
            sum = A::dot(sum, high, A::load(&inputs[1]));
        }
        sums = A::add(sums, sum, x.units[i * CHUNKS / (BLOCK / CHUNK)] * from_bf16(group.unit));
    }
    sums
}

// A stretch of a panel is decoded once for all rows.
#[inline(always)]
fn many_rows<A: Arithmetic>(x: &Integers, w: &Nibbles, panel: usize, sums: &mut Vec<PanelSums>, out: &mut [f32]) {
    sums.clear();
    sums.resize(x.rows, [[[0.0; PARTIALS]; PAIR]; PANEL / PAIR]);
    let mut decoded = [const { [Words::ZERO; STRETCH / 16 * PAIR] }; PANEL / PAIR];
    let mut units = [[[0f32; PAIR]; STRETCH / CHUNK]; PANEL / PAIR];
    let mut start = 0;
    while start < w.cols {
        let stretch = STRETCH.min(w.cols - start);
        for lane in 0..PANEL {
            let (codes, groups) = w.row(panel * PANEL + lane);
            let codes = &codes[start / CHUNK..][..stretch / CHUNK];
            let groups = &groups[start / w.block..];
            for (block, (codes, group)) in codes.chunks(w.block / CHUNK).zip(groups).enumerate() {
                units[lane / PAIR][block][lane % PAIR] = from_bf16(group.unit);
                let table = A::table(w.table(*group));
                let places = &mut decoded[lane / PAIR][block * w.block / 16 * PAIR..];
                for (codes, places) in codes.iter().zip(places.chunks_exact_mut(2 * PAIR)) {
                    let (low, high) = A::decode(table, codes);
                    A::store(low, &mut places[lane % PAIR]);
                    A::store(high, &mut places[PAIR + lane % PAIR]);
                }
            }
        }
        for first in (0..x.rows).step_by(x.together) {
            let size = x.together.min(x.rows - first);
            let inputs = &x.words[(first * w.cols + start * size) / 16..][..stretch / 16 * size];
            let input_units = &x.units[first * x.blocks()..][..x.blocks() * size];
            let sums = &mut sums[first..first + size];
            for (pair, (decoded, units)) in decoded.iter().zip(&units).enumerate() {
                let pass = Pass {
                    inputs,
                    input_units,
                    weights: decoded,
                    units,
                    start,
                    block: w.block,
                    pair,
                };
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
        start += stretch;
    }
    out.iter_mut()
        .zip(sums.iter().flatten().flatten())
        .for_each(|(out, sums)| *out = add_partials(*sums));
}

// A stretch of columns, a few rows and two outputs.
struct Pass<'a> {
    inputs: &'a [Words],      // (stretch / 16, ROWS)
    input_units: &'a [f32],   // (blocks of the whole row, ROWS)
    weights: &'a [Words],     // (stretch / 16, PAIR)
    units: &'a [[f32; PAIR]], // by block of the stretch
    start: usize,
    block: usize,
    pair: usize,
}

impl Pass<'_> {
    #[inline(always)]
    fn run<A: Arithmetic, const ROWS: usize>(&self, sums: &mut [PanelSums]) {
        let Some((sums, _)) = sums.split_first_chunk_mut::<ROWS>() else {
            return;
        };
        let (inputs, _) = self.inputs.as_chunks::<ROWS>();
        let (input_units, _) = self.input_units.as_chunks::<ROWS>();
        let (weights, _) = self.weights.as_chunks::<PAIR>();
        let steps = self.block / 16;
        let blocks = inputs.chunks(steps).zip(weights.chunks(steps));
        for (block, (inputs, weights)) in blocks.enumerate() {
            let mut sum = [[A::zero(); PAIR]; ROWS];
            for (x, w) in inputs.iter().zip(weights) {
                let w = [A::load(&w[0]), A::load(&w[1])];
                for row in 0..ROWS {
                    let x = A::load(&x[row]);
                    for i in 0..PAIR {
                        sum[row][i] = A::dot(sum[row][i], x, w[i]);
                    }
                }
            }
            let input_units = &input_units[(self.start + block * self.block) / BLOCK];
            for row in 0..ROWS {
                for i in 0..PAIR {
                    let unit = input_units[row] * self.units[block][i];
                    let sums = &mut sums[row][self.pair][i];
                    *sums = A::lanes(A::add(A::partials(sums), sum[row][i], unit));
                }
            }
        }
    }
}
