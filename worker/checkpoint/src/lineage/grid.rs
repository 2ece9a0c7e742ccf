//! The grid a matrix was rounded to: which scales, zero points and codes the base's weights give, by every arithmetic path the tools take.
//!
//! compressed-tensors computes in the model's dtype, so a bfloat16 model's scale is bf16(absmax / 7.5), its codes rne(bf16(w / s)), even
//! where the scale is stored in float32. Kernels and other tools divide in float32, or multiply by a reciprocal: each of those counts.

use crate::load::{Codebook, Coded, Rounding, Zeros};
use crate::number::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::safetensors::Dtype;

use super::bands::Book;

/// Ratios of a stored scale to the base's are called equal to one factor when they spread no more than this (natural logarithm).
pub(super) const UNIFORM: f64 = 2e-4;

/// What the scales of a matrix were found to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Scales {
    /// how many there are
    pub cells: u64,
    /// how many are the base's, with their zero points
    pub same: u64,
    /// first groups of a row, and how many of them are the base's: some tools make later ones from weights they already changed
    pub firsts: u64,
    pub first_same: u64,
    /// cells whose ratio is known, those above the base's, and the ratios' logarithms
    pub known: u64,
    pub above: u64,
    /// against the base's exact scale, and against that scale in bfloat16
    logs: [Logs; 2],
}

/// Sums of logarithms.
#[derive(Clone, Copy, Debug, Default)]
struct Logs {
    sum: f64,
    squares: f64,
}

impl Scales {
    /// Geometric mean of stored / base's.
    pub fn factor(&self) -> f64 {
        self.ratio().0
    }

    /// Standard deviation of the ratios' logarithms.
    pub fn spread(&self) -> f64 {
        self.ratio().1
    }

    /// Both, by the path that explains the scales better.
    fn ratio(&self) -> (f64, f64) {
        let n = self.known.max(1) as f64;
        let of = |logs: &Logs| {
            (
                (logs.sum / n).exp(),
                (logs.squares / n - (logs.sum / n).powi(2)).max(0.0).sqrt(),
            )
        };
        let [exact, narrow] = [of(&self.logs[0]), of(&self.logs[1])];
        if narrow.1 < exact.1 { narrow } else { exact }
    }

    /// One cell: its stored scale and zero point, the range of the base's weights that share it, whether it is the first of a row.
    pub fn add(&mut self, rule: &Rule, scale: f32, zero: f32, range: Range, first: bool) {
        self.cells += 1;
        self.firsts += u64::from(first);
        let (same, expected) = rule.judge(scale, zero, range);
        self.same += u64::from(same);
        self.first_same += u64::from(same && first);
        if expected > 0.0 && scale > 0.0 {
            self.known += 1;
            let ratios = [expected, bf16(expected)].map(|expected| (f64::from(scale) / f64::from(expected)).ln());
            // half a step of bfloat16, so that rounding does not count as larger
            self.above += u64::from(ratios[0] > 0.002);
            for (logs, log) in self.logs.iter_mut().zip(ratios) {
                logs.sum += log;
                logs.squares += log * log;
            }
        }
    }
}

/// Smallest and largest weight of a cell, zero included.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub min: f32,
    pub max: f32,
}

impl Range {
    pub fn take(&mut self, value: f32) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub fn join(&mut self, other: Range) {
        self.take(other.min);
        self.take(other.max);
    }

    fn absmax(self) -> f32 {
        self.max.max(-self.min)
    }
}

/// How scales come from ranges in this matrix.
pub(super) struct Rule {
    pub book: Book,
    bits: u8,
    symmetric: bool,
    dtype: Dtype,
    /// largest value a code stands for (half the width for integers)
    most: f32,
    /// scales are codes themselves (float8, powers of two), so that a range gives them only to within a step
    stepped: bool,
}

impl Rule {
    pub fn of(coded: &Coded) -> Rule {
        let half = ((1u32 << coded.bits) - 1) as f32 / 2.0;
        let (book, most) = match &coded.book {
            Codebook::Int => (Book::Int(coded.bits), half),
            Codebook::E4m3 => (Book::Float8, 448.0),
            Codebook::E2m1 => (Book::Float4, 6.0),
            Codebook::E2m3 => (Book::Float6, 7.5),
            Codebook::Table(values) => (Book::Table, values.iter().fold(0.0, |a: f32, v| a.max(v.abs()))),
        };
        let powers = coded.scales.values.iter().all(|s| s.to_bits() & 0x007F_FFFF == 0);
        Rule {
            book,
            bits: coded.bits,
            symmetric: matches!(coded.zeros, Zeros::None),
            dtype: match coded.rounding {
                Rounding::Product(dtype) | Rounding::Difference(dtype) | Rounding::Offset(dtype) => dtype,
            },
            most,
            stepped: matches!(book, Book::Float4 | Book::Float6) || (book == Book::Float8 && powers),
        }
    }

    /// Whether the stored scale and zero point are the base's, and the base's scale (0 where it is unknown).
    fn judge(&self, scale: f32, zero: f32, range: Range) -> (bool, f32) {
        let absmax = range.absmax();
        if absmax == 0.0 {
            // the tools put some small number where a division by zero would be
            return (true, 0.0);
        }
        if self.stepped {
            // a power of two lies within a factor of two, a float8 scale within a sixteenth: the wider of the two
            let ratio = scale * self.most / absmax;
            return ((0.49..=2.01).contains(&ratio), absmax / self.most);
        }
        if self.symmetric {
            let exact = absmax / self.most;
            let by_reciprocal = absmax * (1.0 / self.most);
            return (self.any(scale, &[exact, by_reciprocal]), exact);
        }
        let steps = 2.0 * self.most;
        let width = range.max - range.min;
        let candidates = [width / steps, bf16(width) / steps, width * (1.0 / steps)];
        let same = self.any(scale, &candidates) && self.zero_fits(scale, zero, range.min);
        (same, width / steps)
    }

    /// Equal to one of them after rounding to the stored dtype, directly or by way of bfloat16.
    fn any(&self, scale: f32, exact: &[f32]) -> bool {
        let stored = |value: f32| match self.dtype {
            Dtype::BF16 => bf16(value),
            Dtype::F16 => f16(value),
            _ => value,
        };
        exact
            .iter()
            .any(|value| scale == stored(*value) || scale == stored(bf16(*value)))
    }

    fn zero_fits(&self, scale: f32, zero: f32, min: f32) -> bool {
        let Book::Int(_) = self.book else { return true };
        let (low, high) = self.codes();
        let exact = (low - min / scale).clamp(low, high);
        let narrow = bf16(low - bf16(min / scale)).clamp(low, high);
        zero == nearest_integer(exact) || zero == nearest_integer(narrow)
    }

    fn codes(&self) -> (f32, f32) {
        let half = (1u32 << (self.bits - 1)) as f32;
        (-half, half - 1.0)
    }

    /// The rounding of this matrix' codes.
    pub fn nearest(&self, coded: &Coded) -> Nearest {
        match &coded.book {
            Codebook::Int => {
                let (low, high) = self.codes();
                Nearest::Integer { low, high }
            }
            book => {
                let mut values: Vec<(f32, bool)> = (0..1u32 << coded.bits)
                    .map(|code| (book.value(code, coded.bits), code & 1 == 0))
                    .filter(|(value, _)| value.is_finite())
                    .collect();
                values.sort_by(|a, b| a.0.total_cmp(&b.0));
                values.dedup_by(|a, b| a.0 == b.0);
                // between neighbours; a tie goes to the even code
                let between = values.windows(2).map(|w| ((w[0].0 + w[1].0) / 2.0, w[1].1)).collect();
                Nearest::Listed {
                    between,
                    values: values.into_iter().map(|(value, _)| value).collect(),
                }
            }
        }
    }
}

/// Rounding to the values that codes stand for.
pub(super) enum Nearest {
    Integer {
        low: f32,
        high: f32,
    },
    Listed {
        between: Vec<(f32, bool)>,
        values: Vec<f32>,
    },
}

impl Nearest {
    /// The value of the code nearest to `target`.
    pub fn of(&self, target: f32) -> f32 {
        match self {
            Nearest::Integer { low, high } => nearest_integer(target.clamp(*low, *high)),
            Nearest::Listed { between, values } => {
                let at =
                    between.partition_point(|(edge, even_above)| target > *edge || (target == *edge && *even_above));
                values.get(at).copied().unwrap_or(0.0)
            }
        }
    }
}

/// Half to even, for values below 2^22: adding this number leaves no bits for a fraction.
fn nearest_integer(value: f32) -> f32 {
    const LARGE: f32 = 12_582_912.0;
    (value + LARGE) - LARGE
}

pub(super) fn bf16(value: f32) -> f32 {
    bf16_to_f32(f32_to_bf16(value))
}

pub(super) fn f16(value: f32) -> f32 {
    f16_to_f32(f32_to_f16(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Scales as Stored;

    fn rule(bits: u8, dtype: Dtype) -> (Rule, Coded) {
        let coded = Coded::int(bits, Vec::new(), Stored::grouped(vec![1.5], 1), Zeros::None, dtype);
        (Rule::of(&coded), coded)
    }

    /// absmax 7.5 at four bits: scale 1, 7.6 becomes 7, −7.5 becomes −8, 0.5 becomes 0.
    #[test]
    fn integers_round_as_the_tools_do() {
        let (rule, coded) = rule(4, Dtype::BF16);
        let range = Range { min: -7.5, max: 3.0 };
        assert_eq!(rule.judge(1.0, 0.0, range), (true, 1.0));
        assert!(!rule.judge(1.0078125, 0.0, range).0);
        let nearest = rule.nearest(&coded);
        assert_eq!(
            [7.6, -7.5, 0.5, 1.5, -0.5].map(|x| nearest.of(x)),
            [7.0, -8.0, 0.0, 2.0, 0.0]
        );
    }

    #[test]
    fn float4_ties_go_to_the_even_code() {
        let coded = Coded::float(
            4,
            Codebook::E2m1,
            Vec::new(),
            Stored::grouped(vec![1.0], 1),
            Dtype::BF16,
        );
        let nearest = Rule::of(&coded).nearest(&coded);
        let ties = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 9.0, -0.75, -5.0];
        assert_eq!(
            ties.map(|x| nearest.of(x)),
            [0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0, -1.0, -4.0]
        );
    }
}
