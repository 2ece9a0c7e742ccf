//! How a checkpoint's matrices are stored: the compressed-tensors configuration and what it means for each module.

pub(crate) mod args;
pub(crate) mod config;
pub(crate) mod formats;
pub(crate) mod matching;
pub(crate) mod presets;

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

/// Integers packed into 32-bit words, `format: pack-quantized`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// 4 or 8
    pub bits: u8,
    /// who shares a scale
    pub strategy: Strategy,
    /// no zero points
    pub symmetric: bool,
}

impl Packed {
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
    /// `X.weight_packed` and its companions
    Packed(Packed),
}

impl Packed {
    /// From a group's weights, which [`formats::unsupported_pack`] has accepted.
    pub fn of(weights: &args::Args) -> Packed {
        let strategy = match (weights.sharing, weights.group) {
            (args::Sharing::Group, Some(size)) => Strategy::Group(size),
            (args::Sharing::Tensor, _) => Strategy::Tensor,
            _ => Strategy::Channel,
        };
        Packed {
            bits: weights.bits,
            strategy,
            symmetric: weights.symmetric,
        }
    }
}
