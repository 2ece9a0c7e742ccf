//! `merge`: the shards of one grade, put together.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::by::By;
use super::grade::graded;
use super::{Compute, refused};
use crate::locale::Locale;
use crate::merge::merge;
use crate::rescore::{Kept, rescore, time};

/// Put together what `grade --shard` gave, as the whole run would have given it: 0 merged, 2 they do not belong together
#[derive(clap::Args)]
pub struct Args {
    /// What each `grade --shard … --out` wrote
    #[arg(required = true)]
    outdirs: Vec<PathBuf>,
    #[command(flatten)]
    by: By,
    /// The graded checkpoint: a self-check needs its tokenizer, and a contest's time track runs it on this machine
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Folder for the files of the whole grade
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args, locale: Locale) -> anyhow::Result<ExitCode> {
    let (grounds, own) = args.by.grounds()?;
    let title = locale.say("Not merged", "합치지 못함");
    let kept: Result<Vec<Kept>, _> = args.outdirs.iter().map(|dir| Kept::read(dir)).collect();
    let kept = match kept {
        Ok(kept) => kept,
        Err(error) => return Ok(refused(title, error.problem(), locale)),
    };
    let mut whole = match merge(kept) {
        Ok(whole) => whole,
        Err(error) => return Ok(refused(title, error.problem(), locale)),
    };
    match &args.checkpoint {
        Some(dir) => match time(&whole.record, &grounds, dir, &args.compute.options()) {
            Ok(track) => whole.times.track = track,
            Err(error) => return Ok(refused(title, error.problem(), locale)),
        },
        None if grounds.workload().is_some() => eprintln!(
            "{}",
            locale.say(
                "The time track is missing: no shard has a part of it. Name the checkpoint with --checkpoint to run it here.",
                "시간 트랙이 없습니다. 분할에는 포함되지 않으므로, --checkpoint로 체크포인트를 지정하면 여기에서 실행합니다.",
            )
        ),
        None => {}
    }
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    match rescore(&whole, &grounds, args.checkpoint.as_deref(), Some(&args.out)) {
        Ok(found) => {
            let contest = grounds.rules.as_ref().map(|rules| &rules.contest);
            print!("{}", graded(&found, contest, own, locale)?);
            println!("\n{} {}", locale.say("Written to", "저장 위치:"), args.out.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(refused(title, error.problem(), locale)),
    }
}
