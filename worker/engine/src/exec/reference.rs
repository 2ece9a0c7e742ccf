//! The oracle: every sum in f64, one row at a time, in the order of the equations. Weights are `bf16(q·s)`; nothing else is
//! ever rounded but inputs, keys and values that the checkpoint says are quantized.

mod inputs;

use self::inputs::{fake_quantized, quantized};
use super::{DeviceClass, Executor, ExecutorError, Options, cache_len};
use crate::batch::{Limits, Page, Picked, Segment, StepBatch, StepError, StepOutput, Want};
use crate::model::{LayerParts, Model};
use crate::numerics::{self, PAGE_TOKENS};
use crate::plan::{LayerPlan, NormPlace, Plan};
use assay_checkpoint::{CacheCodes, Inputs, Matrix, Transform, Transforms};

/// The f64 executor.
pub struct Reference {
    plan: Plan,
    limits: Limits,
    layers: Vec<Layer>,
    embedding: Rows,
    head: Option<Rows>,
    final_norm: Vec<f64>,
}

struct Layer {
    plan: LayerPlan,
    q: Rows,
    k: Rows,
    v: Rows,
    o: Rows,
    gate: Rows,
    up: Rows,
    down: Rows,
    qk_norm: Option<(Vec<f64>, Vec<f64>)>,
    attention_norm: Vec<f64>,
    mlp_norm: Vec<f64>,
    keys: Vec<f64>,   // (pages, PAGE_TOKENS, kv_heads * head_dim)
    values: Vec<f64>, // (pages, PAGE_TOKENS, kv_heads * head_dim)
    cache: Option<CacheCodes>,
}

// A matrix of bf16 values, (rows, cols) row-major, and how its inputs are quantized.
struct Rows {
    cols: usize,
    inputs: Inputs,
    transforms: Transforms,
    weights: Vec<u16>,
}

impl Reference {
    /// Copies the model's weights.
    pub fn new(model: &Model, options: &Options) -> Result<Reference, ExecutorError> {
        let cache = cache_len(model, options)?;
        let parts = model.parts();
        Ok(Reference {
            plan: model.plan().clone(),
            limits: options.limits(model),
            layers: parts
                .layers
                .iter()
                .zip(&model.plan().layers)
                .map(|(l, plan)| Layer::new(l, *plan, cache))
                .collect(),
            embedding: Rows::new(&parts.embedding),
            head: parts.head.as_ref().map(Rows::new),
            final_norm: wide(&parts.final_norm),
        })
    }

    // One token through all layers; its keys and values stay in the cache. Returns the last residual stream (hidden).
    fn forward(&mut self, token: u32, position: usize, pages: &[Page]) -> Vec<f64> {
        let plan = &self.plan;
        let rotations: Vec<(f64, f64)> = plan
            .inverse_frequencies
            .iter()
            .map(|&f| f64::from(position as f32 * f))
            .map(|angle| (angle.cos(), angle.sin()))
            .collect();
        let mut h = self.embedding.row(token as usize);
        for layer in &mut self.layers {
            let a = match plan.norms {
                NormPlace::Input => layer.attention(
                    plan,
                    &norm(&h, &layer.attention_norm, plan),
                    position,
                    pages,
                    &rotations,
                ),
                NormPlace::Output => norm(
                    &layer.attention(plan, &h, position, pages, &rotations),
                    &layer.attention_norm,
                    plan,
                ),
            };
            add(&mut h, &a);
            let m = match plan.norms {
                NormPlace::Input => layer.mlp(&norm(&h, &layer.mlp_norm, plan)),
                NormPlace::Output => norm(&layer.mlp(&h), &layer.mlp_norm, plan),
            };
            add(&mut h, &m);
        }
        h
    }

    fn logits(&self, h: &[f64]) -> Vec<f64> {
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        head.times(&norm(h, &self.final_norm, &self.plan))
    }
}

impl Layer {
    fn new(parts: &LayerParts, plan: LayerPlan, cache: usize) -> Layer {
        Layer {
            plan,
            q: Rows::new(&parts.q),
            k: Rows::new(&parts.k),
            v: Rows::new(&parts.v),
            o: Rows::new(&parts.o),
            gate: Rows::new(&parts.gate),
            up: Rows::new(&parts.up),
            down: Rows::new(&parts.down),
            qk_norm: parts.qk_norm.as_ref().map(|(q, k)| (wide(q), wide(k))),
            attention_norm: wide(&parts.attention_norm),
            mlp_norm: wide(&parts.mlp_norm),
            keys: vec![0.0; cache],
            values: vec![0.0; cache],
            cache: parts.cache.clone(),
        }
    }

    // Attention of one row over everything before it and itself; its key and value are stored first.
    fn attention(
        &mut self,
        plan: &Plan,
        x: &[f64],
        position: usize,
        pages: &[Page],
        rotations: &[(f64, f64)],
    ) -> Vec<f64> {
        let hd = plan.head_dim;
        let mut q = self.q.times(x); // (heads, head_dim)
        let mut k = self.k.times(x); // (kv_heads, head_dim)
        let mut v = self.v.times(x); // (kv_heads, head_dim)
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = q.chunks(hd).flat_map(|head| norm(head, q_norm, plan)).collect();
            k = k.chunks(hd).flat_map(|head| norm(head, k_norm, plan)).collect();
        }
        if self.plan.rope {
            q.chunks_mut(hd)
                .chain(k.chunks_mut(hd))
                .for_each(|head| rotate(head, rotations));
        }
        if let Some(cache) = &self.cache {
            for (heads, scales) in [(&mut k, &cache.keys), (&mut v, &cache.values)] {
                for (head, s) in heads.chunks_mut(hd).zip(scales) {
                    let (scale, zero) = (f64::from(s.scale), f64::from(s.zero));
                    head.iter_mut()
                        .for_each(|x| *x = quantized(cache.codes, scale, zero, *x));
                }
            }
        }
        let at = |j: usize| (pages[j / PAGE_TOKENS] as usize * PAGE_TOKENS + j % PAGE_TOKENS) * plan.kv_width();
        self.keys[at(position)..][..k.len()].copy_from_slice(&k);
        self.values[at(position)..][..v.len()].copy_from_slice(&v);

        let first = self.plan.window.map_or(0, |w| (position + 1).saturating_sub(w));
        let mut a = vec![0.0; q.len()];
        for (head, out) in a.chunks_mut(hd).enumerate() {
            let q = &q[head * hd..][..hd];
            let kv = head / plan.group() * hd;
            let scores: Vec<f64> = (first..=position)
                .map(|j| dot(q, &self.keys[at(j) + kv..][..hd]) / (hd as f64).sqrt())
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let p: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = p.iter().sum();
            for (p, j) in p.iter().zip(first..) {
                let v = &self.values[at(j) + kv..][..hd];
                out.iter_mut().zip(v).for_each(|(o, v)| *o += p / sum * v);
            }
        }
        self.o.times(&a)
    }

    fn mlp(&self, x: &[f64]) -> Vec<f64> {
        let (gate, up) = (self.gate.times(x), self.up.times(x));
        let m: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        self.down.times(&m)
    }
}

impl Rows {
    fn new(matrix: &Matrix) -> Rows {
        let mut weights = vec![0; matrix.rows * matrix.cols];
        for (r, row) in weights.chunks_mut(matrix.cols.max(1)).enumerate() {
            matrix.row_bf16(r, row);
        }
        Rows {
            cols: matrix.cols,
            inputs: matrix.inputs,
            transforms: matrix.transforms.clone(),
            weights,
        }
    }

    fn row(&self, r: usize) -> Vec<f64> {
        self.weights[r * self.cols..][..self.cols]
            .iter()
            .map(|&w| f64::from(numerics::from_bf16(w)))
            .collect()
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        let x = turned(self.transforms.input.as_deref(), x.to_vec());
        let x = fake_quantized(self.inputs, &x);
        let out = self.weights.chunks(self.cols).map(|row| dot_bf16(row, &x)).collect();
        turned(self.transforms.output.as_deref(), out)
    }
}

// x·M, run by run, from M's definition.
fn turned(transform: Option<&Transform>, x: Vec<f64>) -> Vec<f64> {
    let Some(transform) = transform else { return x };
    let n = transform.size();
    let m = |i: usize, j: usize| match transform {
        Transform::Hadamard { .. } => 1.0 - 2.0 * f64::from((i & j).count_ones() % 2),
        Transform::Matrix { values, .. } => f64::from(values[i * n + j]),
    };
    let scale = match transform {
        Transform::Hadamard { .. } => 1.0 / (n as f64).sqrt(),
        Transform::Matrix { .. } => 1.0,
    };
    let run = |run: &[f64]| {
        let value = |j: usize| (0..n).map(|i| run[i] * m(i, j)).sum::<f64>() * scale;
        (0..n).map(value).collect::<Vec<f64>>()
    };
    x.chunks_exact(n).flat_map(run).collect()
}

// Eight partial sums: in f64 the order is far below anything compared with, and lanes make the oracle bearable to wait for.
fn dot_bf16(row: &[u16], x: &[f64]) -> f64 {
    let (row8, row_rest) = row.as_chunks::<8>();
    let (x8, x_rest) = x.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for (w, x) in row8.iter().zip(x8) {
        for j in 0..8 {
            sums[j] += f64::from(numerics::from_bf16(w[j])) * x[j];
        }
    }
    let rest: f64 = row_rest
        .iter()
        .zip(x_rest)
        .map(|(&w, x)| f64::from(numerics::from_bf16(w)) * x)
        .sum();
    sums.iter().sum::<f64>() + rest
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(h: &mut [f64], branch: &[f64]) {
    h.iter_mut().zip(branch).for_each(|(h, b)| *h += b);
}

fn norm(x: &[f64], weight: &[f64], plan: &Plan) -> Vec<f64> {
    let scale = 1.0 / (dot(x, x) / x.len() as f64 + f64::from(plan.eps)).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
}

fn rotate(head: &mut [f64], rotations: &[(f64, f64)]) {
    let (left, right) = head.split_at_mut(rotations.len());
    for ((x, y), (cos, sin)) in left.iter_mut().zip(right).zip(rotations) {
        (*x, *y) = (*x * cos - *y * sin, *y * cos + *x * sin);
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

impl Executor for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn describe(&self) -> String {
        "reference (f64)".into()
    }

    fn class(&self) -> DeviceClass {
        DeviceClass {
            device: "reference".into(),
            precision: "f64".into(),
            shaders: None,
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn copy_pages(&mut self, pairs: &[(Page, Page)]) -> Result<(), StepError> {
        let size = PAGE_TOKENS * self.plan.kv_width();
        for &(from, to) in pairs {
            let (from, to) = (from as usize * size, to as usize * size);
            if from.max(to) + size > self.layers.first().map_or(0, |l| l.keys.len()) {
                return Err(StepError::Malformed("page outside the cache"));
            }
            for layer in &mut self.layers {
                layer.keys.copy_within(from..from + size, to);
                layer.values.copy_within(from..from + size, to);
            }
        }
        Ok(())
    }

    fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError> {
        batch.check(&self.limits, 0)?;
        out.picked.clear();
        out.logits.clear();
        let mut wanted = batch.outputs.iter().enumerate().peekable();
        for Segment {
            first_row, rows, pages, ..
        } in &batch.segments
        {
            for row in *first_row..first_row + rows {
                let h = self.forward(batch.tokens[row], batch.positions[row] as usize, pages);
                while let Some((output, o)) = wanted.next_if(|(_, o)| o.row == row) {
                    let logits = self.logits(&h);
                    out.picked
                        .push(pick(&logits, o.want).ok_or(StepError::NotFinite { output })?);
                    if o.want == Want::Logits {
                        out.logits.extend(logits.iter().map(|&x| x as f32));
                    }
                }
            }
        }
        Ok(())
    }
}

fn pick(logits: &[f64], want: Want) -> Option<Picked> {
    let mut argmax = 0;
    for (i, &x) in logits.iter().enumerate() {
        if !x.is_finite() {
            return None;
        }
        if x > logits[argmax] {
            argmax = i;
        }
    }
    let (mut logprob, mut log_sum_exp) = (0.0, 0.0);
    if let Want::Score(target) = want {
        let max = logits[argmax];
        log_sum_exp = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        logprob = logits[target as usize] - log_sum_exp;
    }
    Some(Picked {
        argmax: argmax as u32,
        logprob,
        log_sum_exp,
    })
}
