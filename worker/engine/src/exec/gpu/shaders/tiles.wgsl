// What an output needs of 128 neighbouring logits: the largest, its id, Σ e^(logit - largest), and whether all are finite.

struct Tiles {
    rows: u32,     // outputs of this block
    first: u32,    // the first one's number in the step
    vocab: u32,
    tiles: u32,    // of 128, in a row of logits
}
var<immediate> p: Tiles;

struct Tile {
    largest: f32,
    sum: f32,
    id: u32,
    finite: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;       // (outputs of the block, vocab)
@group(0) @binding(1) var<storage, read_write> out: array<Tile>;   // (outputs of the step, tiles)

var<workgroup> values: array<f32, 128>;
var<workgroup> lanes: array<f32, 16>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let index = group.y * groups.x + group.x;
    let row = index / p.tiles;
    let tile = index % p.tiles;
    if row >= p.rows {
        return;
    }
    let size = min(p.vocab - tile * 128u, 128u);
    for (var i = t; i < size; i += 64u) {
        values[i] = logits[row * p.vocab + tile * 128u + i];
    }
    workgroupBarrier();
    var best = 0u;
    var finite = 1u;
    for (var i = 0u; i < size; i++) {
        best = select(best, i, values[i] > values[best]);
        finite = select(0u, finite, is_finite(values[i]));
    }
    if t < 16u {
        var lane = 0.0;
        for (var i = t; i < size; i += 16u) {
            lane += exponential(values[i] - values[best]);
        }
        lanes[t] = lane;
    }
    workgroupBarrier();
    if t == 0u {
        var sum = lanes[0];
        for (var lane = 1u; lane < 16u; lane++) {
            sum += lanes[lane];
        }
        out[(p.first + row) * p.tiles + tile] = Tile(values[best], sum, tile * 128u + best, finite);
    }
}
