//! How a checkpoint's matrices are stored: the compressed-tensors configuration and what it means for each module.

pub(crate) mod args;
pub(crate) mod config;
pub(crate) mod formats;
pub(crate) mod matching;
pub(crate) mod presets;
mod runnable;

pub(crate) use runnable::{Refusal, quantized};

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
}

/// Which tensor holds the codes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `X.weight_packed`: integers packed into 32-bit words, with `X.weight_shape`
    Packed,
    /// `X.weight`, I8: an integer a byte, however many bits it has
    Bytes,
    /// `X.weight`, F8_E4M3
    Float8,
}

impl Layout {
    /// The suffix of the tensor that holds the codes.
    pub const fn suffix(self) -> &'static str {
        match self {
            Layout::Packed => "weight_packed",
            Layout::Bytes | Layout::Float8 => "weight",
        }
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
    #[allow(dead_code)] // REMOVE
    Ceiling,
    /// with `X.input_global_scale`
    Local,
}

/// A quantized matrix of compressed-tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantized {
    pub layout: Layout,
    /// bits of an integer: 4 or 8 where packed, 2 to 8 as bytes; 8 of a float
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
            Strategy::Group(size) => cols.div_ceil(size),
            _ => 1,
        }
    }
}

/// How one matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// `X.weight`, a plain float
    Dense,
    /// codes and their companions
    Quantized(Quantized),
}
