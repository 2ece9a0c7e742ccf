//! `grade`: the pipeline the service runs, by hand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use assay_checkpoint::Inspection;
use assay_contest::rank::{Entry, Standing, board};
use assay_contest::wire::{FailureClass, Report};
use assay_contest::{Contest, Measures};
use assay_engine::{Options, Order};

use super::Compute;
use super::by::By;
use crate::halt::Halt;
use crate::locale::Locale;
use crate::pipeline::{self, Job, Verdict, Watch};
use crate::record::Shard;
use crate::{progress, report};

/// Grade a checkpoint as the service does: 0 graded, 1 the checkpoint is at fault, 2 could not grade.
#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint folder
    dir: PathBuf,
    #[command(flatten)]
    by: By,
    /// Folder for report.json, results.json, samples_<task>.jsonl, and every output they are made of
    #[arg(long, value_name = "OUTDIR")]
    out: PathBuf,
    /// Only the K-th of N shares of the items, to be put together by `merge`
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    pace: Pace,
}

/// How requests are packed into steps. Nothing of it changes a result, which these flags are there to show.
#[derive(clap::Args)]
struct Pace {
    /// Rows in a step
    #[arg(long, value_name = "N", hide = true)]
    step_tokens: Option<usize>,
    /// Most sequences that run at once; 0 takes as many as there is room for
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    sequences: usize,
    /// Compute every prompt from its first token on
    #[arg(long, hide = true)]
    no_prefix_cache: bool,
    /// Begin the requests in an order drawn from this seed
    #[arg(long, value_name = "SEED", hide = true)]
    shuffle: Option<u64>,
}

impl Pace {
    fn apply(&self, options: Options) -> Options {
        Options {
            step_tokens: self.step_tokens.unwrap_or(options.step_tokens).max(1),
            sequences: self.sequences,
            prefix_cache: !self.no_prefix_cache,
            order: self.shuffle.map_or(Order::Tree, Order::Shuffled),
            ..options
        }
    }
}

pub fn run(args: Args, locale: Locale) -> anyhow::Result<ExitCode> {
    let (grounds, own) = args.by.grounds()?;
    let note = match &grounds.rules {
        None => Some(locale.say(
            "Self-check outside a contest: the checkpoint's own tokenizer and chat template are used.",
            "대회 밖의 자체 점검입니다. 체크포인트에 들어 있는 토크나이저와 채팅 템플릿을 사용합니다.",
        )),
        Some(_) if own => Some(locale.say(
            "Profile, limit or budget differ from the contest's: this is not the contest's score.",
            "프로파일, 문항 수 또는 토큰 한도가 대회 설정과 다르므로 대회 점수가 아닙니다.",
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
        options: args.pace.apply(args.compute.options()),
        shard: args.shard,
        out: args.out.clone(),
    };
    let mut watch = Watch {
        abort: Arc::new(AtomicBool::new(false)),
        report: Box::new(progress::bars(locale)),
    };
    let written = || println!("\n{} {}", locale.say("Written to", "저장 위치:"), args.out.display());
    match pipeline::run(&job, &mut watch) {
        Ok(Verdict::Graded(found)) => {
            print!("{}", graded(&found, contest.as_ref(), own, locale)?);
            written();
            Ok(ExitCode::SUCCESS)
        }
        Ok(Verdict::Shared) => {
            println!(
                "{}",
                locale.say(
                    "This share of the items is answered. Put all shares together with `assay-worker merge`.",
                    "이 분할의 문항에 모두 답했습니다. `assay-worker merge`로 모든 분할을 합치십시오.",
                )
            );
            if contest.is_some_and(|contest| contest.grading.time.is_some()) {
                println!(
                    "{}",
                    locale.say(
                        "The time track is no part of it: `merge --checkpoint` runs it.",
                        "시간 트랙은 분할에 포함되지 않습니다. `merge --checkpoint`가 실행합니다.",
                    )
                );
            }
            written();
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

/// A whole grade for people. `own`: not quite by the contest's rules, so that its score means nothing.
pub fn graded(found: &Report, contest: Option<&Contest>, own: bool, locale: Locale) -> anyhow::Result<String> {
    let mut out = weighed(found, contest, locale)?;
    out.push('\n');
    out.push_str(&report::results(found, locale));
    if let Some(contest) = contest.filter(|_| !own) {
        out.push_str(&score(contest, found, locale));
    }
    out.push_str(&report::samples(found, locale));
    out.push_str(&report::certificate(found, locale));
    Ok(out)
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
            bound,
            at_least,
            ..
        }) => {
            let text = match (locale, bound) {
                (Locale::En, None) => format!("none: {measure} is {value}, the floor is {at_least}"),
                (Locale::En, Some(bound)) => {
                    format!("none: {measure} is {value}, its interval begins at {bound:.4}, the floor is {at_least}")
                }
                (Locale::Ko, None) => format!("없음: {measure} 값 {value}이(가) 하한 {at_least}에 미치지 못합니다"),
                (Locale::Ko, Some(bound)) => {
                    format!(
                        "없음: {measure} 값은 {value}이지만 신뢰구간이 {bound:.4}에서 시작하여 하한 {at_least}에 미치지 못합니다"
                    )
                }
            };
            report::line(&mut out, label, &text);
        }
        Some(Standing::Unscored { reason }) => report::line(&mut out, label, locale.text(&reason)),
        None => {}
    }
    out
}
