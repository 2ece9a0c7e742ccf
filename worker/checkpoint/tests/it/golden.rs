//! Packing by the book.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Coded, Matrix, Scales, Weights, Zeros};

fn int(bits: u8, codes: Vec<u32>, cols: usize, scale: f32, scale_dtype: Dtype, zero: Option<i8>) -> Matrix {
    let zeros = zero.map_or(Zeros::None, |z| Zeros::Int(vec![i16::from(z)]));
    let coded = Coded::int(bits, codes, Scales::grouped(vec![scale], cols), zeros, scale_dtype);
    let weights = Weights::Coded(coded);
    Matrix::plain(1, cols, weights)
}

fn row(matrix: &Matrix) -> Vec<f32> {
    let mut out = vec![0.0; matrix.cols];
    matrix.row_f32(0, &mut out);
    out
}

#[test]
fn four_and_eight_bit_words() {
    let low = int(4, vec![0x7654_3210], 8, 1.0, Dtype::BF16, None);
    assert_eq!(row(&low), [-8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0]);
    let high = int(4, vec![0xFEDC_BA98], 8, 1.0, Dtype::BF16, None);
    assert_eq!(row(&high), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let eight = int(8, vec![0xFF80_7F00], 4, 1.0, Dtype::BF16, None);
    assert_eq!(row(&eight), [-128.0, -1.0, 0.0, 127.0]);
    assert_eq!(
        row(&int(4, vec![0x7654_3210], 8, 0.5, Dtype::BF16, Some(-8)))[..3],
        [0.0, 0.5, 1.0]
    );
    // eight bits and a zero point reach 255 · s, which still is exact before it is rounded
    assert_eq!(row(&int(8, vec![0xFF], 1, 1.0, Dtype::BF16, Some(-128))), [255.0]);
}

/// The product is rounded to the scale's dtype first: float16 has more mantissa than bfloat16, and less range.
#[test]
fn products_round_twice_when_the_scale_is_float16() {
    // 7 · 0.10009765625 = 0.70068359375: float16 keeps it (0.70068…), bfloat16 rounds to 0.69921875
    let scale = 0.100_097_66;
    assert_eq!(row(&int(4, vec![0xF], 1, scale, Dtype::F16, None)), [0.699_218_75]);
    assert_eq!(row(&int(4, vec![0xF], 1, scale, Dtype::F32, None)), [0.699_218_75]);
    // a product on the edge: 3 · 0.33349609375 = 1.00048828125 → float16 1 + 2^-11 is a tie → 1.0
    assert_eq!(row(&int(4, vec![0xB], 1, 0.333_496_1, Dtype::F16, None)), [1.0]);
    // beyond float16's range: infinite as float16, fine as bfloat16
    assert_eq!(row(&int(4, vec![0xF], 1, 10_000.0, Dtype::F16, None)), [f32::INFINITY]);
    assert!(row(&int(4, vec![0xF], 1, 10_000.0, Dtype::BF16, None))[0].is_finite());
}

/// Groups shorter and longer than the table of codes, and a last group that is short, give the same as the formula.
#[test]
fn groups_of_every_length() {
    for (bits, cols, group) in [
        (4u8, 40usize, 8usize),
        (4, 64, 32),
        (4, 50, 20),
        (8, 600, 300),
        (8, 12, 4),
        (3, 64, 32),
        (5, 70, 35),
        (2, 33, 11),
    ] {
        let words = (cols * usize::from(bits)).div_ceil(32);
        let codes: Vec<u32> = (0..words as u32)
            .map(|i| i.wrapping_mul(0x9E37_79B9) ^ 0x1234_5678)
            .collect();
        let groups = cols.div_ceil(group);
        let scales: Vec<f32> = (0..groups).map(|g| 0.5 + g as f32).collect();
        let zeros: Vec<i16> = (0..groups).map(|g| g as i16 - 2).collect();
        let coded = Coded::int(
            bits,
            codes.clone(),
            Scales::grouped(scales.clone(), group),
            Zeros::Int(zeros.clone()),
            Dtype::BF16,
        );
        let weights = Weights::Coded(coded);
        let matrix = Matrix::plain(1, cols, weights);
        let field = |c: usize| {
            let (bit, b) = (c * usize::from(bits), usize::from(bits));
            let stream = u64::from(codes[bit / 32]) | codes.get(bit / 32 + 1).map_or(0, |w| u64::from(*w) << 32);
            (stream >> (bit % 32)) as i64 & ((1 << b) - 1)
        };
        let half = 1i64 << (bits - 1);
        let expected: Vec<f32> = (0..cols)
            .map(|c| (field(c) - half - i64::from(zeros[c / group])) as f32 * scales[c / group])
            .map(|x| assay_checkpoint::number::bf16_to_f32(assay_checkpoint::number::f32_to_bf16(x)))
            .collect();
        assert_eq!(row(&matrix), expected, "{bits} bits, groups of {group}");
    }
}
