// What the attention kernels share. A workgroup of 256 takes one row and up to four query heads that read the same keys and values, a vector
// component each; a chunk is 256 keys cut at an absolute position, so that a row's result does not depend on what was computed with it.
// A chunk's weighted values are summed page by page, the pages left to right.
//
// A kernel provides `fn take(d: u32, o: vec4<f32>)`, which is given Σ weight·value of the chunk for each of the head's dimensions.

struct Attend {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    window: u32,   // a row at position i sees keys j with i - window < j <= i; 0 for all
    chunks: u32,   // of the row that has most
}
var<immediate> p: Attend;

@group(0) @binding(0) var<storage, read> rows: array<vec4<u32>>;    // (rows): token, position, first entry in the page table, 0

// The work of a workgroup, by its number: a row, and in it a group of heads.
struct Place {
    row: u32,
    group: u32,     // of the row's
    kv_head: u32,
    head: u32,      // the first
    heads: u32,     // 1 to 4
    position: u32,
    first: u32,     // key seen
    table: u32,     // the row's first entry in the page table
}

// Groups of heads in a row.
fn head_groups() -> u32 {
    return p.kv_heads * ((p.heads / p.kv_heads + 3u) / 4u);
}

fn place_of(index: u32) -> Place {
    let readers = p.heads / p.kv_heads;
    let each = (readers + 3u) / 4u;
    let row = index / head_groups();
    let group = index % head_groups();
    let kv_head = group / each;
    let skipped = group % each * 4u;
    let position = rows[min(row, p.rows - 1u)].y;
    var first = 0u;
    if p.window != 0u && position + 1u > p.window {
        first = position + 1u - p.window;
    }
    let table = rows[min(row, p.rows - 1u)].z;
    return Place(row, group, kv_head, kv_head * readers + skipped, min(readers - skipped, 4u), position, first, table);
}

fn exponential4(x: vec4<f32>) -> vec4<f32> {
    return vec4(exponential(x.x), exponential(x.y), exponential(x.z), exponential(x.w));
}

// What stands for a row in the merge of its chunks.
struct Merge {
    maximum: vec4<f32>,
    sum: vec4<f32>,
    old: vec4<f32>,    // what values so far are multiplied by
    new_: vec4<f32>,   // what the chunk's are
}

// fma is written out, so that no driver fuses one kernel's and not another's.
fn merge(maximum: vec4<f32>, sum: vec4<f32>, chunk_max: vec4<f32>, chunk_sum: vec4<f32>, is_first: bool) -> Merge {
    let both = select(max(maximum, chunk_max), chunk_max, is_first);
    let old = select(exponential4(maximum - both), vec4(0.0), is_first);
    let new_ = select(exponential4(chunk_max - both), vec4(1.0), is_first);
    return Merge(both, fma(chunk_sum, new_, select(sum * old, vec4(0.0), is_first)), old, new_);
}

fn merge_values(values: vec4<f32>, m: Merge, of_chunk: vec4<f32>, is_first: bool) -> vec4<f32> {
    return fma(of_chunk, m.new_, select(values * m.old, vec4(0.0), is_first));
}
