//! Quantized matrices as compressed-tensors stores them, brought into the form of [`Matrix`].

use super::matrix::stream;
use super::read::{FLOATS, halves, words};
use super::{Codebook, Coded, GroupScale, InputScale, Inputs, Matrix, OpenError, Scales, Shards, Weights, Zeros};
use crate::number::{bf16_to_f32, f16_to_f32};
use crate::quant::{GroupRule, InputRule, Layout, Quantized, Strategy};
use crate::safetensors::Dtype;

impl Shards {
    /// A quantized matrix with what belongs to it.
    pub fn quantized(&self, module: &str, rows: usize, cols: usize, q: Quantized) -> Result<Matrix, OpenError> {
        let groups = q.groups(cols as u64) as usize;
        let group = match q.strategy {
            Strategy::Group(size) => (size as usize).min(cols),
            _ => cols,
        };
        let (scale_dtype, scales) = self.scales(module, rows, groups, q.strategy)?;
        let scales = Scales::grouped(scales, group);
        let coded = if q.layout == Layout::Float8 {
            let (_, bytes) = self.bytes(&format!("{module}.weight"), rows * cols, &[Dtype::F8_E4M3])?;
            let codes = bytes
                .chunks(cols.max(1))
                .flat_map(|row| stream(row.iter().map(|b| u32::from(*b)), 8));
            Coded::float(8, Codebook::E4m3, codes.collect(), scales, scale_dtype)
        } else {
            let codes = match q.layout {
                Layout::Packed => self.packed_codes(module, rows, cols, q.bits)?,
                _ => self.byte_codes(module, rows, cols, q.bits)?,
            };
            let zeros = if q.symmetric {
                Zeros::None
            } else {
                Zeros::Int(self.zeros(module, rows, groups, q)?)
            };
            let index = if q.indexed {
                self.index(module, cols, groups)?
            } else {
                None
            };
            Coded {
                index,
                ..Coded::int(q.bits, codes, scales, zeros, scale_dtype)
            }
        };
        Ok(Matrix {
            rows,
            cols,
            weights: Weights::Coded(coded),
            inputs: self.inputs(module, q.inputs)?,
        })
    }

    /// Codes in words, as stored.
    fn packed_codes(&self, module: &str, rows: usize, cols: usize, bits: u8) -> Result<Vec<u32>, OpenError> {
        let row_words = (cols * usize::from(bits)).div_ceil(32);
        let (_, bytes) = self.bytes(&format!("{module}.weight_packed"), rows * row_words, &[Dtype::I32])?;
        Ok(words(&bytes).collect())
    }

    /// Codes that take a byte each, packed into words.
    fn byte_codes(&self, module: &str, rows: usize, cols: usize, bits: u8) -> Result<Vec<u32>, OpenError> {
        let name = format!("{module}.weight");
        let (_, bytes) = self.bytes(&name, rows * cols, &[Dtype::I8])?;
        let least = -1i32 << (bits - 1);
        if let Some(code) = bytes
            .iter()
            .map(|b| i32::from(*b as i8))
            .find(|q| !(least..-least).contains(q))
        {
            return Err(OpenError::Tensor {
                tensor: name,
                reason: format!("the code {code} has more than {bits} bits"),
            });
        }
        let half = 1u32 << (bits - 1);
        let field = |b: &u8| (*b as i8 as i32 as u32).wrapping_add(half);
        let codes = bytes
            .chunks(cols.max(1))
            .flat_map(|row| stream(row.iter().map(field), bits));
        Ok(codes.collect())
    }

    /// Scales, rows × groups; a scale of the whole matrix is repeated.
    fn scales(
        &self,
        module: &str,
        rows: usize,
        groups: usize,
        strategy: Strategy,
    ) -> Result<(Dtype, Vec<f32>), OpenError> {
        let per_tensor = strategy == Strategy::Tensor;
        let stored = if per_tensor { 1 } else { rows * groups };
        let (dtype, scales) = self.floats(&format!("{module}.weight_scale"), stored)?;
        Ok((dtype, if per_tensor { vec![scales[0]; rows] } else { scales }))
    }

    /// A plain float tensor, widened.
    pub fn floats(&self, name: &str, elements: usize) -> Result<(Dtype, Vec<f32>), OpenError> {
        let (dtype, bytes) = self.bytes(name, elements, FLOATS)?;
        let values = match dtype {
            Dtype::BF16 => halves(&bytes).map(bf16_to_f32).collect(),
            Dtype::F16 => halves(&bytes).map(f16_to_f32).collect(),
            _ => words(&bytes).map(f32::from_bits).collect(),
        };
        Ok((dtype, values))
    }

    /// Zero points, rows × groups. Beside packed codes they are packed down the rows: [ceil(rows · bits / 32), groups].
    fn zeros(&self, module: &str, rows: usize, groups: usize, q: Quantized) -> Result<Vec<i16>, OpenError> {
        let name = format!("{module}.weight_zero_point");
        let signed = |bytes: Vec<u8>| bytes.into_iter().map(|b| i16::from(b as i8));
        if q.strategy == Strategy::Tensor {
            let (_, bytes) = self.bytes(&name, 1, &[Dtype::I8])?;
            return Ok(vec![i16::from(bytes[0] as i8); rows]);
        }
        if q.layout != Layout::Packed {
            let (_, bytes) = self.bytes(&name, rows * groups, &[Dtype::I8])?;
            return Ok(signed(bytes).collect());
        }
        let bits = usize::from(q.bits);
        let (_, bytes) = self.bytes(&name, (rows * bits).div_ceil(32) * groups, &[Dtype::I32])?;
        let stored: Vec<u32> = words(&bytes).collect();
        let per_word = 32 / bits;
        let offset = 1i32 << (bits - 1);
        let mask = (1u32 << bits) - 1;
        let zero = |row: usize, k: usize| {
            let field = (stored[row / per_word * groups + k] >> (bits * (row % per_word))) & mask;
            (field as i32 - offset) as i16
        };
        Ok((0..rows)
            .flat_map(|row| (0..groups).map(move |k| (row, k)))
            .map(|(row, k)| zero(row, k))
            .collect())
    }

    /// `weight_g_idx` as stored, widened.
    pub fn stored_index(&self, module: &str, cols: usize) -> Result<Vec<i64>, OpenError> {
        let name = format!("{module}.weight_g_idx");
        let (dtype, bytes) = self.bytes(&name, cols, &[Dtype::I32, Dtype::I64])?;
        Ok(match dtype {
            Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            _ => words(&bytes).map(|w| i64::from(w as i32)).collect(),
        })
    }

    /// The group of each column; `None` where the tool left every entry at −1, its way of saying that groups are consecutive.
    fn index(&self, module: &str, cols: usize, groups: usize) -> Result<Option<Vec<u32>>, OpenError> {
        let stored = self.stored_index(module, cols)?;
        if stored.iter().all(|g| *g == -1) {
            return Ok(None);
        }
        let group = |g: &i64| u32::try_from(*g).ok().filter(|g| (*g as usize) < groups);
        let index: Option<Vec<u32>> = stored.iter().map(group).collect();
        index.map(Some).ok_or_else(|| OpenError::Tensor {
            tensor: format!("{module}.weight_g_idx"),
            reason: format!("a group that is not one of the {groups}"),
        })
    }

    // The one positive number in a tensor.
    fn positive(&self, name: &str) -> Result<f32, OpenError> {
        let scale = self.floats(name, 1)?.1[0];
        if !(scale.is_finite() && scale > 0.0) {
            return Err(OpenError::Tensor {
                tensor: name.to_owned(),
                reason: format!("{scale} is no scale"),
            });
        }
        Ok(scale)
    }

    /// What becomes of a module's inputs.
    pub fn inputs(&self, module: &str, rule: InputRule) -> Result<Inputs, OpenError> {
        Ok(match rule {
            InputRule::Plain => Inputs::Plain,
            InputRule::Row { codes, symmetric } => Inputs::Quantized {
                codes,
                scale: InputScale::Row { symmetric },
            },
            InputRule::Group { codes, cols, rule } => {
                let rule = match rule {
                    GroupRule::Float { symmetric } => GroupScale::Float { symmetric },
                    GroupRule::PowerOfTwo => GroupScale::PowerOfTwo,
                    GroupRule::Ceiling => GroupScale::Ceiling,
                    GroupRule::Local => GroupScale::Local {
                        global: self.positive(&format!("{module}.input_global_scale"))?,
                    },
                };
                Inputs::Quantized {
                    codes,
                    scale: InputScale::Group { cols, rule },
                }
            }
            InputRule::Fixed { codes, symmetric } => {
                let scale = self.positive(&format!("{module}.input_scale"))?;
                let zero = if symmetric {
                    0
                } else {
                    let (_, bytes) = self.bytes(&format!("{module}.input_zero_point"), 1, &[Dtype::I8])?;
                    bytes[0] as i8
                };
                Inputs::Quantized {
                    codes,
                    scale: InputScale::Fixed { scale, zero },
                }
            }
        })
    }
}
