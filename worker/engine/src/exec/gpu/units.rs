//! Matrix units: hardware that multiplies squares of f16 with sums in f32, an order of magnitude faster than single products.
//!
//! What the units add, and in which order, their makers do not say; the class of results names them therefore. A row's sums do not depend on
//! what is computed beside it: both kernels walk the same slices of K in the same steps. Factors are f16 times powers of two, one for
//! each row and each output, which loses at most what is below 2⁻²⁸ of the largest there; an input of 16 bits is the sum of two such factors.
//!
//! wgpu counts the units as experimental: naga marks no access for the memory model that they bring with them. So the self-test has to pass
//! with them, or they are not used.

use wgpu::Features;

use super::GpuError;
use super::device::{Card, Opened};
use super::kernels::{Kernel, LINEAR_READS, compile, layout_source};
use super::weights::Layout;
use crate::numerics::Precision;
use assay_checkpoint::{InputScale, Inputs};

/// What the kernels need of wgpu.
pub const FEATURES: Features = Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16);

pub(super) const HALVE_ROW: &str = include_str!("shaders/halve_row.wgsl");
const HALVES: &str = include_str!("shaders/halves.wgsl");
const SHARED: &str = include_str!("shaders/units.wgsl");
const WIDE: &str = include_str!("shaders/units_wide.wgsl");
const NARROW: &str = include_str!("shaders/units_narrow.wgsl");

/// The sources that [`super::kernels::digest`] counts in.
pub(super) const SOURCES: [&str; 5] = [HALVE_ROW, HALVES, SHARED, WIDE, NARROW];

/// Subgroups of a workgroup.
const SUBGROUPS: u32 = 4;

/// The units of a card that the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// rows and columns of the squares they multiply, 8 or 16
    pub size: u32,
    /// threads of a subgroup
    pub lanes: u32,
}

impl Units {
    /// The largest that the kernels can use; none where the card has none, or subgroups of more than one size: wgpu cannot ask for one.
    pub fn of(card: &Card) -> Option<Units> {
        let offer = card.offer();
        let [least, most] = offer.subgroups;
        if least != most || least == 0 || !card.offers(FEATURES) {
            return None;
        }
        let limit = |name: &str| offer.limits.get(name).copied().unwrap_or(0);
        let fits = |units: &Units| {
            u64::from(SUBGROUPS * units.lanes) <= limit("max_compute_invocations_per_workgroup")
                && units.workgroup_bytes() <= limit("max_compute_workgroup_storage_size")
        };
        let offered = |size: u32| {
            let unit = |unit: &super::survey::MatrixUnit| {
                unit.size == [size; 3] && unit.factors == "f16" && unit.sums == "f32"
            };
            offer.matrix_units.iter().any(unit)
        };
        [16, 8]
            .into_iter()
            .filter(|&size| offered(size))
            .map(|size| Units { size, lanes: least })
            .find(fits)
    }

    /// For reports.
    pub fn name(&self) -> String {
        let Units { size, .. } = self;
        format!("{size}×{size}×{size} matrix units")
    }

    /// Outputs and rows of a workgroup of the kernel for many rows.
    pub(super) fn wide(&self) -> [u32; 2] {
        [4 * self.size; 2]
    }

    /// The same of the kernel for few.
    pub(super) fn narrow(&self) -> [u32; 2] {
        [2 * self.size, self.size]
    }

    // Of the kernel that takes more.
    fn workgroup_bytes(&self) -> u64 {
        const STRIDE: u64 = 40; // halves of a staged row
        let size = u64::from(self.size);
        let wide = 3 * (4 * size) * STRIDE * 2 + (4 * size) * (4 * size) * 4;
        let narrow = 4 * (2 * size + 2 * size) * STRIDE * 2 + 4 * size * (2 * size) * 4;
        wide.max(narrow)
    }

    // What stands before everything else.
    fn header(&self) -> String {
        let Units { size, lanes } = self;
        format!(
            "enable f16;\nenable wgpu_cooperative_matrix;\n\
             const SIZE: u32 = {size}u;\nconst LANES: u32 = {lanes}u;\n\
             alias Left = coop_mat{size}x{size}<f16, A>;\nalias Right = coop_mat{size}x{size}<f16, B>;\n\
             alias Sum = coop_mat{size}x{size}<f32, C>;\n"
        )
    }
}

/// How many f16 a linear layer's input is the sum of. Codes of whole rows have at most nine bits.
pub fn parts(precision: Precision, inputs: Inputs) -> u32 {
    let grouped = |scale| matches!(scale, InputScale::Group { .. });
    match inputs {
        Inputs::Quantized { scale, .. } if !grouped(scale) => 1,
        _ if precision == Precision::Bf16 => 1,
        _ => 2,
    }
}

/// The power of two that brings `largest` to between 2^14 and 2^15, where f16 still has room above and the most below.
pub(super) fn power(largest: f32) -> f32 {
    match largest.is_finite() {
        true => f32::from_bits((268 - (largest.to_bits() >> 23).max(15)) << 23),
        false => 1.0, // nothing that comes of such weights is finite
    }
}

/// The kernels over the units.
pub struct UnitKernels {
    pub(super) units: Units,
    pub(super) halves: Kernel,
    linear: [UnitLinear; Layout::ALL.len()],
}

/// Those over weights of one layout.
pub(super) struct UnitLinear {
    pub(super) wide: Kernel,
    pub(super) narrow: Kernel,
}

impl UnitKernels {
    /// Compiles them.
    pub(super) fn new(device: &Opened, precision: Precision, units: Units) -> Result<UnitKernels, GpuError> {
        let header = units.header();
        let linear = |layout| {
            let kernel = |name: &str, source| {
                let sources = [layout_source(layout), &[SHARED, source]].concat();
                let name = format!("{name} {layout:?}");
                compile(device, precision, &name, &header, &sources, LINEAR_READS + 4, 1)
            };
            UnitLinear {
                wide: kernel("units, wide", WIDE),
                narrow: kernel("units, narrow", NARROW),
            }
        };
        Ok(UnitKernels {
            units,
            halves: compile(device, precision, "halves", "", &[HALVE_ROW, HALVES], 1, 2),
            linear: Layout::ALL.map(linear),
        })
    }

    /// Those over weights of a layout.
    pub(super) fn linear(&self, layout: Layout) -> &UnitLinear {
        &self.linear[layout as usize]
    }
}

#[cfg(test)]
mod tests {
    use wgpu::naga::back::spv;
    use wgpu::naga::front::wgsl;
    use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;
    use crate::exec::gpu::kernels::COMMON;

    /// Few software adapters have matrix units: what can be held against the language without one is.
    #[test]
    fn every_kernel_is_valid_for_either_size() {
        for (size, layout) in [8, 16]
            .into_iter()
            .flat_map(|size| Layout::ALL.map(|layout| (size, layout)))
        {
            for kernel in [WIDE, NARROW] {
                let header = Units { size, lanes: 32 }.header();
                let sources = [&[header.as_str(), COMMON], layout_source(layout), &[SHARED, kernel]].concat();
                let source = sources.concat().replace("override DROPPED", "const DROPPED");
                let module =
                    wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
                let valid = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
                let info = valid.unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
                // panics where an expression has no value yet
                let words = spv::write_vec(&module, &info, &spv::Options::default(), None).unwrap();
                assert!(words.len() > 100);
            }
        }
    }

    #[test]
    fn the_power_of_two_brings_the_largest_near_the_top() {
        for largest in [1e-38f32, 3e-30, 0.02, 1.0, 15.99, 448.0, 3e38] {
            let power = power(largest);
            assert_eq!(power.to_bits() & 0x007f_ffff, 0);
            let brought = largest * power;
            assert!(
                brought < 32_768.0 && (brought >= 16_384.0 || largest < 1e-33),
                "{largest}: {brought}"
            );
        }
        assert!(power(0.0).is_finite() && power(f32::INFINITY) == 1.0);
    }
}
