//! What happens to a row between the linear layers: norms, rotation, the activation function.

use assay_engine::Device;
use assay_engine::exec::exact;
use assay_engine::numerics::{inverse_frequencies, rotation};

use super::device::Kernels;
use super::{Kind, OtherRow, Size, norm_of, off};
use crate::synthetic::Random;

const EPS: f32 = 1e-5;
const HEADS: usize = 4;
const HEAD_DIM: usize = 64;
const THETA: f64 = 1e6;

/// Tokens between one row of queries and the next: turns of all sizes.
const STRIDE: u32 = 211;

/// Every kernel over rows, for every kind of inputs.
pub fn measure(kernels: &dyn Kernels, device: &Device, size: Size, r: &mut Random) -> anyhow::Result<Vec<OtherRow>> {
    let rows = size.rows().iter().copied().max().unwrap_or(1);
    let [mut norm, mut add, mut queries, mut activate] = [
        "RMSNorm",
        "RMSNorm of a branch, added to the residual",
        "QK norm, RoPE and scale",
        "silu(gate)·up",
    ]
    .map(|kernel| Worst::new(device, kernel.to_string()));
    for kind in Kind::ALL {
        for &width in size.cols() {
            let weight: Vec<f32> = (0..width).map(|_| 1.0 + 0.2 * r.normal()).collect();
            let x = kind.draw(r, rows, width);
            let h = Kind::Normal.draw(r, rows, width);
            let normed: Vec<f64> = x.chunks(width).flat_map(|x| exact::norm(x, &weight, EPS)).collect();
            norm.take(&kernels.norm(&x, &weight, EPS)?, &normed, width);
            let added: Vec<f64> = normed.iter().zip(&h).map(|(x, h)| f64::from(*h) + x).collect();
            add.take(&kernels.add_branch(&h, &x, &weight, EPS)?, &added, width);
            let exact: Vec<f64> = x.iter().zip(&h).map(|(g, u)| exact::activation(*g, *u)).collect();
            activate.take(&kernels.activate(&x, &h)?, &exact, width);
        }
        let weight: Vec<f32> = (0..HEAD_DIM).map(|_| 1.0 + 0.2 * r.normal()).collect();
        let inverse = inverse_frequencies(HEAD_DIM, THETA, None);
        let turns = (0..rows as u32).flat_map(|row| inverse.iter().map(move |&f| rotation(row * STRIDE, f)));
        let turns: Vec<(f32, f32)> = turns.collect();
        let x = kind.draw(r, rows * HEADS, HEAD_DIM);
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        let heads = x.chunks(HEAD_DIM).enumerate().flat_map(|(i, head)| {
            let turns = &turns[i / HEADS * HEAD_DIM / 2..][..HEAD_DIM / 2];
            exact::head(head, &weight, EPS, turns, scale)
        });
        let heads: Vec<f64> = heads.collect();
        queries.take(&kernels.queries(&x, &weight, EPS, &turns)?, &heads, HEAD_DIM);
    }
    Ok([norm, add, queries, activate].map(|worst| worst.0).into())
}

/// The worst of a kernel so far.
pub struct Worst(pub OtherRow);

impl Worst {
    pub fn new(device: &Device, kernel: String) -> Worst {
        Worst(OtherRow {
            device: device.clone(),
            kernel,
            norm: 0.0,
            largest: 0.0,
        })
    }

    /// Takes in results, row by row.
    pub fn take(&mut self, got: &[f32], exact: &[f64], width: usize) {
        for (got, exact) in got.chunks_exact(width).zip(exact.chunks_exact(width)) {
            let largest = exact.iter().map(|x| x.abs()).fold(0.0, f64::max);
            let offs = got.iter().zip(exact).map(|(got, exact)| off(*got, *exact, largest));
            self.0.largest = offs.fold(self.0.largest, f64::max);
            self.0.norm = self.0.norm.max(norm_of(got, exact));
        }
    }
}
