//! One decoder layer over all rows of a step.

use super::attention::KvCache;
use super::gemm::{Panels, linear};
use super::inputs::Packed;
use super::isa::Isa;
use super::norm::{Activate, AddBranch, Heads, Rotations, normalise_row};
use super::pool::Pool;
use crate::batch::StepBatch;
use crate::model::LayerParts;
use crate::numerics::Precision;
use crate::plan::{LayerPlan, NormPlace, Plan};

/// Rows of cheap work worth a trip to another thread.
const ROWS_PER_TASK: usize = 8;

/// What the work runs on, and how finely it rounds.
pub(super) struct Machine {
    pub pool: Pool,
    pub isa: Isa,
    pub precision: Precision,
}

impl Machine {
    /// out (panels, rows, PANEL) = x·W, where x is (rows, cols) and is rounded or quantized on its way in.
    pub fn linear(&self, x: &[f32], rows: usize, w: &Panels, packed: &mut Packed, out: &mut Vec<f32>) {
        out.resize(rows * w.width(), 0.0);
        let x = &x[..rows * w.cols];
        linear(&self.pool, self.isa, self.precision, x, w, packed, out);
    }
}

/// Memory of a step, kept from one to the next.
#[derive(Default)]
pub(super) struct Buffers {
    pub h: Vec<f32>,      // residual stream (rows, hidden)
    pub x: Vec<f32>,      // a linear layer's input or a branch (rows, hidden or intermediate)
    pub packed: Packed,   // a linear layer's input as it is multiplied
    pub out: Vec<f32>,    // a linear layer's output (panels, rows, PANEL)
    pub qkv: Vec<f32>,    // (rows, q | k | v)
    pub a: Vec<f32>,      // attention (rows, q width); also the gathered `up` (rows, intermediate)
    pub logits: Vec<f32>, // (HEAD_ROWS, vocab)
}

/// A layer's weights, packed for this machine, and its cache.
pub(super) struct Layer {
    plan: LayerPlan,
    qkv: Panels,
    o: Panels,
    gate_up: Panels,
    down: Panels,
    qk_norm: Option<(Vec<f32>, Vec<f32>)>,
    attention_norm: Vec<f32>,
    mlp_norm: Vec<f32>,
    pub cache: KvCache,
}

impl Layer {
    /// Packs a layer's weights.
    pub fn new(machine: &Machine, plan: &Plan, layer: LayerPlan, parts: &LayerParts, pages: usize) -> Layer {
        let pack = |matrices: &[_]| Panels::pack(&machine.pool, machine.precision, matrices);
        Layer {
            plan: layer,
            qkv: pack(&[&parts.q, &parts.k, &parts.v]),
            o: pack(&[&parts.o]),
            gate_up: pack(&[&parts.gate, &parts.up]),
            down: pack(&[&parts.down]),
            qk_norm: parts.qk_norm.clone(),
            attention_norm: parts.attention_norm.clone(),
            mlp_norm: parts.mlp_norm.clone(),
            cache: KvCache::new(plan.kv_heads, plan.head_dim, pages).with_codes(parts.cache.clone()),
        }
    }

    /// Bytes of its matrices as they are held.
    pub fn weight_bytes(&self) -> usize {
        let matrices = [&self.qkv, &self.o, &self.gate_up, &self.down];
        matrices.into_iter().map(Panels::bytes).sum()
    }

    /// The layer for all rows of the step: b.h becomes the next layer's.
    pub fn forward(&mut self, plan: &Plan, batch: &StepBatch, rotations: &Rotations, m: &Machine, b: &mut Buffers) {
        let rows = batch.tokens.len();
        self.input_norm(plan, m, b, true);
        let input = if plan.norms == NormPlace::Input { &b.x } else { &b.h };
        m.linear(input, rows, &self.qkv, &mut b.packed, &mut b.out);
        self.attention(plan, batch, rotations, m, b);
        m.linear(&b.a, rows, &self.o, &mut b.packed, &mut b.out);
        self.add_branch(plan, m, b, true);

        self.input_norm(plan, m, b, false);
        let input = if plan.norms == NormPlace::Input { &b.x } else { &b.h };
        m.linear(input, rows, &self.gate_up, &mut b.packed, &mut b.out);
        self.activate(plan, rows, m, b);
        m.linear(&b.x, rows, &self.down, &mut b.packed, &mut b.out);
        self.add_branch(plan, m, b, false);
    }

    // EXAONE 3.5 only: x = norm(h).
    fn input_norm(&self, plan: &Plan, m: &Machine, b: &mut Buffers, attention: bool) {
        if plan.norms == NormPlace::Output {
            return;
        }
        let weight = if attention {
            &self.attention_norm
        } else {
            &self.mlp_norm
        };
        b.x.resize(b.h.len(), 0.0);
        let (h, hidden) = (&b.h, plan.hidden);
        m.pool.chunks(&mut b.x, ROWS_PER_TASK * hidden, |task, x| {
            x.copy_from_slice(&h[task * ROWS_PER_TASK * hidden..][..x.len()]);
            x.chunks_exact_mut(hidden)
                .for_each(|x| normalise_row(m.isa, x, weight, plan.eps));
        });
    }

    // h += branch, where the branch is the output of the linear layer that ran last.
    fn add_branch(&self, plan: &Plan, m: &Machine, b: &mut Buffers, attention: bool) {
        let (weight, panels) = match attention {
            true => (&self.attention_norm, &self.o),
            false => (&self.mlp_norm, &self.down),
        };
        let weight = (plan.norms == NormPlace::Output).then_some(weight.as_slice());
        let (hidden, rows) = (plan.hidden, b.h.len() / plan.hidden);
        b.x.resize(b.h.len(), 0.0);
        let out = &b.out;
        let task_len = ROWS_PER_TASK * hidden;
        m.pool
            .chunks2((&mut b.h, task_len), (&mut b.x, task_len), |task, h, x| {
                panels.gather(out, (rows, task * ROWS_PER_TASK), (0, hidden), x, hidden);
                for (h, branch) in h.chunks_exact_mut(hidden).zip(x.chunks_exact_mut(hidden)) {
                    m.isa.run(AddBranch {
                        h,
                        branch,
                        weight,
                        eps: plan.eps,
                    });
                }
            });
    }

    // b.a (rows, q width) = attention, from the qkv outputs in b.out; the rows' keys and values go to the pages first.
    fn attention(&mut self, plan: &Plan, batch: &StepBatch, rotations: &Rotations, m: &Machine, b: &mut Buffers) {
        let (rows, hd) = (batch.tokens.len(), plan.head_dim);
        let (q_width, kv_width) = (plan.q_width(), plan.kv_width());
        let width = q_width + 2 * kv_width;
        let scale = 1.0 / (hd as f32).sqrt();
        let (q_norm, k_norm) = self.qk_norm.as_ref().map(|(q, k)| (q.as_slice(), k.as_slice())).unzip();
        let (panels, rope, out) = (&self.qkv, self.plan.rope, &b.out);
        b.qkv.resize(rows * width, 0.0);
        m.pool.chunks(&mut b.qkv, ROWS_PER_TASK * width, |task, qkv| {
            let first = task * ROWS_PER_TASK;
            for (part, (start, own)) in [(0, q_width), (q_width, kv_width), (q_width + kv_width, kv_width)]
                .into_iter()
                .enumerate()
            {
                panels.gather(out, (rows, first), (part, own), &mut qkv[start..], width);
            }
            for (i, qkv) in qkv.chunks_exact_mut(width).enumerate() {
                let row = first + i;
                let (q, kv) = qkv.split_at_mut(q_width);
                let k = &mut kv[..kv_width];
                let rotations = rope.then(|| rotations.at(batch.positions[row]));
                m.isa.run(Heads {
                    x: q,
                    head_dim: hd,
                    weight: q_norm,
                    eps: plan.eps,
                    rotations,
                    scale,
                });
                m.isa.run(Heads {
                    x: k,
                    head_dim: hd,
                    weight: k_norm,
                    eps: plan.eps,
                    rotations,
                    scale: 1.0,
                });
            }
        });

        let qkv = &b.qkv;
        let key = |row: usize, head: usize| &qkv[row * width + q_width + head * hd..][..hd];
        let value = |row: usize, head: usize| &qkv[row * width + q_width + kv_width + head * hd..][..hd];
        self.cache.store(&m.pool, m.precision, &batch.segments, key, value);

        let mut segment_of = vec![0; rows];
        for (i, s) in batch.segments.iter().enumerate() {
            segment_of[s.first_row..s.first_row + s.rows].fill(i);
        }
        let group_width = plan.group() * hd;
        let (cache, window) = (&self.cache, self.plan.window);
        b.a.resize(rows * q_width, 0.0);
        // Head after head: what rows of a sequence, or of sequences with a common prefix, see of one head stays in a core's caches.
        m.pool.columns(&mut b.a, group_width, plan.kv_heads, |row, head, out| {
            let position = batch.positions[row] as usize;
            let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
            let q = &qkv[row * width + head * group_width..][..group_width];
            cache.attend(
                m.isa,
                head,
                &batch.segments[segment_of[row]].pages,
                first,
                position,
                q,
                out,
            );
        });
    }

    // b.x (rows, intermediate) = silu(gate)·up, from the outputs in b.out.
    fn activate(&self, plan: &Plan, rows: usize, m: &Machine, b: &mut Buffers) {
        let (width, panels, out) = (plan.intermediate, &self.gate_up, &b.out);
        b.x.resize(rows * width, 0.0);
        b.a.resize(rows * width, 0.0);
        let task_len = ROWS_PER_TASK * width;
        m.pool
            .chunks2((&mut b.x, task_len), (&mut b.a, task_len), |task, gate, up| {
                for (part, own) in [&mut *gate, &mut *up].into_iter().enumerate() {
                    panels.gather(out, (rows, task * ROWS_PER_TASK), (part, width), own, width);
                }
                for (gate, up) in gate.chunks_exact_mut(width).zip(up.chunks_exact_mut(width)) {
                    m.isa.run(Activate { gate, up });
                }
            });
    }
}
