// Moves all of a buffer through workgroup memory, as a tiled product does with its inputs. The host puts what a vector is in front.

struct Sizes {
    vectors: u32,
    threads: u32,
}
var<immediate> p: Sizes;

@group(0) @binding(0) var<storage, read> data: array<Vector>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

var<workgroup> stage: array<Vector, 1024>; // four to a thread

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
    var sum = Vector();
    for (var first = group.x * 1024u; first < p.vectors; first += p.threads * 4u) {
        for (var i = 0u; i < 4u; i++) {
            stage[i * 256u + t] = data[min(first + i * 256u + t, p.vectors - 1u)];
        }
        workgroupBarrier();
        // another thread's, or no memory would be needed
        sum += stage[(t * 4u + 1u) % 1024u];
        workgroupBarrier();
    }
    out[group.x * 256u + t] = f32(sum.x + sum.y + sum.z + sum.w);
}
