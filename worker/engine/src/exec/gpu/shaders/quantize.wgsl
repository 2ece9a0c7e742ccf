// A row of a linear layer's input, or a group of its columns, to codes q - z as numerics.rs defines them. Codes of a whole row have
// exact products with the weights, and the row's finished sums are multiplied by its scale; codes of a group are multiplied by
// what their group has of its own and rounded as plain inputs are. One workgroup of 64 a row, or a group of one.

struct Quantize {
    rows: u32,
    width: u32,
    low: f32,        // least code
    high: f32,       // greatest code
    rule: u32,       // 0: scale and zero are given; 1: from the values, symmetric; 2: with a zero point; 3: a power of two; 4: the next
                     // power of two; 5: a float8 local scale under a given global one
    kind: u32,       // of codes: 0 integers, 1 float8, 2 float6, 3 float4
    scale: f32,      // given, or the global one
    zero: f32,
    most: f32,       // the largest magnitude a scale is made of; 0: any
    group: u32,      // columns of a group; 0 where a row is one
    groups: u32,     // of a row
    outer: f32,      // what the sums of a row in groups are multiplied by
    exponent: u32,   // of the greatest power of two among the codes
}
var<immediate> p: Quantize;

@group(0) @binding(0) var<storage, read> x: array<f32>;                  // (rows, width)
@group(0) @binding(1) var<storage, read_write> codes: array<f32>;       // (rows, width)
@group(0) @binding(2) var<storage, read_write> row_scales: array<f32>;  // (rows)

var<workgroup> least: array<f32, 64>;
var<workgroup> greatest: array<f32, 64>;

fn round_code(q: f32) -> f32 {
    if p.kind == 0u {
        return round(q);
    } else if p.kind == 1u {
        return round_float8(q);
    } else if p.kind == 2u {
        return round_float(q, 20u, 1.0, 8.0, 0.125);
    }
    return round_float(q, 22u, 1.0, 2.0, 0.5);
}

fn power_of_two(largest: f32) -> f32 {
    let exponent = (bitcast<u32>(largest) + 0x00200000u) >> 23u;
    if exponent >= 255u {
        return bitcast<f32>(0x7f800000u);
    }
    return bitcast<f32>((max(exponent, p.exponent + 1u) - p.exponent) << 23u);
}

fn ceiling(scale: f32) -> f32 {
    let bits = bitcast<u32>(scale);
    if (bits & 0x007fffffu) == 0u || bits >= 0x7f800000u {
        return scale;
    }
    return bitcast<f32>(((bits >> 23u) + 1u) << 23u);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let number = group.y * groups.x + group.x;
    let row = number / p.groups;
    if row >= p.rows {
        return;
    }
    let grouped = p.group != 0u;
    let first = number % p.groups * p.group;
    let size = select(p.width, min(p.group, p.width - first), grouped);
    let base = row * p.width + first;
    var scale = p.scale;
    var zero = p.zero;
    var factor = scale;
    if p.rule != 0u {
        var low = 0.0;
        var high = 0.0;
        for (var i = t; i < size; i += 64u) {
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
        var largest = max(-low, high);
        largest = select(largest, min(largest, p.most), p.most > 0.0);
        let part = divide(largest, (p.high - p.low) / 2.0);
        switch p.rule {
            case 1u: { scale = part; }
            case 2u: {
                scale = divide(high - low, p.high - p.low);
                if scale > 0.0 {
                    zero = round(limit(p.low - divide(low, scale), p.low, p.high));
                }
            }
            case 3u: { scale = power_of_two(largest); }
            case 4u: { scale = ceiling(part); }
            default: {
                factor = round_float8(limit(p.scale * part, -448.0, 448.0));
                factor = select(factor, 0.125, factor == 0.0);
                scale = divide(factor, p.scale);
            }
        }
        if scale == 0.0 {
            scale = 1.1920929e-7;
        }
        if p.rule != 5u {
            factor = scale;
        }
    }
    for (var i = t; i < size; i += 64u) {
        let q = limit(divide(x[base + i], scale) + zero, p.low, p.high);
        let code = round_code(q) - zero;
        codes[base + i] = select(code, rounded(code * factor), grouped);
    }
    if t == 0u && first == 0u {
        row_scales[row] = select(scale, p.outer, grouped);
    }
}
