//! One file a command.

pub mod base_rules;
pub mod bench;
pub mod bits;
pub mod by;
pub mod diff;
pub mod fidelity;
pub mod formats;
pub mod grade;
pub mod inspect;
pub mod logits;
pub mod merge;
pub mod rescore;
pub mod run;
pub mod survey;

use std::process::ExitCode;

use assay_contest::{Problem, wire};
use assay_engine::{Chosen, Device, ExecutorError, Options};

use crate::locale::Locale;
use crate::{host, report};

/// Says why a command could not do its work.
fn refused(title: &str, problem: Problem, locale: Locale) -> ExitCode {
    let mut out = String::new();
    report::problems(&mut out, title, &[problem], locale);
    eprint!("{out}");
    ExitCode::from(crate::COULD_NOT)
}

/// Where to compute.
#[derive(clap::Args, Clone)]
pub struct Compute {
    /// auto, cpu, cpu:fast (less exact), gpu, gpu:<part of a card's name or its PCI bus id> or reference; auto takes a card if there is one
    #[arg(long, default_value = "auto", value_parser = parse_device, env = "ASSAY_DEVICE")]
    device: Device,
    /// Threads to compute with; all of the machine's unless said otherwise
    #[arg(long, value_name = "N", default_value_t = 0, env = "ASSAY_THREADS")]
    threads: usize,
    /// Do without a graphics card's matrix units, should its driver compute wrongly on them where the self-test does not look
    #[arg(long, env = "ASSAY_NO_MATRIX_UNITS")]
    no_matrix_units: bool,
}

fn parse_device(name: &str) -> Result<Device, String> {
    name.parse::<Device>().map_err(|error| error.to_string())
}

impl Compute {
    /// How to compute.
    pub fn options(&self) -> Options {
        Options {
            device: self.device.clone(),
            threads: self.threads(),
            matrix_units: !self.no_matrix_units,
            ..Options::default()
        }
    }

    pub fn threads(&self) -> usize {
        if self.threads == 0 {
            host::threads()
        } else {
            self.threads
        }
    }

    /// What the server is told about this machine. An error where the device asked for is not there.
    pub fn describe(&self) -> Result<wire::Device, ExecutorError> {
        let chosen = self.device.choose()?;
        let name = match &chosen {
            Chosen::Gpu(card) => card.class(),
            Chosen::Cpu | Chosen::Reference => host::cpu_name(),
        };
        // The server takes names of up to 120 characters.
        let name: String = name.chars().filter(|c| !c.is_control()).take(90).collect();
        Ok(wire::Device {
            name: match chosen {
                Chosen::Gpu(_) => name,
                Chosen::Cpu | Chosen::Reference => format!("{name} ({} threads)", self.threads()),
            },
            kind: chosen.kind().to_string(),
        })
    }
}
