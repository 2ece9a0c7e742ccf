//! The model as a list of dispatches, made once: every step replays it for its own number of rows.
//!
//! Every activation has its own buffer, because barriers are set buffer by buffer.

use std::sync::Arc;

use wgpu::BufferUsages;

use super::GpuError;
use super::device::Opened;
use super::kernels::{Kernel, Kernels};
use super::op::{Halved, NARROW_ROWS, Op, Parts, Section, cache_words, dimensions, quantize_words, turn_words};
use super::units::{UnitKernels, parts};
use super::weights::{Laid, Weights};
use crate::batch::Limits;
use crate::model::{LayerParts, Model};
use crate::numerics::{HEAD_TILE, PAGE_TOKENS};
use crate::plan::{NormPlace, Plan};
use assay_checkpoint::{Codes, InputScale, Inputs, Matrix, Transform, same};

/// Outputs whose logits are held at once.
pub const HEAD_ROWS: usize = 64;

/// One layer's keys and values.
pub struct Cache {
    pub keys: wgpu::Buffer,   // (pages, kv_heads, head_dim, PAGE_TOKENS) f32
    pub values: wgpu::Buffer, // (pages, kv_heads, PAGE_TOKENS, head_dim) f32
}

/// What a step is written to before it runs, and read from after.
pub struct Ports {
    pub rows: wgpu::Buffer,      // (rows) of token, position, page table, 1 + output to follow
    pub pages: wgpu::Buffer,     // page tables, one after another
    pub rotations: wgpu::Buffer, // (rows, head_dim / 2) of cos, sin
    pub outputs: wgpu::Buffer,   // (outputs) of row, target or 0
    pub logits: wgpu::Buffer,    // (HEAD_ROWS, vocab) f32
    pub tiles: wgpu::Buffer,     // (outputs, tiles) of largest, Σ e^(logit − largest), id, finite
    pub picked: wgpu::Buffer,    // (outputs) of id, finite, largest, target's logit
}

/// All dispatches of a step, and the buffers the host deals with.
pub struct Program {
    pub layers: Vec<Op>,
    pub head: Vec<Op>,
    pub caches: Vec<Cache>,
    pub ports: Ports,
}

/// Entries of the page tables of one step at most.
pub fn table_entries(limits: &Limits) -> usize {
    limits.step_tokens * limits.positions.div_ceil(PAGE_TOKENS).min(limits.pages)
}

// Buffers between kernels. All are (rows, width) f32 but where another shape is named.
struct Activations {
    h: wgpu::Buffer,       // residual stream
    x: wgpu::Buffer,       // what linear layers read of it: h or its norm, rounded
    normed: wgpu::Buffer,  // its norm, not rounded, where norms come first
    qkv: wgpu::Buffer,     // queries, keys, values
    parts: Parts,          // attention's by chunks, where rows are few
    a: wgpu::Buffer,       // attention
    a_exact: wgpu::Buffer, // the same, not rounded
    gate_up: wgpu::Buffer,
    m: wgpu::Buffer,            // silu(gate)·up
    m_exact: wgpu::Buffer,      // the same, not rounded
    branch: wgpu::Buffer,       // attention's or the MLP's result
    turned: wgpu::Buffer,       // a rotated input, rounded
    turned_exact: wgpu::Buffer, // the same, not rounded
    raw: wgpu::Buffer,          // an output before it is rotated
    codes: wgpu::Buffer,        // a quantized input
    row_scales: wgpu::Buffer,   // (rows), of `codes`
    halves: wgpu::Buffer,       // (rows, width) of two f16, an input as matrix units read it
    inverses: wgpu::Buffer,     // (rows), of `halves`
    ones: wgpu::Buffer,         // (rows), the scales of inputs that are not quantized
    all: wgpu::Buffer,          // (rows) of row, 0: the list of all rows
}

/// Uploads the weights and lays out the program.
pub fn build(device: &Opened, kernels: &Kernels, model: &Model, limits: &Limits) -> Result<Program, GpuError> {
    let plan = model.plan();
    let parts = model.parts();
    let rows = limits.step_tokens.max(HEAD_ROWS) as u64;
    let memory =
        |what: &str, rows: u64, width: usize| device.buffer(what, rows * width as u64 * 4, BufferUsages::empty());
    let wide = |what: &str, width: usize| memory(what, rows, width);
    let widest = plan.hidden.max(plan.intermediate).max(plan.q_width());
    let turns = model.turns();
    let acts = Activations {
        h: wide("the residual stream", plan.hidden)?,
        x: wide("linear inputs", plan.hidden)?,
        normed: wide("norms", plan.hidden)?,
        qkv: wide("queries, keys and values", plan.q_width() + 2 * plan.kv_width())?,
        parts: Parts::new(
            device,
            [plan.heads, plan.kv_heads, plan.head_dim],
            limits.positions.min(limits.pages * PAGE_TOKENS),
            limits.step_tokens,
        )?,
        a: wide("attention", plan.q_width())?,
        a_exact: wide("attention", plan.q_width())?,
        gate_up: wide("gates and ups", 2 * plan.intermediate)?,
        m: wide("MLP activations", plan.intermediate)?,
        m_exact: wide("MLP activations", plan.intermediate)?,
        branch: wide("branches", plan.hidden)?,
        turned: wide("rotated inputs", if turns { widest } else { 1 })?,
        turned_exact: wide("rotated inputs", if turns { widest } else { 1 })?,
        raw: wide("outputs to rotate", if turns { widest } else { 1 })?,
        codes: wide("input codes", widest)?,
        row_scales: wide("input scales", 1)?,
        halves: wide("halved inputs", if kernels.units.is_some() { widest } else { 1 })?,
        inverses: wide("their scales", 1)?,
        ones: device.upload("ones", &vec![1f32; rows as usize])?,
        all: device.upload(
            "the list of rows",
            &(0..rows as u32).map(|row| [row, 0]).collect::<Vec<_>>(),
        )?,
    };
    let tiles = plan.vocab.div_ceil(HEAD_TILE);
    let readable = |what: &str, bytes: u64| device.buffer(what, bytes, BufferUsages::COPY_SRC);
    let outputs = limits.step_tokens as u64;
    let ports = Ports {
        rows: wide("the step's rows", 4)?,
        pages: memory("page tables", 1, table_entries(limits))?,
        rotations: wide("rotations", plan.head_dim)?,
        outputs: wide("outputs", 2)?,
        logits: readable("logits", (HEAD_ROWS * plan.vocab * 4) as u64)?,
        tiles: readable("tiles of logits", outputs * tiles as u64 * 16)?,
        picked: readable("picked tokens", outputs * 16)?,
    };
    let page = (limits.pages * PAGE_TOKENS * plan.kv_width()) as u64 * 4;
    let cache = |_| -> Result<Cache, GpuError> {
        Ok(Cache {
            keys: readable("a layer's keys", page)?,
            values: readable("a layer's values", page)?,
        })
    };
    let caches = (0..plan.layers.len())
        .map(cache)
        .collect::<Result<Vec<Cache>, GpuError>>()?;

    let embedding = Weights::upload(device, "the embedding", &parts.embedding)?;
    let mut b = Builder {
        device,
        kernels,
        plan,
        acts: &acts,
        ops: Vec::new(),
        coded: None,
        turned: None,
        halved: None,
        matrices: Vec::new(),
    };
    b.embed(&embedding, &ports);
    for (i, layer) in parts.layers.iter().enumerate() {
        b.layer(i, layer, &caches[i], &ports)?;
    }
    let layers = std::mem::take(&mut b.ops);
    b.norm(&ports.outputs, &parts.final_norm)?;
    let head = match &parts.head {
        Some(head) => Weights::upload(device, "the output head", head)?,
        None => embedding,
    };
    let logits = Section::whole(&ports.logits, head.n);
    b.product(&head, model.head(), &acts.x, &acts.normed, logits)?;
    let sizes = vec![0, 0, plan.vocab as u32, tiles as u32];
    let buffers = [&ports.logits, &ports.tiles];
    b.ops
        .push(Op::rows(device, &kernels.tiles, &buffers, sizes.clone(), tiles as u32).numbered());
    let buffers = [&ports.outputs, &ports.logits, &ports.tiles, &ports.picked];
    b.ops
        .push(Op::rows(device, &kernels.pick, &buffers, sizes, 1).numbered());
    let head = b.ops;
    device.wait()?;
    Ok(Program {
        layers,
        head,
        caches,
        ports,
    })
}

struct Builder<'a> {
    device: &'a Opened,
    kernels: &'a Kernels,
    plan: &'a Plan,
    acts: &'a Activations,
    ops: Vec<Op>,
    coded: Option<Inputs>,          // what `codes` holds, until another input takes its place
    turned: Option<Arc<Transform>>, // what `turned` was turned by, until then
    halved: Option<wgpu::Buffer>,   // what `halves` was made of, until then
    matrices: Vec<(Arc<Transform>, wgpu::Buffer)>, // of rotations, each uploaded once
}

impl Builder<'_> {
    fn rows(&mut self, kernel: &Kernel, buffers: &[&wgpu::Buffer], words: Vec<u32>, each: u32) {
        self.ops.push(Op::rows(self.device, kernel, buffers, words, each));
    }

    fn embed(&mut self, w: &Weights, ports: &Ports) {
        let kernel = &self.kernels.linear(w.layout).embed;
        let buffers = [
            &w.words,
            &w.scales,
            &ports.rows,
            &ports.picked,
            &self.acts.h,
            &self.acts.x,
        ];
        let words = dimensions(w, 1, &Section::whole(&self.acts.h, w.k));
        self.ops
            .push(Op::values(self.device, kernel, &buffers, words, w.k.div_ceil(8)));
    }

    // h = h + attn(…); h = h + mlp(…), with the norms where the family has them
    fn layer(&mut self, i: usize, parts: &LayerParts, cache: &Cache, ports: &Ports) -> Result<(), GpuError> {
        let (plan, acts) = (self.plan, self.acts);
        let before = plan.norms == NormPlace::Input;
        let exact = if before { &acts.normed } else { &acts.h };

        if before {
            self.norm(&acts.all, &parts.attention_norm)?;
        }
        let qkv = [&parts.q, &parts.k, &parts.v];
        self.linear(
            &format!("layer {i}'s q, k and v projections"),
            &qkv,
            &acts.x,
            exact,
            &acts.qkv,
        )?;
        self.attention(i, parts, cache, ports)?;
        self.linear(
            &format!("layer {i}'s o projection"),
            &[&parts.o],
            &acts.a,
            &acts.a_exact,
            &acts.branch,
        )?;
        self.add((!before).then_some(&parts.attention_norm))?;

        if before {
            self.norm(&acts.all, &parts.mlp_norm)?;
        }
        let gate_up = [&parts.gate, &parts.up];
        self.linear(
            &format!("layer {i}'s gate and up projections"),
            &gate_up,
            &acts.x,
            exact,
            &acts.gate_up,
        )?;
        self.activate();
        self.linear(
            &format!("layer {i}'s down projection"),
            &[&parts.down],
            &acts.m,
            &acts.m_exact,
            &acts.branch,
        )?;
        self.add((!before).then_some(&parts.mlp_norm))
    }

    // Matrices that read the same input, their outputs side by side. Neighbours that one kernel reads alike are one product.
    fn linear(
        &mut self,
        what: &str,
        matrices: &[&Matrix],
        rounded: &wgpu::Buffer,
        exact: &wgpu::Buffer,
        out: &wgpu::Buffer,
    ) -> Result<(), GpuError> {
        let stride = matrices.iter().map(|matrix| matrix.rows).sum::<usize>() as u32;
        let mut first = 0;
        let mut rest = matrices.iter().copied().peekable();
        while let Some(matrix) = rest.next() {
            let alike = |other: &&Matrix| {
                let turns = [&matrix.transforms.output, &other.transforms.output];
                matrix.inputs == other.inputs
                    && same(&matrix.transforms.input, &other.transforms.input)
                    && turns.into_iter().all(Option::is_none)
                    && Laid::joins(matrix, other)
            };
            let mut laid = Laid::of(matrix);
            while let Some(next) = rest.next_if(alike) {
                laid = laid.join(Laid::of(next));
            }
            let w = laid.upload(self.device, what)?;
            let section = Section {
                buffer: out,
                stride,
                first,
            };
            self.product(&w, matrix, rounded, exact, section)?;
            first += w.n;
        }
        Ok(())
    }

    // out = x·W, from the rounded input or, where the layer quantizes its inputs, from codes made of the exact one; both turned first
    // where the layer turns them, as is out
    fn product(
        &mut self,
        w: &Weights,
        matrix: &Matrix,
        rounded: &wgpu::Buffer,
        exact: &wgpu::Buffer,
        out: Section<'_>,
    ) -> Result<(), GpuError> {
        let acts = self.acts;
        let (inputs, transforms) = (matrix.inputs, &matrix.transforms);
        let (rounded, exact) = match &transforms.input {
            None => (rounded, exact),
            Some(by) => {
                if !same(&self.turned, &transforms.input) {
                    self.turn(exact, by, w.k, Section::whole(&acts.turned_exact, w.k))?;
                    self.forget();
                    self.turned = Some(Arc::clone(by));
                }
                (&acts.turned, &acts.turned_exact)
            }
        };
        if transforms.input.is_none() && self.turned.is_some() {
            self.forget(); // codes of the turned input are no longer these
        }
        let (x, row_scales) = match inputs {
            Inputs::Plain => (rounded, &acts.ones),
            Inputs::Quantized { codes, scale } => {
                if self.coded != Some(inputs) {
                    self.quantize(exact, w.k, codes, scale);
                    (self.coded, self.halved) = (Some(inputs), None);
                }
                (&acts.codes, &acts.row_scales)
            }
        };
        let raw = Section::whole(&acts.raw, w.n);
        let made = transforms.output.as_ref().map_or(out, |_| raw);
        let op = match &self.kernels.units {
            Some(kernels) => self.unit_product(kernels, w, inputs, [x, row_scales], made),
            None => Op::product(self.device, self.kernels, w, [x, row_scales], made, NARROW_ROWS),
        };
        self.ops.push(op);
        if let Some(by) = &transforms.output {
            self.turn(raw.buffer, by, w.n, out)?;
            self.forget(); // its rounded copy went where inputs are kept
        }
        Ok(())
    }

    fn unit_product(
        &mut self,
        kernels: &UnitKernels,
        w: &Weights,
        inputs: Inputs,
        [x, row_scales]: [&wgpu::Buffer; 2],
        out: Section<'_>,
    ) -> Op {
        let halved = Halved {
            halves: &self.acts.halves,
            inverses: &self.acts.inverses,
            parts: parts(self.kernels.precision, inputs),
        };
        if self.halved.as_ref() != Some(x) {
            self.ops.push(Op::halves(self.device, kernels, x, &halved, w.k));
            self.halved = Some(x.clone());
        }
        Op::unit_product(self.device, kernels, w, &halved, row_scales, out, NARROW_ROWS)
    }

    // The inputs change: what was made of those before is of no use.
    fn forget(&mut self) {
        (self.coded, self.turned, self.halved) = (None, None, None);
    }

    fn turn(&mut self, x: &wgpu::Buffer, by: &Arc<Transform>, width: u32, out: Section<'_>) -> Result<(), GpuError> {
        let (words, values) = turn_words(width, by, &out);
        let held = self.matrices.iter().find(|(held, _)| Arc::ptr_eq(held, by));
        let matrix = match held {
            Some((_, matrix)) => matrix.clone(),
            None => {
                let matrix = self.device.upload("a rotation", values)?;
                self.matrices.push((Arc::clone(by), matrix.clone()));
                matrix
            }
        };
        let buffers = [x, &matrix, out.buffer, &self.acts.turned];
        let kernel = &self.kernels.turn;
        self.ops.push(Op::values(self.device, kernel, &buffers, words, width));
        Ok(())
    }

    fn quantize(&mut self, exact: &wgpu::Buffer, width: u32, codes: Codes, scale: InputScale) {
        let buffers = [exact, &self.acts.codes, &self.acts.row_scales];
        let (words, each) = quantize_words(width, codes, scale);
        self.rows(&self.kernels.quantize, &buffers, words, each);
    }

    // x = norm(h), of the rows in a list
    fn norm(&mut self, list: &wgpu::Buffer, weight: &[f32]) -> Result<(), GpuError> {
        let (plan, acts) = (self.plan, self.acts);
        let weight = self.device.upload("a norm", weight)?;
        let words = vec![0, 0, plan.hidden as u32, plan.eps.to_bits()];
        let buffers = [list, &acts.h, &weight, &acts.normed, &acts.x];
        self.ops
            .push(Op::rows(self.device, &self.kernels.norm, &buffers, words, 1).numbered());
        self.forget();
        Ok(())
    }

    // h += branch, normalised first if it has a weight
    fn add(&mut self, weight: Option<&Vec<f32>>) -> Result<(), GpuError> {
        let (plan, acts) = (self.plan, self.acts);
        let halve = self.kernels.units.is_some() && weight.is_some(); // else a norm follows
        let words = vec![
            0,
            plan.hidden as u32,
            plan.eps.to_bits(),
            weight.is_some().into(),
            halve.into(),
        ];
        let weight = self.device.upload("a norm", weight.map_or(&[0.0], Vec::as_slice))?;
        let buffers = [&acts.branch, &weight, &acts.h, &acts.x, &acts.halves, &acts.inverses];
        self.rows(&self.kernels.add, &buffers, words, 1);
        self.forget();
        self.halved = halve.then(|| acts.x.clone());
        Ok(())
    }

    // a = attention of q, k, v, whose keys and values go to the pages first
    fn attention(&mut self, i: usize, parts: &LayerParts, cache: &Cache, ports: &Ports) -> Result<(), GpuError> {
        let (plan, acts, layer) = (self.plan, self.acts, self.plan.layers[i]);
        let sizes = [0, plan.heads as u32, plan.kv_heads as u32, plan.head_dim as u32];
        let scale = 1.0 / (plan.head_dim as f32).sqrt();
        let flags = [parts.qk_norm.is_some().into(), layer.rope.into()];
        let (codes, scales) = cache_words(parts.cache.as_ref());
        let scales = self.device.upload("cache scales", &scales)?;
        let words = [&sizes[..], &[plan.eps.to_bits(), scale.to_bits()], &flags, &codes].concat();
        let (q_norm, k_norm) = parts.qk_norm.as_ref().map_or((&[0.0][..], &[0.0][..]), |(q, k)| (q, k));
        let (q_norm, k_norm) = (
            self.device.upload("a head norm", q_norm)?,
            self.device.upload("a head norm", k_norm)?,
        );
        let buffers = [
            &ports.rows,
            &ports.pages,
            &ports.rotations,
            &q_norm,
            &k_norm,
            &scales,
            &acts.qkv,
            &cache.keys,
            &cache.values,
        ];
        self.rows(
            &self.kernels.heads,
            &buffers,
            words,
            (plan.heads + 2 * plan.kv_heads) as u32,
        );

        let window = layer.window.map_or(0, |w| w as u32);
        let [_, heads, kv_heads, head_dim] = sizes;
        let buffers = [
            &ports.rows,
            &ports.pages,
            &acts.qkv,
            &cache.keys,
            &cache.values,
            &acts.a_exact,
            &acts.a,
        ];
        let words = [0, heads, kv_heads, head_dim, window, 0];
        self.ops
            .extend(Op::attention(self.device, self.kernels, words, &acts.parts, buffers));
        self.forget();
        Ok(())
    }

    // m = silu(gate)·up
    fn activate(&mut self) {
        let (acts, width) = (self.acts, self.plan.intermediate as u32);
        let buffers = [&acts.gate_up, &acts.m_exact, &acts.m];
        self.ops.push(Op::values(
            self.device,
            &self.kernels.activate,
            &buffers,
            vec![0, width],
            width,
        ));
        self.forget();
    }
}
