// h[row] = the embedding of the row's token, or of the token that an output of the step before picked. A thread makes eight values.

// (rows): token, position, first entry in the page table, 0 or 1 + the output to follow
@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> picked: array<vec4<u32>>; // (outputs of the step before): id, …
@group(0) @binding(4) var<storage, read_write> h: array<f32>;      // (rows, K), the residual stream
@group(0) @binding(5) var<storage, read_write> x: array<f32>;      // (rows, K), the same as a linear layer's input

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + t;
    let width = (p.k + 7u) / 8u;
    let row = index / width;
    let octet = index % width;
    if row >= p.rows {
        return;
    }
    var token = rows[row].x;
    let source = rows[row].w;
    if source > 0u {
        token = min(picked[source - 1u].x, p.n - 1u);
    }
    let w = weights(octet, token);
    for (var i = 0u; i < min(p.k - octet * 8u, 8u); i++) {
        let value = select(w.low[i & 3u], w.high[i & 3u], i > 3u);
        h[row * p.k + octet * 8u + i] = value;
        x[row * p.k + octet * 8u + i] = value;
    }
}
