@group(0) @binding(0) var<storage, read> words: array<u32>;         // (K/4, N): four e4m3fn, the lowest k in the lowest byte
@group(0) @binding(1) var<storage, read> scales: array<vec2<f32>>;  // (groups, N): scale, unused

// e4m3fn: bias 7, no infinities, one NaN.
fn float8(code: u32) -> f32 {
    let magnitude = code & 0x7fu;
    let normal = bitcast<f32>((magnitude << 20u) + 0x3c000000u);
    let value = select(normal, f32(magnitude) * 0.001953125, magnitude < 8u);
    let signed = bitcast<u32>(value) | ((code & 0x80u) << 24u);
    return bitcast<f32>(select(signed, 0x7fc00000u, magnitude == 0x7fu));
}

fn four(word: u32) -> vec4<f32> {
    let b = bytes(word);
    return vec4(float8(b.x), float8(b.y), float8(b.z), float8(b.w));
}

fn weights(octet: u32, n: u32) -> Octet {
    let at = octet * 2u * p.n + n;
    let scale = scales[octet / p.octets * p.n + n].x;
    return Octet(products(four(words[at]), scale), products(four(words[at + p.n]), scale));
}
