//! One file a command.

pub mod fidelity;
pub mod grade;
pub mod inspect;
pub mod logits;
pub mod run;

use assay_contest::wire;
use assay_engine::{Device, ExecutorError};

use crate::host;

/// Where to compute.
#[derive(clap::Args, Clone)]
pub struct Compute {
    /// auto, cpu, gpu or reference
    #[arg(long, default_value = "auto", value_parser = parse_device, env = "ASSAY_DEVICE")]
    device: Device,
    /// Threads to compute with; all of the machine's unless said otherwise
    #[arg(long, value_name = "N", default_value_t = 0, env = "ASSAY_THREADS")]
    threads: usize,
}

fn parse_device(name: &str) -> Result<Device, String> {
    name.parse::<Device>().map_err(|error| error.to_string())
}

impl Compute {
    pub fn device(&self) -> Device {
        self.device
    }

    pub fn threads(&self) -> usize {
        if self.threads == 0 {
            host::threads()
        } else {
            self.threads
        }
    }

    /// What the server is told about this machine. An error where the device has no executor.
    pub fn describe(&self) -> Result<wire::Device, ExecutorError> {
        let kind = match self.device {
            Device::Auto | Device::Cpu => "cpu",
            Device::Reference => "reference",
            Device::Gpu => {
                return Err(ExecutorError::NotBuilt {
                    wanted: Device::Gpu,
                    instead: Device::Cpu,
                });
            }
        };
        // The server takes names of up to 120 characters.
        let cpu: String = host::cpu_name().chars().filter(|c| !c.is_control()).take(90).collect();
        Ok(wire::Device {
            name: format!("{cpu} ({} threads)", self.threads()),
            kind: kind.to_string(),
        })
    }
}
