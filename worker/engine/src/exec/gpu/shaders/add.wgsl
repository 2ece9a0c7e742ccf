// h[row] += branch[row], the branch normalised first in EXAONE 4.

struct Add {
    rows: u32,
    width: u32,
    eps: f32,
    normalise: u32,
    halve: u32,    // whether matrix units read what is written
}
var<immediate> p: Add;

@group(0) @binding(0) var<storage, read> branch: array<f32>;   // (rows, width)
@group(0) @binding(1) var<storage, read> weight: array<f32>;   // (width)
@group(0) @binding(2) var<storage, read_write> h: array<f32>;  // (rows, width)
@group(0) @binding(3) var<storage, read_write> x: array<f32>;  // (rows, width), h as a linear layer's input
@group(0) @binding(4) var<storage, read_write> halves: array<u32>;      // (rows, width), x as matrix units read it
@group(0) @binding(5) var<storage, read_write> inverses: array<f32>;    // (rows)

var<private> base: u32;

fn term(i: u32) -> f32 {
    let value = branch[base + i];
    return value * value;
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
    base = row * p.width;
    var scale = 1.0;
    if p.normalise != 0u {
        scale = inverse_rms(p.width, p.eps, t);
    }
    for (var i = t; i < p.width; i += 64u) {
        var value = branch[base + i];
        if p.normalise != 0u {
            value = value * scale * weight[i];
        }
        value = h[base + i] + value;
        h[base + i] = value;
        x[base + i] = rounded(value);
    }
    if p.halve != 0u {
        halve_row(row, p.width, t);
    }
}
