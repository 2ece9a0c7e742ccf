//! The threaded executor: the numerics specification on a CPU, in portable code that the compiler vectorises and a few operations
//! written for each instruction set ([`isa`]).
//!
//! Buffers of a step are (rows, width) row-major unless a comment says otherwise.

pub mod attention;
pub mod bytes;
pub mod gemm;
pub mod inputs;
pub mod integers;
pub mod isa;
mod layer;
pub mod nibbles;
pub mod norm;
pub mod pool;
pub mod rates;

use self::gemm::Panels;
use self::isa::Isa;
use self::layer::{Buffers, Layer, Machine};
use self::norm::{Rotations, normalise_row};
use self::pool::Pool;
use super::{DeviceClass, Executor, ExecutorError, Options, cache_len};
use crate::batch::{Limits, Page, Picked, StepBatch, StepError, StepOutput, Want};
use crate::model::Model;
use crate::numerics::{Precision, argmax, from_bf16, log_sum_exp};
use crate::plan::Plan;

/// Rows whose logits are held at once: 13 MB at 102,400 tokens of vocabulary.
const HEAD_ROWS: usize = 32;

/// Most rows of them that a thread takes at once: a panel's rows lie side by side.
const PICK_ROWS: usize = 4;

/// The CPU executor.
pub struct Cpu {
    plan: Plan,
    limits: Limits,
    machine: Machine,
    layers: Vec<Layer>,
    embedding: Option<Vec<u16>>, // (vocab, hidden); None when the head's panels serve
    head: Panels,
    final_norm: Vec<f32>,
    rotations: Rotations,
    buffers: Buffers,
}

impl Cpu {
    /// Packs the model's weights for this machine.
    pub fn new(model: &Model, options: &Options) -> Result<Cpu, ExecutorError> {
        Cpu::with_isa(model, options, Isa::detect())
    }

    /// As [`Cpu::new`], on a given instruction set of this machine. All give the same bits.
    pub fn with_isa(model: &Model, options: &Options, isa: Isa) -> Result<Cpu, ExecutorError> {
        cache_len(model, options)?;
        let machine = Machine {
            pool: Pool::new(options.threads),
            isa,
            precision: options.precision,
        };
        let (plan, parts, limits) = (model.plan().clone(), model.parts(), options.limits(model));
        let layers = parts.layers.iter().zip(&plan.layers);
        let layers = layers
            .map(|(l, &layer)| Layer::new(&machine, &plan, layer, l, limits.pages))
            .collect();
        let embedding = parts.head.as_ref().map(|_| {
            let mut rows = vec![0; plan.vocab * plan.hidden];
            machine
                .pool
                .chunks(&mut rows, plan.hidden, |r, row| parts.embedding.row_bf16(r, row));
            rows
        });
        Ok(Cpu {
            head: Panels::pack(&machine.pool, machine.precision, &[model.head()]),
            final_norm: parts.final_norm.clone(),
            rotations: Rotations::new(&plan.inverse_frequencies),
            buffers: Buffers::default(),
            plan,
            limits,
            machine,
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
        let (vocab, hidden, m, b) = (self.plan.vocab, self.plan.hidden, &self.machine, &mut self.buffers);
        out.picked.clear();
        out.logits.clear();
        for (block, outputs) in batch.outputs.chunks(HEAD_ROWS).enumerate() {
            let rows = outputs.len();
            b.x.resize(rows * hidden, 0.0);
            let (h, eps, weight) = (&b.h, self.plan.eps, &self.final_norm);
            m.pool.chunks(&mut b.x, hidden, |i, x| {
                x.copy_from_slice(&h[outputs[i].row * hidden..][..hidden]);
                normalise_row(m.isa, x, weight, eps);
            });
            m.linear(&b.x, rows, &self.head, &mut b.packed, &mut b.out);
            b.logits.resize(rows * vocab, 0.0);
            let mut picked: Vec<Option<Picked>> = vec![None; rows];
            let (head, linear_out) = (&self.head, &b.out);
            let together = rows.div_ceil(m.pool.threads()).clamp(1, PICK_ROWS);
            let task = (&mut b.logits[..], together * vocab);
            m.pool.chunks2(task, (&mut picked, together), |task, logits, picked| {
                let first = task * together;
                head.gather(linear_out, (rows, first), (0, vocab), logits, vocab);
                for (i, (logits, picked)) in logits.chunks_exact(vocab).zip(picked).enumerate() {
                    *picked = pick(logits, outputs[first + i].want);
                }
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

// What linear layers' inputs are rounded to, for reports.
fn inputs(precision: Precision) -> &'static str {
    match precision {
        Precision::Pair => "16-bit",
        Precision::Bf16 => "bf16",
        Precision::Byte => "fast, 8-bit",
    }
}

fn pick(logits: &[f32], want: Want) -> Option<Picked> {
    let argmax = argmax(logits)?;
    let (mut logprob, mut sum) = (0.0, 0.0);
    if let Want::Score(target) = want {
        sum = log_sum_exp(logits);
        logprob = f64::from(logits[target as usize]) - sum;
    }
    Some(Picked {
        argmax,
        logprob,
        log_sum_exp: sum,
    })
}

impl Executor for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn describe(&self) -> String {
        let m = &self.machine;
        format!(
            "cpu ({}, {} inputs, {} threads)",
            m.isa.name(),
            inputs(m.precision),
            m.pool.threads()
        )
    }

    // Instruction sets and threads change no bit, so every CPU is one class.
    fn class(&self) -> DeviceClass {
        DeviceClass {
            device: "cpu".into(),
            precision: inputs(self.machine.precision).into(),
            shaders: None,
        }
    }

    fn weight_bytes(&self) -> Option<u64> {
        let layers: usize = self.layers.iter().map(Layer::weight_bytes).sum();
        Some((layers + self.head.bytes()) as u64)
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
        batch.check(&self.limits, 0)?;
        self.rotations.reach(batch.positions.iter().copied().max().unwrap_or(0));
        self.embed(&batch.tokens);
        for layer in &mut self.layers {
            layer.forward(&self.plan, batch, &self.rotations, &self.machine, &mut self.buffers);
        }
        self.output(batch, out)
    }
}
