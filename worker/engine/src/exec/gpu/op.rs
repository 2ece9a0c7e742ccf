//! One dispatch, for any number of rows.

use assay_checkpoint::{CacheCodes, Codes, GroupScale, InputScale, Transform};

use super::GpuError;
use super::device::Opened;
use super::kernels::{Kernel, Kernels};
use super::units::UnitKernels;
use super::weights::Weights;
use crate::numerics::{KV_CHUNK, code_exponent, code_range, outer_scale};

/// Up to this many rows a matrix product is made by the kernel for few rows.
pub const NARROW_ROWS: u32 = 16;

/// The most workgroups along x; more are folded over y.
const FOLD: u32 = 32_768;

/// A dispatch for any number of rows.
pub struct Op {
    pipelines: Pipelines,
    bind: wgpu::BindGroup,
    words: Vec<u32>, // immediates; the first is the number of rows
    numbered: bool,
    when: When,
}

/// How much a step has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    /// number of the first output, where outputs go block by block
    pub first: u32,
    /// rows, or outputs of the block
    pub rows: u32,
    /// chunks of keys before the last position of any row, its own included
    pub chunks: u32,
}

// The steps in which a dispatch is recorded.
#[derive(Clone, Copy)]
enum When {
    Always,
    // few rows, whose chunks are attended to side by side, or all others; the last immediate is the number of chunks
    Few(u32),
    Otherwise(u32),
}

impl When {
    fn includes(&self, extent: Extent) -> bool {
        let side_by_side = |rows: u32| extent.rows <= rows && extent.chunks > 1;
        match *self {
            When::Always => true,
            When::Few(rows) => side_by_side(rows),
            When::Otherwise(rows) => !side_by_side(rows),
        }
    }
}

enum Pipelines {
    // a number of workgroups for each row
    Rows {
        pipeline: wgpu::ComputePipeline,
        each: u32,
    },
    // a number of workgroups for each row and chunk of keys
    Chunks {
        pipeline: wgpu::ComputePipeline,
        each: u32,
    },
    // a thread for each of this many values of a row, in workgroups of 64
    Values {
        pipeline: wgpu::ComputePipeline,
        each: u32,
    },
    // a matrix product with `n` outputs, by the narrow kernel up to so many rows
    Product {
        wide: Tiled,
        narrow: Tiled,
        n: u32,
        narrow_rows: u32,
    },
}

// A kernel and the outputs and rows that a workgroup of it makes.
struct Tiled(wgpu::ComputePipeline, [u32; 2]);

/// Up to this many rows their chunks are attended to side by side, memory permitting.
const FEW_ROWS: u64 = 64;

/// Bytes that their parts may take, unless a single row takes more.
const PARTS_BYTES: u64 = 64 << 20;

/// Where few rows' parts of attention go before they are merged.
pub struct Parts {
    buffer: wgpu::Buffer,
    rows: u32,
}

impl Parts {
    /// For heads of `head_dim`, positions up to `positions`, and steps of at most `rows`.
    pub fn new(
        device: &Opened,
        [heads, kv_heads, head_dim]: [usize; 3],
        positions: usize,
        rows: usize,
    ) -> Result<Parts, GpuError> {
        let chunks = positions.div_ceil(KV_CHUNK).max(1) as u64;
        let groups = u64::from(head_groups(heads as u32, kv_heads as u32));
        let each = groups * chunks * (head_dim as u64 + 2) * 16;
        let rows = (PARTS_BYTES / each).clamp(1, FEW_ROWS).min(rows as u64);
        Ok(Parts {
            buffer: device.buffer("parts of attention", rows * each, wgpu::BufferUsages::empty())?,
            rows: rows as u32,
        })
    }
}

// Workgroups of attention in a row: up to four query heads that read the same keys share one.
fn head_groups(heads: u32, kv_heads: u32) -> u32 {
    kv_heads * (heads / kv_heads).div_ceil(4)
}

/// Where outputs go: some neighbouring values of every row of a buffer.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    /// (rows, stride)
    pub buffer: &'a wgpu::Buffer,
    /// values of a row
    pub stride: u32,
    /// of them before the section
    pub first: u32,
}

impl<'a> Section<'a> {
    /// All of a buffer whose rows have so many values.
    pub fn whole(buffer: &'a wgpu::Buffer, width: u32) -> Section<'a> {
        Section {
            buffer,
            stride: width,
            first: 0,
        }
    }
}

/// Inputs as matrix units read them.
pub struct Halved<'a> {
    /// (rows, K) of two f16
    pub halves: &'a wgpu::Buffer,
    /// (rows): what undoes their powers of two
    pub inverses: &'a wgpu::Buffer,
    /// f16 that an input is the sum of
    pub parts: u32,
}

impl Op {
    fn new(pipelines: Pipelines, bind: wgpu::BindGroup, words: Vec<u32>) -> Op {
        Op {
            pipelines,
            bind,
            words,
            numbered: false,
            when: When::Always,
        }
    }

    /// A kernel that gives `each` workgroups to a row.
    pub fn rows(device: &Opened, kernel: &Kernel, buffers: &[&wgpu::Buffer], words: Vec<u32>, each: u32) -> Op {
        let pipeline = kernel.pipeline.clone();
        Op::new(Pipelines::Rows { pipeline, each }, kernel.bind(device, buffers), words)
    }

    /// A kernel that gives a thread to each of the `each` values of a row.
    pub fn values(device: &Opened, kernel: &Kernel, buffers: &[&wgpu::Buffer], words: Vec<u32>, each: u32) -> Op {
        let pipeline = kernel.pipeline.clone();
        Op::new(
            Pipelines::Values { pipeline, each },
            kernel.bind(device, buffers),
            words,
        )
    }

    /// out (rows, N) = row_scales·x·W, by the kernel for few rows up to `narrow_rows` of them.
    pub fn product(
        device: &Opened,
        kernels: &Kernels,
        w: &Weights,
        [x, row_scales]: [&wgpu::Buffer; 2],
        out: Section<'_>,
        narrow_rows: u32,
    ) -> Op {
        let kernels = kernels.linear(w.layout);
        let pipelines = Pipelines::Product {
            wide: Tiled(kernels.wide.pipeline.clone(), [64, 64]),
            narrow: Tiled(kernels.narrow.pipeline.clone(), [32, 4]),
            n: w.n,
            narrow_rows,
        };
        let buffers = [&w.words, &w.scales, x, row_scales, out.buffer];
        Op::new(pipelines, kernels.wide.bind(device, &buffers), dimensions(w, 1, &out))
    }

    /// What [`Op::unit_product`] reads, from `x`, (rows, `width`).
    pub fn halves(device: &Opened, kernels: &UnitKernels, x: &wgpu::Buffer, halved: &Halved<'_>, width: u32) -> Op {
        let buffers = [x, halved.halves, halved.inverses];
        Op::rows(device, &kernels.halves, &buffers, vec![0, width], 1)
    }

    /// As [`Op::product`], on matrix units.
    pub fn unit_product(
        device: &Opened,
        kernels: &UnitKernels,
        w: &Weights,
        x: &Halved<'_>,
        row_scales: &wgpu::Buffer,
        out: Section<'_>,
        narrow_rows: u32,
    ) -> Op {
        let units = kernels.units;
        let kernels = kernels.linear(w.layout);
        let buffers = [
            &w.words, &w.scales, &w.powers, x.halves, x.inverses, row_scales, out.buffer,
        ];
        let pipelines = Pipelines::Product {
            wide: Tiled(kernels.wide.pipeline.clone(), units.wide()),
            narrow: Tiled(kernels.narrow.pipeline.clone(), units.narrow()),
            n: w.n,
            narrow_rows,
        };
        let bind = kernels.wide.bind(device, &buffers);
        Op::new(pipelines, bind, dimensions(w, x.parts, &out))
    }

    /// Attention of queries over a cache: `words` are rows, heads of queries, of keys, width of one, window and chunks.
    pub fn attention(
        device: &Opened,
        kernels: &Kernels,
        words: [u32; 6],
        parts: &Parts,
        [list, pages, qkv, keys, values, exact, x]: [&wgpu::Buffer; 7],
    ) -> [Op; 3] {
        let [_, heads, kv_heads, ..] = words;
        let groups = head_groups(heads, kv_heads);
        let read = [list, pages, qkv, keys, values];
        let (few, otherwise) = (When::Few(parts.rows), When::Otherwise(parts.rows));
        let op = |kernel: &Kernel, by_chunk: bool, buffers: &[&wgpu::Buffer], when| {
            let (pipeline, each) = (kernel.pipeline.clone(), groups);
            let pipelines = match by_chunk {
                true => Pipelines::Chunks { pipeline, each },
                false => Pipelines::Rows { pipeline, each },
            };
            Op {
                when,
                ..Op::new(pipelines, kernel.bind(device, buffers), words.to_vec())
            }
        };
        [
            op(&kernels.attend, false, &[&read[..], &[exact, x]].concat(), otherwise),
            op(
                &kernels.attend_parts,
                true,
                &[&read[..], &[&parts.buffer]].concat(),
                few,
            ),
            op(&kernels.attend_merge, false, &[list, &parts.buffer, exact, x], few),
        ]
    }

    /// The same for a kernel whose second immediate is the number of the first output.
    pub fn numbered(mut self) -> Op {
        self.numbered = true;
        self
    }

    /// Records the dispatch, if a step of this extent has it.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, extent: Extent) {
        if !self.when.includes(extent) {
            return;
        }
        let Extent { first, rows, chunks } = extent;
        let (pipeline, x, y) = match &self.pipelines {
            Pipelines::Rows { pipeline, each } => fold(pipeline, rows * each),
            Pipelines::Chunks { pipeline, each } => fold(pipeline, rows * each * chunks),
            Pipelines::Values { pipeline, each } => fold(pipeline, (rows * each).div_ceil(64)),
            Pipelines::Product {
                wide,
                narrow,
                n,
                narrow_rows,
            } => {
                let Tiled(pipeline, tile) = if rows <= *narrow_rows { narrow } else { wide };
                (pipeline, n.div_ceil(tile[0]), rows.div_ceil(tile[1]))
            }
        };
        let mut words = [0u32; 16];
        words[..self.words.len()].copy_from_slice(&self.words);
        words[0] = rows;
        if self.numbered {
            words[1] = first;
        }
        if !matches!(self.when, When::Always) {
            words[self.words.len() - 1] = chunks;
        }
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.bind, &[]);
        pass.set_immediates(0, bytemuck::cast_slice(&words[..self.words.len()]));
        pass.dispatch_workgroups(x, y, 1);
    }
}

fn fold(pipeline: &wgpu::ComputePipeline, groups: u32) -> (&wgpu::ComputePipeline, u32, u32) {
    (pipeline, groups.min(FOLD), groups.div_ceil(FOLD))
}

/// The immediates of the kernels over a matrix.
pub fn dimensions(w: &Weights, parts: u32, out: &Section<'_>) -> Vec<u32> {
    vec![0, w.n, w.k, w.octets, w.f16_scales, parts, out.stride, out.first]
}

/// The immediates of the kernel that turns rows of `width` values, and the matrix it reads.
pub fn turn_words<'a>(width: u32, transform: &'a Transform, out: &Section<'_>) -> (Vec<u32>, &'a [f32]) {
    let size = transform.size() as u32;
    let words = |hadamard: u32, scale: f32| {
        let scale = scale.to_bits();
        vec![0, width, size, hadamard, scale, out.stride, out.first]
    };
    match transform {
        Transform::Hadamard { .. } => (words(1, 1.0 / (size as f32).sqrt()), &[0.0]),
        Transform::Matrix { values, .. } => (words(0, 1.0), values),
    }
}

/// The last immediates of the kernel that stores keys and values, and the scales it reads.
pub fn cache_words(cache: Option<&CacheCodes>) -> ([u32; 3], Vec<[f32; 4]>) {
    let Some(cache) = cache else {
        return ([0; 3], vec![[0.0; 4]]);
    };
    let (low, high) = code_range(cache.codes);
    let kind = match cache.codes {
        Codes::Int { .. } => 1,
        _ => 2,
    };
    let scales = cache.keys.iter().zip(&cache.values);
    let scales = scales.map(|(k, v)| [k.scale, k.zero.into(), v.scale, v.zero.into()]);
    ([kind, low.to_bits(), high.to_bits()], scales.collect())
}

/// The immediates of the kernel that makes codes of inputs, and the workgroups it gives to a row.
pub fn quantize_words(width: u32, codes: Codes, scale: InputScale) -> (Vec<u32>, u32) {
    let (low, high) = code_range(codes);
    let kind = match codes {
        Codes::Int { .. } => 0,
        Codes::Float8 => 1,
        Codes::Float6 => 2,
        Codes::Float4 => 3,
    };
    let plain = |symmetric: bool| if symmetric { 1 } else { 2 };
    let (rule, s, zero, most) = match scale {
        InputScale::Fixed { scale, zero } => (0, scale, f32::from(zero), 0.0),
        InputScale::Row { symmetric } => (plain(symmetric), 0.0, 0.0, 0.0),
        InputScale::Bounded { most } => (1, 0.0, 0.0, most),
        InputScale::Group { rule, .. } => match rule {
            GroupScale::Float { symmetric } => (plain(symmetric), 0.0, 0.0, 0.0),
            GroupScale::PowerOfTwo => (3, 0.0, 0.0, 0.0),
            GroupScale::Ceiling => (4, 0.0, 0.0, 0.0),
            GroupScale::Local { global } => (5, global, 0.0, 0.0),
        },
    };
    let (group, outer) = match scale {
        InputScale::Group { cols, rule } => (cols.max(1), outer_scale(rule)),
        _ => (0, 1.0),
    };
    let groups = if group == 0 { 1 } else { width.div_ceil(group) };
    let words = vec![
        0,
        width,
        low.to_bits(),
        high.to_bits(),
        rule,
        kind,
        s.to_bits(),
        zero.to_bits(),
        most.to_bits(),
        group,
        groups,
        outer.to_bits(),
        code_exponent(codes),
    ];
    (words, groups)
}
