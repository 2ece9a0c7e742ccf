//! One step: its rows go up, the program runs in one pass and one submission, a few bytes an output come down, at the latest when the
//! one after it has been submitted too.

use wgpu::{BufferDescriptor, BufferUsages, CommandBuffer, CommandEncoder, ComputePassDescriptor, MapMode};

use super::GpuError;
use super::device::Opened;
use super::op::Extent;
use super::program::{HEAD_ROWS, Program};
use crate::batch::{Page, Picked, StepBatch, StepError, StepOutput, Want};
use crate::exec::cpu::norm::Rotations;
use crate::numerics::{HEAD_TILE, KV_CHUNK, PAGE_TOKENS};
use crate::plan::Plan;

/// Bytes of an output's entry in `picked`, and of a tile's.
const ENTRY: u64 = 16;

/// Copies pages of every layer's cache. wgpu copies only between different buffers, so each goes through one of its own.
pub fn copy_pages(device: &Opened, program: &Program, plan: &Plan, pairs: &[(Page, Page)]) -> Result<(), GpuError> {
    if pairs.is_empty() {
        return Ok(());
    }
    let size = (PAGE_TOKENS * plan.kv_width() * 4) as u64;
    let between = device.device.create_buffer(&BufferDescriptor {
        label: Some("a page on its way"),
        size,
        usage: BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.device.create_command_encoder(&Default::default());
    for &(from, to) in pairs {
        for cache in program.caches.iter().flat_map(|cache| [&cache.keys, &cache.values]) {
            encoder.copy_buffer_to_buffer(cache, u64::from(from) * size, &between, 0, size);
            encoder.copy_buffer_to_buffer(&between, 0, cache, u64::from(to) * size, size);
        }
    }
    device.queue.submit([encoder.finish()]);
    device.check()
}

/// What decides a step's commands; which tokens and pages it has goes up beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    rows: usize,
    chunks: usize, // of keys before the last position
    outputs: usize,
    scored: bool,
    whole: Vec<usize>, // the outputs whose logits are wanted
}

impl Form {
    fn of(batch: &StepBatch) -> Form {
        let wants = || batch.outputs.iter().map(|output| output.want);
        Form {
            rows: batch.tokens.len(),
            chunks: batch.positions.iter().max().map_or(0, |&last| last as usize / KV_CHUNK) + 1,
            outputs: batch.outputs.len(),
            scored: wants().any(|want| matches!(want, Want::Score(_))),
            whole: (0..)
                .zip(wants())
                .filter(|(_, want)| *want == Want::Logits)
                .map(|(i, _)| i)
                .collect(),
        }
    }
}

struct Recorded {
    form: Form,
    commands: CommandBuffer,
    readback: Readback,
}

impl Recorded {
    fn new(device: &Opened, program: &Program, plan: &Plan, form: Form) -> Recorded {
        let mut encoder = device.device.create_command_encoder(&Default::default());
        let readback = Readback::new(device, plan, &form);
        let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
        let extent = Extent {
            first: 0,
            rows: form.rows as u32,
            chunks: form.chunks as u32,
        };
        program.layers.iter().for_each(|op| op.record(&mut pass, extent));
        let mut copied = 0;
        for first in (0..form.outputs).step_by(HEAD_ROWS) {
            let outputs = first..form.outputs.min(first + HEAD_ROWS);
            let extent = Extent {
                first: first as u32,
                rows: outputs.len() as u32,
                chunks: 0,
            };
            program.head.iter().for_each(|op| op.record(&mut pass, extent));
            if form.whole.iter().any(|output| outputs.contains(output)) {
                drop(pass);
                let rows = form.whole.iter().filter(|output| outputs.contains(output));
                readback.copy_logits(
                    &mut encoder,
                    program,
                    plan,
                    rows.map(|output| output - first),
                    &mut copied,
                );
                pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            }
        }
        drop(pass);
        readback.copy(&mut encoder, program);
        Recorded {
            form,
            commands: encoder.finish(),
            readback,
        }
    }
}

/// The step that is likely to come next, recorded while the card computes: sequences that generate have the same form step after step,
/// so that the card waits for their tokens and for nothing else.
#[derive(Default)]
pub struct Ahead {
    recorded: Option<Recorded>,
    last: Option<Form>,
    taken: usize,
}

impl Ahead {
    /// How many steps had been recorded before they came.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

/// Runs a step that has been checked against the limits the program was built for.
pub fn run(
    device: &Opened,
    program: &Program,
    plan: &Plan,
    rotations: &mut Rotations,
    ahead: &mut Ahead,
    batch: &StepBatch,
) -> Result<UnderWay, GpuError> {
    upload(device, program, rotations, batch);
    let form = Form::of(batch);
    let recorded = match ahead.recorded.take().filter(|recorded| recorded.form == form) {
        Some(recorded) => {
            ahead.taken += 1;
            recorded
        }
        None => Recorded::new(device, program, plan, form.clone()),
    };
    let submission = device.queue.submit([recorded.commands]);
    if ahead.last.as_ref() == Some(&form) {
        ahead.recorded = Some(Recorded::new(device, program, plan, form.clone()));
    }
    ahead.last = Some(form);
    device.check()?;
    Ok(UnderWay {
        readback: recorded.readback,
        submission,
        wants: batch.outputs.iter().map(|output| output.want).collect(),
    })
}

/// A step that the card computes, or will when it has done those before.
pub struct UnderWay {
    readback: Readback,
    submission: wgpu::SubmissionIndex,
    wants: Vec<Want>,
}

impl UnderWay {
    /// Waits for the step and takes its results; outputs that are not wanted may be no numbers.
    pub fn take(self, device: &Opened, wanted: &dyn Fn(usize) -> bool, out: &mut StepOutput) -> Result<(), TakeError> {
        self.readback.map();
        device.wait_for(Some(self.submission))?;
        let taken = self.readback.take(&self.wants, wanted, out);
        if let Err(TakeError::Gpu(_)) = taken {
            device.wait()?; // what cannot be read may be so because the card is lost, which is found out here
        }
        taken
    }
}

fn upload(device: &Opened, program: &Program, rotations: &mut Rotations, batch: &StepBatch) {
    let mut rows: Vec<[u32; 4]> = Vec::with_capacity(batch.tokens.len());
    let mut pages: Vec<Page> = Vec::new();
    for s in &batch.segments {
        let table = pages.len() as u32;
        pages.extend(&s.pages[..s.kv_len.div_ceil(PAGE_TOKENS)]);
        rows.extend((s.first_row..s.first_row + s.rows).map(|row| [batch.tokens[row], batch.positions[row], table, 0]));
    }
    for &(row, output) in &batch.follows {
        rows[row][3] = 1 + output as u32;
    }
    rotations.reach(batch.positions.iter().copied().max().unwrap_or(0));
    let turns: Vec<[f32; 2]> = batch
        .positions
        .iter()
        .flat_map(|&position| rotations.at(position))
        .map(|&(cos, sin)| [cos, sin])
        .collect();
    let outputs: Vec<[u32; 2]> = batch
        .outputs
        .iter()
        .map(|o| match o.want {
            Want::Score(target) => [o.row as u32, target],
            Want::Greedy | Want::Logits => [o.row as u32, 0],
        })
        .collect();
    let write = |buffer: &wgpu::Buffer, bytes: &[u8]| device.queue.write_buffer(buffer, 0, bytes);
    write(&program.ports.rows, bytemuck::cast_slice(&rows));
    write(&program.ports.pages, bytemuck::cast_slice(&pages));
    write(&program.ports.rotations, bytemuck::cast_slice(&turns));
    write(&program.ports.outputs, bytemuck::cast_slice(&outputs));
}

/// What comes down from a step: 16 bytes for each output; of scored ones also 16 for each tile of logits.
///
/// The tiles' sums of exponentials are f32, each over [`HEAD_TILE`] columns; the host adds them in f64. That costs a few KB an
/// output and spares the kernels compensated sums, which WGSL cannot promise: a compiler may cancel `(a + b) − b`.
struct Readback {
    picked: wgpu::Buffer,
    tiles: Option<wgpu::Buffer>,
    logits: Option<wgpu::Buffer>,
    tiles_each: usize,
}

impl Readback {
    fn new(device: &Opened, plan: &Plan, form: &Form) -> Readback {
        let outputs = form.outputs as u64;
        let tiles_each = plan.vocab.div_ceil(HEAD_TILE);
        let buffer = |size: u64| {
            device.device.create_buffer(&BufferDescriptor {
                label: Some("readback"),
                size: size.max(ENTRY),
                usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
                mapped_at_creation: false,
            })
        };
        let whole = form.whole.len() as u64;
        Readback {
            picked: buffer(outputs * ENTRY),
            tiles: form.scored.then(|| buffer(outputs * tiles_each as u64 * ENTRY)),
            logits: (whole > 0).then(|| buffer(whole * plan.vocab as u64 * 4)),
            tiles_each,
        }
    }

    fn copy(&self, encoder: &mut CommandEncoder, program: &Program) {
        encoder.copy_buffer_to_buffer(&program.ports.picked, 0, &self.picked, 0, self.picked.size());
        if let Some(tiles) = &self.tiles {
            encoder.copy_buffer_to_buffer(&program.ports.tiles, 0, tiles, 0, tiles.size());
        }
    }

    fn copy_logits(
        &self,
        encoder: &mut CommandEncoder,
        program: &Program,
        plan: &Plan,
        rows: impl Iterator<Item = usize>,
        copied: &mut u64,
    ) {
        let Some(to) = &self.logits else { return };
        let size = plan.vocab as u64 * 4;
        for row in rows {
            encoder.copy_buffer_to_buffer(&program.ports.logits, row as u64 * size, to, *copied * size, size);
            *copied += 1;
        }
    }

    fn map(&self) {
        let buffers = [Some(&self.picked), self.tiles.as_ref(), self.logits.as_ref()];
        for buffer in buffers.into_iter().flatten() {
            buffer.map_async(MapMode::Read, .., |_| {}); // a failure shows where the card is waited for
        }
    }

    fn take(self, wants: &[Want], wanted: &dyn Fn(usize) -> bool, out: &mut StepOutput) -> Result<(), TakeError> {
        let view = |buffer: &wgpu::Buffer| {
            buffer
                .get_mapped_range(..)
                .map_err(|error| GpuError::Reported(error.to_string()))
        };
        let picked = view(&self.picked)?;
        let picked: &[[u32; 4]] = bytemuck::cast_slice(&picked);
        let tiles = self.tiles.as_ref().map(view).transpose()?;
        let tiles: &[[u32; 4]] = tiles.as_ref().map_or(&[], |tiles| bytemuck::cast_slice(tiles));
        out.picked.clear();
        out.logits.clear();
        for (output, (want, &[id, finite, largest, target])) in wants.iter().zip(picked).enumerate() {
            if finite == 0 && wanted(output) {
                return Err(StepError::NotFinite { output }.into());
            }
            let (mut logprob, mut log_sum_exp) = (0.0, 0.0);
            if let Want::Score(_) = want {
                let tiles = &tiles[output * self.tiles_each..][..self.tiles_each];
                log_sum_exp = merge(f32::from_bits(largest), tiles);
                logprob = f64::from(f32::from_bits(target)) - log_sum_exp;
            }
            out.picked.push(Picked {
                argmax: id,
                logprob,
                log_sum_exp,
            });
        }
        if let Some(logits) = &self.logits {
            out.logits.extend_from_slice(bytemuck::cast_slice(&view(logits)?));
        }
        Ok(())
    }
}

// ln(Σ e^logit) of a row from its tiles (largest, Σ e^(logit − largest), …), left to right.
fn merge(largest: f32, tiles: &[[u32; 4]]) -> f64 {
    let max = f64::from(largest);
    let mut sum = 0f64;
    for &[tile_max, tile_sum, ..] in tiles {
        sum += f64::from(f32::from_bits(tile_sum)) * (f64::from(f32::from_bits(tile_max)) - max).exp();
    }
    max + sum.ln()
}

/// Why a step gave nothing.
pub enum TakeError {
    /// the card
    Gpu(GpuError),
    /// the model
    Step(StepError),
}

impl From<GpuError> for TakeError {
    fn from(error: GpuError) -> TakeError {
        TakeError::Gpu(error)
    }
}

impl From<StepError> for TakeError {
    fn from(error: StepError) -> TakeError {
        TakeError::Step(error)
    }
}
