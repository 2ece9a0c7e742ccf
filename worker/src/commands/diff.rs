//! `diff`: two grades explained item by item.

use std::path::PathBuf;
use std::process::ExitCode;

use super::refused;
use crate::diff::{diff, tell};
use crate::locale::Locale;

/// Explain how two grades differ, item by item: 0 the same, 1 different, 2 could not compare
#[derive(clap::Args)]
pub struct Args {
    /// What one `grade --out` wrote
    a: PathBuf,
    /// What another one wrote
    b: PathBuf,
    /// Print JSON, with every changed item
    #[arg(long)]
    json: bool,
    /// Show every changed item, and its answers whole
    #[arg(long)]
    all: bool,
}

pub fn run(args: Args, locale: Locale) -> anyhow::Result<ExitCode> {
    match diff(&args.a, &args.b) {
        Ok(found) => {
            if args.json {
                println!("{}", serde_json::to_string_pretty(&found)?);
            } else {
                print!("{}", tell(&found, args.all, locale));
            }
            Ok(ExitCode::from(u8::from(!found.equal)))
        }
        Err(error) => Ok(refused(
            locale.say("Not compared", "비교하지 못함"),
            error.problem(),
            locale,
        )),
    }
}
