// out[row, n] = scale[row]·Σ_k x[row, k]·w[n, k] for many rows: a workgroup makes a tile of 64 rows and 64 outputs, a thread
// four rows of four outputs. Slices of K run one after another.

@group(0) @binding(2) var<storage, read> x: array<f32>;            // (rows, K), rounded
@group(0) @binding(3) var<storage, read> row_scales: array<f32>;   // (rows)
@group(0) @binding(4) var<storage, read_write> out: array<f32>;    // (rows, stride)

var<workgroup> xs: array<f32, 2048>; // (32, 64 rows)
var<workgroup> ws: array<f32, 2048>; // (32, 64 outputs)

fn load(step: u32, first_row: u32, first_n: u32, t: u32) {
    let column = t % 64u;
    let octet = t / 64u;
    var w = Octet(vec4(0.0), vec4(0.0));
    if first_n + column < p.n && (step * 4u + octet) * 8u < p.k {
        w = weights(step * 4u + octet, first_n + column);
    }
    for (var i = 0u; i < 4u; i++) {
        ws[(octet * 8u + i) * 64u + column] = w.low[i];
        ws[(octet * 8u + 4u + i) * 64u + column] = w.high[i];
    }
    let row = t / 4u;
    for (var i = 0u; i < 8u; i++) {
        let in_step = (t % 4u) + 4u * i;
        let k = step * 32u + in_step;
        var value = 0.0;
        if first_row + row < p.rows && k < p.k {
            value = x[(first_row + row) * p.k + k];
        }
        xs[in_step * 64u + row] = value;
    }
}

fn store(row: u32, n: u32, sum: f32) {
    if row < p.rows && n < p.n {
        out[row * p.stride + p.first + n] = sum * row_scales[row];
    }
}

fn store4(row: u32, n: u32, sums: vec4<f32>) {
    store(row, n, sums.x);
    store(row, n + 16u, sums.y);
    store(row, n + 32u, sums.z);
    store(row, n + 48u, sums.w);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let first_n = tile.x * 64u;
    let first_row = tile.y * 64u;
    let column = t % 16u;
    let row = t / 16u * 4u;
    let steps = (p.k + 31u) / 32u;
    let each = slice_octets() / 4u;
    var total0 = vec4(0.0);
    var total1 = vec4(0.0);
    var total2 = vec4(0.0);
    var total3 = vec4(0.0);
    for (var slice = 0u; slice < 4u; slice++) {
        var sum0 = vec4(0.0);
        var sum1 = vec4(0.0);
        var sum2 = vec4(0.0);
        var sum3 = vec4(0.0);
        for (var step = slice * each; step < min((slice + 1u) * each, steps); step++) {
            load(step, first_row, first_n, t);
            workgroupBarrier();
            for (var k = 0u; k < 32u; k++) {
                let at = k * 64u + column;
                let w = vec4(ws[at], ws[at + 16u], ws[at + 32u], ws[at + 48u]);
                let left = k * 64u + row;
                sum0 = fma(vec4(xs[left]), w, sum0);
                sum1 = fma(vec4(xs[left + 1u]), w, sum1);
                sum2 = fma(vec4(xs[left + 2u]), w, sum2);
                sum3 = fma(vec4(xs[left + 3u]), w, sum3);
            }
            workgroupBarrier();
        }
        total0 += sum0;
        total1 += sum1;
        total2 += sum2;
        total3 += sum3;
    }
    store4(first_row + row, first_n + column, total0);
    store4(first_row + row + 1u, first_n + column, total1);
    store4(first_row + row + 2u, first_n + column, total2);
    store4(first_row + row + 3u, first_n + column, total3);
}
