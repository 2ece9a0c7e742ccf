//! The executors: everything that knows how a step is computed.

pub mod cpu;
pub mod gpu;
pub mod reference;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::batch::{Limits, Page, StepBatch, StepError, StepOutput};
use crate::model::Model;
use crate::numerics::{PAGE_TOKENS, Precision};
use crate::plan::PlanError;
use crate::schedule::Order;

/// Computes steps. Holds the weights in its own layout and the key/value cache; knows nothing of requests.
pub trait Executor: Send {
    /// "cpu", "reference", …
    fn name(&self) -> &str;

    /// The name with everything that could decide a bit of the results or the speed, for reports.
    fn describe(&self) -> String {
        self.name().to_owned()
    }

    /// What a step may hold.
    fn limits(&self) -> Limits;

    /// Copies pages, (from, to), in the order given: a later copy may read what an earlier one wrote.
    fn copy_pages(&mut self, pairs: &[(Page, Page)]) -> Result<(), StepError>;

    /// Stores the keys and values of every row and computes the wanted outputs.
    fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError>;
}

/// Where to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// the fastest there is: for now the CPU
    #[default]
    Auto,
    /// the threaded executor of the numerics specification
    Cpu,
    /// a graphics card
    Gpu,
    /// f64 and naive: the oracle the others are held to
    Reference,
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Device, UnknownDevice> {
        match name {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            "reference" => Ok(Device::Reference),
            other => Err(UnknownDevice(other.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Auto => "auto",
            Device::Cpu => "cpu",
            Device::Gpu => "gpu",
            Device::Reference => "reference",
        })
    }
}

/// A device name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no device `{0}`: use auto, cpu, gpu or reference")]
pub struct UnknownDevice(pub String);

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
    /// how finely activations are rounded on the CPU; the only field that decides bits
    pub precision: Precision,
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
    /// the device has no executor in this build
    #[error("this build has no {wanted} executor; use --device {instead}")]
    NotBuilt {
        /// what was asked for
        wanted: Device,
        /// what can be used
        instead: Device,
    },
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

/// Makes the executor for a device. `Auto` takes the CPU; [`Executor::name`] says which it became.
/// The executor keeps its own copy of the weights in its own layout: drop the model afterwards to save memory.
pub fn executor(model: Arc<Model>, options: &Options) -> Result<Box<dyn Executor>, ExecutorError> {
    match options.device {
        Device::Auto | Device::Cpu => Ok(Box::new(cpu::Cpu::new(&model, options)?)),
        Device::Reference => Ok(Box::new(reference::Reference::new(&model, options)?)),
        Device::Gpu => gpu::executor(&model, options),
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
