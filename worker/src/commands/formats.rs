//! `formats`: what becomes of every kind of checkpoint, as a page of the documentation.

mod page;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use assay_checkpoint::{BaseModel, Inspection};
use assay_engine::{Device, Options};

use self::page::{Page, Row};
use super::fidelity::compare;
use super::inspect::look;
use crate::files;

/// Verify, weigh and run every checkpoint of the fixtures, and write the page about it.
///
/// Exit 0 when every accepted checkpoint with golden logits is within its bound, else 1.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with checkpoints/ and golden/
    fixtures: PathBuf,
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "docs/formats.md")]
    out: PathBuf,
    /// Only checkpoints with these names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Verify and weigh only
    #[arg(long)]
    no_run: bool,
    /// Threads to compute with; all of the machine's unless said otherwise
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let checkpoints = args.fixtures.join("checkpoints");
    let base = BaseModel::read_dir(&checkpoints.join("base")).ok();
    let mut page = Page::default();
    for name in folders(&checkpoints)? {
        if !(args.only.is_empty() || args.only.contains(&name)) {
            continue;
        }
        eprintln!("{name}");
        // the two models with random weights are other models, not compressions of the base
        let base = base.as_ref().filter(|_| !compare::is_random(&name));
        let found = look(&checkpoints.join(&name), base, None, None).with_context(|| name.clone())?;
        let row = measured(&args, name.clone(), found);
        page.rows.push(row.with_context(|| name)?);
    }
    files::write_whole(&args.out, page.render().as_bytes()).with_context(|| args.out.display().to_string())?;
    let failures = page.failures();
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// Runs what is accepted and has a golden file.
fn measured(args: &Args, name: String, found: Inspection) -> anyhow::Result<Row> {
    let golden = args.fixtures.join(format!("golden/{name}.safetensors"));
    let mut runs = Vec::new();
    if found.accepted() && !args.no_run && golden.is_file() {
        for device in [Device::Reference, Device::Cpu] {
            let options = Options {
                device,
                threads: args.threads,
                ..Options::default()
            };
            runs.push(compare::logits(&args.fixtures, &name, &options)?.0);
        }
    }
    Ok(Row { name, found, runs })
}

/// Names of the folders in `dir`, sorted.
fn folders(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
