//! One kernel at a time on data from the host: for the self-test at the start and for tests.

use std::ops::Range;

use assay_checkpoint::{CacheCodes, Codes, InputScale, Inputs, Matrix, Transform};
use wgpu::{BufferDescriptor, BufferUsages, MapMode};

use super::GpuError;
use super::device::{Card, Opened};
use super::kernels::Kernels;
use super::op::{Extent, Halved, Op, Parts, Section, cache_words, dimensions, quantize_words, turn_words};
use super::units::{self, Units};
use super::weights::{Layout, Weights};
use crate::batch::Page;
use crate::numerics::{KV_CHUNK, Precision};

/// A card with its kernels compiled. Inputs and outputs of its methods are (rows, width) row-major.
pub struct Probe {
    /// the card
    pub device: Opened,
    /// its kernels
    pub kernels: Kernels,
}

/// Which of the kernels for matrix products. On matrix units both have others' sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// tiles of 64 rows
    Wide,
    /// four rows, slices of K side by side
    Narrow,
}

impl Shape {
    /// Rows that a workgroup computes, whether or not there are as many.
    pub fn rows(self) -> usize {
        match self {
            Shape::Wide => 64,
            Shape::Narrow => 4,
        }
    }
}

/// Sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// of queries
    pub heads: usize,
    /// of keys and values
    pub kv_heads: usize,
    /// width of one
    pub head_dim: usize,
    /// keys seen, its own included; all without
    pub window: Option<usize>,
}

/// Rows of one sequence for the attention kernels.
pub struct Sequence<'a> {
    /// position of each row
    pub positions: &'a [u32],
    /// the sequence's pages
    pub pages: &'a [Page],
    /// cos and sin, (rows, head_dim / 2)
    pub rotations: &'a [[f32; 2]],
}

impl Probe {
    /// Opens a card and compiles the kernels, with products on these matrix units or on none.
    pub fn new(card: &Card, precision: Precision, units: Option<Units>) -> Result<Probe, GpuError> {
        let device = match units {
            Some(_) => card.open_with(units::FEATURES)?,
            None => card.open()?,
        };
        let kernels = Kernels::new(&device, precision, units)?;
        Ok(Probe { device, kernels })
    }

    /// The matrix units that products are made on.
    pub fn units(&self) -> Option<Units> {
        self.kernels.units.as_ref().map(|kernels| kernels.units)
    }

    /// The layout a matrix gets.
    pub fn layout(&self, matrix: &Matrix) -> Result<Layout, GpuError> {
        Ok(Weights::upload(&self.device, "a matrix", matrix)?.layout)
    }

    /// x·W, each row's sums multiplied by its scale.
    pub fn product(&self, matrix: &Matrix, x: &[f32], row_scales: &[f32], shape: Shape) -> Result<Vec<f32>, GpuError> {
        self.product_of(matrix, Inputs::Plain, x, row_scales, shape)
    }

    /// The same of what such inputs become, codes for instance.
    pub fn product_of(
        &self,
        matrix: &Matrix,
        inputs: Inputs,
        x: &[f32],
        row_scales: &[f32],
        shape: Shape,
    ) -> Result<Vec<f32>, GpuError> {
        let w = Weights::upload(&self.device, "a matrix", matrix)?;
        let (x, scales) = (self.up(x)?, self.up(row_scales)?);
        let out = self.out(row_scales.len() * matrix.rows)?;
        let narrow_rows = if shape == Shape::Narrow { u32::MAX } else { 0 };
        let ops = self.product_ops(&w, inputs, [&x, &scales, &out], row_scales.len(), narrow_rows)?;
        self.run(&ops, row_scales.len())?;
        self.down(&out, row_scales.len() * matrix.rows)
    }

    /// The dispatches of a product of so many rows.
    pub(super) fn product_ops(
        &self,
        w: &Weights,
        inputs: Inputs,
        [x, row_scales, out]: [&wgpu::Buffer; 3],
        rows: usize,
        narrow_rows: u32,
    ) -> Result<Vec<Op>, GpuError> {
        let out = Section::whole(out, w.n);
        let Some(kernels) = &self.kernels.units else {
            let op = Op::product(&self.device, &self.kernels, w, [x, row_scales], out, narrow_rows);
            return Ok(vec![op]);
        };
        let (halves, inverses) = (self.out(rows * w.k as usize)?, self.out(rows)?);
        let halved = Halved {
            halves: &halves,
            inverses: &inverses,
            parts: units::parts(self.kernels.precision, inputs),
        };
        Ok(vec![
            Op::halves(&self.device, kernels, x, &halved, w.k),
            Op::unit_product(&self.device, kernels, w, &halved, row_scales, out, narrow_rows),
        ])
    }

    /// Rows of an embedding: given tokens, or with `follow` the ones that outputs in reverse order have picked.
    pub fn embed(&self, matrix: &Matrix, tokens: &[u32], follow: bool) -> Result<Vec<f32>, GpuError> {
        let w = Weights::upload(&self.device, "an embedding", matrix)?;
        let row = |(at, &token)| {
            if follow {
                [0, 0, 0, (tokens.len() - at) as u32]
            } else {
                [token, 0, 0, 0]
            }
        };
        let rows: Vec<[u32; 4]> = tokens.iter().enumerate().map(row).collect();
        let picked: Vec<[u32; 4]> = tokens.iter().rev().map(|&token| [token, 1, 2, 3]).collect();
        let (rows, picked, h, x) = (
            self.up(&rows)?,
            self.up(&picked)?,
            self.out(tokens.len() * matrix.cols)?,
            self.out(tokens.len() * matrix.cols)?,
        );
        let kernel = &self.kernels.linear(w.layout).embed;
        let buffers = [&w.words, &w.scales, &rows, &picked, &h, &x];
        let words = dimensions(&w, 1, &Section::whole(&h, w.k));
        let op = Op::values(&self.device, kernel, &buffers, words, w.k.div_ceil(8));
        self.run(&[op], tokens.len())?;
        let len = tokens.len() * matrix.cols;
        let (h, x) = (self.down(&h, len)?, self.down(&x, len)?);
        if h != x {
            return Err(GpuError::Reported("an embedding's two copies differ".into()));
        }
        Ok(h)
    }

    /// Codes of inputs and the rows' scales.
    pub fn quantize(
        &self,
        codes: Codes,
        scale: InputScale,
        x: &[f32],
        width: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), GpuError> {
        let (len, rows) = (x.len(), x.len() / width);
        let (x, q, scales) = (self.up(x)?, self.out(x.len())?, self.out(rows)?);
        let (words, each) = quantize_words(width as u32, codes, scale);
        let op = Op::rows(&self.device, &self.kernels.quantize, &[&x, &q, &scales], words, each);
        self.run(&[op], rows)?;
        Ok((self.down(&q, len)?, self.down(&scales, rows)?))
    }

    /// Rows turned: exact, and rounded as a linear input.
    pub fn turn(&self, transform: &Transform, x: &[f32], width: usize) -> Result<(Vec<f32>, Vec<f32>), GpuError> {
        let (len, x) = (x.len(), self.up(x)?);
        let (exact, turned) = (self.out(len)?, self.out(len)?);
        let (words, matrix) = turn_words(width as u32, transform, &Section::whole(&exact, width as u32));
        let matrix = self.up(matrix)?;
        let buffers = [&x, &matrix, &exact, &turned];
        let op = Op::values(&self.device, &self.kernels.turn, &buffers, words, width as u32);
        self.run(&[op], len / width)?;
        Ok((self.down(&exact, len)?, self.down(&turned, len)?))
    }

    /// Norms of all rows: exact, and rounded as a linear input.
    pub fn norm(&self, h: &[f32], weight: &[f32], eps: f32) -> Result<(Vec<f32>, Vec<f32>), GpuError> {
        let (width, rows) = (weight.len(), h.len() / weight.len());
        let list: Vec<[u32; 2]> = (0..rows as u32).map(|row| [row, 0]).collect();
        let (list, h, weight) = (self.up(&list)?, self.up(h)?, self.up(weight)?);
        let (exact, x) = (self.out(rows * width)?, self.out(rows * width)?);
        let words = vec![0, 0, width as u32, eps.to_bits()];
        let buffers = [&list, &h, &weight, &exact, &x];
        self.run(&[Op::rows(&self.device, &self.kernels.norm, &buffers, words, 1)], rows)?;
        Ok((self.down(&exact, rows * width)?, self.down(&x, rows * width)?))
    }

    /// h + branch, the branch normalised if there is a weight.
    pub fn add(
        &self,
        h: &[f32],
        branch: &[f32],
        weight: Option<&[f32]>,
        width: usize,
        eps: f32,
    ) -> Result<Vec<f32>, GpuError> {
        let words = vec![0, width as u32, eps.to_bits(), weight.is_some().into(), 0];
        let (out, branch, rows) = (self.up(h)?, self.up(branch)?, h.len() / width);
        let (weight, x) = (self.up(weight.unwrap_or(&[0.0]))?, self.out(h.len())?);
        let (halves, inverses) = (self.out(1)?, self.out(1)?);
        let buffers = [&branch, &weight, &out, &x, &halves, &inverses];
        let op = Op::rows(&self.device, &self.kernels.add, &buffers, words, 1);
        self.run(&[op], rows)?;
        self.down(&out, h.len())
    }

    /// silu(gate)·up.
    pub fn activate(&self, gate: &[f32], up: &[f32]) -> Result<Vec<f32>, GpuError> {
        let (len, both) = (gate.len(), self.up(&[gate, up].concat())?);
        let (exact, x) = (self.out(len)?, self.out(len)?);
        let op = Op::values(
            &self.device,
            &self.kernels.activate,
            &[&both, &exact, &x],
            vec![0, len as u32],
            len as u32,
        );
        self.run(&[op], 1)?;
        self.down(&exact, len)
    }

    /// Stores the rows' keys and values, quantized if there are codes, in a cache of `pages` pages that holds NaN elsewhere, then attends: in
    /// steps of so many rows, as a prompt in pieces and tokens after it are computed, so that each reads what earlier ones stored. No norms.
    pub fn attend_in_steps(
        &self,
        sizes: Heads,
        s: &Sequence<'_>,
        codes: Option<&CacheCodes>,
        [q, k, v]: [&[f32]; 3],
        pages: usize,
        steps: &[usize],
    ) -> Result<Vec<f32>, GpuError> {
        let (q_width, kv_width) = (sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim);
        let (keys, values) = self.cache(sizes, pages)?;
        let (table, none) = (self.up(s.pages)?, self.up(&[0f32])?);
        let shape = [0, sizes.heads as u32, sizes.kv_heads as u32, sizes.head_dim as u32];
        let scale = 1.0 / (sizes.head_dim as f32).sqrt();
        let (codes, scales) = cache_words(codes);
        let scales = self.up(&scales)?;
        let store_words = [&shape[..], &[0, scale.to_bits(), 0, 1], &codes].concat();
        let attend_words = [0, shape[1], shape[2], shape[3], sizes.window.unwrap_or(0) as u32, 0];
        let positions = s.positions.iter().max().map_or(1, |&position| position as usize + 1);
        let shape_of = [sizes.heads, sizes.kv_heads, sizes.head_dim];
        let parts = Parts::new(&self.device, shape_of, positions, q.len() / q_width)?;
        let (mut out, mut first) = (Vec::with_capacity(q.len()), 0);
        for &rows in steps {
            let pairs = sizes.head_dim / 2;
            let list = self.rows(&s.positions[first..][..rows])?;
            let turns = self.up(&s.rotations[first * pairs..][..rows * pairs])?;
            let parts_of = [(q, q_width), (k, kv_width), (v, kv_width)];
            let qkv = self.up(&by_row(parts_of, first..first + rows))?;
            let (exact, x) = (self.out(rows * q_width)?, self.out(rows * q_width)?);
            let buffers = [&list, &table, &turns, &none, &none, &scales, &qkv, &keys, &values];
            let each = (sizes.heads + 2 * sizes.kv_heads) as u32;
            let store = Op::rows(&self.device, &self.kernels.heads, &buffers, store_words.clone(), each);
            let buffers = [&list, &table, &qkv, &keys, &values, &exact, &x];
            let [walk, parts_of_rows, merge] =
                Op::attention(&self.device, &self.kernels, attend_words, &parts, buffers);
            let last = s.positions[first..][..rows]
                .iter()
                .max()
                .map_or(0, |&last| last as usize);
            self.run_over(&[store, walk, parts_of_rows, merge], rows, last / KV_CHUNK + 1)?;
            out.extend(self.down(&exact, rows * q_width)?);
            first += rows;
        }
        Ok(out)
    }

    /// Queries as attention takes them: normed with `weight` (head_dim), rotated, scaled.
    pub fn queries(
        &self,
        sizes: Heads,
        s: &Sequence<'_>,
        weight: &[f32],
        eps: f32,
        q: &[f32],
    ) -> Result<Vec<f32>, GpuError> {
        let (keys, values) = self.cache(sizes, s.pages.len())?;
        let (rows, width) = (s.positions.len(), sizes.heads * sizes.head_dim);
        let kv = vec![0f32; rows * sizes.kv_heads * sizes.head_dim];
        let kv_width = sizes.kv_heads * sizes.head_dim;
        let qkv = self.up(&by_row([(q, width), (&kv, kv_width), (&kv, kv_width)], 0..rows))?;
        let (list, table, turns) = (self.rows(s.positions)?, self.up(s.pages)?, self.up(s.rotations)?);
        let (codes, scales) = cache_words(None);
        let (scales, weight) = (self.up(&scales)?, self.up(weight)?);
        let shape = [0, sizes.heads as u32, sizes.kv_heads as u32, sizes.head_dim as u32];
        let scale = 1.0 / (sizes.head_dim as f32).sqrt();
        let words = [&shape[..], &[eps.to_bits(), scale.to_bits(), 1, 1], &codes].concat();
        let buffers = [&list, &table, &turns, &weight, &weight, &scales, &qkv, &keys, &values];
        let each = (sizes.heads + 2 * sizes.kv_heads) as u32;
        let op = Op::rows(&self.device, &self.kernels.heads, &buffers, words, each);
        self.run(&[op], rows)?;
        let found = self.down(&qkv, q.len() + 2 * kv.len())?;
        let found = found.chunks(found.len() / rows).flat_map(|row| &row[..width]);
        Ok(found.copied().collect())
    }

    // Keys and values that were never stored are NaN, so that a test sees any read of them.
    fn cache(&self, sizes: Heads, pages: usize) -> Result<(wgpu::Buffer, wgpu::Buffer), GpuError> {
        let cache = vec![f32::NAN; pages * sizes.kv_heads * sizes.head_dim * crate::numerics::PAGE_TOKENS];
        Ok((self.up(&cache)?, self.up(&cache)?))
    }

    // (rows): token, position, first entry in the page table, 0
    fn rows(&self, positions: &[u32]) -> Result<wgpu::Buffer, GpuError> {
        let rows: Vec<[u32; 4]> = positions.iter().map(|&position| [0, position, 0, 0]).collect();
        self.up(&rows)
    }

    /// A buffer with this content.
    pub(super) fn up<T: bytemuck::NoUninit>(&self, content: &[T]) -> Result<wgpu::Buffer, GpuError> {
        write(&self.device, content)
    }

    /// A buffer of NaN, so that a test sees what a kernel leaves unwritten.
    pub(super) fn out(&self, len: usize) -> Result<wgpu::Buffer, GpuError> {
        self.up(&vec![f32::NAN; len])
    }

    fn run(&self, ops: &[Op], rows: usize) -> Result<(), GpuError> {
        self.run_over(ops, rows, 1)
    }

    fn run_over(&self, ops: &[Op], rows: usize, chunks: usize) -> Result<(), GpuError> {
        let extent = Extent {
            first: 0,
            rows: rows as u32,
            chunks: chunks as u32,
        };
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        ops.iter().for_each(|op| op.record(&mut pass, extent));
        drop(pass);
        self.device.queue.submit([encoder.finish()]);
        self.device.check()
    }

    fn down(&self, buffer: &wgpu::Buffer, len: usize) -> Result<Vec<f32>, GpuError> {
        read_back(&self.device, buffer, len)
    }
}

// Rows of each, of so many values, one behind another.
fn by_row(parts: [(&[f32], usize); 3], rows: Range<usize>) -> Vec<f32> {
    let row = |row: usize| parts.into_iter().flat_map(move |(x, width)| &x[row * width..][..width]);
    rows.flat_map(row).copied().collect()
}

/// A buffer with this content, to be read back.
pub(super) fn write<T: bytemuck::NoUninit>(device: &Opened, content: &[T]) -> Result<wgpu::Buffer, GpuError> {
    let bytes: &[u8] = bytemuck::cast_slice(content);
    let buffer = device.buffer("a probe", bytes.len() as u64, BufferUsages::COPY_SRC)?;
    device.queue.write_buffer(&buffer, 0, bytes);
    Ok(buffer)
}

/// The first values of a buffer, when all that was submitted is done.
pub(super) fn read_back<T: bytemuck::AnyBitPattern>(
    device: &Opened,
    buffer: &wgpu::Buffer,
    len: usize,
) -> Result<Vec<T>, GpuError> {
    let host = device.device.create_buffer(&BufferDescriptor {
        label: Some("readback"),
        size: buffer.size(),
        usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &host, 0, buffer.size());
    device.queue.submit([encoder.finish()]);
    host.map_async(MapMode::Read, .., |_| {}); // a failure shows in `wait`
    device.wait()?;
    let view = host
        .get_mapped_range(..)
        .map_err(|error| GpuError::Reported(error.to_string()))?;
    Ok(bytemuck::cast_slice(&view)[..len].to_vec())
}
