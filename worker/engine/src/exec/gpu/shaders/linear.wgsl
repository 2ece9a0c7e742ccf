// What all kernels over a weight matrix share. Weights lie k-major so that neighbouring threads, which compute neighbouring
// outputs, read neighbouring words; K is padded to a multiple of 32 with whatever meets inputs that are zero there.
// A layout file provides `fn weights(octet: u32, n: u32) -> Octet`: w[n, 8·octet ..][..8], exactly the bf16 values.

struct Linear {
    rows: u32,
    n: u32,            // outputs
    k: u32,            // inputs
    octets: u32,       // octets that share a scale
    f16_scales: u32,   // whether products are rounded to f16 before they are rounded to bf16
    parts: u32,        // f16 that an input is the sum of; of use to matrix units
    stride: u32,       // values of a row of what is written
    first: u32,        // of them before the outputs
}
var<immediate> p: Linear;

struct Octet {
    low: vec4<f32>,
    high: vec4<f32>,
}

// Octets in one of the four slices of K, as numerics.rs cuts them.
fn slice_octets() -> u32 {
    return (p.k + 127u) / 128u * 4u;
}
