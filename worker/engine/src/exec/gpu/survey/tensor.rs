//! Products on the card's matrix units, as far as wgpu reaches them: squares of 8 or 16 in f16, with sums in f16 or f32.
//!
//! These kernels are trials. They say what the units are worth, whether their sums depend on how a product is cut into tiles, and whether
//! the driver keeps the order of memory that such kernels need: naga marks no access for the memory model that matrix units bring with
//! them (wgpu issue 8805), so that a tile staged in workgroup memory may be read before it is written.

use std::fmt::Write as _;

use assay_checkpoint::number::{f16_to_f32, f32_to_f16};
use wgpu::{ComputePass, Features};

use super::{MatrixUnit, Notes, same_bits, seconds};
use crate::exec::gpu::GpuError;
use crate::exec::gpu::device::{Card, Opened};
use crate::exec::gpu::kernels::{Kernel, plain};
use crate::exec::gpu::probe::{read_back, write};
use crate::exec::gpu::self_test::Random;

/// What the kernels need.
const FEATURES: Features = Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16);

/// Tiles of a workgroup along each side when it stages its inputs.
const STAGED: usize = 4;

/// One way to cut a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    // a subgroup makes so many tiles along each side and reads its factors from memory
    Direct { across: usize, by_column: bool },
    // four subgroups make two tiles each along each side and read them from workgroup memory
    Staged,
}

const CUTS: [Cut; 4] = [
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
    fn name(self) -> String {
        match self {
            Cut::Direct { across, by_column } => {
                let order = if by_column { "column" } else { "row" };
                format!("matrix units, {across} × {across} tiles from memory, weights by {order}")
            }
            Cut::Staged => "matrix units, 4 × 4 tiles from workgroup memory".into(),
        }
    }

    // Tiles of a workgroup along each side.
    fn tiles(self) -> usize {
        match self {
            Cut::Direct { across, .. } => across,
            Cut::Staged => STAGED,
        }
    }
}

/// Adds what the matrix units do. What fails is a check that did not pass, never an error: the executor does without them.
pub fn measure(card: &Card, notes: &mut Notes<'_>) {
    let offer = card.offer();
    let [least, most] = offer.subgroups;
    for unit in &offer.matrix_units {
        let [size, ..] = unit.size;
        let square = matches!(unit.size, [8, 8, 8] | [16, 16, 16]);
        if !square || unit.factors != "f16" || !["f16", "f32"].contains(&unit.sums.as_str()) {
            continue;
        }
        let name = format!("{size}×{size}×{size}, f16 with sums in {}", unit.sums);
        let found = match least == most {
            true => trials(card, unit, &name, least as usize, notes).map_err(|error| error.to_string()),
            // wgpu cannot ask for one size, and the kernels count on it
            false => Err(format!("subgroups have {least} to {most} threads")),
        };
        notes.check(format!("matrix units, {name}, can be used"), false, found);
    }
}

fn trials(card: &Card, unit: &MatrixUnit, name: &str, lanes: usize, notes: &mut Notes<'_>) -> Result<(), GpuError> {
    let device = card.open_with(FEATURES)?;
    let mut random = Random::new(3);
    let sizes @ [rows, n, k] = [128, 64, 256];
    let mut half = |len: usize| random.values(len).into_iter().map(f32_to_f16).collect::<Vec<_>>();
    let (x, w) = (half(rows * k), half(n * k));
    let mut first: Option<Vec<u16>> = None;
    for cut in CUTS {
        let trial = Trial::new(&device, unit, cut, lanes)?;
        let kernel = format!("{}, {name}", cut.name());
        notes.check(
            format!("{kernel}: sums of integers are exact"),
            false,
            trial.integers(&mut random)?,
        );
        let found = trial.product(&x, &w, sizes)?;
        let again = same_bits(&found, &trial.product(&x, &w, sizes)?, "the run before");
        notes.check(format!("{kernel}: the same bits again"), false, again);
        match &first {
            Some(values) => {
                let same = same_bits(&found, values, "those of single tiles");
                notes.check(format!("{kernel}: the same bits as in single tiles"), false, same);
            }
            None => first = Some(found),
        }
        let (outputs, inputs) = (notes.scale.outputs, notes.scale.inputs);
        notes.series(&kernel, trial.tile, usize::MAX, |rows| {
            trial.time([rows, outputs, inputs])
        })?;
    }
    Ok(())
}

struct Trial<'a> {
    device: &'a Opened,
    kernel: Kernel,
    cut: Cut,
    tile: usize, // rows and outputs of a workgroup
    wide: bool,  // sums in f32
}

impl Trial<'_> {
    fn new<'a>(device: &'a Opened, unit: &MatrixUnit, cut: Cut, lanes: usize) -> Result<Trial<'a>, GpuError> {
        let size = unit.size[0] as usize;
        let kernel = plain(device, &cut.name(), &source(size, &unit.sums, cut, lanes), 2, 1);
        device.check()?;
        Ok(Trial {
            device,
            kernel,
            cut,
            tile: size * cut.tiles(),
            wide: unit.sums == "f32",
        })
    }

    // w (n, k) as the kernel reads it
    fn laid(&self, w: &[u16], [_, n, k]: [usize; 3]) -> Vec<u16> {
        match self.cut {
            Cut::Direct { by_column: true, .. } => (0..k).flat_map(|c| (0..n).map(move |r| w[r * k + c])).collect(),
            _ => w.to_vec(),
        }
    }

    // The bits of every value, two words each if the sums are f32.
    fn product(&self, x: &[u16], w: &[u16], sizes: [usize; 3]) -> Result<Vec<u16>, GpuError> {
        let [rows, n, _] = sizes;
        let len = rows * n * if self.wide { 2 } else { 1 };
        let (x, w) = (write(self.device, x)?, write(self.device, &self.laid(w, sizes))?);
        let out = write(self.device, &vec![u16::MAX; len])?;
        let bind = self.kernel.bind(self.device, &[&x, &w, &out]);
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        self.record(&mut encoder.begin_compute_pass(&Default::default()), &bind, sizes);
        self.device.queue.submit([encoder.finish()]);
        read_back(self.device, &out, len)
    }

    fn record(&self, pass: &mut ComputePass<'_>, bind: &wgpu::BindGroup, [rows, n, k]: [usize; 3]) {
        let words = [rows as u32, n as u32, k as u32];
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, bind, &[]);
        pass.set_immediates(0, bytemuck::cast_slice(&words));
        pass.dispatch_workgroups((n / self.tile) as u32, (rows / self.tile) as u32, 1);
    }

    // Integers so small that every sum is exact in either format: what is wrong was not rounded but read too early, or elsewhere.
    fn integers(&self, random: &mut Random) -> Result<Result<(), String>, GpuError> {
        let sizes @ [rows, n, k] = [128, 64, 256];
        let mut small = |len: usize| {
            (0..len)
                .map(|_| f32_to_f16((random.next() % 5) as f32 - 2.0))
                .collect::<Vec<_>>()
        };
        let (x, w) = (small(rows * k), small(n * k));
        let found = self.product(&x, &w, sizes)?;
        let value = |at: usize| match self.wide {
            true => f32::from_bits(u32::from(found[2 * at]) | u32::from(found[2 * at + 1]) << 16),
            false => f16_to_f32(found[at]),
        };
        for at in 0..rows * n {
            let (row, output) = (at / n, at % n);
            let pairs = x[row * k..][..k].iter().zip(&w[output * k..][..k]);
            let wanted: f32 = pairs.map(|(&x, &w)| f16_to_f32(x) * f16_to_f32(w)).sum();
            if value(at) != wanted {
                return Ok(Err(format!(
                    "output {output} of row {row} is {}, not {wanted}",
                    value(at)
                )));
            }
        }
        Ok(Ok(()))
    }

    fn time(&self, [rows, outputs, inputs]: [usize; 3]) -> Result<f64, GpuError> {
        let up = |n: usize| n.next_multiple_of(self.tile);
        let sizes @ [rows, n, k] = [up(rows), up(outputs), inputs];
        let one = f32_to_f16(1.0 / 64.0);
        let (x, w) = (
            write(self.device, &vec![one; rows * k])?,
            write(self.device, &vec![one; n * k])?,
        );
        let out = write(self.device, &vec![0u16; 2 * rows * n])?;
        let bind = self.kernel.bind(self.device, &[&x, &w, &out]);
        seconds(self.device, |pass| self.record(pass, &bind, sizes))
    }
}

// out (rows, n) = x (rows, k)·w (n, k)ᵀ, sizes multiples of the workgroup's tile and of twice the unit's size along k.
fn source(size: usize, sums: &str, cut: Cut, lanes: usize) -> String {
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
