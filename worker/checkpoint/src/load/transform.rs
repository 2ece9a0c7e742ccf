//! Rotations of a layer's inputs and outputs that are applied when it runs.

use std::sync::{Arc, PoisonError};

use super::read::words;
use super::{Checkpoint, OpenError, Shards};
use crate::model::Module;
use crate::quant::transform::{Assigned, TransformKind, Turn};
use crate::safetensors::Dtype;

/// What is applied to a matrix's inputs before they are quantized, and to its outputs.
#[derive(Clone, Debug, Default)]
pub struct Transforms {
    /// to each row of inputs
    pub input: Option<Arc<Transform>>,
    /// to each row of outputs
    pub output: Option<Arc<Transform>>,
}

/// `x ← x·M`, run by run of `size` neighbouring values of a row (M is block-diagonal).
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// Sylvester's Hadamard matrix over √size; `size` is a power of two. Its own inverse.
    Hadamard {
        /// values in a run
        size: usize,
    },
    /// any matrix
    Matrix {
        /// values in a run
        size: usize,
        /// M, (size, size) row-major
        values: Vec<f32>,
    },
}

impl Transform {
    /// Values in a run.
    pub fn size(&self) -> usize {
        match self {
            Transform::Hadamard { size } | Transform::Matrix { size, .. } => *size,
        }
    }

    /// Memory of the values, bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Transform::Hadamard { .. } => 0,
            Transform::Matrix { values, .. } => 4 * values.len(),
        }
    }
}

impl Transforms {
    /// Whether nothing is applied.
    pub fn is_empty(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }
}

impl PartialEq for Transforms {
    fn eq(&self, other: &Transforms) -> bool {
        same(&self.input, &other.input) && same(&self.output, &other.output)
    }
}

/// Whether two are the same: shared ones are found so without a look at their values.
pub fn same(a: &Option<Arc<Transform>>, b: &Option<Arc<Transform>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        _ => false,
    }
}

impl Checkpoint {
    /// What is applied to a module's inputs and outputs.
    pub(super) fn transforms(&self, module: Module) -> Result<Transforms, OpenError> {
        let Some(turns) = self.transforms.modules.get(&module) else {
            return Ok(Transforms::default());
        };
        let read = |turn: &Option<Turn>, output| {
            let one = turn.as_ref().map(|turn| self.transform(module, turn, output));
            one.transpose()
        };
        Ok(Transforms {
            input: read(&turns.input, false)?,
            output: read(&turns.output, true)?,
        })
    }

    fn transform(&self, module: Module, turn: &Turn, output: bool) -> Result<Arc<Transform>, OpenError> {
        let mut held = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = held.get(turn) {
            return Ok(Arc::clone(found));
        }
        let own = Assigned::name(&self.config, module, turn, output);
        let shared = self
            .transforms
            .stored(&self.config)
            .remove(&turn.key())
            .unwrap_or_default();
        let stored = |name: &&String| self.shards.tensors().any(|(n, _)| n == format!("{name}.weight"));
        let transform = match std::iter::once(&own).chain(&shared).find(stored) {
            Some(name) => self.shards.transform(name, turn)?,
            None => Transform::Hadamard { size: turn.size },
        };
        let transform = Arc::new(transform);
        held.insert(turn.clone(), Arc::clone(&transform));
        Ok(transform)
    }
}

impl Shards {
    /// A stored matrix as it is applied: permuted, transposed, divided by √n.
    pub(crate) fn transform(&self, name: &str, turn: &Turn) -> Result<Transform, OpenError> {
        let n = turn.size;
        let tensor = format!("{name}.weight");
        let wrong = |reason: &str| OpenError::Tensor {
            tensor: tensor.clone(),
            reason: reason.to_owned(),
        };
        let values = self.doubles(&tensor, n * n)?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(wrong("a value is not finite"));
        }
        if turn.kind == TransformKind::Matrix {
            let values = values.into_iter().map(|v| v as f32).collect();
            return Ok(Transform::Matrix { size: n, values });
        }
        if values.iter().any(|v| v.abs() != 1.0) {
            return Err(wrong("a Hadamard matrix with values other than 1 and -1"));
        }
        let perm = if turn.permuted {
            self.permutation(&format!("{name}.perm"), n)?
        } else {
            (0..n).collect()
        };
        let at = |i: usize, j: usize| {
            let (i, j) = if turn.inverse { (j, i) } else { (i, j) };
            values[perm[i] * n + perm[j]]
        };
        let sylvester = |i: usize, j: usize| {
            if (i & j).count_ones().is_multiple_of(2) {
                1.0
            } else {
                -1.0
            }
        };
        if n.is_power_of_two() && (0..n).all(|i| (0..n).all(|j| at(i, j) == sylvester(i, j))) {
            return Ok(Transform::Hadamard { size: n });
        }
        let root = (n as f64).sqrt();
        let values = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
        Ok(Transform::Matrix {
            size: n,
            values: values.map(|(i, j)| (at(i, j) / root) as f32).collect(),
        })
    }

    fn doubles(&self, name: &str, elements: usize) -> Result<Vec<f64>, OpenError> {
        let wide = self.tensors().any(|(n, info)| n == name && info.dtype == Dtype::F64);
        if !wide {
            return Ok(self.floats(name, elements)?.1.into_iter().map(f64::from).collect());
        }
        let (_, bytes) = self.bytes(name, elements, &[Dtype::F64])?;
        Ok(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
    }

    fn permutation(&self, name: &str, n: usize) -> Result<Vec<usize>, OpenError> {
        let (dtype, bytes) = self.bytes(name, n, &[Dtype::I64, Dtype::I32])?;
        let perm: Vec<usize> = match dtype {
            Dtype::I64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| u64::from_le_bytes(*b) as usize)
                .collect(),
            _ => words(&bytes).map(|w| w as usize).collect(),
        };
        let mut seen = vec![false; n];
        let all = perm.iter().all(|&i| i < n && !std::mem::replace(&mut seen[i], true));
        all.then_some(perm).ok_or_else(|| OpenError::Tensor {
            tensor: name.to_owned(),
            reason: "not a permutation".to_owned(),
        })
    }
}
