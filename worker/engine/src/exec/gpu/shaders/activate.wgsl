// silu(gate)·up. A thread makes one value.

struct Activate {
    rows: u32,
    width: u32,
}
var<immediate> p: Activate;

@group(0) @binding(0) var<storage, read> both: array<f32>;         // (rows, gate and up, width)
@group(0) @binding(1) var<storage, read_write> exact: array<f32>;  // (rows, width)
@group(0) @binding(2) var<storage, read_write> x: array<f32>;      // (rows, width), as a linear layer's input

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + t;
    if index >= p.rows * p.width {
        return;
    }
    let gate = index + index / p.width * p.width;
    let value = silu(both[gate]) * both[gate + p.width];
    exact[index] = value;
    x[index] = rounded(value);
}
