//! Made-up matrices of every kind that checkpoints hold.

use assay_checkpoint::number::{e4m3_to_f32, f16_to_f32, f32_to_f16};
use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{
    Codebook, Coded, Codes, GroupScale, InputScale, Inputs, Matrix, Rounding, Scales, Weights, Zeros,
};
use assay_engine::Precision;

use crate::synthetic::Random;

/// bitsandbytes' table: quantiles of a normal distribution.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A matrix and what the page calls it.
pub struct Made {
    pub weights: &'static str,
    /// how its inputs are quantized; empty where they are not
    pub inputs: &'static str,
    pub matrix: Matrix,
}

/// One of every kind.
pub fn every(r: &mut Random, rows: usize, cols: usize) -> Vec<Made> {
    let d = &mut Drawn { r, rows, cols };
    let mut all = plain(d);
    all.extend(quantized(d));
    all
}

fn plain(d: &mut Drawn) -> Vec<Made> {
    let (bf16, f16, row) = (Dtype::BF16, Dtype::F16, d.cols);
    let all = [
        ("bf16", d.dense()),
        ("int8, groups of 128", d.int(8, 128, bf16, false)),
        ("int8 by row, zero points, f16 scales", d.int(8, row, f16, true)),
        ("int4, groups of 128", d.int(4, 128, bf16, false)),
        ("int4, groups of 32, zero points", d.int(4, 32, bf16, true)),
        ("int4, groups of 128, zero points, f16 scales", d.int(4, 128, f16, true)),
        ("int4, groups of 128, act-order", d.scattered()),
        ("int4, groups of 64, float zero points", d.float_zeros()),
        ("int3, groups of 128", d.int(3, 128, bf16, false)),
        ("int2, groups of 32, zero points", d.int(2, 32, bf16, true)),
        ("nf4, groups of 64", d.normal_floats()),
        ("fp8 by row", d.float8(1, row)),
        ("fp8, blocks of 128 × 128", d.float8(128, 128)),
        ("mxfp4", d.mxfp4()),
        ("nvfp4", d.nvfp4()),
    ];
    let made = all.map(|(weights, matrix)| Made {
        weights,
        inputs: "",
        matrix,
    });
    made.into()
}

fn quantized(d: &mut Drawn) -> Vec<Made> {
    let (bf16, row) = (Dtype::BF16, d.cols);
    let (int8, by_row) = (Codes::Int { bits: 8 }, InputScale::Row { symmetric: true });
    let stored = InputScale::Fixed { scale: 0.04, zero: -7 };
    let group = |cols, rule| InputScale::Group { cols, rule };
    let float = group(128, GroupScale::Float { symmetric: true });
    let two = group(32, GroupScale::PowerOfTwo);
    let local = group(16, GroupScale::Local { global: 448.0 });
    let channel = ("int8 by row", d.int(8, row, bf16, false));
    let (fp8, blocks) = (Codes::Float8, d.float8(128, 128));
    let all = [
        (channel.clone(), "int8 by row", int8, by_row),
        (channel, "int8, stored scale and zero point", int8, stored),
        (
            ("int4, groups of 128", d.int(4, 128, bf16, false)),
            "int8 by row",
            int8,
            by_row,
        ),
        (("fp8 by row", d.float8(1, row)), "fp8 by row", fp8, by_row),
        (("fp8, blocks of 128 × 128", blocks), "fp8, groups of 128", fp8, float),
        (("mxfp4", d.mxfp4()), "mxfp4", Codes::Float4, two),
        (("nvfp4", d.nvfp4()), "nvfp4", Codes::Float4, local),
    ];
    let made = all.map(|((weights, mut matrix), inputs, codes, scale)| {
        matrix.inputs = Inputs::Quantized { codes, scale };
        Made {
            weights,
            inputs,
            matrix,
        }
    });
    made.into()
}

struct Drawn<'a> {
    r: &'a mut Random,
    rows: usize,
    cols: usize,
}

impl Drawn<'_> {
    // What brings codes up to `most` to the size of a model's weights, drawn around it.
    fn scale(&mut self, most: f32) -> f32 {
        let spread = 1.0 / (self.cols as f32).sqrt();
        2.0 * spread / most * (0.5 + self.r.unit())
    }

    fn scales(&mut self, (rows, cols): (usize, usize), mut scale: impl FnMut(&mut Self) -> f32) -> Scales {
        let count = self.rows.div_ceil(rows) * self.cols.div_ceil(cols);
        Scales {
            values: (0..count).map(|_| scale(self)).collect(),
            rows,
            cols,
        }
    }

    fn codes(&mut self, bits: u8) -> Vec<u32> {
        let words = self.rows * (self.cols * usize::from(bits)).div_ceil(32);
        (0..words).map(|_| self.r.next() as u32).collect()
    }

    fn matrix(&self, coded: Coded) -> Matrix {
        Matrix::plain(self.rows, self.cols, Weights::Coded(coded))
    }

    fn dense(&mut self) -> Matrix {
        let spread = 1.0 / (self.cols as f32).sqrt();
        let values = (0..self.rows * self.cols).map(|_| self.r.normal() * spread);
        Matrix::plain(self.rows, self.cols, Weights::F32(values.collect()))
    }

    fn integers(&mut self, bits: u8, group: usize, dtype: Dtype, zeros: bool) -> Coded {
        let half = 1i16 << (bits - 1);
        let scales = self.scales((1, group), |d| {
            let scale = d.scale(f32::from(half));
            match dtype {
                Dtype::F16 => f16_to_f32(f32_to_f16(scale)),
                _ => Precision::Bf16.round(scale),
            }
        });
        let zero = |r: &mut Random| r.below(1 << bits) as i16 - half;
        let zeros = match zeros {
            true => Zeros::Int(scales.values.iter().map(|_| zero(self.r)).collect()),
            false => Zeros::None,
        };
        Coded::int(bits, self.codes(bits), scales, zeros, dtype)
    }

    fn int(&mut self, bits: u8, group: usize, dtype: Dtype, zeros: bool) -> Matrix {
        let coded = self.integers(bits, group, dtype, zeros);
        self.matrix(coded)
    }

    // GPTQ's act-order: the columns of a group lie anywhere.
    fn scattered(&mut self) -> Matrix {
        let mut coded = self.integers(4, 128, Dtype::BF16, true);
        let mut groups: Vec<u32> = (0..self.cols as u32).map(|column| column / 128).collect();
        (1..groups.len())
            .rev()
            .for_each(|i| groups.swap(i, self.r.below(i + 1)));
        coded.index = Some(groups);
        self.matrix(coded)
    }

    // HQQ
    fn float_zeros(&mut self) -> Matrix {
        let mut coded = self.integers(4, 64, Dtype::F16, false);
        let zero = |r: &mut Random| f16_to_f32(f32_to_f16(r.normal()));
        coded.zeros = Zeros::Float(coded.scales.values.iter().map(|_| zero(self.r)).collect());
        coded.rounding = Rounding::Difference(Dtype::F16);
        self.matrix(coded)
    }

    fn normal_floats(&mut self) -> Matrix {
        let scales = self.scales((1, 64), |d| d.scale(1.0));
        let codes = self.codes(4);
        let table = Codebook::Table(NF4.to_vec());
        self.matrix(Coded::float(4, table, codes, scales, Dtype::F32))
    }

    fn float8(&mut self, rows: usize, cols: usize) -> Matrix {
        let scales = self.scales((rows, cols), |d| d.scale(448.0));
        let mut codes = self.codes(8);
        // all but the pattern of a NaN
        let number = |code: u8| if code & 0x7f == 0x7f { code & 0xfe } else { code };
        let numbers = |word: u32| u32::from_le_bytes(word.to_le_bytes().map(number));
        codes.iter_mut().for_each(|word| *word = numbers(*word));
        self.matrix(Coded::float(8, Codebook::E4m3, codes, scales, Dtype::F32))
    }

    fn mxfp4(&mut self) -> Matrix {
        let scales = self.scales((1, 32), |d| d.scale(6.0).log2().floor().exp2());
        let codes = self.codes(4);
        self.matrix(Coded::float(4, Codebook::E2m1, codes, scales, Dtype::BF16))
    }

    fn nvfp4(&mut self) -> Matrix {
        // float8 from 1/16 to 240, over what all groups have in common
        let scales = self.scales((1, 16), |d| {
            let local = e4m3_to_f32(0x18 + d.r.below(0x60) as u8);
            local / 16_384.0
        });
        let codes = self.codes(4);
        self.matrix(Coded::float(4, Codebook::E2m1, codes, scales, Dtype::F32))
    }
}
