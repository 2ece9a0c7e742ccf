//! The trials' kernels: ways to cut a product into the squares that matrix units multiply.

use std::fmt::Write as _;

/// Tiles of a workgroup along each side when it stages its inputs.
const STAGED: usize = 4;

/// One way to cut a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// a subgroup makes so many tiles along each side and reads its factors from memory
    Direct { across: usize, by_column: bool },
    /// four subgroups make two tiles each along each side and read them from workgroup memory
    Staged,
}

/// All that are tried, the simplest first.
pub const CUTS: [Cut; 4] = [
    Cut::Direct {
        across: 1,
        by_column: false,
    },
    Cut::Direct {
        across: 2,
        by_column: false,
    },
    Cut::Direct {
        across: 2,
        by_column: true,
    },
    Cut::Staged,
];

impl Cut {
    /// For reports.
    pub fn name(self) -> String {
        match self {
            Cut::Direct { across, by_column } => {
                let order = if by_column { "column" } else { "row" };
                format!("matrix units, {across} × {across} tiles from memory, weights by {order}")
            }
            Cut::Staged => "matrix units, 4 × 4 tiles from workgroup memory".into(),
        }
    }

    /// Tiles of a workgroup along each side.
    pub fn tiles(self) -> usize {
        match self {
            Cut::Direct { across, .. } => across,
            Cut::Staged => STAGED,
        }
    }
}

/// The kernel of out (rows, n) = x (rows, k)·w (n, k)ᵀ on units of `size`, sizes being multiples of the workgroup's tile and, along k, of
/// twice the unit's. A subgroup has `lanes` threads.
pub fn source(size: usize, sums: &str, cut: Cut, lanes: usize) -> String {
    let mut s = format!(
        "enable f16;\nenable wgpu_cooperative_matrix;\n\
         alias Left = coop_mat{size}x{size}<f16, A>;\nalias Right = coop_mat{size}x{size}<f16, B>;\nalias Sum = coop_mat{size}x{size}<{sums}, C>;\n\
         struct Sizes {{ rows: u32, n: u32, k: u32 }}\nvar<immediate> p: Sizes;\n\
         @group(0) @binding(0) var<storage, read> x: array<f16>;\n\
         @group(0) @binding(1) var<storage, read> w: array<f16>;\n\
         @group(0) @binding(2) var<storage, read_write> out: array<{sums}>;\n"
    );
    let body = match cut {
        Cut::Direct { across, by_column } => direct(size, lanes, across, by_column),
        Cut::Staged => staged(size, lanes),
    };
    s.push_str(&body);
    s
}

// Loops that multiply and the stores after them, over factors that `left` and `right` name by tile and column.
fn tiles(across: usize, size: usize, left: impl Fn(usize) -> String, right: impl Fn(usize) -> String) -> [String; 3] {
    let (mut begin, mut step, mut end) = (String::new(), String::new(), "let stride = p.n;\n".to_owned());
    // writing to a string does not fail
    for i in 0..across {
        let _ = writeln!(step, "let a{i} = coopLoadT<Left>({});", left(i));
        let _ = writeln!(step, "let b{i} = {};", right(i));
    }
    for i in 0..across {
        for j in 0..across {
            let _ = writeln!(begin, "var c{i}{j} = Sum();");
            let _ = writeln!(step, "c{i}{j} = coopMultiplyAdd(a{i}, b{j}, c{i}{j});");
            // naga's SPIR-V writer takes only what a name was given to
            let _ = writeln!(end, "let s{i}{j} = c{i}{j};");
            let _ = writeln!(end, "let o{i}{j} = (row + {}u) * p.n + n + {}u;", i * size, j * size);
            let _ = writeln!(end, "coopStoreT(s{i}{j}, &out[o{i}{j}], stride);");
        }
    }
    let step = format!("for (var k = 0u; k < depth; k += {size}u) {{\n{step}}}\n");
    [begin, step, end]
}

fn direct(size: usize, lanes: usize, across: usize, by_column: bool) -> String {
    let right = |j: usize| match by_column {
        true => format!("coopLoadT<Right>(&w[k * p.n + n + {}u], p.n)", j * size),
        false => format!("coopLoad<Right>(&w[(n + {}u) * p.k + k], p.k)", j * size),
    };
    let left = |i: usize| format!("&x[(row + {}u) * p.k + k], p.k", i * size);
    let [begin, step, end] = tiles(across, size, left, right);
    let tile = across * size;
    format!(
        "@compute @workgroup_size({lanes})\nfn main(@builtin(workgroup_id) group: vec3<u32>) {{\n\
         let row = group.y * {tile}u;\nlet n = group.x * {tile}u;\nlet depth = p.k;\n{begin}{step}{end}}}\n"
    )
}

fn staged(size: usize, lanes: usize) -> String {
    let (tile, depth, threads) = (STAGED * size, 2 * size, 4 * lanes);
    let right = |j: usize| {
        format!(
            "coopLoad<Right>(&ws[(across + {}u) * {depth}u + k], {depth}u)",
            j * size
        )
    };
    let left = |i: usize| format!("&xs[(down + {}u) * {depth}u + k], {depth}u", i * size);
    let [begin, step, end] = tiles(2, size, left, right);
    format!(
        "var<workgroup> xs: array<f16, {len}>;\nvar<workgroup> ws: array<f16, {len}>;\n\
         @compute @workgroup_size({threads})\n\
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {{\n\
         let down = t / {lanes}u / 2u * {half}u;\nlet across = t / {lanes}u % 2u * {half}u;\n\
         let row = group.y * {tile}u + down;\nlet n = group.x * {tile}u + across;\nlet depth = {depth}u;\n{begin}\
         for (var first = 0u; first < p.k; first += {depth}u) {{\n\
         for (var i = t; i < {len}u; i += {threads}u) {{\n\
         let at = first + i % {depth}u;\n\
         xs[i] = x[(group.y * {tile}u + i / {depth}u) * p.k + at];\n\
         ws[i] = w[(group.x * {tile}u + i / {depth}u) * p.k + at];\n}}\n\
         workgroupBarrier();\n{step}workgroupBarrier();\n}}\n{end}}}\n",
        len = tile * depth,
        half = tile / 2,
    )
}

#[cfg(test)]
mod tests {
    use wgpu::naga::back::spv;
    use wgpu::naga::front::wgsl;
    use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;

    /// Few software adapters have matrix units: what can be held against the language without one is.
    #[test]
    fn every_trial_is_valid_for_either_size_and_either_sum() {
        for (size, sums, cut) in [8, 16]
            .into_iter()
            .flat_map(|size| ["f16", "f32"].map(|sums| (size, sums)))
            .flat_map(|(size, sums)| CUTS.map(|cut| (size, sums, cut)))
        {
            let source = source(size, sums, cut, 32);
            let module = wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
            let valid = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
            let info = valid.unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
            // panics where an expression has no value yet
            let words = spv::write_vec(&module, &info, &spv::Options::default(), None).unwrap();
            assert!(words.len() > 100);
        }
    }
}
