//! The threaded executor: the numerics specification on a CPU, in portable code that the compiler vectorises.
//!
//! Buffers of a step are (rows, width) row-major unless a comment says otherwise.

pub mod attention;
pub mod gemm;
pub mod isa;
pub mod norm;
pub mod pool;

use self::attention::KvCache;
use self::gemm::{Panels, multiply, pack_inputs};
use self::isa::Isa;
use self::norm::{Activate, AddBranch, Heads, Rotations, normalise_row};
use self::pool::Pool;
use super::{Executor, ExecutorError, Options, cache_len};
use crate::batch::{Limits, Page, Picked, StepBatch, StepError, StepOutput, Want};
use crate::model::Model;
use crate::numerics::{argmax, from_bf16, log_sum_exp};
use crate::plan::{LayerPlan, NormPlace, Plan};

/// Rows whose logits are held at once: 13 MB at 102,400 tokens of vocabulary.
const HEAD_ROWS: usize = 32;

/// Rows of cheap work worth a trip to another thread.
const ROWS_PER_TASK: usize = 8;

/// The CPU executor.
pub struct Cpu {
    plan: Plan,
    limits: Limits,
    pool: Pool,
    isa: Isa,
    layers: Vec<Layer>,
    embedding: Option<Vec<u16>>, // (vocab, hidden); None when the head's panels serve
    head: Panels,
    final_norm: Vec<f32>,
    rotations: Rotations,
    buffers: Buffers,
}

struct Layer {
    plan: LayerPlan,
    qkv: Panels,
    o: Panels,
    gate_up: Panels,
    down: Panels,
    qk_norm: Option<(Vec<f32>, Vec<f32>)>,
    attention_norm: Vec<f32>,
    mlp_norm: Vec<f32>,
    cache: KvCache,
}

#[derive(Default)]
struct Buffers {
    h: Vec<f32>,      // residual stream (rows, hidden)
    x: Vec<f32>,      // a linear layer's input or a branch (rows, hidden or intermediate)
    packed: Vec<f32>, // inputs as `multiply` wants them
    out: Vec<f32>,    // a linear layer's output (panels, rows, PANEL)
    qkv: Vec<f32>,    // (rows, q | k | v)
    a: Vec<f32>,      // attention (rows, q width); also the gathered `up` (rows, intermediate)
    logits: Vec<f32>, // (HEAD_ROWS, vocab)
}

impl Cpu {
    /// Packs the model's weights for this machine.
    pub fn new(model: &Model, options: &Options) -> Result<Cpu, ExecutorError> {
        Cpu::with_isa(model, options, Isa::detect())
    }

    /// As [`Cpu::new`], on a given instruction set of this machine. All give the same bits.
    pub fn with_isa(model: &Model, options: &Options, isa: Isa) -> Result<Cpu, ExecutorError> {
        cache_len(model, options)?;
        let pool = Pool::new(options.threads);
        let (plan, parts, limits) = (model.plan().clone(), model.parts(), options.limits(model));
        let layers = parts.layers.iter().zip(&plan.layers).map(|(l, &layer_plan)| Layer {
            plan: layer_plan,
            qkv: Panels::pack(&pool, &[&l.q, &l.k, &l.v]),
            o: Panels::pack(&pool, &[&l.o]),
            gate_up: Panels::pack(&pool, &[&l.gate, &l.up]),
            down: Panels::pack(&pool, &[&l.down]),
            qk_norm: l.qk_norm.clone(),
            attention_norm: l.attention_norm.clone(),
            mlp_norm: l.mlp_norm.clone(),
            cache: KvCache::new(plan.kv_heads, plan.head_dim, limits.pages),
        });
        let layers = layers.collect();
        let embedding = parts.head.as_ref().map(|_| {
            let mut rows = vec![0; plan.vocab * plan.hidden];
            pool.chunks(&mut rows, plan.hidden, |r, row| parts.embedding.row_bf16(r, row));
            rows
        });
        Ok(Cpu {
            head: Panels::pack(&pool, &[model.head()]),
            final_norm: parts.final_norm.clone(),
            rotations: Rotations::new(&plan.inverse_frequencies),
            buffers: Buffers::default(),
            plan,
            limits,
            pool,
            isa,
            layers,
            embedding,
        })
    }

    /// Fills the cache with NaN. For tests.
    #[doc(hidden)]
    pub fn poison(&mut self) {
        self.layers.iter_mut().for_each(|l| l.cache.poison());
    }

    fn embed(&mut self, tokens: &[u32]) {
        let hidden = self.plan.hidden;
        self.buffers.h.resize(tokens.len() * hidden, 0.0);
        for (&token, h) in tokens.iter().zip(self.buffers.h.chunks_exact_mut(hidden)) {
            match &self.embedding {
                Some(rows) => {
                    let row = &rows[token as usize * hidden..][..hidden];
                    h.iter_mut().zip(row).for_each(|(h, &w)| *h = from_bf16(w));
                }
                None => self.head.row(token as usize, h),
            }
        }
    }

    fn output(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError> {
        let (vocab, hidden, isa, pool, b) = (self.plan.vocab, self.plan.hidden, self.isa, &self.pool, &mut self.buffers);
        out.picked.clear();
        out.logits.clear();
        for (block, outputs) in batch.outputs.chunks(HEAD_ROWS).enumerate() {
            let rows = outputs.len();
            b.x.resize(rows * hidden, 0.0);
            let (h, eps, weight) = (&b.h, self.plan.eps, &self.final_norm);
            pool.chunks(&mut b.x, hidden, |i, x| {
                x.copy_from_slice(&h[outputs[i].row * hidden..][..hidden]);
                normalise_row(isa, x, weight, eps);
            });
            linear(pool, isa, &b.x, rows, &self.head, &mut b.packed, &mut b.out);
            b.logits.resize(rows * vocab, 0.0);
            let mut picked: Vec<Option<Picked>> = vec![None; rows];
            let (head, linear_out) = (&self.head, &b.out);
            pool.chunks2((&mut b.logits, vocab), (&mut picked, 1), |i, logits, picked| {
                head.gather(linear_out, rows, i, 0, logits);
                picked[0] = pick(logits, outputs[i].want);
            });
            for (i, (picked, o)) in picked.into_iter().zip(outputs).enumerate() {
                let output = block * HEAD_ROWS + i;
                out.picked.push(picked.ok_or(StepError::NotFinite { output })?);
                if o.want == Want::Logits {
                    out.logits.extend_from_slice(&b.logits[i * vocab..][..vocab]);
                }
            }
        }
        Ok(())
    }
}

// out = x·W, through the packed inputs. x is (rows, cols).
fn linear(pool: &Pool, isa: Isa, x: &[f32], rows: usize, w: &Panels, packed: &mut Vec<f32>, out: &mut Vec<f32>) {
    packed.resize(rows * w.cols, 0.0);
    pack_inputs(pool, isa, &x[..rows * w.cols], w.cols, packed);
    out.resize(rows * w.width(), 0.0);
    multiply(pool, isa, packed, rows, w, out);
}

fn pick(logits: &[f32], want: Want) -> Option<Picked> {
    let argmax = argmax(logits)?;
    let (mut logprob, mut sum) = (0.0, 0.0);
    if let Want::Score(target) = want {
        sum = log_sum_exp(logits);
        logprob = f64::from(logits[target as usize]) - sum;
    }
    Some(Picked { argmax, logprob, log_sum_exp: sum })
}

impl Layer {
    // One layer for all rows of the step: b.h becomes the next layer's.
    fn forward(&mut self, plan: &Plan, batch: &StepBatch, rotations: &Rotations, pool: &Pool, isa: Isa, b: &mut Buffers) {
        let rows = batch.tokens.len();
        self.input_norm(plan, pool, isa, b, true);
        let input = if plan.norms == NormPlace::Input { &b.x } else { &b.h };
        linear(pool, isa, input, rows, &self.qkv, &mut b.packed, &mut b.out);
        self.attention(plan, batch, rotations, pool, isa, b);
        linear(pool, isa, &b.a, rows, &self.o, &mut b.packed, &mut b.out);
        self.add_branch(plan, pool, isa, b, true);

        self.input_norm(plan, pool, isa, b, false);
        let input = if plan.norms == NormPlace::Input { &b.x } else { &b.h };
        linear(pool, isa, input, rows, &self.gate_up, &mut b.packed, &mut b.out);
        self.activate(plan, rows, pool, isa, b);
        linear(pool, isa, &b.x, rows, &self.down, &mut b.packed, &mut b.out);
        self.add_branch(plan, pool, isa, b, false);
    }

    // EXAONE 3.5 only: x = norm(h).
    fn input_norm(&self, plan: &Plan, pool: &Pool, isa: Isa, b: &mut Buffers, attention: bool) {
        if plan.norms == NormPlace::Output {
            return;
        }
        let weight = if attention { &self.attention_norm } else { &self.mlp_norm };
        b.x.resize(b.h.len(), 0.0);
        let (h, hidden) = (&b.h, plan.hidden);
        pool.chunks(&mut b.x, ROWS_PER_TASK * hidden, |task, x| {
            x.copy_from_slice(&h[task * ROWS_PER_TASK * hidden..][..x.len()]);
            x.chunks_exact_mut(hidden).for_each(|x| normalise_row(isa, x, weight, plan.eps));
        });
    }

    // h += branch, where the branch is the output of the linear layer that ran last.
    fn add_branch(&self, plan: &Plan, pool: &Pool, isa: Isa, b: &mut Buffers, attention: bool) {
        let (weight, panels) = match attention {
            true => (&self.attention_norm, &self.o),
            false => (&self.mlp_norm, &self.down),
        };
        let weight = (plan.norms == NormPlace::Output).then_some(weight.as_slice());
        let (hidden, rows) = (plan.hidden, b.h.len() / plan.hidden);
        b.x.resize(b.h.len(), 0.0);
        let out = &b.out;
        let task_len = ROWS_PER_TASK * hidden;
        pool.chunks2((&mut b.h, task_len), (&mut b.x, task_len), |task, h, x| {
            for (i, (h, branch)) in h.chunks_exact_mut(hidden).zip(x.chunks_exact_mut(hidden)).enumerate() {
                panels.gather(out, rows, task * ROWS_PER_TASK + i, 0, branch);
                isa.run(AddBranch { h, branch, weight, eps: plan.eps });
            }
        });
    }

    // b.a (rows, q width) = attention, from the qkv outputs in b.out; the rows' keys and values go to the pages first.
    fn attention(&mut self, plan: &Plan, batch: &StepBatch, rotations: &Rotations, pool: &Pool, isa: Isa, b: &mut Buffers) {
        let (rows, hd) = (batch.tokens.len(), plan.head_dim);
        let (q_width, kv_width) = (plan.q_width(), plan.kv_width());
        let width = q_width + 2 * kv_width;
        let scale = 1.0 / (hd as f32).sqrt();
        let (q_norm, k_norm) = self.qk_norm.as_ref().map(|(q, k)| (q.as_slice(), k.as_slice())).unzip();
        let (panels, rope, out) = (&self.qkv, self.plan.rope, &b.out);
        b.qkv.resize(rows * width, 0.0);
        pool.chunks(&mut b.qkv, ROWS_PER_TASK * width, |task, qkv| {
            for (i, qkv) in qkv.chunks_exact_mut(width).enumerate() {
                let row = task * ROWS_PER_TASK + i;
                let (q, kv) = qkv.split_at_mut(q_width);
                let (k, v) = kv.split_at_mut(kv_width);
                panels.gather(out, rows, row, 0, q);
                panels.gather(out, rows, row, 1, k);
                panels.gather(out, rows, row, 2, v);
                let rotations = rope.then(|| rotations.at(batch.positions[row]));
                isa.run(Heads { x: q, head_dim: hd, weight: q_norm, eps: plan.eps, rotations, scale });
                isa.run(Heads { x: k, head_dim: hd, weight: k_norm, eps: plan.eps, rotations, scale: 1.0 });
            }
        });

        let qkv = &b.qkv;
        let key = |row: usize, head: usize| &qkv[row * width + q_width + head * hd..][..hd];
        let value = |row: usize, head: usize| &qkv[row * width + q_width + kv_width + head * hd..][..hd];
        self.cache.store(pool, &batch.segments, key, value);

        let mut segment_of = vec![0; rows];
        for (i, s) in batch.segments.iter().enumerate() {
            segment_of[s.first_row..s.first_row + s.rows].fill(i);
        }
        let group_width = plan.group() * hd;
        let (cache, window) = (&self.cache, self.plan.window);
        b.a.resize(rows * q_width, 0.0);
        pool.chunks(&mut b.a, group_width, |task, out| {
            let (row, head) = (task / plan.kv_heads, task % plan.kv_heads);
            let position = batch.positions[row] as usize;
            let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
            let q = &qkv[row * width + head * group_width..][..group_width];
            cache.attend(isa, head, &batch.segments[segment_of[row]].pages, first, position, q, out);
        });
    }

    // b.x (rows, intermediate) = silu(gate)·up, from the outputs in b.out.
    fn activate(&self, plan: &Plan, rows: usize, pool: &Pool, isa: Isa, b: &mut Buffers) {
        let (width, panels, out) = (plan.intermediate, &self.gate_up, &b.out);
        b.x.resize(rows * width, 0.0);
        b.a.resize(rows * width, 0.0);
        let task_len = ROWS_PER_TASK * width;
        pool.chunks2((&mut b.x, task_len), (&mut b.a, task_len), |task, gate, up| {
            for (i, (gate, up)) in gate.chunks_exact_mut(width).zip(up.chunks_exact_mut(width)).enumerate() {
                panels.gather(out, rows, task * ROWS_PER_TASK + i, 0, gate);
                panels.gather(out, rows, task * ROWS_PER_TASK + i, 1, up);
                isa.run(Activate { gate, up });
            }
        });
    }
}

impl Executor for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn describe(&self) -> String {
        format!("cpu ({}, {} threads)", self.isa.name(), self.pool.threads())
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn copy_pages(&mut self, pairs: &[(Page, Page)]) -> Result<(), StepError> {
        for &(from, to) in pairs {
            if from.max(to) as usize >= self.limits.pages {
                return Err(StepError::Malformed("page outside the cache"));
            }
            self.layers.iter_mut().for_each(|l| l.cache.copy(from, to));
        }
        Ok(())
    }

    fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError> {
        batch.check(&self.limits)?;
        self.rotations.reach(batch.positions.iter().copied().max().unwrap_or(0));
        self.embed(&batch.tokens);
        for layer in &mut self.layers {
            layer.forward(&self.plan, batch, &self.rotations, &self.pool, self.isa, &mut self.buffers);
        }
        self.output(batch, out)
    }
}
