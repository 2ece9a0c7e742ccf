//! A linear layer's input for matrices that are multiplied in integers ([`super::nibbles`]).

use assay_checkpoint::{Codes, InputScale, Inputs};

use super::isa::{Arithmetic, Isa, Kernel, WORDS, Words};
use super::pool::Pool;
use crate::numerics::{BLOCK, RowCodes, block_integer, block_unit};

/// Inputs as 16-bit integers: codes, or values over the power of two of their block of columns.
#[derive(Default)]
pub struct Integers {
    /// rows
    pub rows: usize,
    /// columns, a multiple of 16
    pub cols: usize,
    /// rows that are multiplied together; the last ones may be fewer
    pub together: usize,
    /// by rows that are multiplied together: (cols / WORDS, those rows)
    pub words: Vec<Words>,
    /// likewise (cols / [`BLOCK`], those rows): what the finished sums of a block of columns are multiplied by
    pub units: Vec<f32>,
    scales: Vec<f32>, // of each row, for codes; else empty
}

impl Integers {
    /// What a row's finished sums are multiplied by.
    #[inline(always)]
    pub fn scale(&self, row: usize) -> f32 {
        self.scales.get(row).copied().unwrap_or(1.0)
    }

    /// Blocks in a row.
    pub fn blocks(&self) -> usize {
        self.cols.div_ceil(BLOCK)
    }

    /// Packs `x`, (rows, cols). Inputs with scales by group are not for integers.
    pub fn fill(&mut self, pool: &Pool, isa: Isa, inputs: Inputs, x: &[f32], cols: usize) {
        (self.rows, self.cols) = (x.len() / cols, cols);
        // as few passes as possible, as even as possible
        self.together = self.rows.div_ceil(self.rows.div_ceil(isa.integer_rows()).max(1));
        let (together, blocks) = (self.together, self.blocks());
        self.words.resize(x.len() / WORDS, Words::ZERO);
        self.units.resize(self.rows * blocks, 0.0);
        self.scales.clear();
        let by = match inputs {
            Inputs::Plain => None,
            Inputs::Quantized { codes, scale } => {
                let scales = x.chunks_exact(cols).map(|row| RowCodes::of(codes, scale, row).scale);
                self.scales.extend(scales);
                Some((codes, scale))
            }
        };
        let (words, units) = (
            (&mut self.words[..], together * cols / WORDS),
            (&mut self.units[..], together * blocks),
        );
        pool.chunks2(words, units, |task, words, units| {
            let x = &x[task * together * cols..][..words.len() * WORDS];
            isa.run(PackIntegers {
                x,
                cols,
                by,
                words,
                units,
            });
        });
    }
}

struct PackIntegers<'a> {
    x: &'a [f32],
    cols: usize,
    by: Option<(Codes, InputScale)>,
    words: &'a mut [Words],
    units: &'a mut [f32],
}

impl Kernel for PackIntegers<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (cols, size) = (self.cols, self.x.len() / self.cols);
        for (row, x) in self.x.chunks_exact(cols).enumerate() {
            let codes = self.by.map(|(codes, scale)| RowCodes::of(codes, scale, x));
            for (i, x) in x.chunks(BLOCK).enumerate() {
                let unit = block_unit(x);
                let words = self.words[i * (BLOCK / WORDS) * size..]
                    .iter_mut()
                    .skip(row)
                    .step_by(size);
                let (x, _) = x.as_chunks::<WORDS>();
                let pairs = words.zip(x);
                self.units[i * size + row] = match codes {
                    None => {
                        pairs.for_each(|(words, x)| words.0 = x.map(|x| block_integer(x, unit)));
                        unit
                    }
                    // a code that is not finite is no integer: the unit tells
                    Some(by) => {
                        pairs.for_each(|(words, x)| words.0 = x.map(|x| block_integer(by.integer(x), 1.0)));
                        if unit.is_nan() { f32::NAN } else { 1.0 }
                    }
                };
            }
        }
    }
}
