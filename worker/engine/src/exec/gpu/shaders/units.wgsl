// What the kernels over matrix units share. Weights and inputs are f16 times powers of two, one for each output and for each row, which
// the finished sums are divided by. Inputs are sums of two f16: both parts go to the same sums, the higher first.
//
// Provided before: SIZE of the squares that a unit multiplies, LANES of a subgroup, the types Left, Right and Sum.

@group(0) @binding(2) var<storage, read> powers: array<f32>;       // (N): what weights are multiplied by
@group(0) @binding(3) var<storage, read> x: array<u32>;            // (rows, K): two f16
@group(0) @binding(4) var<storage, read> inverses: array<f32>;     // (rows): what undoes the inputs' powers of two
@group(0) @binding(5) var<storage, read> row_scales: array<f32>;   // (rows)
@group(0) @binding(6) var<storage, read_write> out: array<f32>;    // (rows, stride)

const THREADS: u32 = 4u * LANES;
const DEPTH: u32 = 32u;    // columns that are staged at once
const STRIDE: u32 = 40u;   // between staged rows, so that they begin in other banks

struct Octet16 {
    low: vec4<f16>,
    high: vec4<f16>,
}

fn weights16(octet: u32, n: u32) -> Octet16 {
    if n >= p.n || octet * 8u >= p.k {
        return Octet16(vec4<f16>(), vec4<f16>());
    }
    let w = weights(octet, n);
    let power = powers[n];
    return Octet16(vec4<f16>(w.low * power), vec4<f16>(w.high * power));
}

fn inputs16(row: u32, k: u32) -> vec2<f16> {
    if row >= p.rows || k >= p.k {
        return vec2<f16>();
    }
    return vec2<f16>(unpack2x16float(x[row * p.k + k]));
}

fn store(row: u32, n: u32, sum: f32) {
    if row < p.rows && n < p.n {
        let inverse = bitcast<f32>((254u << 23u) - bitcast<u32>(powers[n])); // of a power of two
        out[row * p.stride + p.first + n] = sum * inverses[row] * inverse * row_scales[row];
    }
}
