//! Linear layers.

use assay_engine::Device;
use assay_engine::exec::exact::{self, Taken};

use super::device::Kernels;
use super::matrices::{Made, every};
use super::{Kind, LinearRow, ROUNDING, Size, norm_of, off};
use crate::synthetic::Random;

/// Every way a matrix can be held and multiplied.
pub fn measure(kernels: &dyn Kernels, device: &Device, size: Size, r: &mut Random) -> anyhow::Result<Vec<LinearRow>> {
    let mut rows: Vec<LinearRow> = Vec::new();
    for &cols in size.cols() {
        for (i, made) in every(r, size.outputs(), cols).iter().enumerate() {
            if rows.len() == i {
                rows.push(LinearRow {
                    device: device.clone(),
                    weights: made.weights,
                    inputs: made.inputs,
                    held: kernels.held(&made.matrix)?,
                    over_bound: [0.0; Kind::ALL.len()],
                    norm: 0.0,
                    unrounded: 0.0,
                });
            }
            rows[i].take(kernels, made, size, r)?;
        }
    }
    Ok(rows)
}

impl LinearRow {
    fn take(&mut self, kernels: &dyn Kernels, made: &Made, size: Size, r: &mut Random) -> anyhow::Result<()> {
        let m = &made.matrix;
        let most = size.rows().iter().copied().max().unwrap_or(1);
        for (kind, over_bound) in Kind::ALL.into_iter().zip(&mut self.over_bound) {
            let x = kind.draw(r, most, m.cols);
            let exact = exact::product(m, kernels.taken(m), &x);
            let unrounded = (kind == Kind::Normal).then(|| exact::product(m, Taken::Unrounded, &x));
            for &rows in size.rows() {
                let out = kernels.product(m, &x[..rows * m.cols])?;
                for (row, out) in out.chunks_exact(m.rows).enumerate() {
                    let span = row * m.rows..(row + 1) * m.rows;
                    let (sums, sizes) = (&exact.sums[span.clone()], &exact.sizes[span.clone()]);
                    for ((out, sum), size) in out.iter().zip(sums).zip(sizes) {
                        let bound = m.cols as f64 * ROUNDING * size;
                        *over_bound = over_bound.max(off(*out, *sum, bound));
                    }
                    self.norm = self.norm.max(norm_of(out, sums));
                    if let Some(unrounded) = &unrounded {
                        self.unrounded = self.unrounded.max(norm_of(out, &unrounded.sums[span]));
                    }
                }
            }
        }
        Ok(())
    }
}
