// out[row, n] for many rows: a workgroup of four subgroups makes a tile of four by four squares, a subgroup two by two of them. Slices of
// K run one after another.

const TILE: u32 = 4u * SIZE;

var<workgroup> high: array<f16, TILE * STRIDE>;    // (rows, DEPTH) of the inputs' higher parts
var<workgroup> low: array<f16, TILE * STRIDE>;     // likewise of the lower ones
var<workgroup> ws: array<f16, TILE * STRIDE>;      // (outputs, DEPTH)
var<workgroup> sums: array<f32, TILE * TILE>;      // (rows, outputs)

fn load(step: u32, first_row: u32, first_n: u32, t: u32) {
    for (var i = t; i < TILE * 4u; i += THREADS) {
        let column = i % TILE;
        let octet = i / TILE;
        let w = weights16(step * 4u + octet, first_n + column);
        for (var j = 0u; j < 4u; j++) {
            ws[column * STRIDE + octet * 8u + j] = w.low[j];
            ws[column * STRIDE + octet * 8u + 4u + j] = w.high[j];
        }
    }
    for (var i = t; i < TILE * DEPTH; i += THREADS) {
        let row = i / DEPTH;
        let k = i % DEPTH;
        let parts = inputs16(first_row + row, step * DEPTH + k);
        high[row * STRIDE + k] = parts.x;
        low[row * STRIDE + k] = parts.y;
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    let first_n = tile.x * TILE;
    let first_row = tile.y * TILE;
    let subgroup = t / LANES;
    let row = subgroup / 2u * 2u * SIZE;
    let column = subgroup % 2u * 2u * SIZE;
    let steps = (p.k + DEPTH - 1u) / DEPTH;
    let each = slice_octets() / 4u;
    var total00 = Sum();
    var total01 = Sum();
    var total10 = Sum();
    var total11 = Sum();
    for (var slice = 0u; slice < 4u; slice++) {
        var sum00 = Sum();
        var sum01 = Sum();
        var sum10 = Sum();
        var sum11 = Sum();
        for (var step = slice * each; step < min((slice + 1u) * each, steps); step++) {
            load(step, first_row, first_n, t);
            workgroupBarrier();
            for (var k = 0u; k < DEPTH; k += SIZE) {
                let w0 = coopLoad<Right>(&ws[column * STRIDE + k], STRIDE);
                let w1 = coopLoad<Right>(&ws[(column + SIZE) * STRIDE + k], STRIDE);
                let high0 = coopLoadT<Left>(&high[row * STRIDE + k], STRIDE);
                let high1 = coopLoadT<Left>(&high[(row + SIZE) * STRIDE + k], STRIDE);
                sum00 = coopMultiplyAdd(high0, w0, sum00);
                sum01 = coopMultiplyAdd(high0, w1, sum01);
                sum10 = coopMultiplyAdd(high1, w0, sum10);
                sum11 = coopMultiplyAdd(high1, w1, sum11);
                if p.parts == 2u {
                    let low0 = coopLoadT<Left>(&low[row * STRIDE + k], STRIDE);
                    let low1 = coopLoadT<Left>(&low[(row + SIZE) * STRIDE + k], STRIDE);
                    sum00 = coopMultiplyAdd(low0, w0, sum00);
                    sum01 = coopMultiplyAdd(low0, w1, sum01);
                    sum10 = coopMultiplyAdd(low1, w0, sum10);
                    sum11 = coopMultiplyAdd(low1, w1, sum11);
                }
            }
            workgroupBarrier();
        }
        total00 = total00 + sum00;
        total01 = total01 + sum01;
        total10 = total10 + sum10;
        total11 = total11 + sum11;
    }
    // naga's SPIR-V writer takes only what a name was given to
    let done00 = total00;
    let done01 = total01;
    let done10 = total10;
    let done11 = total11;
    let at = row * TILE + column;
    coopStoreT(done00, &sums[at], TILE);
    coopStoreT(done01, &sums[at + SIZE], TILE);
    coopStoreT(done10, &sums[at + SIZE * TILE], TILE);
    coopStoreT(done11, &sums[at + SIZE * TILE + SIZE], TILE);
    workgroupBarrier();
    for (var i = t; i < TILE * TILE; i += THREADS) {
        store(first_row + i / TILE, first_n + i % TILE, sums[i]);
    }
}
