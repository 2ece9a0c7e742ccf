//! The executors: everything that knows how a step is computed.

pub mod cpu;
mod device;
pub mod exact;
pub mod gpu;
pub mod reference;

use std::sync::Arc;

pub use self::device::{Chosen, Device, DeviceClass, UnknownDevice};

use crate::batch::{Limits, Page, StepBatch, StepError, StepOutput};
use crate::model::Model;
use crate::numerics::{PAGE_TOKENS, Precision};
use crate::plan::PlanError;
use crate::schedule::Order;

/// Computes steps. Holds the weights in its own layout and the key/value cache; knows nothing of requests. Steps and copies of pages take
/// effect in the order in which they are asked for, those of a [`Pipeline`] that are still under way and those abandoned too: a page may
/// be given to another sequence while a step that writes to it is under way.
pub trait Executor: Send {
    /// "cpu", "reference", …
    fn name(&self) -> &str;

    /// The name with everything that could decide a bit of the results or the speed, for reports.
    fn describe(&self) -> String {
        self.name().to_owned()
    }

    /// What besides the engine's version decides the bits of the results, for certificates.
    fn class(&self) -> DeviceClass;

    /// Bytes held on the device: weights, cache and buffers. `None` where host memory is all there is.
    fn memory(&self) -> Option<u64> {
        None
    }

    /// Bytes of weights that a step reads, as they are held. `None` where that is not known.
    fn weight_bytes(&self) -> Option<u64> {
        None
    }

    /// What a step may hold.
    fn limits(&self) -> Limits;

    /// Copies pages, (from, to), in the order given: a later copy may read what an earlier one wrote.
    fn copy_pages(&mut self, pairs: &[(Page, Page)]) -> Result<(), StepError>;

    /// Stores the keys and values of every row and computes the wanted outputs. Not while a step is under way.
    fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError>;

    /// The executor as one that takes a step while it computes another. `None` where the caller's own thread computes.
    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        None
    }
}

/// An executor apart from the host: a step can be begun before the last one's tokens have come down, so that it never waits for the host
/// to read them, think, and send them back.
pub trait Pipeline {
    /// Begins a step after all those begun before it. Its rows may follow outputs of the one right before it.
    fn begin(&mut self, batch: &StepBatch) -> Result<(), StepError>;

    /// Waits for the oldest step under way and takes its results. An output for which `wanted` is false may be anything, and no error.
    fn finish(&mut self, wanted: &dyn Fn(usize) -> bool, out: &mut StepOutput) -> Result<(), StepError>;

    /// Forgets the steps under way. What they store in the cache is stored all the same.
    fn abandon(&mut self);
}

/// How to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// where
    pub device: Device,
    /// threads of the CPU executor; 0 takes all the machine has
    pub threads: usize,
    /// tokens of key/value cache, rounded up to whole pages
    pub kv_tokens: usize,
    /// rows in a step
    pub step_tokens: usize,
    /// most sequences that run at once; 0 takes as many as the cache has room for
    pub sequences: usize,
    /// whether a prompt takes the pages of a beginning it shares with another
    pub prefix_cache: bool,
    /// which requests come first
    pub order: Order,
    /// how finely activations are rounded; beside the device and the next field the only one that decides bits
    pub precision: Precision,
    /// whether a graphics card may use matrix units
    pub matrix_units: bool,
    /// whether a graphics card is given a step before the last one's tokens have come down
    pub steps_ahead: bool,
}

impl Default for Options {
    /// All threads; 16,384 cached tokens (2 GB for the 1.2B model, touched only as used); steps of 256 rows, where a CPU's matrix
    /// products have long reached their full rate.
    fn default() -> Options {
        Options {
            device: Device::Auto,
            threads: 0,
            kv_tokens: 16_384,
            step_tokens: 256,
            sequences: 0,
            prefix_cache: true,
            order: Order::default(),
            precision: Precision::default(),
            matrix_units: true,
            steps_ahead: true,
        }
    }
}

impl Options {
    /// Pages of the cache.
    pub fn pages(&self) -> usize {
        self.kv_tokens.div_ceil(PAGE_TOKENS).max(1)
    }

    fn limits(&self, model: &Model) -> Limits {
        let plan = model.plan();
        Limits {
            step_tokens: self.step_tokens.max(1),
            pages: self.pages(),
            positions: plan.positions,
            vocab: plan.vocab,
        }
    }
}

/// Why there is no executor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    /// the graphics card is missing, too small or at fault
    #[error(transparent)]
    Gpu(#[from] gpu::GpuError),
    /// the sizes cannot be run
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// the cache would be larger than any machine's memory
    #[error("a key/value cache of {tokens} tokens is too large to address")]
    CacheTooLarge {
        /// what was asked for
        tokens: usize,
    },
}

/// Makes the executor for a device. `Auto` takes a graphics card if there is one, else the CPU; [`Executor::describe`] says which.
/// The executors of the host keep their own copy of the weights: drop the model afterwards to save memory. That of a graphics card keeps
/// the model, to set a lost card up again.
pub fn executor(model: Arc<Model>, options: &Options) -> Result<Box<dyn Executor>, ExecutorError> {
    let mut options = options.clone();
    if options.device == Device::Fast {
        options.precision = Precision::Byte;
    }
    match options.device.choose()? {
        Chosen::Cpu => Ok(Box::new(cpu::Cpu::new(&model, &options)?)),
        Chosen::Reference => Ok(Box::new(reference::Reference::new(&model, &options)?)),
        Chosen::Gpu(card) => Ok(Box::new(gpu::Gpu::new(model, &options, *card)?)),
    }
}

// Values of one layer's keys (or values) for all pages.
fn cache_len(model: &Model, options: &Options) -> Result<usize, ExecutorError> {
    let width = model.plan().kv_width();
    let len = options
        .pages()
        .checked_mul(PAGE_TOKENS)
        .and_then(|n| n.checked_mul(width));
    len.filter(|&n| n < isize::MAX as usize / 16)
        .ok_or(ExecutorError::CacheTooLarge {
            tokens: options.kv_tokens,
        })
}
