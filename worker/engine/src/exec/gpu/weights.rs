//! Weight matrices as the kernels read them: k-major words, so that threads of neighbouring outputs read neighbouring words.
//!
//! Four layouts hold everything: bf16 values, 4- and 8-bit codes, float8 codes. What fits none of the last three (scales that
//! are not shared by whole octets of neighbouring columns) is held as the bf16 values it means.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Codebook, Matrix, Rounding, Weights as Stored, Zeros};

use super::GpuError;
use super::device::Opened;
use super::units::power;
use crate::numerics::from_bf16;

/// K is padded to a multiple of this.
const PAD: usize = 32;

/// How a matrix's words are read; one shader file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// two bf16 in a word
    Dense,
    /// eight codes in a word
    Int4,
    /// four codes in a word
    Int8,
    /// four e4m3fn in a word
    Float8,
}

impl Layout {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Layout; 4] = [Layout::Dense, Layout::Int4, Layout::Int8, Layout::Float8];

    // Values in a word.
    fn per_word(self) -> usize {
        match self {
            Layout::Dense => 2,
            Layout::Int4 => 8,
            Layout::Int8 | Layout::Float8 => 4,
        }
    }
}

/// A matrix on the card.
pub struct Weights {
    pub(super) layout: Layout,
    pub(super) n: u32,
    pub(super) k: u32,
    /// octets of columns that share a scale
    pub(super) octets: u32,
    pub(super) f16_scales: u32,
    pub(super) words: wgpu::Buffer,  // (K/per word, N) u32
    pub(super) scales: wgpu::Buffer, // (groups, N) of (scale, the code that stands for zero)
    pub(super) powers: wgpu::Buffer, // (N) of two: what matrix units multiply an output's weights by
}

impl Weights {
    /// Puts a matrix on the card. `what` names it in errors.
    pub fn upload(device: &Opened, what: &str, matrix: &Matrix) -> Result<Weights, GpuError> {
        Laid::of(matrix).upload(device, what)
    }
}

/// Matrices on their way to a card: the outputs of one after those of another.
pub struct Laid {
    layout: Layout,
    n: usize,
    k: usize,
    octets: usize,
    f16_scales: bool,
    words: Vec<u32>,       // (K/per word, N)
    scales: Vec<[f32; 2]>, // (groups, N); none of bf16 values
    powers: Vec<f32>,      // (N)
}

impl Laid {
    /// A matrix as the kernels read it.
    pub fn of(matrix: &Matrix) -> Laid {
        let (n, k) = (matrix.rows, matrix.cols);
        let (layout, octets, f16_scales) = how(matrix);
        let width = k.next_multiple_of(PAD) / layout.per_word();
        let mut scales = Vec::new();
        let mut largest = vec![0f32; n]; // of an output's weights, or not much more
        let words = match (&matrix.weights, layout) {
            (Stored::Coded(coded), Layout::Int4 | Layout::Int8 | Layout::Float8) => {
                let (offset, most) = match coded.book {
                    Codebook::Int => (
                        f32::from(1u8 << (coded.bits - 1)),
                        f32::from(u8::MAX >> (8 - coded.bits)),
                    ),
                    _ => (0.0, 448.0),
                };
                let zero = |i: usize| match &coded.zeros {
                    Zeros::Int(z) => f32::from(z[i]),
                    _ => 0.0,
                };
                scales = by_group(n, &coded.scales.values, |i| offset + zero(i));
                for (at, &[scale, zero]) in scales.iter().enumerate() {
                    let bound = 1.01 * scale.abs() * zero.abs().max((most - zero).abs()); // room to round
                    largest[at % n] = largest[at % n].max(bound);
                }
                // the stored words are the kernels' already
                let stored = coded.codes.len() / n.max(1);
                transposed(n, width, |row, out| {
                    out[..stored].copy_from_slice(&coded.codes[row * stored..][..stored]);
                })
            }
            _ => {
                let mut values = vec![0u16; k];
                transposed(n, width, |row, out| {
                    matrix.row_bf16(row, &mut values);
                    let magnitudes = values.iter().map(|&w| from_bf16(w & 0x7fff));
                    largest[row] = magnitudes.fold(0.0, f32::max);
                    for (c, &value) in values.iter().enumerate() {
                        out[c / 2] |= u32::from(value) << (16 * (c % 2));
                    }
                })
            }
        };
        Laid {
            layout,
            n,
            k,
            octets,
            f16_scales,
            words,
            scales,
            powers: largest.into_iter().map(power).collect(),
        }
    }

    /// Whether both are read alike, so that they can be joined.
    pub fn joins(a: &Matrix, b: &Matrix) -> bool {
        a.cols == b.cols && how(a) == how(b)
    }

    /// The outputs of `other`, which has to be read alike, after its own.
    pub fn join(self, other: Laid) -> Laid {
        Laid {
            n: self.n + other.n,
            words: side_by_side((&self.words, self.n), (&other.words, other.n)),
            scales: side_by_side((&self.scales, self.n), (&other.scales, other.n)),
            powers: [self.powers, other.powers].concat(),
            ..self
        }
    }

    /// Puts them on the card. `what` names them in errors.
    pub fn upload(self, device: &Opened, what: &str) -> Result<Weights, GpuError> {
        device.allow_groups(what, self.n.div_ceil(16) as u32)?;
        Ok(Weights {
            layout: self.layout,
            n: self.n as u32,
            k: self.k as u32,
            octets: self.octets as u32,
            f16_scales: self.f16_scales.into(),
            words: device.upload(what, &self.words)?,
            scales: device.upload(&format!("{what}'s scales"), &self.scales)?,
            powers: device.upload(&format!("{what}'s powers of two"), &self.powers)?,
        })
    }
}

// Rows of so many values of one, each followed by the other's.
fn side_by_side<T: Copy>((a, a_row): (&[T], usize), (b, b_row): (&[T], usize)) -> Vec<T> {
    let rows = a.chunks_exact(a_row).zip(b.chunks_exact(b_row));
    rows.flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
}

// (width, N) words from rows of `width` words, which `fill` is given zeroed. Rows go in blocks of a cache line.
fn transposed(n: usize, width: usize, mut fill: impl FnMut(usize, &mut [u32])) -> Vec<u32> {
    const BLOCK: usize = 16;
    let mut out = vec![0; width * n];
    let mut block = vec![0; width * BLOCK];
    for first in (0..n).step_by(BLOCK) {
        let rows = BLOCK.min(n - first);
        block.fill(0);
        for (i, words) in block.chunks_exact_mut(width).take(rows).enumerate() {
            fill(first + i, words);
        }
        for w in 0..width {
            for i in 0..rows {
                out[w * n + first + i] = block[i * width + w];
            }
        }
    }
    out
}

// Layout, octets of columns that share a scale, and whether products are rounded to f16 first.
fn how(matrix: &Matrix) -> (Layout, usize, bool) {
    match (layout(matrix), &matrix.weights) {
        (layout @ (Layout::Int4 | Layout::Int8 | Layout::Float8), Stored::Coded(coded)) => {
            let f16_scales = coded.rounding == Rounding::Product(Dtype::F16);
            (layout, coded.scales.cols.div_ceil(8), f16_scales)
        }
        _ => (Layout::Dense, matrix.cols.div_ceil(8), false),
    }
}

// The tightest layout that holds a matrix exactly.
fn layout(matrix: &Matrix) -> Layout {
    let octets = |group: usize| group.is_multiple_of(8) || group >= matrix.cols;
    let Stored::Coded(coded) = &matrix.weights else {
        return Layout::Dense;
    };
    let simple = coded.index.is_none()
        && coded.scales.rows == 1
        && octets(coded.scales.cols)
        && !matches!(coded.zeros, Zeros::Float(_))
        && matches!(coded.rounding, Rounding::Product(_));
    match (&coded.book, coded.bits) {
        (Codebook::Int, 4) if simple => Layout::Int4,
        (Codebook::Int, 8) if simple => Layout::Int8,
        (Codebook::E4m3, 8) if simple => Layout::Float8,
        _ => Layout::Dense,
    }
}

// (N, groups) scales and a zero for each to (groups, N).
fn by_group(n: usize, scales: &[f32], zero: impl Fn(usize) -> f32) -> Vec<[f32; 2]> {
    let groups = scales.len() / n.max(1);
    let at = (0..groups).flat_map(|g| (0..n).map(move |r| r * groups + g));
    at.map(|i| [scales[i], zero(i)]).collect()
}
