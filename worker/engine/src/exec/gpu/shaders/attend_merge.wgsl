// Merges the parts of each row's chunks left to right, as attend.wgsl does.

@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;  // (rows, groups of heads, chunks) of maximum, sum, (head_dim) values
@group(0) @binding(2) var<storage, read_write> exact: array<f32>;  // (rows, heads, head_dim)
@group(0) @binding(3) var<storage, read_write> x: array<f32>;      // the same as a linear layer's input

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let at = place_of(group.y * groups.x + group.x);
    if at.row >= p.rows {
        return;
    }
    let first_chunk = at.first / 256u;
    let own = (at.row * p.heads + at.head) * p.head_dim;
    for (var d = t; d < p.head_dim; d += 64u) {
        var maximum = vec4(0.0);
        var sum = vec4(0.0);
        var merged = vec4(0.0);
        for (var chunk = first_chunk; chunk <= at.position / 256u; chunk++) {
            let start = ((at.row * head_groups() + at.group) * p.chunks + chunk) * (p.head_dim + 2u);
            let is_first = chunk == first_chunk;
            let m = merge(maximum, sum, parts[start], parts[start + 1u], is_first);
            merged = merge_values(merged, m, parts[start + 2u + d], is_first);
            maximum = m.maximum;
            sum = m.sum;
        }
        for (var head = 0u; head < at.heads; head++) {
            let value = divide(merged[head], sum[head]);
            exact[own + head * p.head_dim + d] = value;
            x[own + head * p.head_dim + d] = rounded(value);
        }
    }
}
