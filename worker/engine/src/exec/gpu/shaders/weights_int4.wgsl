@group(0) @binding(0) var<storage, read> words: array<u32>;         // (K/8, N): eight codes, the lowest k in the lowest bits
@group(0) @binding(1) var<storage, read> scales: array<vec2<f32>>;  // (groups, N): scale, and the code that stands for zero

fn weights(octet: u32, n: u32) -> Octet {
    let word = words[octet * p.n + n];
    let s = scales[octet / p.octets * p.n + n];
    let low = (vec4(word) >> vec4(0u, 4u, 8u, 12u)) & vec4(15u);
    let high = (vec4(word) >> vec4(16u, 20u, 24u, 28u)) & vec4(15u);
    return Octet(products(vec4<f32>(low) - s.y, s.x), products(vec4<f32>(high) - s.y, s.x));
}
