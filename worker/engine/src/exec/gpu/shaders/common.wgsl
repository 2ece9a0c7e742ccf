// What every kernel starts with. A kernel's bindings come in two runs: what it reads, then what it writes. Its parameters are
// immediates whose first word is the number of rows (or outputs) of the step. Work is numbered along x and, where one
// dimension of the grid is too short, folded over y.

// Bits dropped when a linear layer's input or a cached key or value is rounded: 8 keep 16 significant bits, 16 make a bf16.
override DROPPED: u32 = 8u;

// Drops low bits, ties to even. A NaN stays a NaN.
fn drop_bits(x: f32, dropped: u32) -> f32 {
    let bits = bitcast<u32>(x);
    let half = (1u << (dropped - 1u)) - 1u + ((bits >> dropped) & 1u);
    let rounded = ((bits + half) >> dropped) << dropped;
    let nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return bitcast<f32>(select(rounded, 0x7fc00000u, nan));
}

fn rounded(x: f32) -> f32 {
    return drop_bits(x, DROPPED);
}

// e^x as numerics.rs writes it: 2^n·p(r), clamped at -87 and 88.
fn exponential(x: f32) -> f32 {
    var c = select(x, -87.0, x < -87.0);
    c = select(c, 88.0, c > 88.0);
    let n = round(c * 1.44269504);
    let r = (c - n * 0.693359375) - n * -2.12194440e-4;
    var p = 1.987569150e-4;
    p = p * r + 1.398199951e-3;
    p = p * r + 8.333451907e-3;
    p = p * r + 4.166579589e-2;
    p = p * r + 1.666666502e-1;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    return p * bitcast<f32>(u32(i32(n) + 127) << 23u);
}

fn silu(x: f32) -> f32 {
    return divide(x, 1.0 + exponential(-x));
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// a/b rounded as IEEE 754 has it, where WGSL allows 2.5 units in the last place: of the machine's quotient and its neighbours the
// one whose product with b is nearest to a. Products are made of 12-bit halves, so each is exact whether or not it is fused.
fn divide(a: f32, b: f32) -> f32 {
    let quotient = a / b;
    let bits = bitcast<u32>(quotient);
    let exponent = (bits >> 23u) & 0xffu;
    let exponent_a = (bitcast<u32>(a) >> 23u) & 0xffu;
    if exponent < 2u || exponent > 252u || exponent_a < 40u {
        return quotient; // zeros, infinities, NaN, and what is too small for its remainder
    }
    var best = quotient;
    var error = abs(remainder(a, b, quotient));
    for (var step = 1u; step <= 2u; step++) {
        let above = bitcast<f32>(bits + step);
        let below = bitcast<f32>(bits - step);
        let error_above = abs(remainder(a, b, above));
        let error_below = abs(remainder(a, b, below));
        best = select(best, above, error_above < error);
        error = min(error, error_above);
        best = select(best, below, error_below < error);
        error = min(error, error_below);
    }
    return best;
}

fn remainder(a: f32, b: f32, q: f32) -> f32 {
    let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
    let q_high = bitcast<f32>(bitcast<u32>(q) & 0xfffff000u);
    let b_low = b - b_high;
    let q_low = q - q_high;
    return ((a - q_high * b_high) - q_high * b_low - q_low * b_high) - q_low * b_low;
}

// The square root rounded as IEEE 754 has it, found in the same way.
fn root(x: f32) -> f32 {
    let machine = sqrt(x);
    let bits = bitcast<u32>(machine);
    let exponent = (bitcast<u32>(x) >> 23u) & 0xffu;
    if exponent < 40u || exponent == 255u {
        return machine;
    }
    var best = machine;
    var error = abs(remainder(x, machine, machine));
    for (var step = 1u; step <= 3u; step++) {
        let above = bitcast<f32>(bits + step);
        let below = bitcast<f32>(bits - step);
        let error_above = abs(remainder(x, above, above));
        let error_below = abs(remainder(x, below, below));
        best = select(best, above, error_above < error);
        error = min(error, error_above);
        best = select(best, below, error_below < error);
        error = min(error, error_below);
    }
    return best;
}
