// out[row, n] = scale[row]·Σ_k x[row, k]·w[n, k] for few rows: a workgroup makes 32 outputs of four rows, the four slices of K
// run side by side and are added in their order.

@group(0) @binding(2) var<storage, read> x: array<f32>;            // (rows, K), rounded
@group(0) @binding(3) var<storage, read> row_scales: array<f32>;   // (rows)
@group(0) @binding(4) var<storage, read_write> out: array<f32>;    // (rows, stride)

var<workgroup> parts: array<vec4<f32>, 128>; // (slices, outputs) of four rows

// Where the four rows begin; rows beyond the last compute it again and keep it to themselves.
var<private> starts: vec4<u32>;

fn inputs(k: u32) -> vec4<f32> {
    return vec4(x[starts.x + k], x[starts.y + k], x[starts.z + k], x[starts.w + k]);
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let n = tile.x * 32u + t % 32u;
    let slice = t / 32u;
    let first = tile.y * 4u;
    let column = min(n, p.n - 1u); // threads beyond the last output likewise
    starts = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(p.rows - 1u)) * p.k;
    let each = slice_octets();
    let end = min((slice + 1u) * each, (p.k + 7u) / 8u);
    var sum = vec4(0.0);
    for (var octet = slice * each; octet < end; octet++) {
        let w = weights(octet, column);
        let k = octet * 8u;
        if k + 8u > p.k {
            for (var i = 0u; i < p.k - k; i++) {
                sum = fma(inputs(k + i), vec4(select(w.low[i & 3u], w.high[i & 3u], i > 3u)), sum);
            }
        } else if p.rows - first == 1u {
            var one = sum.x;
            one = fma(x[starts.x + k], w.low.x, one);
            one = fma(x[starts.x + k + 1u], w.low.y, one);
            one = fma(x[starts.x + k + 2u], w.low.z, one);
            one = fma(x[starts.x + k + 3u], w.low.w, one);
            one = fma(x[starts.x + k + 4u], w.high.x, one);
            one = fma(x[starts.x + k + 5u], w.high.y, one);
            one = fma(x[starts.x + k + 6u], w.high.z, one);
            one = fma(x[starts.x + k + 7u], w.high.w, one);
            sum.x = one;
        } else {
            sum = fma(inputs(k), vec4(w.low.x), sum);
            sum = fma(inputs(k + 1u), vec4(w.low.y), sum);
            sum = fma(inputs(k + 2u), vec4(w.low.z), sum);
            sum = fma(inputs(k + 3u), vec4(w.low.w), sum);
            sum = fma(inputs(k + 4u), vec4(w.high.x), sum);
            sum = fma(inputs(k + 5u), vec4(w.high.y), sum);
            sum = fma(inputs(k + 6u), vec4(w.high.z), sum);
            sum = fma(inputs(k + 7u), vec4(w.high.w), sum);
        }
    }
    parts[t] = sum;
    workgroupBarrier();
    if slice == 0u && n < p.n {
        let total = parts[t] + parts[t + 32u] + parts[t + 64u] + parts[t + 96u];
        for (var i = 0u; i < 4u; i++) {
            if first + i < p.rows {
                out[(first + i) * p.stride + p.first + n] = total[i] * row_scales[first + i];
            }
        }
    }
}
