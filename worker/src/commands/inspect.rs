//! `inspect`: verdict and weight of a checkpoint, without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use assay_checkpoint::{BaseModel, Inspection, Listing, verify, verify_data};
use assay_contest::CheckpointRules;

use crate::grounds::{Grounds, Rules};
use crate::locale::Locale;
use crate::report;

/// Verify and weigh a checkpoint: 0 accepted, 1 rejected, 2 could not look.
#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint folder
    dir: PathBuf,
    /// Hold it against this contest's rules and base
    #[arg(long, value_name = "FILE")]
    contest: Option<PathBuf>,
    /// Folder of the base model to compare config, tokenizer and chat template with
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Print JSON, in both languages
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, locale: Locale) -> anyhow::Result<ExitCode> {
    let rules = match &args.contest {
        Some(file) => Grounds::contest(file)?.rules,
        None => None,
    };
    let base = args.base.as_ref().or(rules.as_ref().map(|rules| &rules.base));
    let base = base.map(|dir| BaseModel::read_dir(dir)).transpose()?;
    let found = look(
        &args.dir,
        base.as_ref(),
        rules.as_ref().map(|rules| &rules.contest.checkpoint),
    )?;
    let base_bytes = rules.as_ref().map(|Rules { contest, .. }| contest.base.bytes);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{}", report::inspection(&found, base_bytes, locale));
    }
    Ok(ExitCode::from(u8::from(!found.accepted())))
}

/// Headers first; the data only of what they do not already turn away.
pub fn look(
    dir: &std::path::Path,
    base: Option<&BaseModel>,
    rules: Option<&CheckpointRules>,
) -> Result<Inspection, assay_checkpoint::LookError> {
    let listing = Listing::read_dir(dir)?;
    let found = verify(&listing, base, rules);
    Ok(if found.accepted() {
        verify_data(dir, &found)
    } else {
        found
    })
}
