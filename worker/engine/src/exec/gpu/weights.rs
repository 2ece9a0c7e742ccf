//! Weight matrices as the kernels read them: k-major words, so that threads of neighbouring outputs read neighbouring words.
//!
//! Four layouts hold everything: bf16 values, 4- and 8-bit codes, float8 codes. What fits none of the last three (scales that
//! are not shared by whole octets of neighbouring columns) is held as the bf16 values it means.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Matrix, Weights as Stored};

use super::GpuError;
use super::device::Opened;

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
}

impl Weights {
    /// Puts a matrix on the card. `what` names it in errors.
    pub fn upload(device: &Opened, what: &str, matrix: &Matrix) -> Result<Weights, GpuError> {
        let (n, k) = (matrix.rows, matrix.cols);
        device.allow_groups(what, n.div_ceil(32) as u32)?;
        let layout = layout(matrix);
        let width = k.next_multiple_of(PAD) / layout.per_word();
        let mut scales = vec![[0f32; 2]];
        let (mut group, mut f16_scales) = (k, false);
        let words = match (&matrix.weights, layout) {
            (
                Stored::Int {
                    bits,
                    codes,
                    scales: s,
                    scale_dtype,
                    zeros,
                    group: columns,
                    ..
                },
                Layout::Int4 | Layout::Int8,
            ) => {
                let offset = f32::from(1u8 << (bits - 1));
                scales = by_group(n, s, |i| offset + zeros.as_ref().map_or(0.0, |z| f32::from(z[i])));
                (group, f16_scales) = (*columns, *scale_dtype == Dtype::F16);
                // the stored words are the kernels' already
                let stored = codes.len() / n.max(1);
                transposed(n, width, |row, out| {
                    out[..stored].copy_from_slice(&codes[row * stored..][..stored]);
                })
            }
            (
                Stored::Float8 {
                    codes,
                    scales: s,
                    scale_dtype,
                    group: columns,
                },
                Layout::Float8,
            ) => {
                scales = by_group(n, s, |_| 0.0);
                (group, f16_scales) = (*columns, *scale_dtype == Dtype::F16);
                transposed(n, width, |row, out| {
                    for (c, &code) in codes[row * k..][..k].iter().enumerate() {
                        out[c / 4] |= u32::from(code) << (8 * (c % 4));
                    }
                })
            }
            _ => {
                let mut values = vec![0u16; k];
                transposed(n, width, |row, out| {
                    matrix.row_bf16(row, &mut values);
                    for (c, &value) in values.iter().enumerate() {
                        out[c / 2] |= u32::from(value) << (16 * (c % 2));
                    }
                })
            }
        };
        Ok(Weights {
            layout,
            n: n as u32,
            k: k as u32,
            octets: group.div_ceil(8) as u32,
            f16_scales: f16_scales.into(),
            words: device.upload(what, &words)?,
            scales: device.upload(&format!("{what}'s scales"), &scales)?,
        })
    }
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

// The tightest layout that holds a matrix exactly.
fn layout(matrix: &Matrix) -> Layout {
    let octets = |group: usize| group.is_multiple_of(8) || group >= matrix.cols;
    match &matrix.weights {
        Stored::Int {
            bits: 4,
            group,
            index: None,
            ..
        } if octets(*group) => Layout::Int4,
        Stored::Int {
            bits: 8,
            group,
            index: None,
            ..
        } if octets(*group) => Layout::Int8,
        Stored::Float8 { group, .. } if octets(*group) => Layout::Float8,
        _ => Layout::Dense,
    }
}

// (N, groups) scales and a zero for each to (groups, N).
fn by_group(n: usize, scales: &[f32], zero: impl Fn(usize) -> f32) -> Vec<[f32; 2]> {
    let groups = scales.len() / n.max(1);
    let at = (0..groups).flat_map(|g| (0..n).map(move |r| r * groups + g));
    at.map(|i| [scales[i], zero(i)]).collect()
}
