@group(0) @binding(1) var<storage, read> pages: array<u32>;        // page tables, one after another
@group(0) @binding(2) var<storage, read> qkv: array<f32>;          // (rows, heads of queries, of keys, of values, head_dim); queries are scaled
@group(0) @binding(3) var<storage, read> keys: array<f32>;         // (pages, kv_heads, head_dim, 64)
@group(0) @binding(4) var<storage, read> values: array<f32>;       // (pages, kv_heads, 64, head_dim)

var<workgroup> query: array<vec4<f32>, 256>;    // (head_dim)
var<workgroup> weight: array<vec4<f32>, 256>;   // (keys of the chunk): e^(score - maximum)
var<workgroup> part: array<vec4<f32>, 256>;     // (keys), then (pages, 64 dimensions)
var<workgroup> lanes: array<vec4<f32>, 16>;
var<private> chunk_max: vec4<f32>;
var<private> chunk_sum: vec4<f32>;

// Where the keys and values of a page of this head begin.
fn page_start(entry: u32, kv_head: u32) -> u32 {
    return (pages[entry] * p.kv_heads + kv_head) * p.head_dim * 64u;
}

fn load_query(at: Place, t: u32) {
    let own = (at.row * (p.heads + 2u * p.kv_heads) + at.head) * p.head_dim;
    let last = at.heads - 1u; // components beyond it do the same again
    for (var d = t; d < p.head_dim; d += 256u) {
        query[d] = vec4(
            qkv[own + d],
            qkv[own + min(1u, last) * p.head_dim + d],
            qkv[own + min(2u, last) * p.head_dim + d],
            qkv[own + min(3u, last) * p.head_dim + d],
        );
    }
}

fn attend_chunk(at: Place, chunk: u32, t: u32) {
    let begin = max(at.first, chunk * 256u);            // first key seen
    let end = min(at.position + 1u, chunk * 256u + 256u);
    workgroupBarrier();

    // scores, in order of the head's dimensions
    let key = chunk * 256u + t;
    let seen = key >= begin && key < end;
    var score = vec4(-3.4028235e38);
    if seen {
        score = vec4(0.0);
        let start = page_start(at.table + key / 64u, at.kv_head) + key % 64u;
        for (var d = 0u; d < p.head_dim; d++) {
            score = fma(query[d], vec4(keys[start + d * 64u]), score);
        }
    }
    part[t] = score;
    workgroupBarrier();
    if t < 16u {
        var most = part[t];
        for (var i = t + 16u; i < 256u; i += 16u) {
            most = max(most, part[i]);
        }
        lanes[t] = most;
    }
    workgroupBarrier();
    chunk_max = lanes[0];
    for (var lane = 1u; lane < 16u; lane++) {
        chunk_max = max(chunk_max, lanes[lane]);
    }
    weight[t] = select(vec4(0.0), exponential4(score - chunk_max), seen);
    workgroupBarrier();
    if t < 16u {
        var lane = vec4(0.0);
        for (var i = t; i < 256u; i += 16u) {
            lane += weight[i];
        }
        lanes[t] = lane;
    }

    let page = t / 64u;
    let first = max(begin, chunk * 256u + page * 64u);
    let stop = min(end, chunk * 256u + page * 64u + 64u);
    for (var block = 0u; block < p.head_dim; block += 64u) {
        let d = block + t % 64u;
        var o = vec4(0.0);
        if d < p.head_dim && first < stop {
            let start = page_start(at.table + first / 64u, at.kv_head) + d;
            for (var key = first; key < stop; key++) {
                o = fma(weight[key % 256u], vec4(values[start + key % 64u * p.head_dim]), o);
            }
        }
        workgroupBarrier();
        part[t] = o;
        workgroupBarrier();
        if t < 64u && d < p.head_dim {
            // an empty page adds zero
            take(d, part[t] + part[t + 64u] + part[t + 128u] + part[t + 192u]);
        }
    }
    chunk_sum = lanes[0];
    for (var lane = 1u; lane < 16u; lane++) {
        chunk_sum += lanes[lane];
    }
}
