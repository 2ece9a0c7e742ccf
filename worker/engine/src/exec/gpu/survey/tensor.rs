//! Products on the card's matrix units, as far as wgpu reaches them: squares of 8 or 16 in f16, with sums in f16 or f32.
//!
//! These kernels are trials. They say what the units are worth, whether their sums depend on how a product is cut into tiles, and whether
//! the driver keeps the order of memory that such kernels need: naga marks no access for the memory model that matrix units bring with
//! them, so that a tile staged in workgroup memory may be read before it is written.

use assay_checkpoint::number::{f16_to_f32, f32_to_f16};
use wgpu::ComputePass;

use super::tiling::{CUTS, Cut, source};
use super::{MatrixUnit, Notes, same_bits, seconds};
use crate::exec::gpu::GpuError;
use crate::exec::gpu::device::{Card, Opened};
use crate::exec::gpu::kernels::{Kernel, plain};
use crate::exec::gpu::probe::{read_back, write};
use crate::exec::gpu::self_test::Random;
use crate::exec::gpu::units::FEATURES;

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
