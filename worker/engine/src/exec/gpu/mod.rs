//! The graphics-card executor: WGSL kernels over the same step seam, the same [`crate::numerics`], the same tests.
//!
//! What is promised: linear layers have the bits of rules 1 and 2 given the same inputs, since their products are exact and their
//! sums have a fixed order; everything is the same bits whatever the batch, the chunking and the pages on cards of one class
//! (adapter, driver, shaders), because a row is computed by the same instructions wherever it stands; between classes norms, softmax
//! and the activation function differ in last places, because drivers choose how to divide, take roots and fuse. Where a card has
//! matrix units its products are made on these, in an order of additions of their own: that is another class.
//!
//! | file | idea |
//! |---|---|
//! | [`device`] | which card, and an opened one: buffers, limits, faults |
//! | [`kernels`] | the shaders and their pipelines |
//! | [`units`] | the products' faster twins, on matrix units |
//! | [`weights`] | matrices in the kernels' layouts |
//! | `op` | one dispatch |
//! | `program` | the model as a list of dispatches |
//! | `step` | one step: upload, replay, read back |
//! | [`probe`] | one kernel at a time, for the self-test and for tests |
//! | [`survey`] | what a card offers, and how fast its parts are |
//! | [`self_test`] | whether this card and its driver compute what they should |
//!
//! A step is one pass and one submission. While the card computes, the next step is recorded, since most have the form of the last: then
//! only its rows are left to go up. These may go up before the step is done ([`Pipeline`]): the picked ids stay in a buffer of the card,
//! `program::Ports::picked`, where the next step's embedding reads them. So the card goes from step to step, and what the host does with a
//! step's results it does while the next one is computed.

pub mod device;
mod error;
pub mod kernels;
mod op;
pub mod probe;
mod program;
pub mod self_test;
mod step;
pub mod survey;
pub mod units;
pub mod weights;

use std::collections::VecDeque;
use std::sync::Arc;

use self::device::Card;
pub use self::error::GpuError;
use self::probe::Probe;
use self::program::Program;
use self::step::{Ahead, TakeError, UnderWay};
use super::cpu::norm::Rotations;
use super::{DeviceClass, Executor, ExecutorError, Options, Pipeline, cache_len};
use crate::batch::{Limits, Page, StepBatch, StepError, StepOutput};
use crate::model::Model;
use crate::numerics::Precision;

/// The executor of a graphics card.
pub struct Gpu {
    model: Arc<Model>, // kept to set a lost card up again
    card: Card,
    precision: Precision,
    limits: Limits,
    rotations: Rotations,
    at: Probe,                 // the open card and its kernels
    without: Option<GpuError>, // why matrix units that the card has are not used
    program: Program,
    ahead: Ahead,
    under_way: VecDeque<UnderWay>, // oldest first
    outputs: usize,                // of the step begun last
    fresh: bool,                   // set up again and no step done since
}

impl Gpu {
    /// Opens the card, tests it, and puts the model's weights on it.
    pub fn new(model: Arc<Model>, options: &Options, card: Card) -> Result<Gpu, ExecutorError> {
        cache_len(&model, options)?;
        let limits = options.limits(&model);
        let (at, without) = self_test::tested(&card, options.precision, options.matrix_units)?;
        let program = program::build(&at.device, &at.kernels, &model, &limits)?;
        Ok(Gpu {
            rotations: Rotations::new(&model.plan().inverse_frequencies),
            precision: options.precision,
            limits,
            model,
            card,
            at,
            without,
            program,
            ahead: Ahead::default(),
            under_way: VecDeque::new(),
            outputs: 0,
            fresh: false,
        })
    }

    /// Loses the card, as a driver's reset would. For tests.
    #[doc(hidden)]
    pub fn lose(&mut self) {
        self.at.device.device.destroy();
    }

    /// Gives steps no time at all. For tests.
    #[doc(hidden)]
    pub fn hurry(&mut self) {
        self.at.device.patience = std::time::Duration::ZERO;
    }

    /// How many steps had been recorded before they came. For tests.
    #[doc(hidden)]
    pub fn recorded_ahead(&self) -> usize {
        self.ahead.taken()
    }

    /// Fills the cache with NaN. For tests.
    #[doc(hidden)]
    pub fn poison(&mut self) {
        for buffer in self.program.caches.iter().flat_map(|c| [&c.keys, &c.values]) {
            let nan = vec![f32::NAN; (buffer.size() / 4) as usize];
            self.at.device.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&nan));
        }
    }

    // Adapter, driver and what of the card is used beside its common arithmetic.
    fn named(&self) -> String {
        let units = self
            .at
            .units()
            .map_or(String::new(), |units| format!(", {}", units.name()));
        format!("{}{units}", self.card.class())
    }

    // A lost card is opened again, once; its cache is gone, which the engine has to know.
    fn recover(&mut self, error: GpuError) -> StepError {
        if !matches!(error, GpuError::Lost(_)) || self.fresh {
            return StepError::Device(error.to_string());
        }
        match self.set_up_again() {
            Ok(()) => StepError::CacheLost,
            Err(again) => StepError::Device(format!("{error}; setting it up again failed: {again}")),
        }
    }

    fn set_up_again(&mut self) -> Result<(), GpuError> {
        self.card = self.card.again();
        // the same kernels: others would give other bits
        self.at = Probe::new(&self.card, self.precision, self.at.units())?;
        self.program = program::build(&self.at.device, &self.at.kernels, &self.model, &self.limits)?;
        self.ahead = Ahead::default();
        self.under_way.clear();
        self.outputs = 0;
        self.fresh = true;
        Ok(())
    }
}

impl Executor for Gpu {
    fn name(&self) -> &str {
        "gpu"
    }

    fn describe(&self) -> String {
        let without = match &self.without {
            Some(error) => format!("; its matrix units are not used: {error}"),
            None => String::new(),
        };
        format!("gpu ({}, {} inputs{without})", self.named(), self.precision.name())
    }

    fn class(&self) -> DeviceClass {
        DeviceClass {
            device: format!("gpu ({})", self.named()),
            precision: self.precision.name().into(),
            shaders: Some(kernels::digest()),
        }
    }

    fn memory(&self) -> Option<u64> {
        Some(self.at.device.held())
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn copy_pages(&mut self, pairs: &[(Page, Page)]) -> Result<(), StepError> {
        let inside = |&(from, to): &(Page, Page)| (from.max(to) as usize) < self.limits.pages;
        if !pairs.iter().all(inside) {
            return Err(StepError::Malformed("page outside the cache"));
        }
        step::copy_pages(&self.at.device, &self.program, self.model.plan(), pairs).map_err(|error| self.recover(error))
    }

    fn step(&mut self, batch: &StepBatch, out: &mut StepOutput) -> Result<(), StepError> {
        if !self.under_way.is_empty() {
            return Err(StepError::Malformed("a step while another is under way"));
        }
        self.begin(batch)?;
        self.finish(&|_| true, out)
    }

    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        Some(self)
    }
}

impl Pipeline for Gpu {
    fn begin(&mut self, batch: &StepBatch) -> Result<(), StepError> {
        batch.check(&self.limits, self.outputs)?;
        if batch.outputs.len() > self.limits.step_tokens {
            return Err(StepError::Malformed("more outputs than rows in a step"));
        }
        let begun = step::run(
            &self.at.device,
            &self.program,
            self.model.plan(),
            &mut self.rotations,
            &mut self.ahead,
            batch,
        );
        let step = begun.map_err(|error| self.recover(error))?;
        self.under_way.push_back(step);
        self.outputs = batch.outputs.len();
        Ok(())
    }

    fn finish(&mut self, wanted: &dyn Fn(usize) -> bool, out: &mut StepOutput) -> Result<(), StepError> {
        let Some(step) = self.under_way.pop_front() else {
            return Err(StepError::Malformed("no step is under way"));
        };
        match step.take(&self.at.device, wanted, out) {
            Ok(()) => {
                self.fresh = false;
                Ok(())
            }
            Err(TakeError::Step(error)) => Err(error),
            Err(TakeError::Gpu(error)) => Err(self.recover(error)),
        }
    }

    fn abandon(&mut self) {
        self.under_way.clear();
    }
}
