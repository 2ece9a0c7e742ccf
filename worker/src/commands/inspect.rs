//! `inspect`: verdict and weight of a checkpoint, without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use assay_checkpoint::{BaseModel, Inspection, Listing, verify, verify_data, verify_lineage};
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
    /// Folder of the base model to compare config, tokenizer, chat template and weights with
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
    let base_dir = args
        .base
        .as_deref()
        .or(rules.as_ref().map(|rules| rules.base.as_path()));
    let base = base_dir.map(BaseModel::read_dir).transpose()?;
    let found = look(
        &args.dir,
        base.as_ref(),
        base_dir,
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

/// Headers first; the data only of what they do not already turn away, and against the weights in `base_dir` only what the data does not.
pub fn look(
    dir: &std::path::Path,
    base: Option<&BaseModel>,
    base_dir: Option<&std::path::Path>,
    rules: Option<&CheckpointRules>,
) -> Result<Inspection, assay_checkpoint::LookError> {
    let listing = Listing::read_dir(dir)?;
    let found = verify(&listing, base, rules);
    if !found.accepted() {
        return Ok(found);
    }
    let found = verify_data(dir, &found);
    Ok(match base_dir {
        Some(base) => verify_lineage(dir, base, &found, rules),
        None => found,
    })
}
