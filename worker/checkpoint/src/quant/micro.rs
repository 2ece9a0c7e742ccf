//! Microscaling formats of compressed-tensors: small floats in groups whose scales are small floats too.
//!
//! A row's codes are one little-endian stream of bits in bytes. NVFP4: e2m1 · (e4m3 / global). MX: e2m1, e2m3 or e4m3 · 2^(byte − 127).

use super::Quantized;
use super::args::ScaleType;
use crate::load::{Codebook, Coded, OpenError, Scales, Shards, Weights};
use crate::number::{bf16_to_f32, e4m3_to_f32, e8m0_to_f32};
use crate::problem::{Problems, problem};
use crate::safetensors::Dtype;
use crate::verify::{Expect, data};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Micro {
    /// float4 in groups of 16, float8 scales, and one divisor of all scales of a matrix
    Nvfp4,
    /// float4 in groups of 32, powers of two
    Mxfp4,
    /// float6, powers of two
    Mxfp6,
    /// float8, powers of two
    Mxfp8,
}

impl Micro {
    /// The suffix of the tensor that holds the codes.
    pub const fn suffix(self) -> &'static str {
        match self {
            Micro::Mxfp8 => "weight",
            _ => "weight_packed",
        }
    }

    /// What a scale is.
    pub const fn scales(self) -> ScaleType {
        match self {
            Micro::Nvfp4 => ScaleType::E4m3,
            _ => ScaleType::E8m0,
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> u8 {
        match self {
            Micro::Nvfp4 | Micro::Mxfp4 => 4,
            Micro::Mxfp6 => 6,
            Micro::Mxfp8 => 8,
        }
    }

    fn book(self) -> Codebook {
        match self {
            Micro::Nvfp4 | Micro::Mxfp4 => Codebook::E2m1,
            Micro::Mxfp6 => Codebook::E2m3,
            Micro::Mxfp8 => Codebook::E4m3,
        }
    }

    /// The largest value of a code.
    const fn most(self) -> f32 {
        match self {
            Micro::Nvfp4 | Micro::Mxfp4 => 6.0,
            Micro::Mxfp6 => 7.5,
            Micro::Mxfp8 => 448.0,
        }
    }

    const fn code_types(self) -> &'static [Dtype] {
        match self {
            Micro::Mxfp8 => &[Dtype::F8_E4M3],
            _ => &[Dtype::U8],
        }
    }

    const fn scale_types(self) -> &'static [Dtype] {
        match self {
            Micro::Nvfp4 => &[Dtype::F8_E4M3],
            _ => &[Dtype::U8, Dtype::F8_E8M0],
        }
    }

    /// Bytes of a row's codes.
    fn row_bytes(self, cols: usize) -> usize {
        (cols * usize::from(self.bits())).div_ceil(8)
    }

    /// The value of a scale's byte, the global divisor left out.
    fn scale(self, byte: u8) -> f32 {
        match self {
            Micro::Nvfp4 => e4m3_to_f32(byte),
            _ => e8m0_to_f32(byte),
        }
    }

    /// Its tensors.
    pub fn expect(self, q: Quantized, (rows, cols): (usize, usize), put: &mut dyn FnMut(&str, Expect)) {
        put(
            self.suffix(),
            Expect::one(&[rows, self.row_bytes(cols)], self.code_types()),
        );
        let groups = q.groups(cols as u64) as usize;
        put("weight_scale", Expect::one(&[rows, groups], self.scale_types()));
        if self == Micro::Nvfp4 {
            put("weight_global_scale", Expect::scalar(&[Dtype::F32]));
        }
    }

    /// Reads a matrix. The scales of NVFP4 are divided in f32, as compressed-tensors does, and nothing is rounded but the product.
    pub fn load(
        self,
        shards: &Shards,
        module: &str,
        (rows, cols): (usize, usize),
        q: Quantized,
    ) -> Result<Weights, OpenError> {
        let row_bytes = self.row_bytes(cols);
        let (_, bytes) = shards.bytes(
            &format!("{module}.{}", self.suffix()),
            rows * row_bytes,
            self.code_types(),
        )?;
        let word = |bytes: &[u8]| {
            let mut word = [0u8; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            u32::from_le_bytes(word)
        };
        let codes = bytes.chunks(row_bytes.max(1)).flat_map(|row| row.chunks(4).map(word));
        let groups = q.groups(cols as u64) as usize;
        let name = format!("{module}.weight_scale");
        let (_, scales) = shards.bytes(&name, rows * groups, self.scale_types())?;
        let (divisor, dtype) = match self {
            Micro::Nvfp4 => (
                shards.floats(&format!("{module}.weight_global_scale"), 1)?.1[0],
                Dtype::F32,
            ),
            _ => (1.0, Dtype::BF16),
        };
        let values: Vec<f32> = scales.iter().map(|b| self.scale(*b) / divisor).collect();
        if values.iter().any(|s| !s.is_finite()) {
            return Err(OpenError::Tensor {
                tensor: name,
                reason: "a scale is not finite".to_owned(),
            });
        }
        let scales = Scales::grouped(values, q.group_columns(cols));
        let coded = Coded::float(self.bits(), self.book(), codes.collect(), scales, dtype);
        Ok(Weights::Coded(coded))
    }

    /// Codes and scales that are NaN, products that leave bfloat16, bits that belong to no weight.
    pub fn check(
        self,
        shards: &Shards,
        module: &str,
        (rows, cols): (usize, usize),
        q: Quantized,
        problems: &mut Problems,
        findings: &mut Problems,
    ) -> Result<(), OpenError> {
        let codes = format!("{module}.{}", self.suffix());
        let row_bytes = self.row_bytes(cols);
        if self == Micro::Mxfp8 {
            data::float8(shards, &codes, (rows * cols) as u64, problems)?;
        }
        let used = cols * usize::from(self.bits()) % 8;
        if used != 0 {
            let mut loose = false;
            let bytes = (rows * row_bytes) as u64;
            data::stream(shards, &codes, bytes, |at, piece| {
                let last = |i: usize| (at as usize + i + 1).is_multiple_of(row_bytes);
                loose |= piece.iter().enumerate().any(|(i, b)| last(i) && b >> used != 0);
            })?;
            if loose {
                problems.push(data::padding(&codes));
            }
        }
        let divisor = match self {
            Micro::Nvfp4 => {
                let name = format!("{module}.weight_global_scale");
                let divisor = shards.floats(&name, 1)?.1[0];
                if divisor <= 0.0 {
                    problems.push(divisor_not_positive(&name, divisor));
                }
                divisor
            }
            _ => 1.0,
        };
        let name = format!("{module}.weight_scale");
        let (mut nan, mut huge, mut odd) = (0u64, 0u64, 0u64);
        let limit = bf16_to_f32(0x7F7F);
        let bytes = (rows as u64) * q.groups(cols as u64);
        data::stream(shards, &name, bytes, |_, piece| {
            for byte in piece {
                let scale = self.scale(*byte);
                nan += u64::from(scale.is_nan());
                odd += u64::from(scale <= 0.0);
                // not finite or not positive divisors are told above and with the other floats
                huge += u64::from(divisor > 0.0 && divisor.is_finite() && scale.abs() / divisor * self.most() > limit);
            }
        })?;
        if nan > 0 {
            problems.push(data::nan_codes(&name, nan));
        }
        if huge > 0 {
            problems.push(data::scale_overflow(&name, huge, Dtype::BF16));
        }
        if odd > 0 {
            findings.push(data::scale_not_positive(&name, odd));
        }
        Ok(())
    }
}

fn divisor_not_positive(name: &str, value: f32) -> assay_contest::Problem {
    problem(
        "global-scale-not-positive",
        name,
        (
            format!("{name} is {value}: it divides every scale of the matrix and has to be positive"),
            format!("{name} 값이 {value}입니다. 모든 scale을 나누는 값이므로 양수여야 합니다"),
        ),
        (
            "Quantize again with the tool that compressed it.",
            "압축한 도구로 다시 양자화하세요.",
        ),
    )
}
