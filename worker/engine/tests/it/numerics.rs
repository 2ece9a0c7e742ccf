//! The numerics specification against f64 and against published values.

use assay_checkpoint::{Codes, GroupScale, InputScale};
use assay_engine::numerics::*;

use crate::support::{Random, activations};

#[test]
fn rope_frequencies_are_the_published_ones() {
    // EXAONE 4.0 1.2B: theta 1e6, head 64, llama3 factor 16, low 1, high 4, original 8192
    let stretch = Stretch {
        factor: 16.0,
        low: 1.0,
        high: 4.0,
        original: 8192.0,
    };
    let plain = inverse_frequencies(64, 1e6, None);
    let scaled = inverse_frequencies(64, 1e6, Some(stretch));
    let golden: [(usize, f64, f64); 9] = [
        (0, 1.0, 1.0),
        (8, 0.031_622_778_6, 0.031_622_778_6),
        (13, 0.003_651_741_43, 0.003_651_741_43),
        (14, 0.002_371_373_82, 0.001_698_341_45),
        (15, 0.001_539_926_63, 5.812_030_38e-4),
        (16, 1.000_000_05e-3, 1.574_366_81e-4),
        (17, 6.493_816_62e-4, 4.058_635_39e-5),
        (24, 3.162_277_43e-5, 1.976_423_39e-6),
        (31, 1.539_926_53e-6, 9.624_540_81e-8),
    ];
    assert_eq!(plain.len(), 32);
    for (k, inverse, stretched) in golden.map(|(k, i, s)| (k, i as f32, s as f32)) {
        let ulp = |a: f32, b: f32| a.to_bits().abs_diff(b.to_bits());
        assert!(ulp(plain[k], inverse) <= 1, "{k}: {} {inverse}", plain[k]);
        assert!(ulp(scaled[k], stretched) <= 2, "{k}: {} {stretched}", scaled[k]);
    }
}

#[test]
fn rotation_rounds_the_angle_to_f32_first() {
    let (cos, sin) = rotation(50_001, 0.031_622_78);
    let angle = f64::from(50_001f32 * 0.031_622_78f32);
    assert_eq!((cos, sin), (angle.cos() as f32, angle.sin() as f32));
    assert_eq!(rotation(0, 0.5), (1.0, 0.0));
}

#[test]
fn rounding_goes_to_the_nearest_and_ties_to_even() {
    let bf16 = Precision::Bf16;
    assert_eq!(bf16.round(1.0 + 1.0 / 256.0), 1.0); // halfway between 1 and 1 + 1/128
    assert_eq!(bf16.round(1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0);
    assert_eq!(bf16.round(-1.0 - 1.01 / 256.0), -1.0 - 1.0 / 128.0);
    assert_eq!(bf16.round(f32::MAX), f32::INFINITY);
    assert_eq!(bf16.round(-0.0).to_bits(), (-0.0f32).to_bits());
    for precision in [Precision::Bf16, Precision::Pair] {
        assert!(precision.round(f32::NAN).is_nan());
        assert!(precision.round(f32::from_bits(0x7f80_0001)).is_nan());
        assert!(precision.round(f32::from_bits(0xffff_ffff)).is_nan());
        assert_eq!(precision.round(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }
}

#[test]
fn a_pair_is_exactly_two_bf16_and_its_products_are_exact() {
    let mut r = Random(3);
    for _ in 0..20_000 {
        let x = r.normal() * (r.normal() * 20.0).exp2();
        let pair = Precision::Pair.round(x);
        let high = Precision::Bf16.round(pair);
        let low = Precision::Bf16.round(pair - high);
        assert_eq!(high + low, pair);
        assert!((f64::from(pair) - f64::from(x)).abs() <= f64::from(x).abs() * 2f64.powi(-16));
        let w = Precision::Bf16.round(r.normal());
        assert_eq!(f64::from(pair * w), f64::from(pair) * f64::from(w));
    }
}

#[test]
fn exp_is_within_two_ulp() {
    let mut r = Random(4);
    for i in 0..200_000 {
        let x = if i < 1000 {
            -i as f32 * 0.087
        } else {
            (r.unit() * 175.0 - 87.0) as f32
        };
        let exact = f64::from(x).exp();
        let error = (f64::from(exp(x)) - exact).abs() / exact;
        assert!(error <= 2.0 * 2f64.powi(-23), "exp({x}) = {} not {exact}", exp(x));
    }
    assert_eq!(exp(0.0), 1.0);
    assert!(exp(f32::NAN).is_nan());
    assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(-1e30) < 2e-38);
    assert!(exp(f32::INFINITY).is_finite() && exp(f32::INFINITY) > 1e38);
}

#[test]
fn silu_follows_its_definition() {
    for i in -4000..4000 {
        let x = i as f32 * 0.025;
        let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
        assert!(
            (f64::from(silu(x)) - exact).abs() <= 1e-6 * exact.abs().max(1e-6),
            "{x}"
        );
    }
    assert!(silu(f32::NAN).is_nan());
}

#[test]
fn slices_cover_k_once_and_begin_at_units() {
    for k in 1..5000 {
        let mut next = 0;
        for slice in k_slices(k) {
            assert!(slice.start == next && slice.end >= slice.start);
            assert!(slice.is_empty() || slice.start % K_SLICE_UNIT == 0);
            next = slice.end;
        }
        assert_eq!(next, k);
    }
    assert_eq!(k_slices(2048), [0..512, 512..1024, 1024..1536, 1536..2048]);
}

#[test]
fn the_lowest_of_equal_logits_wins_and_what_is_not_finite_is_refused() {
    assert_eq!(argmax(&[1.0, 3.0, 3.0, -1.0]), Some(1));
    assert_eq!(argmax(&[0.0, -0.0]), Some(0));
    assert_eq!(argmax(&[-0.0, 0.0]), Some(0));
    assert_eq!(argmax(&[f32::MIN, f32::MIN]), Some(0));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(argmax(&[1.0, bad, 2.0]), None);
        assert_eq!(argmax(&[bad, 1.0]), None);
    }
    assert_eq!(argmax(&[]), None);
    let mut r = Random(3);
    for len in [15, 16, 17, 31, 33, 100] {
        let row: Vec<f32> = r.normals(len, 1.0).iter().map(|x| (x * 3.0).round()).collect(); // with ties
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let first = row.iter().position(|x| *x == largest).map(|at| at as u32);
        assert_eq!(argmax(&row), first, "{row:?}");
        for at in 0..len {
            let mut one = vec![-1.0; len];
            one[at] = 2.0;
            assert_eq!(argmax(&one), Some(at as u32));
            // an equal one later, in the same lane or in a lower one
            for later in [at + 1, at + 15, at + 16].into_iter().filter(|later| *later < len) {
                one[later] = 2.0;
                assert_eq!(argmax(&one), Some(at as u32), "{later}");
            }
            one[at] = f32::NAN;
            assert_eq!(argmax(&one), None);
            one[at] = f32::NEG_INFINITY;
            assert_eq!(argmax(&one), None);
        }
    }
}

#[test]
fn log_sum_exp_holds_for_extreme_rows() {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12 * b.abs().max(1.0), "{a} {b}");
    near(log_sum_exp(&[0.0; 1000]), 1000f64.ln());
    near(log_sum_exp(&[3e38, -3e38]), f64::from(3e38f32));
    near(log_sum_exp(&[-5000.0; 4]), -5000.0 + 4f64.ln());
    let mut r = Random(5);
    let row = r.normals(611, 5.0);
    near(
        log_sum_exp(&row),
        row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln(),
    );
}

#[test]
fn sums_over_a_row_follow_the_lanes() {
    let x = Random(6).normals(37, 1.0);
    let mut lanes = [0f32; LANES];
    x.iter().enumerate().for_each(|(i, x)| lanes[i % LANES] += x);
    let mut sum = lanes[0];
    lanes[1..].iter().for_each(|l| sum += l);
    assert_eq!(lane_sum(&x).to_bits(), sum.to_bits());
}

/// Every code of the golden definition: what compressed-tensors' formulas give, step by step, for telling rows.
#[test]
fn rows_become_codes_as_compressed_tensors_does_it() {
    let int8 = Codes::Int { bits: 8 };
    let row = [0.3, -1.275, 0.005, 0.015, 1.2, -0.0];
    let codes = RowCodes::of(int8, InputScale::Row { symmetric: true }, &row);
    assert_eq!(codes.scale, 1.275 / 127.5);
    assert_eq!(row.map(|x| codes.code(x)), [30.0, -128.0, 0.0, 2.0, 120.0, 0.0]); // ±127.5 rounds to even, 128 is clamped
    assert_eq!(codes.code(1.275), 127.0);

    let row = [0.0, 2.55, 1.0, -0.1];
    let codes = RowCodes::of(int8, InputScale::Row { symmetric: false }, &row);
    assert_eq!(codes.scale, (2.55 + 0.1) / 255.0);
    let zero = (-128.0 + 0.1 / codes.scale).round();
    let expected = row.map(|x| (x / codes.scale + zero).clamp(-128.0, 127.0).round_ties_even() - zero);
    assert_eq!(row.map(|x| codes.code(x)), expected);
    assert_eq!(codes.code(0.0), 0.0, "zero is always a code");

    let fixed = RowCodes::of(int8, InputScale::Fixed { scale: 0.5, zero: -3 }, &row);
    assert_eq!(
        [0.25, 0.75, 100.0, -100.0].map(|x| fixed.code(x)),
        [1.0, 1.0, 130.0, -125.0]
    );
    let four = RowCodes::of(Codes::Int { bits: 4 }, InputScale::Fixed { scale: 1.0, zero: 0 }, &row);
    assert_eq!([7.6, -9.0, 2.5].map(|x| four.code(x)), [7.0, -8.0, 2.0]);

    for symmetric in [true, false] {
        let none = RowCodes::of(int8, InputScale::Row { symmetric }, &[0.0; 40]);
        assert_eq!((none.scale, none.code(0.0)), (f32::EPSILON, 0.0));
        for bad in [f32::NAN, f32::INFINITY] {
            let row = [1.0, bad, -2.0];
            let codes = RowCodes::of(int8, InputScale::Row { symmetric }, &row);
            assert!(row.map(|x| codes.code(x) * codes.scale).iter().any(|x| x.is_nan()));
        }
    }
}

/// All float8 values are kept, and halves between neighbours go to the even one.
#[test]
fn float8_codes_round_to_even() {
    let codes = RowCodes::of(Codes::Float8, InputScale::Fixed { scale: 1.0, zero: 0 }, &[]);
    let values: Vec<f32> = (0..0x7f).map(assay_checkpoint::number::e4m3_to_f32).collect();
    for (i, pair) in values.windows(2).enumerate() {
        let middle = (pair[0] + pair[1]) / 2.0;
        let even = pair[i % 2];
        for sign in [1.0, -1.0] {
            assert_eq!(codes.code(sign * pair[0]), sign * pair[0]);
            assert_eq!(codes.code(sign * middle), sign * even, "{middle}");
            assert_eq!(codes.code(sign * middle.next_up()), sign * pair[1]);
            assert_eq!(codes.code(sign * middle.next_down()), sign * pair[0]);
        }
    }
    assert_eq!(codes.code(1e9), 448.0);
    assert!(codes.code(f32::NAN).is_nan());
    let row = RowCodes::of(Codes::Float8, InputScale::Row { symmetric: true }, &[-896.0, 3.0]);
    assert_eq!((row.scale, row.code(-896.0), row.code(3.0)), (2.0, -448.0, 1.5));
}

/// Group by group and number by number what compressed-tensors 0.19 gives in float32 (`forward_quantize`): rows with a group of
/// zeros, with small values, and with magnitudes where a power of two goes up. It multiplies by `local / global`, the rule by the
/// one and afterwards by the inverse of the other: the same to the last place.
#[test]
fn groups_become_codes_as_compressed_tensors_does_it() {
    let group = |cols, rule| InputScale::Group { cols, rule };
    let global = activations("nvfp4.global")[0];
    let float = |symmetric| GroupScale::Float { symmetric };
    for (kind, codes, scale) in [
        ("fp8-g128", Codes::Float8, group(128, float(true))),
        ("mxfp8", Codes::Float8, group(32, GroupScale::PowerOfTwo)),
        ("mxfp4", Codes::Float4, group(32, GroupScale::PowerOfTwo)),
        ("nvfp4", Codes::Float4, group(16, GroupScale::Local { global })),
        ("int8-g64-asym", Codes::Int { bits: 8 }, group(64, float(false))),
        ("int4-g32", Codes::Int { bits: 4 }, group(32, float(true))),
        (
            "int4-token",
            Codes::Int { bits: 4 },
            InputScale::Row { symmetric: true },
        ),
    ] {
        let (x, y) = (activations(&format!("{kind}.x")), activations(&format!("{kind}.y")));
        assert_eq!((x.len(), y.len()), (768, 768));
        let (width, outer) = match scale {
            InputScale::Group { cols, rule } => (cols as usize, Some(outer_scale(rule))),
            _ => (256, None),
        };
        for (at, (x, y)) in x.chunks(width).zip(y.chunks(width)).enumerate() {
            let by = RowCodes::of(codes, scale, x);
            for (x, y) in x.iter().zip(y) {
                assert_eq!(by.code(*x) * by.scale, *y, "{kind}, group {at}: {x} by {by:?}");
                let multiplied = by.code(*x) * outer.map_or(by.scale, |outer| by.factor * outer);
                assert!(
                    (multiplied - y).abs() <= y.abs() * f32::EPSILON,
                    "{kind}: {multiplied} {y}"
                );
            }
        }
    }
}

#[test]
fn float4_and_float6_codes_round_to_even() {
    for (codes, values) in [
        (
            Codes::Float4,
            (0..8).map(assay_checkpoint::number::e2m1_to_f32).collect::<Vec<f32>>(),
        ),
        (
            Codes::Float6,
            (0..32).map(assay_checkpoint::number::e2m3_to_f32).collect(),
        ),
    ] {
        let by = RowCodes::of(codes, InputScale::Fixed { scale: 1.0, zero: 0 }, &[]);
        for (i, pair) in values.windows(2).enumerate() {
            let middle = (pair[0] + pair[1]) / 2.0;
            for sign in [1.0, -1.0] {
                assert_eq!(by.code(sign * pair[0]), sign * pair[0]);
                assert_eq!(by.code(sign * middle), sign * pair[i % 2], "{middle}");
                assert_eq!(by.code(sign * middle.next_up()), sign * pair[1]);
                assert_eq!(by.code(sign * middle.next_down()), sign * pair[0]);
            }
        }
        assert_eq!(by.code(1e9), values[values.len() - 1]);
        assert!(by.code(f32::NAN).is_nan());
    }
}

/// A power of two above is taken only where the one below does not do; a bound is the largest magnitude counted; what is not a
/// number stays none in every rule.
#[test]
fn scales_of_groups_follow_their_rules() {
    let group = |rule| InputScale::Group { cols: 32, rule };
    let scale = |codes, rule, largest: f32| RowCodes::of(codes, group(rule), &[0.0, -largest]).scale;
    let power = |largest| scale(Codes::Float8, GroupScale::PowerOfTwo, largest);
    assert_eq!((power(448.0), power(447.9), power(256.0)), (2.0, 1.0, 1.0));
    assert_eq!(scale(Codes::Float6, GroupScale::PowerOfTwo, 7.0), 2.0);
    assert_eq!(power(1e-40), f32::from_bits(1 << 23));
    let ceiling = |largest| scale(Codes::Float8, GroupScale::Ceiling, largest);
    assert_eq!((ceiling(448.0), ceiling(448.1), ceiling(1.0)), (1.0, 2.0, 1.0 / 256.0));
    let bounded = InputScale::Bounded { most: 44.8 };
    assert_eq!(RowCodes::of(Codes::Float8, bounded, &[100.0]).scale, 44.8 / 448.0);
    assert_eq!(RowCodes::of(Codes::Float8, bounded, &[4.48]).scale, 4.48 / 448.0);
    let local = GroupScale::Local { global: 2.0 };
    for rule in [
        GroupScale::PowerOfTwo,
        GroupScale::Ceiling,
        local,
        GroupScale::Float { symmetric: true },
    ] {
        for bad in [f32::NAN, f32::INFINITY] {
            let codes = if rule == local { Codes::Float4 } else { Codes::Float8 };
            let by = RowCodes::of(codes, group(rule), &[1.0, bad]);
            let values = [1.0, bad].map(|x| by.code(x) * by.factor);
            assert!(
                values.iter().any(|x| x.is_nan()) || rule == local && bad == f32::INFINITY,
                "{rule:?}"
            );
        }
        assert_eq!(RowCodes::of(Codes::Float8, group(rule), &[0.0; 32]).code(0.0), 0.0);
    }
}
