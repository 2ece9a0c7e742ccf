// Attention of a row over all its chunks, merged left to right: where there are rows enough to keep a card busy.

@group(0) @binding(5) var<storage, read_write> exact: array<f32>;  // (rows, heads, head_dim)
@group(0) @binding(6) var<storage, read_write> x: array<f32>;      // the same as a linear layer's input

var<private> merged: array<vec4<f32>, 4>;    // Σ weight·value of the chunks so far, of every 64th dimension
var<private> of_chunk: array<vec4<f32>, 4>;  // likewise of the last

fn take(d: u32, o: vec4<f32>) {
    of_chunk[d / 64u] = o;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let at = place_of(group.y * groups.x + group.x);
    if at.row >= p.rows {
        return;
    }
    load_query(at, t);
    var maximum = vec4(0.0);
    var sum = vec4(0.0);
    let first_chunk = at.first / 256u;
    for (var chunk = first_chunk; chunk <= at.position / 256u; chunk++) {
        attend_chunk(at, chunk, t);
        let is_first = chunk == first_chunk;
        let m = merge(maximum, sum, chunk_max, chunk_sum, is_first);
        if t < 64u {
            for (var d = t; d < p.head_dim; d += 64u) {
                merged[d / 64u] = merge_values(merged[d / 64u], m, of_chunk[d / 64u], is_first);
            }
        }
        maximum = m.maximum;
        sum = m.sum;
    }
    if t < 64u {
        let own = (at.row * p.heads + at.head) * p.head_dim;
        for (var d = t; d < p.head_dim; d += 64u) {
            for (var head = 0u; head < at.heads; head++) {
                let value = divide(merged[d / 64u][head], sum[head]);
                exact[own + head * p.head_dim + d] = value;
                x[own + head * p.head_dim + d] = rounded(value);
            }
        }
    }
}
