// x·M of every run of `size` neighbouring values of a row, M being Sylvester's Hadamard matrix over √size or any other. A thread makes
// one value.

struct Turn {
    rows: u32,
    width: u32,
    size: u32,
    hadamard: u32,
    scale: f32,    // 1/√size, or 1
    stride: u32,   // values of a row of `exact`
    first: u32,    // of them before the turned ones
}
var<immediate> p: Turn;

@group(0) @binding(0) var<storage, read> x: array<f32>;              // (rows, width)
@group(0) @binding(1) var<storage, read> m: array<f32>;             // (size, size); unused of a Hadamard matrix
@group(0) @binding(2) var<storage, read_write> exact: array<f32>;   // (rows, stride)
@group(0) @binding(3) var<storage, read_write> turned: array<f32>;  // (rows, width), as a linear layer's input

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
    let j = index % p.width % p.size;
    let first = index - j;
    var sum = 0.0;
    if p.hadamard != 0u {
        for (var i = 0u; i < p.size; i++) {
            let value = x[first + i];
            sum += select(value, -value, (countOneBits(i & j) & 1u) != 0u);
        }
    } else {
        for (var i = 0u; i < p.size; i++) {
            sum += x[first + i] * m[i * p.size + j];
        }
    }
    let value = sum * p.scale;
    exact[index / p.width * p.stride + p.first + index % p.width] = value;
    turned[index] = rounded(value);
}
