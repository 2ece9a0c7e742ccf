// A row of a linear layer's input to codes q - z, whose products with the weights are exact, and the scale its finished sums are
// multiplied by, as numerics.rs defines them. One workgroup of 64 a row.

struct Quantize {
    rows: u32,
    width: u32,
    low: f32,        // least code
    high: f32,       // greatest code
    rule: u32,       // 0: scale and zero are given; 1: from the row, symmetric; 2: from the row, with a zero point
    float8: u32,     // codes are float8 values, not integers
    scale: f32,
    zero: f32,
}
var<immediate> p: Quantize;

@group(0) @binding(0) var<storage, read> x: array<f32>;                  // (rows, width)
@group(0) @binding(1) var<storage, read_write> codes: array<f32>;       // (rows, width)
@group(0) @binding(2) var<storage, read_write> row_scales: array<f32>;  // (rows)

var<workgroup> least: array<f32, 64>;
var<workgroup> greatest: array<f32, 64>;

fn limit(q: f32) -> f32 {
    let above = select(q, p.low, q < p.low);
    return select(above, p.high, above > p.high);
}

// To float8 e4m3fn, ties to even: four significant bits from 2^-6 on, below that multiples of 2^-9.
fn round_float8(q: f32) -> f32 {
    return select(drop_bits(q, 20u), round(q * 512.0) * 0.001953125, abs(q) < 0.015625);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= p.rows {
        return;
    }
    let base = row * p.width;
    var scale = p.scale;
    var zero = p.zero;
    if p.rule != 0u {
        var low = 0.0;
        var high = 0.0;
        for (var i = t; i < p.width; i += 64u) {
            low = min(low, x[base + i]);
            high = max(high, x[base + i]);
        }
        least[t] = low;
        greatest[t] = high;
        workgroupBarrier();
        low = least[0];
        high = greatest[0];
        for (var i = 1u; i < 64u; i++) {
            low = min(low, least[i]);
            high = max(high, greatest[i]);
        }
        if p.rule == 1u {
            scale = divide(max(-low, high), (p.high - p.low) / 2.0);
        } else {
            scale = divide(high - low, p.high - p.low);
            if scale > 0.0 {
                zero = round(limit(p.low - divide(low, scale)));
            }
        }
        if scale == 0.0 {
            scale = 1.1920929e-7;
        }
    }
    for (var i = t; i < p.width; i += 64u) {
        let q = limit(divide(x[base + i], scale) + zero);
        codes[base + i] = select(round(q) - zero, round_float8(q), p.float8 != 0u);
    }
    if t == 0u {
        row_scales[row] = scale;
    }
}
