// The most likely token of an output, from its tiles, and its target's logit. One workgroup an output. The ids stay here, where
// the embedding of the next step reads them.

struct Pick {
    rows: u32,     // outputs of this block
    first: u32,    // the first one's number in the step
    vocab: u32,
    tiles: u32,    // of 128, in a row of logits
}
var<immediate> p: Pick;

struct Tile {
    largest: f32,
    sum: f32,
    id: u32,
    finite: u32,
}

struct Picked {
    id: u32,
    finite: u32,
    largest: f32,
    target_logit: f32,
}

@group(0) @binding(0) var<storage, read> outputs: array<vec2<u32>>;   // (outputs of the step): row, target or 0
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // (outputs of the block, vocab)
@group(0) @binding(2) var<storage, read> tiles: array<Tile>;         // (outputs of the step, tiles)
@group(0) @binding(3) var<storage, read_write> out: array<Picked>;   // (outputs of the step)

var<workgroup> largest: array<f32, 64>;
var<workgroup> ids: array<u32, 64>;
var<workgroup> finites: array<u32, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= p.rows {
        return;
    }
    let output = p.first + row;
    // a thread's tiles come in order of ids, so the first of equals is the lowest
    var best = tiles[output * p.tiles + min(t, p.tiles - 1u)];
    var finite = best.finite;
    for (var i = t + 64u; i < p.tiles; i += 64u) {
        let tile = tiles[output * p.tiles + i];
        finite = min(finite, tile.finite);
        if tile.largest > best.largest {
            best = tile;
        }
    }
    largest[t] = best.largest;
    ids[t] = best.id;
    finites[t] = finite;
    workgroupBarrier();
    if t == 0u {
        for (var i = 1u; i < 64u; i++) {
            finite = min(finite, finites[i]);
            if largest[i] > best.largest || (largest[i] == best.largest && ids[i] < best.id) {
                best.largest = largest[i];
                best.id = ids[i];
            }
        }
        out[output] = Picked(best.id, finite, best.largest, logits[row * p.vocab + outputs[output].y]);
    }
}
