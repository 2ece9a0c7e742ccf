//! Cards: which there are, which is taken, and an opened one with its queue, its errors and its count of bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wgpu::{
    Backends, BufferDescriptor, BufferUsages, DeviceType, ErrorFilter, ExperimentalFeatures, Features, InstanceFlags,
    Limits,
};

use super::GpuError;
use super::survey::MatrixUnit;

/// Work that takes longer is taken for hung. A step is well under a second on a card; software adapters on a busy machine need
/// the rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Uploads go in pieces of this size, so that the driver's staging memory stays bounded.
const UPLOAD: usize = 64 << 20;

/// A card that can be opened.
#[derive(Clone)]
pub struct Card {
    adapter: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({})", self.class())
    }
}

impl Card {
    /// The card to use: without a name the first real one, discrete before virtual before integrated; with a name the first
    /// whose name contains it, in any case of letters, or whose PCI bus id it is.
    pub fn find(name: Option<&str>) -> Result<Card, GpuError> {
        let mut cards = Card::all();
        cards.sort_by_key(Card::rank);
        let chosen = cards.iter().find(|card| match name {
            None => card.rank() < SOFTWARE,
            Some(name) => card.is_called(name),
        });
        chosen.cloned().ok_or_else(|| GpuError::NoCard {
            wanted: name.map(str::to_owned),
            found: cards.iter().map(Card::class).collect(),
        })
    }

    /// Every adapter Vulkan shows, in its order.
    pub fn all() -> Vec<Card> {
        let mut wanted = wgpu::InstanceDescriptor::new_without_display_handle();
        wanted.backends = Backends::VULKAN;
        // the default flags of a release build cap buffers at 4 GiB
        wanted.flags = match cfg!(debug_assertions) {
            true => InstanceFlags::VALIDATION,
            false => InstanceFlags::empty(),
        };
        let instance = wgpu::Instance::new(wanted);
        let adapters = pollster::block_on(instance.enumerate_adapters(Backends::VULKAN));
        let cards = adapters.into_iter().map(|adapter| Card {
            info: adapter.get_info(),
            adapter,
        });
        cards.collect()
    }

    fn rank(&self) -> u8 {
        match self.info.device_type {
            DeviceType::DiscreteGpu => 0,
            DeviceType::VirtualGpu => 1,
            DeviceType::IntegratedGpu => 2,
            DeviceType::Other | DeviceType::Cpu => SOFTWARE,
        }
    }

    fn is_called(&self, name: &str) -> bool {
        self.info.name.to_lowercase().contains(&name.to_lowercase())
            || self.info.device_pci_bus_id.eq_ignore_ascii_case(name)
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Its PCI bus id, as in 0000:01:00.0; empty where it has none.
    pub fn bus(&self) -> &str {
        &self.info.device_pci_bus_id
    }

    /// Adapter and driver: results are the same bits on cards of the same class.
    pub fn class(&self) -> String {
        let driver = [self.info.driver.as_str(), self.info.driver_info.as_str()].map(str::trim);
        let driver = driver.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        format!("{}, {}", self.info.name.trim(), driver.join(" "))
    }

    /// The same card as Vulkan shows it now, after it was lost.
    pub fn again(&self) -> Card {
        let same =
            |card: &Card| card.class() == self.class() && card.info.device_pci_bus_id == self.info.device_pci_bus_id;
        Card::all().into_iter().find(same).unwrap_or_else(|| self.clone())
    }

    /// Whether the card has what these features need.
    pub fn offers(&self, features: Features) -> bool {
        self.adapter.features().contains(features)
    }

    /// What else the card says of itself.
    pub fn offer(&self) -> Offer {
        let features = self.adapter.features();
        let limits = self.adapter.limits();
        let units = match features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            true => self.adapter.cooperative_matrix_properties(),
            false => Vec::new(),
        };
        let format = |of: wgpu::CooperativeScalarType| format!("{of:?}").to_lowercase();
        Offer {
            kind: format!("{:?}", self.info.device_type),
            bus: self.info.device_pci_bus_id.clone(),
            subgroups: [self.info.subgroup_min_size, self.info.subgroup_max_size],
            features: features.iter_names().map(|(name, _)| name.to_owned()).collect(),
            limits: [
                ("max_buffer_size", limits.max_buffer_size),
                (
                    "max_storage_buffer_binding_size",
                    limits.max_storage_buffer_binding_size,
                ),
                (
                    "max_compute_workgroup_storage_size",
                    limits.max_compute_workgroup_storage_size.into(),
                ),
                (
                    "max_compute_invocations_per_workgroup",
                    limits.max_compute_invocations_per_workgroup.into(),
                ),
                (
                    "max_compute_workgroups_per_dimension",
                    limits.max_compute_workgroups_per_dimension.into(),
                ),
                ("max_immediate_size", limits.max_immediate_size.into()),
            ]
            .into(),
            matrix_units: units
                .into_iter()
                .map(|unit| MatrixUnit {
                    size: [unit.m_size, unit.n_size, unit.k_size],
                    factors: format(unit.ab_type),
                    sums: format(unit.cr_type),
                })
                .collect(),
        }
    }

    /// Opens the card with all it can address.
    pub fn open(&self) -> Result<Opened, GpuError> {
        self.open_with(Features::empty())
    }

    /// Opens the card with features beside those that every kernel needs.
    pub fn open_with(&self, more: Features) -> Result<Opened, GpuError> {
        if !self.offers(Features::IMMEDIATES) {
            return Err(GpuError::Unsupported {
                card: self.class(),
                missing: "push constants".into(),
            });
        }
        let wanted = Features::IMMEDIATES | more;
        let experimental_features = match more.intersects(Features::all_experimental_mask()) {
            // SAFETY: what may go wrong is wrong results and a lost device; who asks for such features checks both.
            true => unsafe { ExperimentalFeatures::enabled() },
            false => ExperimentalFeatures::disabled(),
        };
        let limits = self.adapter.limits();
        let request = self.adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("assay"),
            required_features: wanted,
            required_limits: limits.clone(),
            experimental_features,
            ..wgpu::DeviceDescriptor::default()
        });
        let (device, queue) = pollster::block_on(request).map_err(|error| GpuError::Refused {
            card: self.class(),
            reason: error.to_string(),
        })?;
        let faults = Arc::new(Faults::default());
        let heard = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            heard.note(GpuError::Reported(error.to_string()));
        }));
        let heard = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, words| {
            heard.note(GpuError::Lost(format!("{words} ({reason:?})")));
        });
        Ok(Opened {
            device,
            queue,
            limits,
            faults,
            held: AtomicU64::new(0),
            patience: PATIENCE,
        })
    }
}

/// What a card says of itself; see [`Survey`](super::survey::Survey).
pub struct Offer {
    /// kind of card
    pub kind: String,
    /// PCI bus id
    pub bus: String,
    /// least and greatest size of a subgroup
    pub subgroups: [u32; 2],
    /// wgpu's names
    pub features: Vec<String>,
    /// likewise
    pub limits: BTreeMap<&'static str, u64>,
    /// shapes that matrix units multiply
    pub matrix_units: Vec<MatrixUnit>,
}

// Adapters from here on are taken only when named.
const SOFTWARE: u8 = 3;

// The first thing that went wrong, or the loss of the card, which outranks all else.
#[derive(Default)]
struct Faults(Mutex<Option<GpuError>>);

impl Faults {
    fn note(&self, fault: GpuError) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() || matches!(fault, GpuError::Lost(_)) {
            *first = Some(fault);
        }
    }
}

/// A card in use.
pub struct Opened {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    limits: Limits,
    faults: Arc<Faults>,
    held: AtomicU64,
    /// how long work may take
    pub(super) patience: Duration,
}

impl Opened {
    /// What went wrong since the card was opened.
    pub fn check(&self) -> Result<(), GpuError> {
        let first = || {
            let first = self.faults.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.clone()
        };
        if let Some(GpuError::Reported(_)) = first() {
            // what was reported may be the loss of the card, which is told apart only when it is polled
            let _ = self.device.poll(wgpu::PollType::Poll);
        }
        first().map_or(Ok(()), Err)
    }

    /// Bytes of the largest buffer that can be made and bound.
    pub fn largest(&self) -> u64 {
        self.limits
            .max_buffer_size
            .min(self.limits.max_storage_buffer_binding_size)
    }

    /// Bytes of all buffers made.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Makes a storage buffer of at least `bytes`; its content is zero. `what` names it in errors.
    pub fn buffer(&self, what: &str, bytes: u64, more: BufferUsages) -> Result<wgpu::Buffer, GpuError> {
        let size = bytes.max(16).next_multiple_of(16);
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | more;
        self.allow(what, size)?;
        let scope = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() {
            let held = self.held();
            let reason = format!("no memory for {what}: {size} bytes beside {held} already held");
            return Err(GpuError::Reported(reason));
        }
        self.held.fetch_add(size, Ordering::Relaxed);
        Ok(buffer)
    }

    /// Whether a grid of this many workgroups along one dimension can be dispatched. `what` names it in the error.
    pub fn allow_groups(&self, what: &str, groups: u32) -> Result<(), GpuError> {
        let limit = self.limits.max_compute_workgroups_per_dimension;
        if groups > limit {
            return Err(GpuError::TooWide {
                what: what.to_owned(),
                groups,
                limit,
            });
        }
        Ok(())
    }

    fn allow(&self, what: &str, bytes: u64) -> Result<(), GpuError> {
        let rules = [
            ("max_buffer_size", self.limits.max_buffer_size),
            (
                "max_storage_buffer_binding_size",
                self.limits.max_storage_buffer_binding_size,
            ),
        ];
        for (rule, limit) in rules {
            if bytes > limit {
                return Err(GpuError::TooLarge {
                    what: what.to_owned(),
                    bytes,
                    limit,
                    rule,
                });
            }
        }
        Ok(())
    }

    /// Makes a storage buffer with this content.
    pub fn upload<T: bytemuck::NoUninit>(&self, what: &str, content: &[T]) -> Result<wgpu::Buffer, GpuError> {
        let bytes: &[u8] = bytemuck::cast_slice(content);
        let buffer = self.buffer(what, bytes.len() as u64, BufferUsages::empty())?;
        for (piece, bytes) in bytes.chunks(UPLOAD).enumerate() {
            self.queue.write_buffer(&buffer, (piece * UPLOAD) as u64, bytes);
            self.queue.submit([]); // starts the copy and frees its staging memory in time
        }
        Ok(buffer)
    }

    /// Waits until everything submitted is done.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.wait_for(None)
    }

    /// Waits until a submission and all before it are done; `None` is the last.
    pub fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        let poll = || {
            self.device.poll(wgpu::PollType::Wait {
                submission_index: submission,
                timeout: Some(self.patience),
            })
        };
        // wgpu panics where a driver says that the card is lost, after it has told whoever asked to be told; nothing is half done then
        let done = catch_unwind(AssertUnwindSafe(poll));
        self.check()?;
        match done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wgpu::PollError::Timeout)) => Err(GpuError::Hung {
                seconds: self.patience.as_secs(),
            }),
            Ok(Err(other)) => Err(GpuError::Reported(other.to_string())),
            Err(_) => Err(GpuError::Reported("the driver could not wait for the card".into())),
        }
    }
}
