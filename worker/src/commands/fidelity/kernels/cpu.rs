//! The CPU's kernels.

use assay_checkpoint::Matrix;
use assay_engine::exec::cpu::attention::KvCache;
use assay_engine::exec::cpu::gemm::{Panels, linear};
use assay_engine::exec::cpu::inputs::Packed;
use assay_engine::exec::cpu::isa::Isa;
use assay_engine::exec::cpu::norm::{Activate, AddBranch, Heads, normalise_row};
use assay_engine::exec::cpu::pool::Pool;
use assay_engine::exec::exact::Taken;
use assay_engine::numerics::PAGE_TOKENS;
use assay_engine::{Precision, Segment};

use super::device::{Kernels, Sequence};

/// On the best instruction set of this machine: all give the same bits.
pub struct Cpu {
    pool: Pool,
    isa: Isa,
    precision: Precision,
}

impl Cpu {
    pub fn new(threads: usize, precision: Precision) -> Cpu {
        Cpu {
            pool: Pool::new(threads),
            isa: Isa::detect(),
            precision,
        }
    }
}

impl Kernels for Cpu {
    fn held(&self, matrix: &Matrix) -> anyhow::Result<&'static str> {
        Ok(match self.taken(matrix) {
            Taken::Integers => "as stored, in integers",
            Taken::Bytes { .. } => "as stored, in bytes",
            _ => "bf16",
        })
    }

    fn taken(&self, matrix: &Matrix) -> Taken {
        Taken::by_cpu(matrix, self.precision)
    }

    fn product(&self, matrix: &Matrix, x: &[f32]) -> anyhow::Result<Vec<f32>> {
        let rows = x.len() / matrix.cols;
        let panels = Panels::pack(&self.pool, self.precision, &[matrix]);
        let mut out = vec![f32::NAN; rows * panels.width()];
        let packed = &mut Packed::default();
        linear(&self.pool, self.isa, self.precision, x, &panels, packed, &mut out);
        let mut gathered = vec![f32::NAN; rows * matrix.rows];
        for (row, gathered) in gathered.chunks_exact_mut(matrix.rows).enumerate() {
            panels.gather(&out, (rows, row), (0, gathered.len()), gathered, gathered.len());
        }
        Ok(gathered)
    }

    fn norm(&self, x: &[f32], weight: &[f32], eps: f32) -> anyhow::Result<Vec<f32>> {
        let mut x = x.to_vec();
        x.chunks_exact_mut(weight.len())
            .for_each(|row| normalise_row(self.isa, row, weight, eps));
        Ok(x)
    }

    fn add_branch(&self, h: &[f32], branch: &[f32], weight: &[f32], eps: f32) -> anyhow::Result<Vec<f32>> {
        let (mut h, mut branch) = (h.to_vec(), branch.to_vec());
        let rows = h.chunks_exact_mut(weight.len());
        for (h, branch) in rows.zip(branch.chunks_exact_mut(weight.len())) {
            self.isa.run(AddBranch {
                h,
                branch,
                weight: Some(weight),
                eps,
            });
        }
        Ok(h)
    }

    fn queries(&self, x: &[f32], weight: &[f32], eps: f32, rotations: &[(f32, f32)]) -> anyhow::Result<Vec<f32>> {
        let head_dim = weight.len();
        let rows = rotations.len() / (head_dim / 2);
        let mut x = x.to_vec();
        let width = x.len() / rows;
        for (row, rotations) in x.chunks_exact_mut(width).zip(rotations.chunks_exact(head_dim / 2)) {
            self.isa.run(Heads {
                x: row,
                head_dim,
                weight: Some(weight),
                eps,
                rotations: Some(rotations),
                scale: 1.0 / (head_dim as f32).sqrt(),
            });
        }
        Ok(x)
    }

    fn activate(&self, gate: &[f32], up: &[f32]) -> anyhow::Result<Vec<f32>> {
        let mut gate = gate.to_vec();
        self.isa.run(Activate { gate: &mut gate, up });
        Ok(gate)
    }

    fn attend(&self, s: &Sequence, steps: &[usize]) -> anyhow::Result<Vec<f32>> {
        let (q_width, kv_width) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
        let scale = 1.0 / (s.head_dim as f32).sqrt();
        let q: Vec<f32> = s.q.iter().map(|q| q * scale).collect();
        // pages that are not in order, and NaN wherever nothing was stored
        let pages: Vec<u32> = (0..s.tokens.div_ceil(PAGE_TOKENS) as u32).rev().collect();
        let mut cache = KvCache::new(s.kv_heads, s.head_dim, pages.len());
        cache.poison();
        let mut out = vec![f32::NAN; q.len()];
        let group = q_width / s.kv_heads;
        let mut first = 0;
        for &rows in steps {
            let segment = Segment {
                first_row: first,
                rows,
                kv_len: first + rows,
                pages: pages.clone(),
            };
            let key = |row: usize, head: usize| &s.k[row * kv_width + head * s.head_dim..][..s.head_dim];
            let value = |row: usize, head: usize| &s.v[row * kv_width + head * s.head_dim..][..s.head_dim];
            cache.store(&self.pool, self.precision, &[segment], key, value);
            let places = out[first * q_width..][..rows * q_width].chunks_exact_mut(group);
            for (i, out) in places.enumerate() {
                let (position, head) = (first + i / s.kv_heads, i % s.kv_heads);
                let seen = s.window.map_or(0, |window| (position + 1).saturating_sub(window));
                let q = &q[position * q_width + head * group..][..group];
                cache.attend(self.isa, head, &pages, seen, position, q, out);
            }
            first += rows;
        }
        Ok(out)
    }
}
