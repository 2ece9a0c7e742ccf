// Reads all of a buffer once: neighbouring threads read neighbouring vectors.

struct Sizes {
    vectors: u32,
    threads: u32,
}
var<immediate> p: Sizes;

@group(0) @binding(0) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var seen = vec4(0u);
    for (var i = id.x; i < p.vectors; i += p.threads) {
        seen ^= data[i];
    }
    out[id.x] = seen.x ^ seen.y ^ seen.z ^ seen.w;
}
