// Quantized weights: bf16(dtype(q·s)), the scale's dtype being f16 or one whose rounding changes nothing here.

// Rounds to what an f16 can hold, ties to even.
fn round_f16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    if magnitude >= 0x477ff000u { // 65520 and up
        return bitcast<f32>((bits & 0x80000000u) | 0x7f800000u);
    }
    if magnitude < 0x38800000u { // below 2^-14 the step is 2^-24
        return round(x * 16777216.0) * 5.9604644775390625e-8;
    }
    return drop_bits(x, 13u);
}

fn product(q: f32, scale: f32) -> f32 {
    var w = q * scale;
    if p.f16_scales != 0u {
        w = round_f16(w);
    }
    return drop_bits(w, 16u);
}

fn products(q: vec4<f32>, scale: f32) -> vec4<f32> {
    return vec4(product(q.x, scale), product(q.y, scale), product(q.z, scale), product(q.w, scale));
}

fn bytes(word: u32) -> vec4<u32> {
    return (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(0xffu);
}
