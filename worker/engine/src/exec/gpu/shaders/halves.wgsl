// Inputs as matrix units read them. One workgroup of 64 a row.

struct Halves {
    rows: u32,
    width: u32,
}
var<immediate> p: Halves;

@group(0) @binding(0) var<storage, read> x: array<f32>;                 // (rows, width)
@group(0) @binding(1) var<storage, read_write> halves: array<u32>;      // (rows, width): the higher part in the lower half
@group(0) @binding(2) var<storage, read_write> inverses: array<f32>;    // (rows): what undoes the power of two

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
    halve_row(row, p.width, t);
}
