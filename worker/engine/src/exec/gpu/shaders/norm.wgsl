// out[i] = norm(h[row])·weight, for the rows of a list: before attention and MLP in EXAONE 3.5, and before the head.

struct Norm {
    rows: u32,
    first: u32,   // where in the list to begin
    width: u32,
    eps: f32,
}
var<immediate> p: Norm;

@group(0) @binding(0) var<storage, read> list: array<vec2<u32>>;    // (…): row, and what the kernel does not need
@group(0) @binding(1) var<storage, read> h: array<f32>;            // (rows, width)
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // (width)
@group(0) @binding(3) var<storage, read_write> exact: array<f32>;  // (entries, width)
@group(0) @binding(4) var<storage, read_write> x: array<f32>;      // (entries, width), as a linear layer's input

var<private> base: u32;

fn term(i: u32) -> f32 {
    let value = h[base + i];
    return value * value;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let entry = group.y * groups.x + group.x;
    if entry >= p.rows {
        return;
    }
    base = list[p.first + entry].x * p.width;
    let scale = inverse_rms(p.width, p.eps, t);
    for (var i = t; i < p.width; i += 64u) {
        let value = h[base + i] * scale * weight[i];
        exact[entry * p.width + i] = value;
        x[entry * p.width + i] = rounded(value);
    }
}
