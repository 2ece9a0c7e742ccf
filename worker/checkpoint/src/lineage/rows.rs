//! A matrix, row by row: dense tensors straight from the file, quantized ones from their codes.

use crate::load::{Checkpoint, Matrix, OpenError, Shards, Weights};
use crate::model::Module;
use crate::number::{bf16_to_f32, f16_to_f32, f32_to_bf16};
use crate::quant::Storage;
use crate::safetensors::Dtype;

/// A matrix whose rows can be read.
pub(super) struct Rows<'a> {
    shape: (usize, usize),
    held: Held<'a>,
}

enum Held<'a> {
    /// `X.weight` in this file
    Dense {
        shards: &'a Shards,
        name: String,
        dtype: Dtype,
    },
    Coded(Box<Matrix>),
}

impl<'a> Rows<'a> {
    pub fn open(checkpoint: &'a Checkpoint, module: Module) -> Result<Rows<'a>, OpenError> {
        let shape = module.shape(checkpoint.config());
        let shards = checkpoint.shards();
        let held = match checkpoint.storage(module) {
            Some(Storage::Dense) => {
                let name = format!("{}.weight", module.name(checkpoint.config().family));
                let dtype = shards.dtype(&name)?;
                Held::Dense { shards, name, dtype }
            }
            _ => Held::Coded(Box::new(checkpoint.matrix(module)?)),
        };
        Ok(Rows { shape, held })
    }

    pub fn rows(&self) -> usize {
        self.shape.0
    }

    pub fn cols(&self) -> usize {
        self.shape.1
    }

    /// Whether it is stored as plain float16.
    pub fn is_f16(&self) -> bool {
        matches!(self.held, Held::Dense { dtype: Dtype::F16, .. })
    }

    /// The matrix, where it is held as codes.
    pub fn coded(&self) -> Option<&crate::load::Coded> {
        match &self.held {
            Held::Coded(matrix) => match &matrix.weights {
                Weights::Coded(coded) => Some(coded),
                _ => None,
            },
            Held::Dense { .. } => None,
        }
    }

    /// Rows `[from, from + count)`, exactly as stored where dense, as bfloat16 where not; `out` is refilled.
    pub fn read(&self, from: usize, count: usize, out: &mut Vec<f32>) -> Result<(), OpenError> {
        let cols = self.shape.1;
        out.clear();
        match &self.held {
            Held::Dense { shards, name, dtype } => {
                let size = (dtype.bits() / 8) as usize;
                let mut bytes = vec![0u8; count * cols * size];
                shards.read_at(name, (from * cols * size) as u64, &mut bytes)?;
                match dtype {
                    Dtype::BF16 => out.extend(bytes.as_chunks().0.iter().map(|b| bf16_to_f32(u16::from_le_bytes(*b)))),
                    Dtype::F16 => out.extend(bytes.as_chunks().0.iter().map(|b| f16_to_f32(u16::from_le_bytes(*b)))),
                    _ => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
                }
            }
            Held::Coded(matrix) => {
                out.resize(count * cols, 0.0);
                for (i, row) in out.chunks_mut(cols.max(1)).enumerate() {
                    matrix.row_f32(from + i, row);
                }
            }
        }
        Ok(())
    }
}

/// As every bfloat16 runtime holds it.
pub(super) fn rounded(value: f32) -> f32 {
    bf16_to_f32(f32_to_bf16(value))
}
