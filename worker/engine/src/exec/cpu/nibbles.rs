//! Matrices of at most four bits, held as stored and multiplied in integers.
//!
//! What the codes of a group stand for is, divided by a power of two, a small integer; so are the inputs ([`block_unit`]). The products
//! of a block of columns are added exactly, whatever the order, and only finished blocks become f32. A code is turned into its
//! integer by a table of sixteen that one byte shuffle looks up; groups share tables, since a table depends on the digits of a scale and
//! not on its size.

mod multiply;

use std::collections::HashMap;

use assay_checkpoint::{Coded, Codes, InputScale, Inputs, Matrix, Weights};

pub use self::multiply::Multiply;
use super::gemm::PANEL;
use super::isa::{Arithmetic, CodePairs, QUAD};
use super::pool::Pool;
use crate::numerics::{BLOCK, MAX_WEIGHT, MAX_WEIGHT_SHORT, from_bf16};

/// Columns that are decoded together.
const CHUNK: usize = 16;

/// The shortest block.
const LEAST: usize = BLOCK / 4;

/// Tables a matrix may need; more would not stay in a core's caches.
const MAX_TABLES: usize = 4096;

// Quads of a panel.
const QUADS: usize = PANEL / QUAD;

// Two quads share the bytes of their codes: the first has the low halves.
const PAIRS: usize = QUADS / 2;

/// The integers of sixteen codes: their low bytes, then their high ones.
pub type Table = [u8; 32];

/// How a block of one row is decoded: alike in all blocks of a group of columns.
#[derive(Clone, Copy, Default)]
struct Group {
    table: u16,
    unit: u16, // bf16: what the integers are multiplied by, a power of two
}

/// Those of a panel's rows: a line of the cache.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Groups {
    tables: [u16; PANEL],
    units: [u16; PANEL],
}

/// Matrices of equal width and grouping, in panels of [`PANEL`] rows.
pub struct Nibbles {
    cols: usize,
    block: usize,                   // columns whose products are added as integers: 128, 64 or 32
    codes: Vec<[CodePairs; PAIRS]>, // (panels, cols / CHUNK)
    groups: Vec<Groups>,            // (panels, cols / block): those of each block
    tables: Vec<Table>,
}

/// What makes it possible to hold a matrix so, found before anything is packed.
pub struct Plan<'a> {
    coded: &'a Coded,
    rows: usize,
    cols: usize,
    group: usize,
    block: usize,
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
            || cols % LEAST != 0
            || group % LEAST != 0
        {
            return None;
        }
        let mut known: HashMap<[u16; 16], Group> = HashMap::new();
        let mut numbers: HashMap<[i16; 16], u16> = HashMap::new();
        let mut tables = Vec::new();
        let mut largest = 0;
        let mut found = Vec::with_capacity(coded.scales.values.len());
        for index in 0..coded.scales.values.len() {
            let mut values = [0; 16];
            coded.values(index, &mut values[..1 << coded.bits]);
            let group = match known.get(&values) {
                Some(group) => *group,
                None => {
                    let (integers, unit) = integers(&values)?;
                    largest = integers
                        .iter()
                        .fold(largest, |largest, i| largest.max(i32::from(i.abs())));
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
        let fits = |block: &usize| group % block == 0 && cols % block == 0 && (*block < BLOCK || largest <= MAX_WEIGHT);
        let block = [BLOCK, BLOCK / 2].into_iter().find(fits).unwrap_or(LEAST);
        let rows = 0..matrix.rows;
        let count = coded.groups(cols);
        let groups = rows.flat_map(|row| (0..count).map(move |k| (row, k)));
        let groups = groups.map(|(row, k)| found[coded.scale_index(row, k, cols)]).collect();
        Some(Plan {
            coded,
            rows: matrix.rows,
            cols,
            group,
            block,
            groups,
            tables,
        })
    }

    /// Whether the two can be one.
    pub fn joins(&self, other: &Plan) -> bool {
        self.cols == other.cols && self.group == other.group && self.block == other.block
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
    let mut wide = [0i32; 16];
    for ((digits, exponent), value) in parts.into_iter().zip(&mut wide) {
        let shift = if digits == 0 { 0 } else { exponent - least };
        *value = (shift < 12).then(|| digits << shift)?;
    }
    // what all are multiples of belongs to the unit: smaller integers may have longer blocks
    let spare = wide
        .iter()
        .filter(|value| **value != 0)
        .map(|value| value.trailing_zeros())
        .min();
    let spare = spare.unwrap_or(0);
    let mut integers = [0; 16];
    for (value, integer) in wide.into_iter().zip(&mut integers) {
        let value = value >> spare;
        *integer = (value.abs() <= MAX_WEIGHT_SHORT).then_some(value as i16)?;
    }
    // With an input's power of two, at least 2^−74, it must not leave the normal numbers; nor are weights of thousands sane.
    let unit = least + spare as i32 - BIAS;
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

// Where a row of a panel has the code of a column in its chunk: in which pair of quads, in which byte, and from which bit on.
const fn place(row: usize, column: usize) -> (usize, usize, usize) {
    let quad = row / QUAD % QUADS;
    (quad / 2, row % QUAD * CHUNK + column % CHUNK, quad % 2 * 4)
}

impl Nibbles {
    /// Packs matrices that join. Rows that fill the last panel of one are zero.
    pub fn pack(pool: &Pool, plans: Vec<Plan>) -> Nibbles {
        let (cols, group, block) = plans.first().map_or((0, LEAST, LEAST), |p| (p.cols, p.group, p.block));
        let (chunks, blocks) = (cols / CHUNK, cols / block);
        let panels = |plan: &Plan| plan.rows.div_ceil(PANEL);
        let all = plans.iter().map(panels).sum::<usize>();
        let (mut codes, mut tables) = (vec![[CodePairs::ZERO; PAIRS]; all * chunks], vec![[0; 32]]);
        let mut groups = vec![Groups::default(); all * blocks];
        let mut rest = (&mut codes[..], &mut groups[..]);
        for plan in plans {
            let (codes, other_codes) = rest.0.split_at_mut(panels(&plan) * chunks);
            let (groups, other_groups) = rest.1.split_at_mut(panels(&plan) * blocks);
            rest = (other_codes, other_groups);
            let known = tables.len() as u16;
            let count = plan.coded.groups(cols);
            pool.chunks2((codes, chunks), (groups, blocks), |panel, codes, groups| {
                for (own, row) in (panel * PANEL..plan.rows).take(PANEL).enumerate() {
                    for (column, code) in plan.coded.row_codes(row, cols).enumerate() {
                        let (pair, byte, shift) = place(row, column);
                        codes[column / CHUNK][pair].0[byte] |= (code as u8) << shift;
                    }
                    for (i, groups) in groups.iter_mut().enumerate() {
                        let group = plan.groups[row * count + i * block / group];
                        groups.tables[own] = group.table + known;
                        groups.units[own] = group.unit;
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

    // A panel's codes and what its blocks are decoded by.
    #[inline(always)]
    fn panel(&self, panel: usize) -> (&[[CodePairs; PAIRS]], &[Groups]) {
        let (chunks, blocks) = (self.cols / CHUNK, self.cols / self.block);
        (
            &self.codes[panel * chunks..][..chunks],
            &self.groups[panel * blocks..][..blocks],
        )
    }

    #[inline(always)]
    fn tables<A: Arithmetic>(&self, groups: &Groups, quad: usize) -> A::Tables {
        let first = quad * QUAD;
        A::tables([
            &self.tables[usize::from(groups.tables[first])],
            &self.tables[usize::from(groups.tables[first + 1])],
            &self.tables[usize::from(groups.tables[first + 2])],
            &self.tables[usize::from(groups.tables[first + 3])],
        ])
    }

    /// A row's values.
    pub fn values(&self, row: usize, out: &mut [f32]) {
        let (codes, groups) = self.panel(row / PANEL);
        for (column, out) in out.iter_mut().enumerate() {
            let (pair, byte, shift) = place(row, column);
            let code = usize::from(codes[column / CHUNK][pair].0[byte] >> shift & 15);
            let groups = &groups[column / self.block];
            let table = &self.tables[usize::from(groups.tables[row % PANEL])];
            let integer = i16::from_le_bytes([table[code], table[16 + code]]);
            *out = f32::from(integer) * from_bf16(groups.units[row % PANEL]);
        }
    }
}
