//! `fidelity`: how close the engine is to the references, as a page of the documentation.

mod against;
pub mod compare;
mod kernels;
mod page;
mod tasks;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use assay_engine::{Device, Options};

use self::against::AgainstRow;
use crate::files;

/// Compare the engine's kernels with exact sums, its logits with golden ones and with `reference`, its answers with the harness's, and
/// write the page about it.
///
/// Exit 0 when every comparison is within its bound and every difference explained, else 1.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with checkpoints/, golden/, harness/ and tasks/
    fixtures: PathBuf,
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "docs/fidelity.md")]
    out: PathBuf,
    /// Only checkpoints with these names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only the first N documents of each task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Leave the tasks out
    #[arg(long)]
    no_tasks: bool,
    /// At which sizes single kernels are measured
    #[arg(long, value_enum, default_value = "real")]
    kernels: kernels::Size,
    /// Devices whose kernels and logits are compared, as --device names them elsewhere
    #[arg(long, value_name = "DEVICE", value_delimiter = ',', default_value = "reference,cpu")]
    devices: Vec<Device>,
    /// Devices that run the tasks
    #[arg(long, value_name = "DEVICE", value_delimiter = ',', default_value = "cpu")]
    task_devices: Vec<Device>,
    /// Threads to compute with; all of the machine's unless said otherwise
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Do without a graphics card's matrix units
    #[arg(long, env = "ASSAY_NO_MATRIX_UNITS")]
    no_matrix_units: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut page = page::Page::default();
    // for every device
    let options = Options {
        threads: args.threads,
        matrix_units: !args.no_matrix_units,
        ..Options::default()
    };
    for device in &args.devices {
        if args.kernels != kernels::Size::None {
            eprintln!("kernels {device}");
        }
        let measured = page.kernels.add(device, args.kernels, &options);
        measured.with_context(|| device.to_string())?;
    }
    for name in names(&args.fixtures.join("golden"), "safetensors")? {
        if wanted(&args.only, &name) {
            logits(&args, &options, &name, &mut page).with_context(|| name.clone())?;
        }
    }
    if !args.no_tasks {
        for name in names(&args.fixtures.join("harness"), "json")? {
            let Some((checkpoint, profile)) = name.rsplit_once('.') else {
                continue;
            };
            if !wanted(&args.only, checkpoint) {
                continue;
            }
            for device in &args.task_devices {
                eprintln!("tasks {name} {device}");
                let run = tasks::Run {
                    fixtures: &args.fixtures,
                    checkpoint,
                    profile,
                    limit: args.limit,
                    options: &options,
                    device,
                };
                page.tasks.extend(run.compare().with_context(|| name.clone())?);
            }
        }
    }
    files::write_whole(&args.out, page.render().as_bytes()).with_context(|| args.out.display().to_string())?;
    let failures = page.failures();
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// One checkpoint's logits on every device; those of `reference` are computed once, for itself and for the others.
fn logits(args: &Args, options: &Options, name: &str, page: &mut page::Page) -> anyhow::Result<()> {
    let compare = |device: &Device| {
        eprintln!("logits {name} {device}");
        let options = Options {
            device: device.clone(),
            ..options.clone()
        };
        compare::logits(&args.fixtures, name, &options)
    };
    let (row, reference) = compare(&Device::Reference)?;
    let mut row = Some(row);
    for device in &args.devices {
        if *device == Device::Reference {
            page.logits.extend(row.take());
            continue;
        }
        let (row, logits) = compare(device)?;
        page.against.push(AgainstRow::of(&row, &logits, &reference));
        page.logits.push(row);
    }
    Ok(())
}

fn wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

/// Names of the files with `extension` in `dir`, without it, sorted.
fn names(dir: &Path, extension: &str) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
