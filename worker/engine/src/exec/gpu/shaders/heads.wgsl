// Prepares the heads of every row for attention: norm and rotation of queries and keys, the softmax scale of queries; keys and
// values are rounded and stored in their pages. A workgroup takes one head: queries first, then keys, then values.

struct Heads {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    eps: f32,
    scale: f32,      // of the queries
    normalise: u32,
    rotate: u32,
    cache: u32,      // codes of keys and values: 0 none, 1 integers, 2 float8
    low: f32,        // least code
    high: f32,       // greatest code
}
var<immediate> p: Heads;

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;         // (rows): token, position, first entry in the page table, 0
@group(0) @binding(1) var<storage, read> pages: array<u32>;             // page tables, one after another
@group(0) @binding(2) var<storage, read> rotations: array<vec2<f32>>;   // (rows, head_dim/2): cos, sin
@group(0) @binding(3) var<storage, read> q_weight: array<f32>;          // (head_dim)
@group(0) @binding(4) var<storage, read> k_weight: array<f32>;          // (head_dim)
@group(0) @binding(5) var<storage, read> cache_scales: array<vec4<f32>>; // (kv_heads): scale and zero point of keys, of values
@group(0) @binding(6) var<storage, read_write> qkv: array<f32>;         // (rows, heads of queries, of keys, of values, head_dim)
@group(0) @binding(7) var<storage, read_write> keys: array<f32>;        // (pages, kv_heads, head_dim, 64)
@group(0) @binding(8) var<storage, read_write> values: array<f32>;     // (pages, kv_heads, 64, head_dim)

var<workgroup> head: array<f32, 256>; // (head_dim)

fn term(i: u32) -> f32 {
    return head[i] * head[i];
}

// What is stored of a key or value.
fn cached(x: f32, scale: f32, zero: f32) -> f32 {
    if p.cache == 0u {
        return rounded(x);
    }
    let code = limit(divide(x, scale) + zero, p.low, p.high);
    return rounded((select(round(code), round_float8(code), p.cache == 2u) - zero) * scale);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let index = group.y * groups.x + group.x;
    let each = p.heads + 2u * p.kv_heads;
    let row = index / each;
    let number = index % each;
    if row >= p.rows {
        return;
    }
    let is_query = number < p.heads;
    let is_value = number >= p.heads + p.kv_heads;
    let kv_head = (number - p.heads) % p.kv_heads; // of no use for queries
    let source = (row * each + number) * p.head_dim;
    for (var i = t; i < p.head_dim; i += 64u) {
        head[i] = qkv[source + i];
    }
    workgroupBarrier();
    if p.normalise != 0u && !is_value {
        let scale = inverse_rms(p.head_dim, p.eps, t);
        for (var i = t; i < p.head_dim; i += 64u) {
            head[i] = head[i] * scale * select(k_weight[i], q_weight[i], is_query);
        }
        workgroupBarrier();
    }
    let half = p.head_dim / 2u;
    if p.rotate != 0u && !is_value {
        for (var i = t; i < half; i += 64u) {
            let turn = rotations[row * half + i];
            let a = head[i];
            let b = head[i + half];
            head[i] = a * turn.x - b * turn.y;
            head[i + half] = b * turn.x + a * turn.y;
        }
        workgroupBarrier();
    }
    let position = rows[row].y;
    let page = pages[rows[row].z + position / 64u];
    let slot = position % 64u;
    let stored = (page * p.kv_heads + kv_head) * p.head_dim * 64u;
    let by = cache_scales[select(kv_head, 0u, is_query || p.cache == 0u)];
    for (var i = t; i < p.head_dim; i += 64u) {
        if is_query {
            qkv[source + i] = head[i] * p.scale;
        } else if is_value {
            values[stored + slot * p.head_dim + i] = cached(head[i], by.z, by.w);
        } else {
            keys[stored + i * 64u + slot] = cached(head[i], by.x, by.y);
        }
    }
}
