//! The place of the graphics-card executor: WGSL kernels over the same step seam, the same [`crate::numerics`], the same tests.

use std::sync::Arc;

use super::{Device, Executor, ExecutorError, Options};
use crate::model::Model;

/// Not built yet: says so, and names what to use.
pub fn executor(_model: &Arc<Model>, options: &Options) -> Result<Box<dyn Executor>, ExecutorError> {
    Err(ExecutorError::NotBuilt {
        wanted: options.device,
        instead: Device::Cpu,
    })
}
