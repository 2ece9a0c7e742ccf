// out[row, n] for few rows: a workgroup makes a square's rows and two squares' outputs. Its four subgroups take a slice of K each; the
// slices are added in their order.

const WIDTH: u32 = 2u * SIZE;

var<workgroup> high: array<f16, 4u * SIZE * STRIDE>;    // (slices, rows, DEPTH) of the inputs' higher parts
var<workgroup> low: array<f16, 4u * SIZE * STRIDE>;     // likewise of the lower ones
var<workgroup> ws: array<f16, 4u * WIDTH * STRIDE>;     // (slices, outputs, DEPTH)
var<workgroup> sums: array<f32, 4u * SIZE * WIDTH>;     // (slices, rows, outputs)

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let first_n = tile.x * WIDTH;
    let first_row = tile.y * SIZE;
    let slice = t / LANES;
    let lane = t % LANES;
    let each = slice_octets() / 4u;
    let own_x = slice * SIZE * STRIDE;
    let own_w = slice * WIDTH * STRIDE;
    var sum0 = Sum();
    var sum1 = Sum();
    // every subgroup takes as many steps: beyond the last column all is zero
    for (var i = 0u; i < each; i++) {
        let step = slice * each + i;
        for (var j = lane; j < WIDTH * 4u; j += LANES) {
            let column = j % WIDTH;
            let octet = j / WIDTH;
            let w = weights16(step * 4u + octet, first_n + column);
            let at = own_w + column * STRIDE + octet * 8u;
            for (var c = 0u; c < 4u; c++) {
                ws[at + c] = w.low[c];
                ws[at + 4u + c] = w.high[c];
            }
        }
        for (var j = lane; j < SIZE * DEPTH; j += LANES) {
            let row = j / DEPTH;
            let k = j % DEPTH;
            let parts = inputs16(first_row + row, step * DEPTH + k);
            high[own_x + row * STRIDE + k] = parts.x;
            low[own_x + row * STRIDE + k] = parts.y;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIZE) {
            let w0 = coopLoad<Right>(&ws[own_w + k], STRIDE);
            let w1 = coopLoad<Right>(&ws[own_w + SIZE * STRIDE + k], STRIDE);
            let high0 = coopLoadT<Left>(&high[own_x + k], STRIDE);
            sum0 = coopMultiplyAdd(high0, w0, sum0);
            sum1 = coopMultiplyAdd(high0, w1, sum1);
            if p.parts == 2u {
                let low0 = coopLoadT<Left>(&low[own_x + k], STRIDE);
                sum0 = coopMultiplyAdd(low0, w0, sum0);
                sum1 = coopMultiplyAdd(low0, w1, sum1);
            }
        }
        workgroupBarrier();
    }
    // naga's SPIR-V writer takes only what a name was given to
    let done0 = sum0;
    let done1 = sum1;
    coopStoreT(done0, &sums[slice * SIZE * WIDTH], WIDTH);
    coopStoreT(done1, &sums[slice * SIZE * WIDTH + SIZE], WIDTH);
    workgroupBarrier();
    for (var i = t; i < SIZE * WIDTH; i += THREADS) {
        let total = sums[i] + sums[i + SIZE * WIDTH] + sums[i + 2u * SIZE * WIDTH] + sums[i + 3u * SIZE * WIDTH];
        store(first_row + i / WIDTH, first_n + i % WIDTH, total);
    }
}
