// A row of a linear layer's input as matrix units read it: times the power of two that brings its largest value to between 2^14 and
// 2^15, in two f16 whose sum has 16 significant bits. What no f16 has, as subnormal values may be flushed, is below 2^-28 of the largest. A
// workgroup of 64 takes the row; a thread reads of `x` what it wrote itself.
//
// A kernel provides the buffers `x`, `halves` and `inverses`.

var<workgroup> largest: array<u32, 64>;

fn halve_row(row: u32, width: u32, t: u32) {
    let base = row * width;
    var most = 0u; // bits of magnitudes are in order, and those of what is not finite above all others
    for (var i = t; i < width; i += 64u) {
        most = max(most, bitcast<u32>(x[base + i]) & 0x7fffffffu);
    }
    largest[t] = most;
    workgroupBarrier();
    for (var i = 0u; i < 64u; i++) {
        most = max(most, largest[i]);
    }
    let exponent = max(most >> 23u, 15u);
    // a row that is not finite becomes NaN
    let scale = bitcast<f32>(select((268u - exponent) << 23u, 0x7fc00000u, exponent == 255u));
    for (var i = t; i < width; i += 64u) {
        let value = x[base + i] * scale;
        let high = pack2x16float(vec2(value, 0.0));
        let low = pack2x16float(vec2(value - unpack2x16float(high).x, 0.0));
        halves[base + i] = high | (low << 16u);
    }
    if t == 0u {
        inverses[row] = bitcast<f32>((exponent - 14u) << 23u);
    }
}
