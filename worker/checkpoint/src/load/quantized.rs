//! Quantized matrices as compressed-tensors stores them, brought into the form of [`Matrix`].

use super::matrix::{field, narrow, stream};
use super::read::{FLOATS, halves, words};
use super::{
    Codebook, Coded, GroupScale, InputScale, Inputs, Matrix, OpenError, Scales, Shards, Transforms, Weights, Zeros,
};
use crate::number::{bf16_to_f32, f16_to_f32};
use crate::quant::{GroupRule, InputRule, Layout, Packing, Quantized, Strategy, Values, marlin};
use crate::safetensors::Dtype;

impl Shards {
    /// A quantized matrix with what belongs to it.
    pub fn quantized(&self, module: &str, rows: usize, cols: usize, q: Quantized) -> Result<Matrix, OpenError> {
        let weights = match q.layout {
            Layout::Foreign(kind) => return crate::foreign::load(self, module, (rows, cols), q, kind),
            Layout::Micro(micro) => micro.load(self, module, (rows, cols), q)?,
            Layout::Marlin24 => marlin::load(self, module, (rows, cols), q)?,
            _ => Weights::Coded(self.plainly_scaled(module, rows, cols, q)?),
        };
        Ok(Matrix {
            rows,
            cols,
            weights,
            inputs: self.inputs(module, q.inputs)?,
            transforms: Transforms::default(),
        })
    }

    /// Integers, and float8, with scales of plain floats.
    fn plainly_scaled(&self, module: &str, rows: usize, cols: usize, q: Quantized) -> Result<Coded, OpenError> {
        let (scale_dtype, values) = self.scales(module, (rows, cols), q)?;
        let scales = Scales {
            values,
            rows: match q.strategy {
                Strategy::Block { rows: size, .. } => size as usize,
                _ => 1,
            },
            cols: q.group_columns(cols),
        };
        Ok(
            if matches!(q.layout, Layout::Float8 | Layout::Sparse(_, Values::Float8)) {
                let bytes = self.code_bytes(module, (rows, cols), q)?;
                let codes = bytes
                    .chunks(cols.max(1))
                    .flat_map(|row| stream(row.iter().map(|b| u32::from(*b)), 8));
                Coded::float(8, Codebook::E4m3, codes.collect(), scales, scale_dtype)
            } else {
                let codes = match q.layout {
                    Layout::Packed(packing) => self.packed_codes(module, (rows, cols), q.bits, packing)?,
                    _ => self.byte_codes(module, (rows, cols), q)?,
                };
                let zeros = if q.symmetric {
                    Zeros::None
                } else {
                    Zeros::Int(self.zeros(module, (rows, cols), q)?)
                };
                let index = if q.indexed {
                    self.index(module, cols, q.groups(cols as u64) as usize)?
                } else {
                    None
                };
                Coded {
                    index,
                    ..Coded::int(q.bits, codes, scales, zeros, scale_dtype)
                }
            },
        )
    }

    /// Codes in words, as one stream of bits a row.
    fn packed_codes(
        &self,
        module: &str,
        (rows, cols): (usize, usize),
        bits: u8,
        packing: Packing,
    ) -> Result<Vec<u32>, OpenError> {
        let row_words = packing.words(cols, bits);
        let (_, bytes) = self.bytes(&format!("{module}.weight_packed"), rows * row_words, &[Dtype::I32])?;
        let stored: Vec<u32> = words(&bytes).collect();
        if packing == Packing::Stream || 32 % bits == 0 {
            return Ok(stored);
        }
        let codes = stored.chunks(row_words.max(1)).flat_map(|row| {
            let fields = (0..cols).map(|c| packed_field(row, bits, packing, c));
            stream(fields, bits)
        });
        Ok(codes.collect())
    }

    /// Codes that take a byte each, zeros that were left out put back.
    fn code_bytes(&self, module: &str, (rows, cols): (usize, usize), q: Quantized) -> Result<Vec<u8>, OpenError> {
        Ok(match q.layout {
            Layout::Sparse(mask, values) => mask.spread(self, module, (rows, cols), Some(values))?.1,
            _ => {
                self.bytes(&format!("{module}.weight"), rows * cols, &[Dtype::I8, Dtype::F8_E4M3])?
                    .1
            }
        })
    }

    /// Integers of a byte each, packed into words.
    fn byte_codes(&self, module: &str, (rows, cols): (usize, usize), q: Quantized) -> Result<Vec<u32>, OpenError> {
        let bits = q.bits;
        let bytes = self.code_bytes(module, (rows, cols), q)?;
        let least = -1i32 << (bits - 1);
        if let Some(code) = bytes
            .iter()
            .map(|b| i32::from(*b as i8))
            .find(|q| !(least..-least).contains(q))
        {
            return Err(OpenError::Tensor {
                tensor: format!("{module}.{}", q.layout.suffix()),
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

    /// Scales as runtimes hold them; one of the whole matrix is repeated for each row. transformers gives them the model's dtype,
    /// bfloat16, whatever the file has, and so does vLLM but for float8 and for int8 with quantized inputs.
    fn scales(&self, module: &str, shape: (usize, usize), q: Quantized) -> Result<(Dtype, Vec<f32>), OpenError> {
        let (mut dtype, mut scales) = self.floats(&format!("{module}.weight_scale"), q.scale_count(shape))?;
        if !self.as_stored {
            dtype = Dtype::BF16;
            scales.iter_mut().for_each(|scale| *scale = narrow(*scale, dtype));
        }
        Ok(match q.strategy {
            Strategy::Tensor => (dtype, vec![scales[0]; shape.0]),
            _ => (dtype, scales),
        })
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

    /// Zero points, laid out as the scales are. Beside packed codes they are packed down the rows: [words of the rows, groups].
    fn zeros(&self, module: &str, (rows, cols): (usize, usize), q: Quantized) -> Result<Vec<i16>, OpenError> {
        let name = format!("{module}.weight_zero_point");
        let Some(packing) = q.packed_zeros() else {
            let (_, bytes) = self.bytes(&name, q.scale_count((rows, cols)), &[Dtype::I8])?;
            let zeros: Vec<i16> = bytes.into_iter().map(|b| i16::from(b as i8)).collect();
            return Ok(match q.strategy {
                Strategy::Tensor => vec![zeros[0]; rows],
                _ => zeros,
            });
        };
        let groups = q.groups(cols as u64) as usize;
        let height = packing.words(rows, q.bits);
        let (_, bytes) = self.bytes(&name, height * groups, &[Dtype::I32])?;
        let stored: Vec<u32> = words(&bytes).collect();
        let offset = 1i32 << (q.bits - 1);
        let mut zeros = vec![0i16; rows * groups];
        for k in 0..groups {
            let column: Vec<u32> = stored.iter().skip(k).step_by(groups).copied().collect();
            for row in 0..rows {
                zeros[row * groups + k] = (packed_field(&column, q.bits, packing, row) as i32 - offset) as i16;
            }
        }
        Ok(zeros)
    }

    /// `weight_g_idx` as stored, widened.
    pub fn stored_index(&self, module: &str, cols: usize) -> Result<Vec<i64>, OpenError> {
        self.integers(&format!("{module}.weight_g_idx"), cols)
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

    /// The one positive number in a tensor, held in a dtype.
    fn positive(&self, name: &str, dtype: Dtype) -> Result<f32, OpenError> {
        let scale = narrow(self.floats(name, 1)?.1[0], dtype);
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
                        global: self.positive(&format!("{module}.input_global_scale"), Dtype::F32)?,
                    },
                };
                Inputs::Quantized {
                    codes,
                    scale: InputScale::Group { cols, rule },
                }
            }
            InputRule::Fixed { codes, symmetric } => {
                let scale = self.positive(&format!("{module}.input_scale"), Dtype::BF16)?;
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

/// Field `i` of packed words.
fn packed_field(words: &[u32], bits: u8, packing: Packing, i: usize) -> u32 {
    match packing {
        Packing::Stream => field(words, bits, i),
        Packing::Words => {
            let (bits, per_word) = (usize::from(bits), 32 / usize::from(bits));
            (words[i / per_word] >> (bits * (i % per_word))) & ((1 << bits) - 1)
        }
    }
}
