//! `grade`: the pipeline the service runs, by hand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use assay_checkpoint::Inspection;
use assay_contest::rank::{Entry, Standing, board};
use assay_contest::wire::{FailureClass, Report};
use assay_contest::{Contest, Measures, Profile};

use super::Compute;
use crate::grounds::Grounds;
use crate::halt::Halt;
use crate::locale::Locale;
use crate::pipeline::{self, Job, Verdict, Watch};
use crate::{progress, report};

/// Grade a checkpoint as the service does: 0 graded, 1 the checkpoint is at fault, 2 could not grade.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("grounds").required(true).args(["contest", "tasks"])))]
pub struct Args {
    /// Checkpoint folder
    dir: PathBuf,
    /// Grade by this contest's rules
    #[arg(long, value_name = "FILE")]
    contest: Option<PathBuf>,
    /// Run tasks of a folder of task files, outside any contest
    #[arg(long, value_name = "PATH[,NAME…]")]
    tasks: Option<String>,
    /// How prompts are built: plain, chat or chat-single
    #[arg(long)]
    profile: Option<Profile>,
    /// Only the first N documents of each task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Folder for report.json, results.json and samples_<task>.jsonl
    #[arg(long, value_name = "OUTDIR")]
    out: PathBuf,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args, locale: Locale) -> anyhow::Result<ExitCode> {
    let mut grounds = match (&args.contest, &args.tasks) {
        (Some(file), _) => Grounds::contest(file)?,
        (None, Some(spec)) => Grounds::tasks(spec)?,
        (None, None) => bail!("--contest or --tasks is needed"),
    };
    let differs = args.profile.is_some_and(|profile| profile != grounds.profile) || args.limit.is_some();
    grounds.profile = args.profile.unwrap_or(grounds.profile);
    grounds.limit = args.limit.or(grounds.limit);
    let note = match &grounds.rules {
        None => Some(locale.say(
            "Self-check outside a contest: the checkpoint's own tokenizer and chat template are used.",
            "대회 밖의 자체 점검입니다. 체크포인트에 들어 있는 토크나이저와 채팅 템플릿을 사용합니다.",
        )),
        Some(_) if differs => Some(locale.say(
            "Profile or limit differ from the contest's: this is not the contest's score.",
            "프로파일이나 문항 수가 대회 설정과 다르므로 대회 점수가 아닙니다.",
        )),
        Some(_) => None,
    };
    if let Some(note) = note {
        eprintln!("{note}");
    }
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let contest = grounds.rules.as_ref().map(|rules| rules.contest.clone());
    let job = Job {
        checkpoint: args.dir,
        grounds,
        device: args.compute.device(),
        threads: args.compute.threads(),
        out: args.out.clone(),
    };
    let mut watch = Watch {
        abort: Arc::new(AtomicBool::new(false)),
        report: Box::new(progress::bars(locale)),
    };
    match pipeline::run(&job, &mut watch) {
        Ok(Verdict::Graded(found)) => {
            print!("{}", weighed(&found, contest.as_ref(), locale)?);
            println!();
            print!("{}", report::results(&found, locale));
            if let Some(contest) = contest.as_ref().filter(|_| !differs) {
                print!("{}", score(contest, &found, locale));
            }
            print!("{}", report::samples(&found, locale));
            println!("\n{} {}", locale.say("Written to", "저장 위치:"), args.out.display());
            Ok(ExitCode::SUCCESS)
        }
        Ok(Verdict::Rejected { report: found, .. }) => {
            print!("{}", weighed(&found, contest.as_ref(), locale)?);
            Ok(ExitCode::from(1))
        }
        Err(Halt::Failed { class, problem }) => {
            let mut out = String::new();
            report::problems(&mut out, locale.say("No score", "점수 없음"), &[*problem], locale);
            eprint!("{out}");
            Ok(ExitCode::from(if class == FailureClass::Submission { 1 } else { 2 }))
        }
        Err(Halt::Stopped) => bail!("stopped"),
    }
}

/// The inspection in a report, for people.
fn weighed(report: &Report, contest: Option<&Contest>, locale: Locale) -> anyhow::Result<String> {
    let found: Inspection = serde_json::from_value(report.submission.clone())?;
    Ok(report::inspection(
        &found,
        contest.map(|contest| contest.base.bytes),
        locale,
    ))
}

/// What the contest's formula makes of the measures.
fn score(contest: &Contest, report: &Report, locale: Locale) -> String {
    let entry = Entry {
        submission: String::new(),
        team: String::new(),
        received_at: "1970-01-01T00:00:00Z".into(),
        measures: Measures(report.measures.clone()),
    };
    let mut out = String::new();
    let label = locale.say("Score", "점수");
    match board(contest, &[entry]).into_iter().next().map(|row| row.standing) {
        Some(Standing::Ranked { score, .. }) => report::line(&mut out, label, &contest.shown(score)),
        Some(Standing::BelowFloor {
            measure,
            value,
            at_least,
            ..
        }) => {
            let text = match locale {
                Locale::En => format!("none: {measure} is {value}, the floor is {at_least}"),
                Locale::Ko => format!("없음: {measure} 값 {value}이(가) 하한 {at_least}에 미치지 못합니다"),
            };
            report::line(&mut out, label, &text);
        }
        Some(Standing::Unscored { reason }) => report::line(&mut out, label, locale.text(&reason)),
        None => {}
    }
    out
}
