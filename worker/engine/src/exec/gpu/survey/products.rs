//! The executor's own matrix products.

use assay_checkpoint::number::f32_to_bf16;
use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Coded, Inputs, Matrix, Scales, Weights as MatrixWeights, Zeros};

use super::{Notes, same_bits, seconds};
use crate::exec::gpu::GpuError;
use crate::exec::gpu::op::{Extent, NARROW_ROWS};
use crate::exec::gpu::probe::{Probe, Shape};
use crate::exec::gpu::self_test::Random;
use crate::exec::gpu::weights::Weights;
use crate::numerics::Precision;

/// Columns that share a scale.
const GROUP: usize = 128;

pub fn measure(probe: &Probe, precision: Precision, notes: &mut Notes<'_>) -> Result<(), GpuError> {
    let on = probe.units().map_or("", |_| " on matrix units");
    let mut random = Random::new(2);
    let (n, k) = (notes.scale.outputs, notes.scale.inputs);
    let codes = (0..n * k / 8).map(|_| random.next()).collect();
    let scales = random.values(n * k / GROUP).iter().map(|x| 0.01 * x.abs()).collect();
    let int4 = Coded::int(4, codes, Scales::grouped(scales, GROUP), Zeros::None, Dtype::BF16);
    let dense: Vec<u16> = random.values(n * k).iter().map(|&x| f32_to_bf16(x)).collect();
    let matrices = [
        ("int4", MatrixWeights::Coded(int4)),
        ("bf16", MatrixWeights::Bf16(dense)),
    ];
    for (name, weights) in matrices {
        let matrix = Matrix::plain(n, k, weights);
        for shape in [Shape::Narrow, Shape::Wide] {
            // the kernel for few rows is never used for more
            let most = if shape == Shape::Narrow {
                NARROW_ROWS as usize
            } else {
                usize::MAX
            };
            let kernel = format!("{shape:?}{on} over {name}").to_lowercase();
            notes.series(&kernel, shape.rows(), most, |rows| time(probe, &matrix, rows, shape))?;
        }
        let what = format!("products{on} over {name} have the same bits from both kernels, with any rows and again");
        notes.check(what, true, agreement(probe, precision, &matrix, &mut random)?);
    }
    Ok(())
}

fn time(probe: &Probe, matrix: &Matrix, rows: usize, shape: Shape) -> Result<f64, GpuError> {
    let device = &probe.device;
    let weights = Weights::upload(device, "a matrix", matrix)?;
    let x = probe.up(&vec![0.5f32; rows * matrix.cols])?;
    let scales = probe.up(&vec![1f32; rows])?;
    let out = probe.out(rows * matrix.rows)?;
    let narrow_rows = if shape == Shape::Narrow { u32::MAX } else { 0 };
    let ops = probe.product_ops(&weights, Inputs::Plain, [&x, &scales, &out], rows, narrow_rows)?;
    let extent = Extent {
        rows: rows as u32,
        ..Extent::default()
    };
    seconds(device, |pass| {
        ops.iter().for_each(|op| op.record(pass, extent));
    })
}

// A row's bits from either kernel, among few and among many, now and again.
fn agreement(
    probe: &Probe,
    precision: Precision,
    matrix: &Matrix,
    random: &mut Random,
) -> Result<Result<(), String>, GpuError> {
    const ROWS: usize = 17;
    let values = random.values(ROWS * matrix.cols);
    let x: Vec<f32> = values.iter().map(|&x| precision.round(x)).collect();
    let run = |rows: usize, shape| -> Result<Vec<u32>, GpuError> {
        let out = probe.product(matrix, &x[..rows * matrix.cols], &vec![1.0; rows], shape)?;
        Ok(out.into_iter().map(f32::to_bits).collect())
    };
    let all = run(ROWS, Shape::Wide)?;
    for (rows, shape) in [
        (ROWS, Shape::Wide),
        (1, Shape::Wide),
        (ROWS, Shape::Narrow),
        (1, Shape::Narrow),
    ] {
        let same = same_bits(&run(rows, shape)?, &all, "those of 17 rows, wide");
        if let Err(found) = same {
            return Ok(Err(format!("{rows} rows, {shape:?}: {found}")));
        }
    }
    Ok(Ok(()))
}
