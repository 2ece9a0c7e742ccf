//! What a card offers and how fast its parts are: what has to be known before kernels are tuned for it, in a few minutes.
//!
//! Times are the host's, from submission until the work is done, over as many repetitions as take a good fraction of a second.

mod parts;
mod products;
mod tensor;
mod tiling;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::GpuError;
use super::device::{Card, Opened};
use super::probe::Probe;
use super::self_test;
use super::units::Units;
use crate::numerics::Precision;

/// Repetitions are added until they take so long together.
const LONG_ENOUGH: Duration = Duration::from_millis(200);

/// How much work to measure with.
#[derive(Clone, Debug)]
pub struct Scale {
    /// outputs of the matrix products
    pub outputs: usize,
    /// their inputs, a multiple of 128
    pub inputs: usize,
    /// their rows, ascending
    pub rows: Vec<usize>,
    /// dispatches in a row
    pub dispatches: u32,
    /// bytes copied and read at once, at most; the card may allow less
    pub bytes: u64,
    /// a product that would take longer is left out
    pub patience: Duration,
}

impl Default for Scale {
    /// The gate and up projections of EXAONE-4.0-1.2B.
    fn default() -> Scale {
        Scale {
            outputs: 8192,
            inputs: 2048,
            rows: vec![1, 16, 64, 256, 2048],
            dispatches: 1000,
            bytes: 256 << 20,
            patience: Duration::from_secs(5),
        }
    }
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// adapter and driver
    pub card: String,
    /// discrete, integrated, virtual or software
    pub kind: String,
    /// PCI bus id
    pub bus: String,
    /// least and greatest size of a subgroup
    pub subgroups: [u32; 2],
    /// wgpu's names
    pub features: Vec<String>,
    /// limits that the executor runs into, by wgpu's names
    pub limits: BTreeMap<&'static str, u64>,
    /// matrix units, as (rows, outputs, inputs) of a step and number formats
    pub matrix_units: Vec<MatrixUnit>,
    /// matrix products
    pub products: Vec<Product>,
    /// what dispatches cost
    pub dispatches: Dispatches,
    /// how fast bytes move
    pub memory: Memory,
    /// questions with a right answer
    pub checks: Vec<Check>,
}

/// A shape that the card's matrix units multiply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatrixUnit {
    /// rows, outputs and inputs of a step
    pub size: [u32; 3],
    /// number format of what is multiplied
    pub factors: String,
    /// number format of the sums
    pub sums: String,
}

/// A matrix product's rate.
#[derive(Debug, Serialize)]
pub struct Product {
    /// which kernel, over which weights
    pub kernel: String,
    /// rows of inputs
    pub rows: usize,
    /// seconds of one; none where it was expected to take longer than [`Scale::patience`]
    pub seconds: Option<f64>,
    /// operations a second, a multiplication and an addition counted as two
    pub rate: Option<f64>,
}

/// Seconds of a dispatch that does next to nothing.
#[derive(Debug, Serialize)]
pub struct Dispatches {
    /// each reads what the one before wrote
    pub dependent: f64,
    /// each writes a buffer of its own
    pub independent: f64,
    /// the host's time to record one with six buffers
    pub record: f64,
}

/// Bytes a second.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// host to card
    pub up: f64,
    /// card to host
    pub down: f64,
    /// card to card, each byte counted once
    pub within: f64,
    /// read by a kernel
    pub read: f64,
    /// through workgroup memory in vectors of four f32
    pub staged_f32: f64,
    /// likewise of four f16, if the card has f16
    pub staged_f16: Option<f64>,
}

/// A question with a right answer.
#[derive(Debug, Serialize)]
pub struct Check {
    /// what should hold
    pub what: String,
    /// whether the executor counts on it; what only a trial would need is told and no more
    pub needed: bool,
    /// whether it holds
    pub passed: bool,
    /// what was found instead; empty if it holds
    pub found: String,
}

/// What has been found so far.
struct Notes<'a> {
    scale: &'a Scale,
    told: &'a mut dyn FnMut(&str),
    products: Vec<Product>,
    checks: Vec<Check>,
}

impl Notes<'_> {
    fn check(&mut self, what: impl Into<String>, needed: bool, found: Result<(), String>) {
        self.checks.push(Check {
            what: what.into(),
            needed,
            passed: found.is_ok(),
            found: found.err().unwrap_or_default(),
        });
    }

    /// Notes a kernel's figures at up to `most` rows, without those that would take too long. It computes `tile` rows even where fewer
    /// are wanted.
    fn series(
        &mut self,
        kernel: &str,
        tile: usize,
        most: usize,
        time: impl Fn(usize) -> Result<f64, GpuError>,
    ) -> Result<(), GpuError> {
        (self.told)(kernel);
        let mut tile_seconds = 0.0;
        for &rows in self.scale.rows.iter().filter(|&&rows| rows <= most) {
            let tiles = rows.div_ceil(tile) as f64;
            let too_long = tile_seconds * tiles > self.scale.patience.as_secs_f64();
            let seconds = if too_long { None } else { Some(time(rows)?) };
            tile_seconds = seconds.map_or(tile_seconds, |seconds| seconds / tiles);
            let operations = 2.0 * (rows * self.scale.outputs * self.scale.inputs) as f64;
            self.products.push(Product {
                kernel: kernel.to_owned(),
                rows,
                seconds,
                rate: seconds.map(|seconds| operations / seconds),
            });
        }
        Ok(())
    }
}

/// Looks a card over. `told` is called with what is being measured.
///
/// # Errors
/// The card cannot be opened, or fails at what the executor needs. What only a faster kernel would need is told in [`Survey::checks`].
pub fn run(card: &Card, precision: Precision, scale: &Scale, told: &mut dyn FnMut(&str)) -> Result<Survey, GpuError> {
    let mut notes = Notes {
        scale,
        told,
        products: Vec::new(),
        checks: Vec::new(),
    };
    (notes.told)("compiling the kernels");
    let probe = Probe::new(card, precision, None)?;
    (notes.told)("the self-test");
    let tested = self_test::run(&probe, precision).map_err(|error| error.to_string());
    notes.check("the executor's self-test", true, tested);
    (notes.told)("dispatches");
    let dispatches = parts::dispatches(&probe, &mut notes)?;
    (notes.told)("memory");
    let memory = parts::memory(card, &probe, scale.bytes)?;
    products::measure(&probe, precision, &mut notes)?;
    drop(probe);
    if let Some(units) = Units::of(card) {
        (notes.told)("the executor's products on matrix units");
        let measured = Probe::new(card, precision, Some(units)).and_then(|probe| {
            self_test::run(&probe, precision)?;
            products::measure(&probe, precision, &mut notes)
        });
        let measured = measured.map_err(|error| error.to_string());
        notes.check("the executor's self-test, on matrix units", false, measured);
    }
    tensor::measure(card, &mut notes);
    let offer = card.offer();
    Ok(Survey {
        card: card.class(),
        kind: offer.kind,
        bus: offer.bus,
        subgroups: offer.subgroups,
        features: offer.features,
        limits: offer.limits,
        matrix_units: offer.matrix_units,
        products: notes.products,
        dispatches,
        memory,
        checks: notes.checks,
    })
}

/// How many values differ, as an error.
fn same_bits<T: PartialEq>(found: &[T], other: &[T], from: &str) -> Result<(), String> {
    match found.iter().zip(other).filter(|(a, b)| a != b).count() {
        0 => Ok(()),
        differ => Err(format!("{differ} of {} values differ from {from}", found.len())),
    }
}

/// Seconds of what `record` puts into a pass, after a first time that does not count.
fn seconds(device: &Opened, record: impl Fn(&mut wgpu::ComputePass<'_>)) -> Result<f64, GpuError> {
    let enough = LONG_ENOUGH.as_secs_f64();
    let mut times = 1;
    loop {
        let taken = once(device, |pass| (0..times).for_each(|_| record(pass)))?.done;
        if taken >= enough && times > 1 || taken >= 10.0 * enough {
            return Ok(taken / f64::from(times));
        }
        // the first run has paid for memory that is touched for the first time
        let wanted = f64::from(times) * 1.5 * enough / taken.max(1e-6);
        times = (wanted.ceil() as u32).clamp(times + 1, 100 * times);
    }
}

/// Seconds of one submission.
struct Taken {
    /// the host's, to encode it
    recorded: f64,
    /// from then until it was done
    done: f64,
}

fn once(device: &Opened, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<Taken, GpuError> {
    let begun = Instant::now();
    let mut encoder = device.device.create_command_encoder(&Default::default());
    record(&mut encoder.begin_compute_pass(&Default::default()));
    let commands = encoder.finish();
    let recorded = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    device.queue.submit([commands]);
    device.wait()?;
    Ok(Taken {
        recorded,
        done: begun.elapsed().as_secs_f64(),
    })
}
