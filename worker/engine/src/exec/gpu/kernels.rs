//! The kernels: their sources, how many buffers each reads and writes, and their compiled pipelines.
//!
//! A source is a concatenation: `common.wgsl`, what the kernel shares with others, the kernel. Bindings are numbered in two runs,
//! those read and then those written, so a kernel is described by two counts. The products' faster twins, for cards with matrix units,
//! are those of [`super::units`].

use std::fmt::Write;

use sha2::{Digest, Sha256};
use wgpu::{BindGroupLayoutEntry, BindingType, BufferBindingType, ShaderRuntimeChecks, ShaderStages};

use super::GpuError;
use super::device::Opened;
use super::units::{self, HALVE_ROW, UnitKernels, Units};
use super::weights::Layout;
use crate::numerics::Precision;

/// Bytes of immediates every pipeline declares; WebGPU promises this much and every Vulkan driver has twice that.
const IMMEDIATES: u32 = 64;

pub(super) const COMMON: &str = include_str!("shaders/common.wgsl");
const ROW_SUM: &str = include_str!("shaders/row_sum.wgsl");
const CODES: &str = include_str!("shaders/codes.wgsl");
const ATTENTION: &str = include_str!("shaders/attention.wgsl");
const CHUNK: &str = include_str!("shaders/attend_chunk.wgsl");
const LINEAR: &str = include_str!("shaders/linear.wgsl");
const SCALED: &str = include_str!("shaders/weights_scaled.wgsl");

/// A compiled kernel.
pub struct Kernel {
    pub(super) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Kernel {
    /// Binds buffers in the kernel's order: those it reads, then those it writes.
    pub fn bind(&self, device: &Opened, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.layout,
            entries: &entries,
        })
    }
}

/// The kernels over weights of one layout.
pub struct LinearKernels {
    pub(super) wide: Kernel,
    pub(super) narrow: Kernel,
    pub(super) embed: Kernel,
}

/// All kernels, compiled for one card.
pub struct Kernels {
    linear: [LinearKernels; Layout::ALL.len()],
    pub(super) units: Option<UnitKernels>,
    pub(super) precision: Precision,
    pub(super) quantize: Kernel,
    pub(super) norm: Kernel,
    pub(super) add: Kernel,
    pub(super) heads: Kernel,
    pub(super) attend: Kernel,
    pub(super) attend_parts: Kernel,
    pub(super) attend_merge: Kernel,
    pub(super) activate: Kernel,
    pub(super) turn: Kernel,
    pub(super) tiles: Kernel,
    pub(super) pick: Kernel,
}

// name, sources after the common one, buffers read, buffers written
type Source = (&'static str, &'static [&'static str], usize, usize);

const QUANTIZE: Source = ("quantize", &[CODES, include_str!("shaders/quantize.wgsl")], 1, 2);
const NORM: Source = ("norm", &[ROW_SUM, include_str!("shaders/norm.wgsl")], 3, 2);
const ADD: Source = ("add", &[ROW_SUM, HALVE_ROW, include_str!("shaders/add.wgsl")], 2, 4);
const HEADS: Source = ("heads", &[ROW_SUM, CODES, include_str!("shaders/heads.wgsl")], 6, 3);
const ATTEND: Source = ("attend", &[ATTENTION, CHUNK, include_str!("shaders/attend.wgsl")], 5, 2);
const PARTS: Source = (
    "attend in parts",
    &[ATTENTION, CHUNK, include_str!("shaders/attend_parts.wgsl")],
    5,
    1,
);
const MERGE: Source = (
    "merge parts",
    &[ATTENTION, include_str!("shaders/attend_merge.wgsl")],
    2,
    2,
);
const ACTIVATE: Source = ("activate", &[include_str!("shaders/activate.wgsl")], 1, 2);
const TURN: Source = ("turn", &[include_str!("shaders/turn.wgsl")], 2, 2);
const TILES: Source = ("tiles", &[include_str!("shaders/tiles.wgsl")], 1, 1);
const PICK: Source = ("pick", &[include_str!("shaders/pick.wgsl")], 3, 1);
const ROWS: [Source; 11] = [
    QUANTIZE, NORM, ADD, HEADS, ATTEND, PARTS, MERGE, ACTIVATE, TILES, PICK, TURN,
];

const WIDE: &str = include_str!("shaders/gemm_wide.wgsl");
const NARROW: &str = include_str!("shaders/gemm_narrow.wgsl");
const EMBED: &str = include_str!("shaders/embed.wgsl");

/// What a kernel over weights begins with.
pub(super) fn layout_source(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Dense => &[LINEAR, include_str!("shaders/weights_dense.wgsl")],
        Layout::Int4 => &[LINEAR, SCALED, include_str!("shaders/weights_int4.wgsl")],
        Layout::Int8 => &[LINEAR, SCALED, include_str!("shaders/weights_int8.wgsl")],
        Layout::Float8 => &[LINEAR, SCALED, include_str!("shaders/weights_float8.wgsl")],
    }
}

/// Buffers that [`layout_source`] reads.
pub(super) const LINEAR_READS: usize = 2;

/// sha256 over every source, in hexadecimal: with the card's class it decides every bit.
pub fn digest() -> String {
    let mut hash = Sha256::new();
    let rows = ROWS.iter().flat_map(|source| source.1).copied();
    let layouts = Layout::ALL.into_iter().flat_map(layout_source).copied();
    let products = [COMMON, WIDE, NARROW, EMBED].into_iter().chain(units::SOURCES);
    for source in products.chain(rows).chain(layouts) {
        hash.update((source.len() as u64).to_le_bytes());
        hash.update(source);
    }
    hash.finalize().iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // writing to a string does not fail
        out
    })
}

impl Kernels {
    /// Compiles all kernels. `precision` is what linear inputs and the cache are rounded to.
    pub fn new(device: &Opened, precision: Precision, units: Option<Units>) -> Result<Kernels, GpuError> {
        let row = |source: Source| compile(device, precision, source.0, "", source.1, source.2, source.3);
        let linear = |layout| {
            let kernel = |name: &str, kernel, reads, writes| {
                let sources = [layout_source(layout), &[kernel]].concat();
                let name = format!("{name} {layout:?}");
                compile(device, precision, &name, "", &sources, LINEAR_READS + reads, writes)
            };
            LinearKernels {
                wide: kernel("wide", WIDE, 2, 1),
                narrow: kernel("narrow", NARROW, 2, 1),
                embed: kernel("embed", EMBED, 2, 2),
            }
        };
        let kernels = Kernels {
            linear: Layout::ALL.map(linear),
            precision,
            units: units
                .map(|units| UnitKernels::new(device, precision, units))
                .transpose()?,
            quantize: row(QUANTIZE),
            norm: row(NORM),
            add: row(ADD),
            heads: row(HEADS),
            attend: row(ATTEND),
            attend_parts: row(PARTS),
            attend_merge: row(MERGE),
            activate: row(ACTIVATE),
            turn: row(TURN),
            tiles: row(TILES),
            pick: row(PICK),
        };
        device.check()?;
        Ok(kernels)
    }

    /// Those over weights of a layout.
    pub fn linear(&self, layout: Layout) -> &LinearKernels {
        &self.linear[layout as usize]
    }
}

/// Compiles what all kernels begin with and these sources, after a header.
pub(super) fn compile(
    device: &Opened,
    precision: Precision,
    name: &str,
    header: &str,
    sources: &[&str],
    reads: usize,
    writes: usize,
) -> Kernel {
    let source = [&[header, COMMON], sources].concat().concat();
    let dropped = match precision {
        Precision::Pair | Precision::Byte => 8.0,
        Precision::Bf16 => 16.0,
    };
    build(device, name, source, reads, writes, &[("DROPPED", dropped)])
}

/// A kernel that stands alone. Its buffers are bound as all kernels' are.
pub fn plain(device: &Opened, name: &str, source: &str, reads: usize, writes: usize) -> Kernel {
    build(device, name, source.to_owned(), reads, writes, &[])
}

fn build(
    device: &Opened,
    name: &str,
    source: String,
    reads: usize,
    writes: usize,
    constants: &[(&str, f64)],
) -> Kernel {
    let entries: Vec<_> = (0..reads + writes)
        .map(|binding| BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: ShaderStages::COMPUTE,
            ty: BindingType::Buffer {
                ty: BufferBindingType::Storage {
                    read_only: binding < reads,
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let gpu = &device.device;
    let layout = gpu.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(name),
        entries: &entries,
    });
    let pipeline_layout = gpu.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: IMMEDIATES,
    });
    let described = wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    };
    // SAFETY: without run-time checks a kernel must itself stay inside its buffers and come to an end. Every loop counts up to a
    // bound from the immediates, and every index is below a product of sizes in the immediates, which `program` takes from the same
    // numbers it makes the buffers with, except six read from buffers: tokens, positions, pages, rows of outputs and outputs to follow,
    // which the host writes after `StepBatch::check` has held each to the sizes the buffers were made for, and tokens that the card
    // picked, which are cut to the vocabulary where they are read. Kernels that stand alone take
    // their sizes from the buffers the survey made for them.
    let module = unsafe { gpu.create_shader_module_trusted(described, ShaderRuntimeChecks::unchecked()) };
    let pipeline = gpu.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants,
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Kernel { pipeline, layout }
}
