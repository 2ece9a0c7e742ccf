@group(0) @binding(0) var<storage, read> words: array<u32>;         // (K/2, N): two bf16, the lower k in the low half
@group(0) @binding(1) var<storage, read> scales: array<vec2<f32>>;  // unused

fn pair(word: u32) -> vec2<f32> {
    return vec2(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}

fn weights(octet: u32, n: u32) -> Octet {
    let at = octet * 4u * p.n + n;
    return Octet(
        vec4(pair(words[at]), pair(words[at + p.n])),
        vec4(pair(words[at + 2u * p.n]), pair(words[at + 3u * p.n])),
    );
}
