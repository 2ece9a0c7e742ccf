// out[row, n] = scale[row]·Σ_k x[row, k]·w[n, k] for few rows: a workgroup makes 32 outputs of four rows, the four slices of K
// run side by side and are added in their order.

@group(0) @binding(2) var<storage, read> x: array<f32>;            // (rows, K), rounded
@group(0) @binding(3) var<storage, read> row_scales: array<f32>;   // (rows)
@group(0) @binding(4) var<storage, read_write> out: array<f32>;    // (rows, N)

var<workgroup> parts: array<vec4<f32>, 128>; // (slices, outputs) of four rows

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let n = tile.x * 32u + t % 32u;
    let slice = t / 32u;
    let first = tile.y * 4u;
    // threads beyond the last output or row compute another's and keep it to themselves
    let column = min(n, p.n - 1u);
    let r0 = first * p.k;
    let r1 = min(first + 1u, p.rows - 1u) * p.k;
    let r2 = min(first + 2u, p.rows - 1u) * p.k;
    let r3 = min(first + 3u, p.rows - 1u) * p.k;
    let each = slice_octets();
    var sum = vec4(0.0);
    for (var octet = slice * each; octet < min((slice + 1u) * each, (p.k + 7u) / 8u); octet++) {
        let w = weights(octet, column);
        let k = octet * 8u;
        let size = min(p.k - k, 8u);
        for (var i = 0u; i < size; i++) {
            let value = select(w.low[i & 3u], w.high[i & 3u], i > 3u);
            sum = fma(vec4(x[r0 + k + i], x[r1 + k + i], x[r2 + k + i], x[r3 + k + i]), vec4(value), sum);
        }
    }
    parts[t] = sum;
    workgroupBarrier();
    if slice == 0u && n < p.n {
        let total = parts[t] + parts[t + 32u] + parts[t + 64u] + parts[t + 96u];
        for (var i = 0u; i < 4u; i++) {
            if first + i < p.rows {
                out[(first + i) * p.n + n] = total[i] * row_scales[first + i];
            }
        }
    }
}
