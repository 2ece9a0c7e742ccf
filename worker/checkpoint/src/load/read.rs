//! Reading single tensors out of open safetensors files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Matrix, OpenError, Weights};
use crate::quant::Mask;
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
    /// scales are wanted as the file has them, not as a runtime holds them
    pub as_stored: bool,
}

impl Shards {
    /// Opens the files that were verified. A file whose length changed since is refused.
    pub fn open(dir: &Path, headers: Vec<(String, Header)>) -> Result<Shards, OpenError> {
        let mut shards = Shards {
            files: Vec::new(),
            places: BTreeMap::new(),
            as_stored: false,
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

    /// What a tensor is; `None` if it is not stored.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.places.get(name).map(|place| &place.info)
    }

    /// What a tensor's elements are.
    pub fn dtype(&self, name: &str) -> Result<Dtype, OpenError> {
        Ok(self.place(name)?.info.dtype)
    }

    /// Where a tensor begins: its file, and the offset in it. Unknown ones come first.
    pub fn position(&self, name: &str) -> (usize, u64) {
        self.places.get(name).map_or((0, 0), |place| (place.file, place.offset))
    }

    /// All tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.places.iter().map(|(name, place)| (name.as_str(), &place.info))
    }

    /// A whole tensor, after checking that it has the expected dtype and length.
    pub fn bytes(&self, name: &str, elements: usize, allowed: &[Dtype]) -> Result<(Dtype, Vec<u8>), OpenError> {
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
        Ok(Matrix::plain(rows, cols, plain(dtype, &bytes)))
    }

    /// A plain float tensor whose zeros were left out.
    pub fn sparse(&self, module: &str, rows: usize, cols: usize, mask: Mask) -> Result<Matrix, OpenError> {
        let (dtype, bytes) = mask.spread(self, module, (rows, cols), None)?;
        Ok(Matrix::plain(rows, cols, plain(dtype, &bytes)))
    }

    /// A tensor of whole numbers, I64 or I32, widened.
    pub fn integers(&self, name: &str, elements: usize) -> Result<Vec<i64>, OpenError> {
        let (dtype, bytes) = self.bytes(name, elements, &[Dtype::I32, Dtype::I64])?;
        Ok(match dtype {
            Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            _ => words(&bytes).map(|w| i64::from(w as i32)).collect(),
        })
    }
}

fn plain(dtype: Dtype, bytes: &[u8]) -> Weights {
    match dtype {
        Dtype::BF16 => Weights::Bf16(halves(bytes).collect()),
        Dtype::F16 => Weights::F16(halves(bytes).collect()),
        _ => Weights::F32(words(bytes).map(f32::from_bits).collect()),
    }
}

pub(crate) const FLOATS: &[Dtype] = &[Dtype::BF16, Dtype::F16, Dtype::F32];

pub(crate) fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b))
}

pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b))
}
