//! Where to run: what can be asked for, what it comes to on this machine, and how results name it.

use std::fmt;
use std::str::FromStr;

use super::ExecutorError;
use super::gpu::device::Card;

/// Where to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// a graphics card if there is one, else the CPU; a card that is there but fails is an error, never silently another device
    #[default]
    Auto,
    /// the threaded executor of the numerics specification
    Cpu,
    /// the same in the fast mode, [`crate::numerics::Precision::Byte`]
    Fast,
    /// a graphics card: the first real one, or the one whose name contains this or whose PCI bus id is this. A software
    /// adapter is taken only when it is named
    Gpu(Option<String>),
    /// f64 and naive: the oracle the others are held to
    Reference,
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Device, UnknownDevice> {
        match name {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cpu:fast" => Ok(Device::Fast),
            "gpu" => Ok(Device::Gpu(None)),
            "reference" => Ok(Device::Reference),
            other => match other.strip_prefix("gpu:") {
                Some(card) if !card.trim().is_empty() => Ok(Device::Gpu(Some(card.trim().to_owned()))),
                _ => Err(UnknownDevice(other.to_owned())),
            },
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Fast => f.write_str("cpu:fast"),
            Device::Gpu(None) => f.write_str("gpu"),
            Device::Gpu(Some(card)) => write!(f, "gpu:{card}"),
            Device::Reference => f.write_str("reference"),
        }
    }
}

/// A device name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no device `{0}`: use auto, cpu, cpu:fast, gpu, gpu:<part of a card's name or its PCI bus id> or reference"
)]
pub struct UnknownDevice(pub String);

/// What a [`Device`] comes to on this machine.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// [`super::cpu`]
    Cpu,
    /// [`super::reference`]
    Reference,
    /// [`super::gpu`] on this card
    Gpu(Box<Card>),
}

impl Device {
    /// Looks at the machine. Only a card that was asked for can be missing: `Auto` then takes the CPU.
    pub fn choose(&self) -> Result<Chosen, ExecutorError> {
        Ok(match self {
            Device::Cpu | Device::Fast => Chosen::Cpu,
            Device::Reference => Chosen::Reference,
            Device::Auto => Card::find(None).map_or(Chosen::Cpu, |card| Chosen::Gpu(Box::new(card))),
            Device::Gpu(name) => Chosen::Gpu(Box::new(Card::find(name.as_deref())?)),
        })
    }
}

impl Chosen {
    /// "cpu", "gpu" or "reference".
    pub fn kind(&self) -> &'static str {
        match self {
            Chosen::Cpu => "cpu",
            Chosen::Reference => "reference",
            Chosen::Gpu(_) => "gpu",
        }
    }
}

/// What besides the engine's version decides the bits of a result: equal classes give equal bits, different ones agree within
/// the tolerances of the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClass {
    /// the executor; for cards with adapter and driver
    pub device: String,
    /// how activations are rounded
    pub precision: String,
    /// sha256 over the kernels' sources, in hexadecimal; `None` where they are part of the engine's version
    pub shaders: Option<String>,
}
