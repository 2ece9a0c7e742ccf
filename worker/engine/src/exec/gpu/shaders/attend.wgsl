// Attention of one query head of one row over the pages of its sequence, by one workgroup of 64. It walks chunks of 256 keys cut
// at absolute positions and merges them left to right, so that a row's result does not depend on what was computed with it.

struct Attend {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    window: u32,   // a row at position i sees keys j with i - window < j <= i; 0 for all
}
var<immediate> p: Attend;

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;    // (rows): token, position, first entry in the page table, 0
@group(0) @binding(1) var<storage, read> pages: array<u32>;        // page tables, one after another
@group(0) @binding(2) var<storage, read> q: array<f32>;            // (rows, heads, head_dim), scaled
@group(0) @binding(3) var<storage, read> keys: array<f32>;         // (pages, kv_heads, head_dim, 64)
@group(0) @binding(4) var<storage, read> values: array<f32>;       // (pages, kv_heads, 64, head_dim)
@group(0) @binding(5) var<storage, read_write> exact: array<f32>;  // (rows, heads, head_dim)
@group(0) @binding(6) var<storage, read_write> x: array<f32>;      // the same as a linear layer's input

var<workgroup> query: array<f32, 256>;     // (head_dim)
var<workgroup> weight: array<f32, 256>;    // (keys of the chunk): score, then e^(score - maximum)
var<workgroup> largest: array<f32, 64>;
var<workgroup> lanes: array<f32, 16>;
var<workgroup> merged: array<f32, 256>;    // (head_dim): Σ weight·value of the chunks so far; each thread keeps to its own

// Where the keys and values of a page of this head begin.
fn page_start(entry: u32, kv_head: u32) -> u32 {
    return (pages[entry] * p.kv_heads + kv_head) * p.head_dim * 64u;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let index = group.y * groups.x + group.x;
    let row = index / p.heads;
    let head = index % p.heads;
    if row >= p.rows {
        return;
    }
    let kv_head = head / (p.heads / p.kv_heads);
    let position = rows[row].y;
    let table = rows[row].z;
    var first = 0u;
    if p.window != 0u && position + 1u > p.window {
        first = position + 1u - p.window;
    }
    let own = (row * p.heads + head) * p.head_dim;
    for (var d = t; d < p.head_dim; d += 64u) {
        query[d] = q[own + d];
        merged[d] = 0.0;
    }
    var maximum = 0.0;
    var sum = 0.0;
    let first_chunk = first / 256u;
    for (var chunk = first_chunk; chunk <= position / 256u; chunk++) {
        let begin = max(first, chunk * 256u);            // first key seen
        let end = min(position + 1u, chunk * 256u + 256u);
        workgroupBarrier();

        // scores, in order of the head's dimensions
        var mine = -3.4028235e38;
        for (var at = t; at < 256u; at += 64u) {
            let key = chunk * 256u + at;
            var score = 0.0;
            if key >= begin && key < end {
                let start = page_start(table + key / 64u, kv_head) + key % 64u;
                for (var d = 0u; d < p.head_dim; d++) {
                    score = fma(query[d], keys[start + d * 64u], score);
                }
                mine = max(mine, score);
            }
            weight[at] = score;
        }
        largest[t] = mine;
        workgroupBarrier();
        var chunk_max = largest[0];
        for (var i = 1u; i < 64u; i++) {
            chunk_max = max(chunk_max, largest[i]);
        }
        for (var at = t; at < 256u; at += 64u) {
            let key = chunk * 256u + at;
            weight[at] = select(0.0, exponential(weight[at] - chunk_max), key >= begin && key < end);
        }
        workgroupBarrier();
        if t < 16u {
            var lane = 0.0;
            for (var at = t; at < 256u; at += 16u) {
                lane += weight[at];
            }
            lanes[t] = lane;
        }
        workgroupBarrier();
        var chunk_sum = lanes[0];
        for (var lane = 1u; lane < 16u; lane++) {
            chunk_sum += lanes[lane];
        }

        let both = select(max(maximum, chunk_max), chunk_max, chunk == first_chunk);
        let old = select(exponential(maximum - both), 0.0, chunk == first_chunk);
        let new_ = select(exponential(chunk_max - both), 1.0, chunk == first_chunk);
        for (var d = t; d < p.head_dim; d += 64u) {
            var o = 0.0;
            for (var key = begin; key < end; ) {
                let start = page_start(table + key / 64u, kv_head) + d;
                let stop = min(end, (key / 64u + 1u) * 64u);
                for (; key < stop; key++) {
                    o = fma(weight[key % 256u], values[start + key % 64u * p.head_dim], o);
                }
            }
            merged[d] = merged[d] * old + o * new_;
        }
        sum = sum * old + chunk_sum * new_;
        maximum = both;
    }
    for (var d = t; d < p.head_dim; d += 64u) {
        let value = divide(merged[d], sum);
        exact[own + d] = value;
        x[own + d] = rounded(value);
    }
}
