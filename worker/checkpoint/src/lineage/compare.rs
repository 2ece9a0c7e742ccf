//! One matrix against the base's: sums over all weights, in a fixed order.

use crate::load::{Coded, OpenError, Rounding, Zeros, field};
use crate::number::bf16_to_f32;
use crate::safetensors::Dtype;

use super::bands;
use super::grid::{Range, Rule, Scales, bf16, f16};
use super::rows::{Rows, rounded};
use super::subset::Subset;

/// Weights of the base held at a time.
const CHUNK: usize = 1 << 18;
/// Rows that share a scale beyond this are not searched for its largest weight chunk by chunk.
const MAX_BLOCK: usize = 1 << 26;

/// Sums over the weights that both have. Capital letters as in the formulas: D ours, W the base's, both as bfloat16 runtimes hold them.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub elements: u64,
    /// Σ(D − W)²
    pub errors: f64,
    /// ΣW²
    pub base: f64,
    /// ΣD²
    pub ours: f64,
    /// ΣD·W
    pub dot: f64,
    /// D = 0
    pub zeros: u64,
    /// W = 0
    pub base_zeros: u64,
    /// D = W ≠ 0
    pub equal: u64,
    /// what only codes have
    pub coded: Option<CodedFound>,
}

/// What codes and scales were found to be.
#[derive(Clone, Debug, Default)]
pub(super) struct CodedFound {
    pub scales: Scales,
    /// codes that rounding W / s gives, the quotient in float32, bfloat16 and float16
    pub by_path: [u64; 3],
    /// Σ(N − W)², N the nearest the stored grid has to W
    pub nearest_errors: f64,
    /// the relative error beyond which the grid is none of its scheme
    pub coarsest: Option<f64>,
}

impl Found {
    /// ‖D − W‖ / ‖W‖
    pub fn error(&self) -> f64 {
        if self.base > 0.0 {
            (self.errors / self.base).sqrt()
        } else {
            f64::from(self.errors > 0.0)
        }
    }

    /// Cosine of the angle between D and W.
    pub fn cosine(&self) -> f64 {
        let lengths = (self.base * self.ours).sqrt();
        if lengths > 0.0 { self.dot / lengths } else { 0.0 }
    }
}

impl CodedFound {
    /// Codes that the better of the arithmetic paths gives.
    pub fn nearest(&self) -> u64 {
        self.by_path.into_iter().max().unwrap_or(0)
    }

    /// Relative error of rounding the base to the stored grid.
    pub fn expected(&self, found: &Found) -> f64 {
        if found.base > 0.0 {
            (self.nearest_errors / found.base).sqrt()
        } else {
            0.0
        }
    }

    /// The largest relative error that the scheme explains.
    pub fn band(&self, found: &Found) -> f64 {
        let exact = self.scales.same == self.scales.cells && self.nearest() == found.elements;
        let room = if exact { bands::ROUNDING } else { bands::COMPENSATING };
        room * self.expected(found).min(self.coarsest.unwrap_or(f64::INFINITY))
    }
}

/// Compares `mine` with what `subset` selects of `theirs`. The two have equal columns after selection; surplus rows of either are left out.
pub(super) fn compare(mine: &Rows<'_>, theirs: &Rows<'_>, subset: &Subset) -> Result<Found, OpenError> {
    let cols = mine.cols();
    let rows = mine.rows().min(subset.rows(theirs.rows()));
    let mut found = Found::default();
    let mut coder = mine.coded().map(|coded| Coder::new(coded, cols));
    let block = coder.as_ref().map_or(1, |coder| coder.coded.scales.rows.max(1));
    // whole blocks of rows that share scales, so that a scale is judged when its last weight was seen
    let count = (CHUNK / cols.max(1) / block)
        .max(1)
        .saturating_mul(block)
        .min(rows.max(1));
    let (mut base, mut ours) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < rows {
        let count = count.min(rows - at);
        subset.read(theirs, at, count, &mut base)?;
        if let Some(coder) = &mut coder {
            coder.scales(at, &base);
            for (i, base) in base.chunks(cols.max(1)).enumerate() {
                coder.row(at + i, base, &mut found);
            }
        } else {
            mine.read(at, count, &mut ours)?;
            // a float16 copy cannot hold the smallest of the base's weights: what it can hold is what is asked for
            let held = |w: f32| if mine.is_f16() { rounded(f16(w)) } else { rounded(w) };
            for (d, w) in ours.iter().zip(&base) {
                found.take(rounded(*d), held(*w));
            }
        }
        at += count;
    }
    found.elements = (rows * cols) as u64;
    found.coded = coder.map(Coder::finish);
    Ok(found)
}

impl Found {
    #[inline]
    fn take(&mut self, d: f32, w: f32) {
        let (wide_d, wide_w) = (f64::from(d), f64::from(w));
        let error = wide_d - wide_w;
        self.errors += error * error;
        self.base += wide_w * wide_w;
        self.ours += wide_d * wide_d;
        self.dot += wide_d * wide_w;
        self.zeros += u64::from(d == 0.0);
        self.base_zeros += u64::from(w == 0.0);
        self.equal += u64::from(d == w && d != 0.0);
    }
}

/// What is gathered about codes on the way.
struct Coder<'a> {
    coded: &'a Coded,
    rule: Rule,
    nearest: super::grid::Nearest,
    /// group of each column
    groups_of: Vec<u32>,
    groups: usize,
    /// all scales are one number: then it is the whole matrix's, and so is the range
    whole: Option<Range>,
    halves: bool,
    found: CodedFound,
}

impl<'a> Coder<'a> {
    fn new(coded: &'a Coded, cols: usize) -> Coder<'a> {
        let width = coded.scales.cols.max(1);
        let groups = cols.div_ceil(width);
        let groups_of = match &coded.index {
            Some(index) => index.clone(),
            None => (0..cols).map(|c| (c / width) as u32).collect(),
        };
        let rule = Rule::of(coded);
        let scales = &coded.scales.values;
        let is_whole = groups == 1 && scales.len() > 1 && scales.windows(2).all(|w| w[0] == w[1]);
        Coder {
            nearest: rule.nearest(coded),
            found: CodedFound {
                coarsest: bands::coarsest(rule.book, if is_whole { usize::MAX } else { width }),
                ..CodedFound::default()
            },
            rule,
            coded,
            groups_of,
            groups,
            whole: is_whole.then(Range::default),
            halves: matches!(
                coded.rounding,
                Rounding::Product(Dtype::F16) | Rounding::Difference(Dtype::F16) | Rounding::Offset(Dtype::F16)
            ),
        }
    }

    fn zero(&self, cell: usize) -> f32 {
        match &self.coded.zeros {
            Zeros::None => 0.0,
            Zeros::Int(z) => z.get(cell).copied().map_or(0.0, f32::from),
            Zeros::Float(z) => z.get(cell).copied().unwrap_or(0.0),
        }
    }

    /// Judges the scales of whole blocks of rows, beginning at row `from`.
    fn scales(&mut self, from: usize, base: &[f32]) {
        let cols = self.groups_of.len().max(1);
        let block = self.coded.scales.rows.max(1);
        if block.saturating_mul(cols) > MAX_BLOCK {
            return;
        }
        for (i, rows) in base.chunks(cols * block).enumerate() {
            let mut ranges = vec![Range::default(); self.groups];
            for row in rows.chunks(cols) {
                for (value, group) in row.iter().zip(&self.groups_of) {
                    ranges[*group as usize].take(*value);
                }
            }
            if let Some(whole) = &mut self.whole {
                ranges.into_iter().for_each(|range| whole.join(range));
                continue;
            }
            let first = (from / block + i) * self.groups;
            for (k, range) in ranges.into_iter().enumerate() {
                let Some(scale) = self.coded.scales.values.get(first + k).copied() else {
                    continue;
                };
                let zero = self.zero(first + k);
                self.found.scales.add(&self.rule, scale, zero, range, k == 0);
            }
        }
    }

    fn row(&mut self, row: usize, base: &[f32], found: &mut Found) {
        let coded = self.coded;
        let words = (base.len() * usize::from(coded.bits)).div_ceil(32);
        let Some(codes) = coded.codes.get(row * words..(row + 1) * words) else {
            return;
        };
        let first = row / coded.scales.rows.max(1) * self.groups;
        let offset = matches!(coded.rounding, Rounding::Offset(_));
        for (c, (w, group)) in base.iter().zip(&self.groups_of).enumerate() {
            let cell = first + *group as usize;
            let (scale, zero) = (coded.scales.values[cell], self.zero(cell));
            let value = coded.book.value(field(codes, coded.bits, c), coded.bits);
            let weight = |value: f32| bf16_to_f32(coded.rounding.weight(value, zero, scale));
            let exact = if offset { (w - zero) / scale } else { w / scale + zero };
            let narrow = if offset {
                bf16(bf16(w - zero) / scale)
            } else {
                bf16(bf16(w / scale) + zero)
            };
            let nearest = self.nearest.of(exact);
            self.found.by_path[0] += u64::from(value == nearest);
            self.found.by_path[1] += u64::from(value == self.nearest.of(narrow));
            if self.halves && !offset {
                self.found.by_path[2] += u64::from(value == self.nearest.of(f16(f16(w / scale) + zero)));
            }
            let w = rounded(*w);
            let least = f64::from(weight(nearest) - w);
            self.found.nearest_errors += least * least;
            found.take(weight(value), w);
        }
    }

    fn finish(mut self) -> CodedFound {
        if let (Some(range), Some(scale)) = (self.whole, self.coded.scales.values.first()) {
            self.found.scales.add(&self.rule, *scale, self.zero(0), range, true);
        }
        self.found
    }
}
