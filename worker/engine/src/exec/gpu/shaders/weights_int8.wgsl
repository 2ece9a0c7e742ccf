@group(0) @binding(0) var<storage, read> words: array<u32>;         // (K/4, N): four codes, the lowest k in the lowest byte
@group(0) @binding(1) var<storage, read> scales: array<vec2<f32>>;  // (groups, N): scale, and the code that stands for zero

fn weights(octet: u32, n: u32) -> Octet {
    let at = octet * 2u * p.n + n;
    let s = scales[octet / p.octets * p.n + n];
    let low = vec4<f32>(bytes(words[at])) - s.y;
    let high = vec4<f32>(bytes(words[at + p.n])) - s.y;
    return Octet(products(low, s.x), products(high, s.x));
}
