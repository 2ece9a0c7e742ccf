// Attention of few rows: every chunk of a row has a workgroup, which writes what it comes to.

@group(0) @binding(5) var<storage, read_write> parts: array<vec4<f32>>;  // (rows, groups of heads, chunks) of maximum, sum, (head_dim) values

var<private> part_start: u32;

fn take(d: u32, o: vec4<f32>) {
    parts[part_start + 2u + d] = o;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let index = group.y * groups.x + group.x;
    let at = place_of(index / p.chunks);
    let chunk = index % p.chunks;
    if at.row >= p.rows || chunk < at.first / 256u || chunk > at.position / 256u {
        return;
    }
    part_start = ((at.row * head_groups() + at.group) * p.chunks + chunk) * (p.head_dim + 2u);
    load_query(at, t);
    attend_chunk(at, chunk, t);
    if t == 0u {
        parts[part_start] = chunk_max;
        parts[part_start + 1u] = chunk_sum;
    }
}
