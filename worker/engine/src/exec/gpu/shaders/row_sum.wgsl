// Sums over a row by one workgroup of 64: term i goes to lane i % 16, the lanes are added left to right.
// The kernel provides `fn term(i: u32) -> f32`.

var<workgroup> staged: array<f32, 1024>;
var<workgroup> lanes: array<f32, 16>;

fn row_sum(width: u32, t: u32) -> f32 {
    var sum = 0.0;
    for (var first = 0u; first < width; first += 1024u) {
        let size = min(width - first, 1024u);
        for (var i = t; i < size; i += 64u) {
            staged[i] = term(first + i);
        }
        workgroupBarrier();
        if t < 16u {
            for (var i = t; i < size; i += 16u) {
                sum += staged[i];
            }
        }
        workgroupBarrier();
    }
    if t < 16u {
        lanes[t] = sum;
    }
    workgroupBarrier();
    var total = lanes[0];
    for (var lane = 1u; lane < 16u; lane++) {
        total += lanes[lane];
    }
    return total;
}

fn inverse_rms(width: u32, eps: f32, t: u32) -> f32 {
    return divide(1.0, root(divide(row_sum(width, t), f32(width)) + eps));
}
