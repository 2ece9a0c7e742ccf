//! How a checkpoint's matrices are stored: the compressed-tensors configuration and what it means for each module.

pub(crate) mod args;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod formats;
pub(crate) mod marlin;
pub(crate) mod matching;
pub(crate) mod micro;
pub(crate) mod presets;
mod runnable;
pub(crate) mod sparse;
pub(crate) mod transform;

pub(crate) use micro::Micro;
pub(crate) use runnable::{Refusal, quantized};
pub(crate) use sparse::{Kept, Mask, Values};

use crate::foreign::Foreign;
use crate::load::Codes;

/// How many weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// one scale for the matrix
    Tensor,
    /// one scale a row
    Channel,
    /// one scale for so many columns of a row
    Group(u64),
    /// one scale for so many rows and columns
    Block { rows: u64, cols: u64 },
}

/// How fields that do not divide a 32-bit word lie in words. For 1, 2, 4 and 8 bits both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// so many whole fields a word, the rest of its bits zero: compressed-tensors before 0.18
    Words,
    /// one stream of bits: compressed-tensors since 0.18
    Stream,
}

impl Packing {
    /// What a version of compressed-tensors writes; the newest where it is not said.
    pub fn of_version(version: Option<(u32, u32)>) -> Packing {
        match version {
            Some(v) if v < (0, 18) => Packing::Words,
            _ => Packing::Stream,
        }
    }

    /// Words that hold so many fields.
    pub fn words(self, fields: usize, bits: u8) -> usize {
        match self {
            Packing::Words => fields.div_ceil(32 / usize::from(bits)),
            Packing::Stream => (fields * usize::from(bits)).div_ceil(32),
        }
    }

    /// The bits of each word that belong to no field.
    pub fn spare(self, fields: usize, bits: u8) -> Vec<u32> {
        let words = self.words(fields, bits);
        let bits = usize::from(bits);
        let owned = |word: usize| match self {
            Packing::Words => bits * (32 / bits).min(fields - word * (32 / bits)),
            Packing::Stream => 32.min(fields * bits - word * 32),
        };
        (0..words)
            .map(|word| u32::MAX.checked_shl(owned(word) as u32).unwrap_or(0))
            .collect()
    }
}

/// Which tensor holds the codes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `X.weight_packed`: integers packed into 32-bit words, with `X.weight_shape`
    Packed(Packing),
    /// `X.weight`, I8: an integer a byte, however many bits it has
    Bytes,
    /// `X.weight`, F8_E4M3
    Float8,
    /// microscaling: small floats whose scales are small floats too
    Micro(Micro),
    /// two of four integers in the order of a GPU kernel
    Marlin24,
    /// bytes or float8 with zeros left out
    Sparse(Mask, Values),
    /// another tool's
    Foreign(Foreign),
}

impl Layout {
    /// The suffix of the tensor that holds the codes.
    pub const fn suffix(self) -> &'static str {
        match self {
            Layout::Packed(_) | Layout::Marlin24 => "weight_packed",
            Layout::Sparse(mask, _) => mask.suffix(sparse::Part::Compressed),
            Layout::Micro(micro) => micro.suffix(),
            Layout::Bytes | Layout::Float8 => "weight",
            Layout::Foreign(kind) => kind.suffix(),
        }
    }

    /// The same tensors, whatever their details.
    pub fn like(self, other: Layout) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other) && self.suffix() == other.suffix()
    }
}

/// How a layer's inputs are quantized, as far as the configuration says it: a stored scale is in the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputRule {
    /// not at all
    Plain,
    /// one scale a row, computed when it runs
    Row { codes: Codes, symmetric: bool },
    /// `X.input_scale`, and `X.input_zero_point` unless symmetric
    Fixed { codes: Codes, symmetric: bool },
    /// one scale for so many columns of a row, computed when it runs
    Group { codes: Codes, cols: u32, rule: GroupRule },
}

/// How the scale of a group of inputs is computed: see [`crate::load::GroupScale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupRule {
    Float {
        symmetric: bool,
    },
    PowerOfTwo,
    /// block-wise float8 with `ue8m0` scales
    Ceiling,
    /// with `X.input_global_scale`
    Local,
}

/// A quantized matrix of compressed-tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantized {
    pub layout: Layout,
    /// bits of a code: 2 to 8 of an integer; 4, 6 or 8 of a float
    pub bits: u8,
    /// who shares a scale
    pub strategy: Strategy,
    /// no zero points
    pub symmetric: bool,
    /// `X.weight_g_idx` says which group a column belongs to
    pub indexed: bool,
    /// what becomes of the inputs
    pub inputs: InputRule,
}

impl Quantized {
    /// Scales in a row of `cols` weights. A group wider than the row is one group.
    pub fn groups(self, cols: u64) -> u64 {
        match self.strategy {
            Strategy::Group(size) | Strategy::Block { cols: size, .. } => cols.div_ceil(size),
            _ => 1,
        }
    }

    /// Columns of a row of `cols` that share a scale.
    pub fn group_columns(self, cols: usize) -> usize {
        match self.strategy {
            Strategy::Group(size) | Strategy::Block { cols: size, .. } => (size as usize).min(cols),
            _ => cols,
        }
    }

    /// Rows of scales for `rows` rows of weights, where there is more than one scale.
    pub fn scale_rows(self, rows: u64) -> u64 {
        match self.strategy {
            Strategy::Block { rows: size, .. } => rows.div_ceil(size),
            _ => rows,
        }
    }

    /// Scales, and zero points, of a matrix as stored.
    pub fn scale_count(self, (rows, cols): (usize, usize)) -> usize {
        match self.strategy {
            Strategy::Tensor => 1,
            _ => (self.scale_rows(rows as u64) * self.groups(cols as u64)) as usize,
        }
    }

    /// How zero points lie in words down the rows; `None` where each takes a byte.
    pub fn packed_zeros(self) -> Option<Packing> {
        match (self.layout, self.strategy) {
            (Layout::Packed(packing), Strategy::Channel | Strategy::Group(_)) => Some(packing),
            _ => None,
        }
    }

    /// The same with packed fields the way its tensors are: the width of the codes tells, then the height of the zero points; where
    /// both packings take as many words, what the configuration's version writes stays.
    pub fn fitted(self, (rows, cols): (usize, usize), codes: Option<&[u64]>, zeros: Option<&[u64]>) -> Quantized {
        let Layout::Packed(_) = self.layout else { return self };
        let fits = |fields: usize, words: Option<u64>| {
            let (a, b) = (
                Packing::Words.words(fields, self.bits),
                Packing::Stream.words(fields, self.bits),
            );
            match words {
                _ if a == b => None,
                Some(words) if words == a as u64 => Some(Packing::Words),
                Some(words) if words == b as u64 => Some(Packing::Stream),
                _ => None,
            }
        };
        let found = fits(cols, codes.and_then(|s| s.last()).copied()).or_else(|| {
            fits(
                rows,
                zeros
                    .filter(|_| self.packed_zeros().is_some())
                    .and_then(|s| s.first())
                    .copied(),
            )
        });
        match found {
            Some(packing) => Quantized {
                layout: Layout::Packed(packing),
                ..self
            },
            None => self,
        }
    }
}

/// How one matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// `X.weight`, a plain float
    Dense,
    /// plain floats with zeros left out
    Sparse(Mask),
    /// codes and their companions
    Quantized(Quantized),
}
