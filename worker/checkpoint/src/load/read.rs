//! Reading single tensors out of open safetensors files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Matrix, OpenError, Weights};
use crate::number::{bf16_to_f32, f16_to_f32};
use crate::quant::{Packed, Strategy};
use crate::safetensors::{Dtype, Header, TensorInfo};

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// index into the open files
    pub file: usize,
    /// what it is
    pub info: TensorInfo,
    /// offset of its first byte in the file
    pub offset: u64,
}

/// The safetensors files of a checkpoint, open, and every tensor's place in them.
#[derive(Debug)]
pub(crate) struct Shards {
    files: Vec<File>,
    places: BTreeMap<String, Place>,
}

impl Shards {
    /// Opens the files that were verified. A file whose length changed since is refused.
    pub fn open(dir: &Path, headers: Vec<(String, Header)>) -> Result<Shards, OpenError> {
        let mut shards = Shards {
            files: Vec::new(),
            places: BTreeMap::new(),
        };
        for (name, header) in headers {
            let failed = |source| OpenError::Read {
                tensor: name.clone(),
                source,
            };
            let file = crate::listing::open_plain(&dir.join(&name)).map_err(failed)?;
            if file.metadata().map_err(failed)?.len() != header.file_bytes {
                return Err(failed(io::Error::other(
                    "the file changed while it was being looked at",
                )));
            }
            let index = shards.files.len();
            shards.files.push(file);
            for (tensor, info) in header.tensors {
                let offset = header.header_bytes + info.begin;
                shards.places.insert(
                    tensor,
                    Place {
                        file: index,
                        info,
                        offset,
                    },
                );
            }
        }
        Ok(shards)
    }

    fn place(&self, name: &str) -> Result<&Place, OpenError> {
        self.places.get(name).ok_or_else(|| OpenError::Tensor {
            tensor: name.to_owned(),
            reason: "not stored".to_owned(),
        })
    }

    /// A tensor's bytes from `from`, filling `buffer`.
    pub fn read_at(&self, name: &str, from: u64, buffer: &mut [u8]) -> Result<(), OpenError> {
        let place = self.place(name)?;
        self.files[place.file]
            .read_exact_at(buffer, place.offset + from)
            .map_err(|source| OpenError::Read {
                tensor: name.to_owned(),
                source,
            })
    }

    /// All tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.places.iter().map(|(name, place)| (name.as_str(), &place.info))
    }

    /// A whole tensor, after checking that it has the expected dtype and length.
    fn bytes(&self, name: &str, elements: usize, allowed: &[Dtype]) -> Result<(Dtype, Vec<u8>), OpenError> {
        let info = &self.place(name)?.info;
        let need = (elements as u64).checked_mul(info.dtype.bits() / 8);
        if !allowed.contains(&info.dtype) || need != Some(info.bytes()) {
            let reason = format!("{} {:?} is not what was verified", info.dtype, info.shape);
            return Err(OpenError::Tensor {
                tensor: name.to_owned(),
                reason,
            });
        }
        let mut buffer = vec![0u8; info.bytes() as usize];
        self.read_at(name, 0, &mut buffer)?;
        Ok((info.dtype, buffer))
    }

    /// A plain float tensor as a matrix.
    pub fn dense(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, OpenError> {
        let (dtype, bytes) = self.bytes(name, rows * cols, FLOATS)?;
        let weights = match dtype {
            Dtype::BF16 => Weights::Bf16(halves(&bytes).collect()),
            Dtype::F16 => Weights::F16(halves(&bytes).collect()),
            _ => Weights::F32(words(&bytes).map(f32::from_bits).collect()),
        };
        Ok(Matrix::plain(rows, cols, weights))
    }

    /// A pack-quantized matrix; 4 and 8 bits.
    pub fn packed(&self, module: &str, rows: usize, cols: usize, packed: Packed) -> Result<Matrix, OpenError> {
        let bits = usize::from(packed.bits);
        let row_words = (cols * bits).div_ceil(32);
        let (_, bytes) = self.bytes(&format!("{module}.weight_packed"), rows * row_words, &[Dtype::I32])?;
        let codes = words(&bytes).collect();
        let groups = packed.groups(cols as u64) as usize;
        let per_tensor = packed.strategy == Strategy::Tensor;
        let stored = if per_tensor { 1 } else { rows * groups };
        let (scale_dtype, bytes) = self.bytes(&format!("{module}.weight_scale"), stored, FLOATS)?;
        let mut scales: Vec<f32> = match scale_dtype {
            Dtype::BF16 => halves(&bytes).map(bf16_to_f32).collect(),
            Dtype::F16 => halves(&bytes).map(f16_to_f32).collect(),
            _ => words(&bytes).map(f32::from_bits).collect(),
        };
        if per_tensor {
            scales = vec![scales[0]; rows];
        }
        let zeros = if packed.symmetric {
            None
        } else {
            Some(self.zeros(module, rows, groups, packed)?)
        };
        let group = match packed.strategy {
            Strategy::Group(size) => (size as usize).min(cols),
            _ => cols,
        };
        let weights = Weights::Int {
            bits: packed.bits,
            codes,
            scales,
            scale_dtype,
            zeros,
            group,
            index: None,
        };
        Ok(Matrix::plain(rows, cols, weights))
    }

    /// Zero points, rows × groups. On disk they are packed down the rows: [ceil(rows · bits / 32), groups].
    fn zeros(&self, module: &str, rows: usize, groups: usize, packed: Packed) -> Result<Vec<i8>, OpenError> {
        let name = format!("{module}.weight_zero_point");
        if packed.strategy == Strategy::Tensor {
            let (_, bytes) = self.bytes(&name, 1, &[Dtype::I8])?;
            return Ok(vec![bytes[0] as i8; rows]);
        }
        let bits = usize::from(packed.bits);
        let (_, bytes) = self.bytes(&name, (rows * bits).div_ceil(32) * groups, &[Dtype::I32])?;
        let stored: Vec<u32> = words(&bytes).collect();
        let per_word = 32 / bits;
        let offset = 1i32 << (bits - 1);
        let mask = (1u32 << bits) - 1;
        let zero = |row: usize, k: usize| {
            let field = (stored[row / per_word * groups + k] >> (bits * (row % per_word))) & mask;
            // −2^(bits−1) … 2^(bits−1) − 1 fits an i8 for 4 and 8 bits
            (field as i32 - offset) as i8
        };
        Ok((0..rows)
            .flat_map(|row| (0..groups).map(move |k| (row, k)))
            .map(|(row, k)| zero(row, k))
            .collect())
    }
}

const FLOATS: &[Dtype] = &[Dtype::BF16, Dtype::F16, Dtype::F32];

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b))
}
