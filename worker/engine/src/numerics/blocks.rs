//! Inputs as integers block by block: of 16 bits that share powers of two, or of eight that share scales.

/// Columns that share a power of two; a row's last block may have fewer.
pub const BLOCK: usize = 128;

/// Partial sums of a block's products: neighbouring pairs of columns go to them in turn, column c to sum `c / 2 % PARTIALS`.
pub const PARTIALS: usize = 4;

/// The greatest magnitude of a weight as an integer in blocks of [`BLOCK`] columns: the products of 32 columns, all that one partial sum
/// of a block has, then stay within 32 bits whatever the inputs are.
pub const MAX_WEIGHT: i32 = 2047;

/// The same in shorter blocks, where a partial sum has half as many.
pub const MAX_WEIGHT_SHORT: i32 = 4095;

/// What a block's inputs are divided by to become integers: the power of two that brings the largest into 15 bits and a sign. Not below
/// 2^−74, so that no product of it with a weight's power of two is subnormal. NaN where an input is not finite.
#[inline(always)]
pub fn block_unit(block: &[f32]) -> f32 {
    const LEAST: u32 = 67; // biased exponent of 2^−60
    let magnitude = |x: &f32| x.to_bits() & 0x7fff_ffff;
    let largest = block.iter().map(magnitude).fold(0, u32::max);
    // rounded to the 15 bits it will have, since rounding may bring it to the next power of two
    let exponent = ((largest + (1 << 8)) >> 23).max(LEAST);
    if exponent >= 255 {
        return f32::NAN;
    }
    f32::from_bits((exponent - 14) << 23)
}

/// An input as an integer: `x / unit`, ties to even. Anything for a unit that is NaN.
#[inline(always)]
pub fn block_integer(x: f32, unit: f32) -> i16 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2^23: the sum's last bits are the integer's
    // the power of two that undoes the unit
    let inverse = f32::from_bits((254u32 << 23).wrapping_sub(unit.to_bits()));
    (x * inverse + ROUND).to_bits() as i16
}

/// Adds the partial sums of a finished row.
#[inline(always)]
pub fn add_partials(s: [f32; PARTIALS]) -> f32 {
    (s[0] + s[2]) + (s[1] + s[3])
}

/// How a block's inputs become integers of eight bits in the fast mode: the largest becomes 127.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByteScale {
    /// what the integers are multiplied by; NaN where an input is not finite
    pub unit: f32,
    inverse: f32,
}

impl ByteScale {
    /// The scale of a block.
    #[inline(always)]
    pub fn of(block: &[f32]) -> ByteScale {
        const LEAST: f32 = 1e-30; // all zeros below; the inverse stays finite
        let magnitude = |x: &f32| x.to_bits() & 0x7fff_ffff;
        // bits of magnitudes are in order, and those of what is not finite above all others
        let largest = f32::from_bits(block.iter().map(magnitude).fold(0, u32::max));
        let (unit, inverse) = if largest < LEAST {
            (0.0, 0.0)
        } else if largest.is_finite() {
            (largest / 127.0, 127.0 / largest)
        } else {
            (f32::NAN, 0.0)
        };
        ByteScale { unit, inverse }
    }

    /// The integer of one of the block's inputs, −127 to 127, ties to even. Anything where an input is not finite.
    #[inline(always)]
    pub fn integer(self, x: f32) -> i8 {
        const ROUND: f32 = 12_582_912.0; // 1.5·2^23: the sum's last bits are the integer's
        (x * self.inverse + ROUND).to_bits() as i8
    }
}
