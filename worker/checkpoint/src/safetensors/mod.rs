//! The container: a bounded safetensors reader under our own policy, stricter than the reference reader.
//!
//! A file is `n: u64 LE`, `n` bytes of JSON, data. Only the first `8 + n` bytes are needed to know every tensor's name, dtype,
//! shape and place, which is what a browser sends before an upload. The reference reader allows holes' worth of metadata,
//! duplicate keys and any rank; a submission has none of these, so here they are errors, one variant each.

mod error;
mod header;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::HeaderError;
pub use header::{header_len, parse_header};
pub use write::{NewTensor, WriteError, file_length, header_of, write};

/// Longest header we read, bytes. A 1.2B checkpoint quantized to four bits has about 100 KB, a 32B one about 250 KB.
pub const MAX_HEADER_BYTES: u64 = 8 << 20;
/// Most tensors in one file.
pub const MAX_TENSORS: usize = 20_000;
/// Longest tensor name, bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 4;
/// Most entries of `__metadata__`.
pub const MAX_METADATA_ENTRIES: usize = 4096;

/// Element types of the format, in the order of the reference implementation's enumeration: its writer sorts tensors by it, descending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(non_camel_case_types, missing_docs)]
pub enum Dtype {
    BOOL,
    F4,
    F6_E2M3,
    F6_E3M2,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

impl Dtype {
    /// Bits of one element.
    pub const fn bits(self) -> u64 {
        match self {
            Dtype::F4 => 4,
            Dtype::F6_E2M3 | Dtype::F6_E3M2 => 6,
            Dtype::BOOL
            | Dtype::U8
            | Dtype::I8
            | Dtype::F8_E5M2
            | Dtype::F8_E4M3
            | Dtype::F8_E8M0
            | Dtype::F8_E4M3FNUZ
            | Dtype::F8_E5M2FNUZ => 8,
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::BF16 => 16,
            Dtype::I32 | Dtype::U32 | Dtype::F32 => 32,
            Dtype::C64 | Dtype::F64 | Dtype::I64 | Dtype::U64 => 64,
        }
    }

    /// The name in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::BOOL => "BOOL",
            Dtype::F4 => "F4",
            Dtype::F6_E2M3 => "F6_E2M3",
            Dtype::F6_E3M2 => "F6_E3M2",
            Dtype::U8 => "U8",
            Dtype::I8 => "I8",
            Dtype::F8_E5M2 => "F8_E5M2",
            Dtype::F8_E4M3 => "F8_E4M3",
            Dtype::F8_E8M0 => "F8_E8M0",
            Dtype::F8_E4M3FNUZ => "F8_E4M3FNUZ",
            Dtype::F8_E5M2FNUZ => "F8_E5M2FNUZ",
            Dtype::I16 => "I16",
            Dtype::U16 => "U16",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::I32 => "I32",
            Dtype::U32 => "U32",
            Dtype::F32 => "F32",
            Dtype::C64 => "C64",
            Dtype::F64 => "F64",
            Dtype::I64 => "I64",
            Dtype::U64 => "U64",
        }
    }

    /// The dtype of that header name, exactly spelled.
    pub fn from_name(name: &str) -> Option<Dtype> {
        const ALL: [Dtype; 22] = [
            Dtype::BOOL,
            Dtype::F4,
            Dtype::F6_E2M3,
            Dtype::F6_E3M2,
            Dtype::U8,
            Dtype::I8,
            Dtype::F8_E5M2,
            Dtype::F8_E4M3,
            Dtype::F8_E8M0,
            Dtype::F8_E4M3FNUZ,
            Dtype::F8_E5M2FNUZ,
            Dtype::I16,
            Dtype::U16,
            Dtype::F16,
            Dtype::BF16,
            Dtype::I32,
            Dtype::U32,
            Dtype::F32,
            Dtype::C64,
            Dtype::F64,
            Dtype::I64,
            Dtype::U64,
        ];
        ALL.into_iter().find(|d| d.name() == name)
    }

    /// True for BF16, F16 and F32: what an unquantized weight, a norm or a scale may be.
    pub const fn is_plain_float(self) -> bool {
        matches!(self, Dtype::BF16 | Dtype::F16 | Dtype::F32)
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One tensor of a header. `begin..end` are bytes relative to the data section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// element type
    pub dtype: Dtype,
    /// dimensions, outermost first; none is zero; empty for a scalar
    pub shape: Vec<u64>,
    /// first byte in the data section
    pub begin: u64,
    /// one past the last byte in the data section
    pub end: u64,
}

impl TensorInfo {
    /// Length in the file, bytes.
    pub fn bytes(&self) -> u64 {
        self.end - self.begin
    }
}

/// A header that passed every check: tensors cover the data section exactly, without holes or overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// by name
    pub tensors: BTreeMap<String, TensorInfo>,
    /// the `__metadata__` entry
    pub metadata: BTreeMap<String, String>,
    /// length field and header, `8 + n`: where the data section begins
    pub header_bytes: u64,
    /// length of the whole file
    pub file_bytes: u64,
}

/// Bytes of a tensor of that dtype and shape; `None` where the product overflows or is not a whole number of bytes.
pub fn tensor_bytes(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim))?;
    let bits = elements.checked_mul(dtype.bits())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
