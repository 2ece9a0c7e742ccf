//! Sparse storage of compressed-tensors before 0.15: the values that are kept and a mask of where they belong, all others zero.
//!
//! `compressed` holds the values, `bitmask` U8 [rows, ceil(cols / 8)] a bit a column (lowest first), `shape` I64 (rows, cols). With two of four
//! kept `compressed` is [rows, cols / 2]; otherwise it is one list and `row_offsets` I64 [rows] says where each row begins.

use crate::load::{OpenError, Shards};
use crate::problem::{Problems, problem};
use crate::safetensors::Dtype;
use crate::verify::{Expect, Tensors, data};

/// Which zeros are left out, and under which names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    pub kept: Kept,
    /// `X.weight.compressed` rather than `X.compressed`
    pub inside: bool,
}

/// How many values stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// exactly two of each four columns
    TwoOfFour,
    /// as many as there are
    Any,
}

impl Kept {
    /// By the name of its format.
    pub fn of_format(name: &str) -> Option<Kept> {
        match name {
            "sparse-24-bitmask" => Some(Kept::TwoOfFour),
            "sparse-bitmask" => Some(Kept::Any),
            _ => None,
        }
    }
}

/// The values of a sparse matrix that is quantized as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// I8
    Bytes,
    /// F8_E4M3
    Float8,
}

impl Values {
    const fn dtypes(self) -> &'static [Dtype] {
        match self {
            Values::Bytes => &[Dtype::I8],
            Values::Float8 => &[Dtype::F8_E4M3],
        }
    }
}

/// Plain floats, or a quantized matrix's codes.
fn dtypes(values: Option<Values>) -> &'static [Dtype] {
    match values {
        None => &[Dtype::BF16, Dtype::F16, Dtype::F32],
        Some(values) => values.dtypes(),
    }
}

impl Mask {
    /// How the module's tensors look, and what their values are.
    pub fn of(name: &str, tensors: &Tensors) -> Option<(Mask, Dtype)> {
        [false, true].into_iter().find_map(|inside| {
            let mut mask = Mask {
                kept: Kept::TwoOfFour,
                inside,
            };
            tensors.get(mask.tensor(name, Part::Bitmask).as_str())?;
            if tensors.contains_key(mask.tensor(name, Part::Offsets).as_str()) {
                mask.kept = Kept::Any;
            }
            Some((mask, tensors.get(mask.tensor(name, Part::Compressed).as_str())?.dtype))
        })
    }

    /// What its tensors are called after the module's name.
    pub const fn suffix(self, which: Part) -> &'static str {
        match (which, self.inside) {
            (Part::Compressed, false) => "compressed",
            (Part::Compressed, true) => "weight.compressed",
            (Part::Bitmask, false) => "bitmask",
            (Part::Bitmask, true) => "weight.bitmask",
            (Part::Shape, false) => "shape",
            (Part::Shape, true) => "weight.shape",
            (Part::Offsets, false) => "row_offsets",
            (Part::Offsets, true) => "weight.row_offsets",
        }
    }

    fn tensor(self, module: &str, part: Part) -> String {
        format!("{module}.{}", self.suffix(part))
    }

    /// Its tensors.
    pub fn expect(self, (rows, cols): (usize, usize), values: Option<Values>, put: &mut dyn FnMut(&str, Expect)) {
        let dtypes = dtypes(values);
        put(
            self.suffix(Part::Bitmask),
            Expect::one(&[rows, cols.div_ceil(8)], &[Dtype::U8]),
        );
        let mut shape = Expect::one(&[2, 1], &[Dtype::I64, Dtype::I32]);
        shape.shapes.push(vec![2]);
        put(self.suffix(Part::Shape), shape);
        let mut compressed = Expect::one(&[rows, cols / 2], dtypes);
        if self.kept == Kept::Any {
            // as long as the mask says: only the data can tell
            compressed.shapes.clear();
            put(
                self.suffix(Part::Offsets),
                Expect::one(&[rows], &[Dtype::I64, Dtype::I32]),
            );
        }
        put(self.suffix(Part::Compressed), compressed);
    }

    /// The matrix, row by row, zeros put back: its dtype and bytes.
    pub fn spread(
        self,
        shards: &Shards,
        module: &str,
        (rows, cols): (usize, usize),
        values: Option<Values>,
    ) -> Result<(Dtype, Vec<u8>), OpenError> {
        let line = cols.div_ceil(8);
        let name = self.tensor(module, Part::Bitmask);
        let (_, mask) = shards.bytes(&name, rows * line, &[Dtype::U8])?;
        let set = |r: usize, c: usize| mask[r * line + c / 8] >> (c % 8) & 1 == 1;
        let counts: Vec<usize> = (0..rows).map(|r| (0..cols).filter(|c| set(r, *c)).count()).collect();
        if self.kept == Kept::TwoOfFour && counts.iter().any(|n| *n != cols / 2) {
            return Err(OpenError::Tensor {
                tensor: name,
                reason: "a row does not keep half its columns".to_owned(),
            });
        }
        let (dtype, kept) = shards.bytes(
            &self.tensor(module, Part::Compressed),
            counts.iter().sum(),
            dtypes(values),
        )?;
        let size = dtype.bits() as usize / 8;
        let mut out = vec![0u8; rows * cols * size];
        let places = (0..rows)
            .flat_map(|r| (0..cols).map(move |c| (r, c)))
            .filter(|(r, c)| set(*r, *c));
        for (value, (r, c)) in kept.chunks_exact(size).zip(places) {
            out[(r * cols + c) * size..][..size].copy_from_slice(value);
        }
        Ok((dtype, out))
    }

    /// The written shape, the mask's rows and bits beyond them, and where rows begin.
    pub fn check(
        self,
        shards: &Shards,
        module: &str,
        (rows, cols): (usize, usize),
        problems: &mut Problems,
    ) -> Result<(), OpenError> {
        data::written_shape(shards, &self.tensor(module, Part::Shape), (rows, cols), problems)?;
        let name = self.tensor(module, Part::Bitmask);
        let line = cols.div_ceil(8);
        let (_, mask) = shards.bytes(&name, rows * line, &[Dtype::U8])?;
        let spare = if cols.is_multiple_of(8) {
            0
        } else {
            u8::MAX << (cols % 8)
        };
        if mask
            .chunks(line.max(1))
            .any(|row| row.last().is_some_and(|b| b & spare != 0))
        {
            problems.push(data::padding(&name));
        }
        let count = |row: &[u8]| row.iter().map(|b| u64::from(b.count_ones())).sum::<u64>();
        let wrong = match self.kept {
            Kept::TwoOfFour => mask
                .iter()
                .flat_map(|b| [b & 15, b >> 4])
                .filter(|quad| quad.count_ones() != 2)
                .count() as u64,
            Kept::Any => 0,
        };
        // a last byte of four columns has an empty upper half
        let halves = if cols % 8 == 4 { rows as u64 } else { 0 };
        if self.kept == Kept::TwoOfFour && (wrong != halves || !cols.is_multiple_of(4)) {
            problems.push(wrong_places(&name, wrong.saturating_sub(halves).max(1)));
        }
        if self.kept == Kept::Any {
            let name = self.tensor(module, Part::Offsets);
            let stored = shards.integers(&name, rows)?;
            let mut at = 0u64;
            let mut bad = 0u64;
            for (row, begins) in mask.chunks(line.max(1)).zip(stored) {
                bad += u64::from(u64::try_from(begins) != Ok(at));
                at += count(row);
            }
            let compressed = self.tensor(module, Part::Compressed);
            let held = shards
                .tensors()
                .find(|(n, _)| *n == compressed)
                .map_or(0, |(_, info)| info.shape.iter().product::<u64>());
            if bad > 0 || held != at {
                problems.push(wrong_count(&compressed, held, at));
            }
        }
        Ok(())
    }
}

/// One of a sparse matrix's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Compressed,
    Bitmask,
    Shape,
    Offsets,
}

/// Quads that do not keep two different columns.
pub(crate) fn wrong_places(tensor: &str, bad: u64) -> assay_contest::Problem {
    problem(
        "sparse-mask",
        tensor,
        (
            format!("{tensor}: {bad} times not exactly two of four columns are kept"),
            format!("{tensor}: 네 열 가운데 정확히 두 개가 남아야 하는데 그렇지 않은 곳이 {bad}군데 있습니다"),
        ),
        RESAVE,
    )
}

fn wrong_count(tensor: &str, held: u64, wanted: u64) -> assay_contest::Problem {
    problem(
        "sparse-mask",
        tensor,
        (
            format!(
                "{tensor} holds {held} values and the bitmask has {wanted} bits set, or rows do not begin where row_offsets says"
            ),
            format!("{tensor}에는 값이 {held}개, bitmask에는 1인 비트가 {wanted}개이거나 row_offsets가 맞지 않습니다"),
        ),
        RESAVE,
    )
}

const RESAVE: (&str, &str) = (
    "Save the model again with the tool that compressed it, or without sparse compression.",
    "압축한 도구로 다시 저장하거나 희소 압축 없이 저장하세요.",
);
