//! The graphics-card executor: WGSL kernels over the same step seam, the same [`crate::numerics`], the same tests.

pub mod device;
mod error;

pub use self::error::GpuError;
