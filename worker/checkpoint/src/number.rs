//! bfloat16, binary16 and float8 as bit patterns: exact widening, and narrowing with round half to even.

/// The value of a bfloat16 bit pattern (its bits are the top half of an f32).
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds to bfloat16, half to even. NaN stays NaN (quiet); values beyond the range become infinities.
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return ((bits >> 16) as u16) | 0x0040;
    }
    // Adding 0x7FFF, plus one when the kept part is odd, carries into it exactly when rounding up is right.
    let odd = (bits >> 16) & 1;
    ((bits + 0x7FFF + odd) >> 16) as u16
}

/// The value of an IEEE binary16 bit pattern.
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1F;
    let mantissa = u32::from(bits & 0x03FF);
    let magnitude = match exponent {
        // subnormal: mantissa · 2^-24, exact in f32
        0 => (mantissa as f32 / 16_777_216.0).to_bits(),
        0x1F => 0x7F80_0000 | (mantissa << 13),
        _ => ((exponent + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// Rounds to IEEE binary16, half to even, with subnormals. Values beyond the range become infinities.
pub fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7FFF_FFFF;
    if magnitude > 0x7F80_0000 {
        return sign | 0x7E00;
    }
    if magnitude >= 0x4780_0000 {
        // 2^16 and more
        return sign | 0x7C00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2^-14: a subnormal counts units of 2^-24. Adding 0.5 lines those units up with f32's last place,
        // so that the hardware's own rounding does the work.
        let shifted = f32::from_bits(magnitude) + 0.5;
        return sign | (shifted.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let odd = (magnitude >> 13) & 1;
    let rounded = magnitude + 0x0FFF + odd;
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// The value of a float8 e4m3fn pattern: sign, four bits of exponent biased by 7, three of mantissa. No infinities; 0x7F and 0xFF are NaN.
pub fn e4m3_to_f32(bits: u8) -> f32 {
    let sign = u32::from(bits & 0x80) << 24;
    let mantissa = u32::from(bits & 0x07);
    let magnitude = match u32::from(bits >> 3) & 0x0F {
        0x0F if mantissa == 7 => 0x7FC0_0000,
        // subnormal: mantissa · 2^-9
        0 => (mantissa as f32 / 512.0).to_bits(),
        exponent => ((exponent + 120) << 23) | (mantissa << 20),
    };
    f32::from_bits(sign | magnitude)
}

/// The value of a float4 e2m1 pattern: sign, two bits of exponent biased by 1, one of mantissa. Neither infinities nor NaN.
pub fn e2m1_to_f32(bits: u8) -> f32 {
    const MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let magnitude = MAGNITUDES[usize::from(bits & 7)];
    if bits & 8 == 0 { magnitude } else { -magnitude }
}

/// The value of a float6 e2m3 pattern: sign, two bits of exponent biased by 1, three of mantissa. Neither infinities nor NaN.
pub fn e2m3_to_f32(bits: u8) -> f32 {
    let mantissa = f32::from(bits & 7) / 8.0;
    let magnitude = match (bits >> 3) & 3 {
        0 => mantissa,
        exponent => (1.0 + mantissa) * f32::from(1u8 << (exponent - 1)),
    };
    if bits & 32 == 0 { magnitude } else { -magnitude }
}

/// The value of a float8 e8m0 pattern: 2^(bits − 127), from 2^−127 (subnormal in f32) to 2^127; 255 is NaN.
pub fn e8m0_to_f32(bits: u8) -> f32 {
    match bits {
        0 => f32::from_bits(0x0040_0000),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(bits) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats() {
        let all = |bits: u8, value: fn(u8) -> f32| (0..bits).map(value).collect::<Vec<f32>>();
        assert_eq!(all(8, e2m1_to_f32), [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        assert!(e2m1_to_f32(8) == 0.0 && e2m1_to_f32(8).is_sign_negative() && e2m1_to_f32(15) == -6.0);
        assert_eq!(
            [e2m3_to_f32(1), e2m3_to_f32(8), e2m3_to_f32(31), e2m3_to_f32(63)],
            [0.125, 1.0, 7.5, -7.5]
        );
        assert_eq!(
            [e8m0_to_f32(0), e8m0_to_f32(127), e8m0_to_f32(254)],
            [2f32.powi(-127), 1.0, 2f32.powi(127)]
        );
        assert!(e8m0_to_f32(255).is_nan());
    }

    #[test]
    fn float8_values() {
        let cases = [
            (0x00, 0.0),
            (0x01, 2f32.powi(-9)),
            (0x07, 0.013_671_875),
            (0x08, 2f32.powi(-6)),
            (0x38, 1.0),
            (0x3C, 1.5),
            (0x7E, 448.0),
            (0xFE, -448.0),
        ];
        for (bits, value) in cases {
            assert_eq!(e4m3_to_f32(bits), value, "{bits:#04x}");
        }
        assert!(e4m3_to_f32(0x7F).is_nan() && e4m3_to_f32(0xFF).is_nan());
        assert!(e4m3_to_f32(0x80).is_sign_negative());
        assert!(
            (0..0x7E).all(|bits| e4m3_to_f32(bits) < e4m3_to_f32(bits + 1)),
            "in order"
        );
    }

    #[test]
    fn every_binary16_value_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            if value.is_nan() {
                assert!(f16_to_f32(f32_to_f16(value)).is_nan());
            } else {
                assert_eq!(f32_to_f16(value), bits, "{bits:#06x}");
            }
        }
    }

    #[test]
    fn every_bfloat16_value_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let value = bf16_to_f32(bits);
            if value.is_nan() {
                assert!(bf16_to_f32(f32_to_bf16(value)).is_nan());
            } else {
                assert_eq!(f32_to_bf16(value), bits, "{bits:#06x}");
            }
        }
    }

    #[test]
    fn halves_go_to_even() {
        assert_eq!(f32_to_bf16(f32::from_bits(0x3F80_8000)), 0x3F80); // 1 + half an ulp: down, to even
        assert_eq!(f32_to_bf16(f32::from_bits(0x3F81_8000)), 0x3F82); // up, to even
        assert_eq!(f32_to_bf16(f32::from_bits(0x3F80_8001)), 0x3F81);
        assert_eq!(f32_to_f16(f32::from_bits(0x3F80_1000)), 0x3C00);
        assert_eq!(f32_to_f16(f32::from_bits(0x3F80_3000)), 0x3C02);
        assert_eq!(f32_to_f16(65519.0), 0x7BFF);
        assert_eq!(f32_to_f16(65520.0), 0x7C00);
        assert_eq!(f32_to_f16(2f32.powi(-25)), 0); // half the smallest subnormal: to even
        assert_eq!(f32_to_f16(2f32.powi(-25) * 1.5), 1);
        assert_eq!(f32_to_f16(-0.0), 0x8000);
    }
}
