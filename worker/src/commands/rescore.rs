//! `rescore`: kept outputs under changed rules, without a run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::by::By;
use super::grade::graded;
use super::refused;
use crate::locale::Locale;
use crate::rescore::{Kept, rescore};

/// Score a finished grade's outputs by changed filters, metrics, formula or floors: 0 scored, 2 a run is needed
#[derive(clap::Args)]
pub struct Args {
    /// What `grade --out` wrote
    outdir: PathBuf,
    #[command(flatten)]
    by: By,
    /// The graded checkpoint, whose tokenizer a self-check needs
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Folder for the files of a grade by these rules; without it the results are only printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: Args, locale: Locale) -> anyhow::Result<ExitCode> {
    let (grounds, own) = args.by.grounds()?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    }
    let scored = Kept::read(&args.outdir)
        .and_then(|kept| rescore(&kept, &grounds, args.checkpoint.as_deref(), args.out.as_deref()));
    match scored {
        Ok(found) => {
            let contest = grounds.rules.as_ref().map(|rules| &rules.contest);
            print!("{}", graded(&found, contest, own, locale)?);
            if let Some(out) = &args.out {
                println!("\n{} {}", locale.say("Written to", "저장 위치:"), out.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(refused(
            locale.say("Not rescored", "다시 채점하지 못함"),
            error.problem(),
            locale,
        )),
    }
}
