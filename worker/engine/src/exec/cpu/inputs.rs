//! A linear layer's input, rounded or turned into codes, laid out for [`linear`](super::gemm::linear): by rows that are multiplied together,
//! (K, those rows), so that their inputs for one k are neighbours.

use assay_checkpoint::{Codes, GroupScale, InputScale, Inputs};

use super::bytes::ByteInputs;
use super::integers::Integers;
use super::isa::{Arithmetic, Isa, Kernel};
use super::pool::Pool;
use crate::numerics::{Precision, RowCodes, outer_scale};

/// Packed inputs, kept from one layer to the next for their memory.
#[derive(Default)]
pub struct Packed {
    /// (rows, K), by rows that are multiplied together
    pub values: Vec<f32>,
    /// what each row's finished sums are multiplied by; 1 unless the values are codes
    pub scales: Vec<f32>,
    /// whether they are
    pub codes: bool,
    /// (rows, K): inputs that were turned before
    pub turned: Vec<f32>,
    /// the same inputs for matrices that are multiplied in integers
    pub integers: Integers,
    /// and for those of the fast mode
    pub bytes: ByteInputs,
}

impl Packed {
    /// Packs `x`, (rows, cols).
    pub fn fill(&mut self, pool: &Pool, isa: Isa, precision: Precision, inputs: Inputs, x: &[f32], cols: usize) {
        self.codes = inputs != Inputs::Plain;
        self.values.resize(x.len(), 0.0);
        self.scales.resize(x.len() / cols, 1.0);
        let together = isa.together(x.len() / cols);
        let (values, scales) = (
            (&mut self.values[..], together * cols),
            (&mut self.scales[..], together),
        );
        pool.chunks2(values, scales, |task, out, scales| {
            let x = &x[task * together * cols..][..out.len()];
            isa.run(Pack {
                x,
                cols,
                precision,
                inputs,
                scales,
                out,
            });
        });
    }
}

// Rows that are multiplied together.
struct Pack<'a> {
    x: &'a [f32],
    cols: usize,
    precision: Precision,
    inputs: Inputs,
    scales: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let precision = self.precision;
        match self.inputs {
            Inputs::Plain => self.with(|_| precision),
            Inputs::Quantized {
                codes,
                scale: scale @ InputScale::Group { cols, rule },
            } => self.by_group(codes, scale, rule, cols as usize),
            Inputs::Quantized {
                codes: codes @ Codes::Int { .. },
                scale,
            } => self.with(|row| IntegerCodes(RowCodes::of(codes, scale, row))),
            Inputs::Quantized {
                codes: codes @ Codes::Float8,
                scale,
            } => self.with(|row| Floats(RowCodes::of(codes, scale, row))),
            Inputs::Quantized { codes, scale } => self.with(|row| AnyCode(RowCodes::of(codes, scale, row))),
        }
    }
}

// What becomes of a row's values. Separate types, so that no value asks which it is.
trait Rule: Copy {
    fn value(self, x: f32) -> f32;

    fn scale(self) -> f32 {
        1.0
    }
}

impl Rule for Precision {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        self.round(x)
    }
}

#[derive(Clone, Copy)]
struct IntegerCodes(RowCodes);

impl Rule for IntegerCodes {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        self.0.integer(x)
    }

    #[inline(always)]
    fn scale(self) -> f32 {
        self.0.scale
    }
}

#[derive(Clone, Copy)]
struct Floats(RowCodes);

impl Rule for Floats {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        self.0.float8(x)
    }

    #[inline(always)]
    fn scale(self) -> f32 {
        self.0.scale
    }
}

#[derive(Clone, Copy)]
struct AnyCode(RowCodes);

impl Rule for AnyCode {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        self.0.code(x)
    }

    #[inline(always)]
    fn scale(self) -> f32 {
        self.0.scale
    }
}

impl Pack<'_> {
    // Scales by group: what is multiplied is a code times its group's factor, rounded as plain inputs are.
    #[inline(always)]
    fn by_group(self, codes: Codes, scale: InputScale, rule: GroupScale, group: usize) {
        const PIECE: usize = 64;
        self.scales.fill(outer_scale(rule));
        let size = self.x.len() / self.cols;
        for (row, x) in self.x.chunks_exact(self.cols).enumerate() {
            for (k, values) in x.chunks(group.max(1)).enumerate() {
                let by = RowCodes::of(codes, scale, values);
                for (i, piece) in values.chunks(PIECE).enumerate() {
                    let mut done = [0f32; PIECE];
                    let done = &mut done[..piece.len()];
                    let value = |code: f32| self.precision.round(code * by.factor);
                    let pairs = done.iter_mut().zip(piece);
                    match codes {
                        Codes::Int { .. } => pairs.for_each(|(o, &x)| *o = value(by.integer(x))),
                        Codes::Float8 => pairs.for_each(|(o, &x)| *o = value(by.float8(x))),
                        _ => pairs.for_each(|(o, &x)| *o = value(by.code(x))),
                    }
                    let at = (k * group + i * PIECE) * size + row;
                    let places = self.out[at..].iter_mut().step_by(size);
                    places.zip(done).for_each(|(o, x)| *o = *x);
                }
            }
        }
    }

    #[inline(always)]
    fn with<R: Rule>(self, rule: impl Fn(&[f32]) -> R) {
        let Pack { x, scales, out, .. } = self;
        match x.len() / self.cols {
            11 => interleave::<11, R>(&rule, x, scales, out),
            10 => interleave::<10, R>(&rule, x, scales, out),
            9 => interleave::<9, R>(&rule, x, scales, out),
            8 => interleave::<8, R>(&rule, x, scales, out),
            7 => interleave::<7, R>(&rule, x, scales, out),
            6 => interleave::<6, R>(&rule, x, scales, out),
            5 => interleave::<5, R>(&rule, x, scales, out),
            4 => interleave::<4, R>(&rule, x, scales, out),
            3 => interleave::<3, R>(&rule, x, scales, out),
            2 => interleave::<2, R>(&rule, x, scales, out),
            _ => interleave::<1, R>(&rule, x, scales, out),
        }
    }
}

// (ROWS, cols) to (cols, ROWS), each row by its own rule.
#[inline(always)]
fn interleave<const ROWS: usize, R: Rule>(rule: impl Fn(&[f32]) -> R, x: &[f32], scales: &mut [f32], out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<ROWS>();
    let mut rows = [x; ROWS];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &x[i * out.len()..][..out.len()];
    }
    let rules = rows.map(rule);
    for (scale, rule) in scales.iter_mut().zip(&rules) {
        *scale = rule.scale();
    }
    for (k, out) in out.iter_mut().enumerate() {
        for i in 0..ROWS {
            out[i] = rules[i].value(rows[i][k]);
        }
    }
}
