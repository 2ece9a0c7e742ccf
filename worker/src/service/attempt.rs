//! One attempt: from the claim to the result, or to nothing at all when it is no longer ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use assay_contest::wire::{
    Claim, FailureClass, MACHINE_FAULTS, Outcome, Progress, RemoteFile, ResultBody, Stage, is_safe_path,
};
use assay_contest::{Problem, Text};

use super::abort::{Abort, Why};
use super::cache::Cache;
use super::client::{CallError, Server};
use super::fetch::{FetchError, fetch};
use super::heartbeat::{Ledger, Pulse};
use super::retry::Backoff;
use super::signals::Wishes;
use crate::grounds::{Grounds, GroundsError};
use crate::halt::Halt;
use crate::pipeline::{self, Job, Verdict, Watch};

/// Most files of a claim, so that a broken server cannot fill the disk with empty ones.
const MAX_FILES: usize = 20_000;
/// How often an output is tried before the result goes without it: it is evidence, not the score.
const OUTPUT_TRIES: u32 = 6;

/// What the worker brings to every attempt.
pub struct Bench {
    pub server: Server,
    pub cache: Cache,
    /// Where attempts work; emptied before and after each.
    pub scratch: PathBuf,
    pub options: assay_engine::Options,
    pub wishes: Wishes,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The server has the result.
    Reported,
    /// The server has the result, and it is that something on this machine failed; or it does not take the result.
    MachineFailed,
    /// Given up without a result, for this reason.
    Dropped(Why),
}

/// Works on a claim until it is reported or no longer ours. The scratch folder is empty afterwards.
pub async fn work(bench: &Bench, claim: Claim) -> End {
    let claim = Arc::new(claim);
    let abort = Abort::default();
    let pulse = Pulse {
        server: bench.server.clone(),
        claim: claim.clone(),
        ledger: Ledger::default(),
        abort: abort.clone(),
        drain: bench.wishes.drain.clone(),
    };
    tracing::info!(
        attempt = claim.attempt_id,
        submission = claim.submission_id,
        fence = claim.fence,
        "claimed"
    );
    // Nothing is begun before the server has confirmed that the attempt is alive.
    let until = match pulse.first().await {
        Ok(until) => until,
        Err(error) => {
            tracing::error!(%error, "the first heartbeat was not accepted");
            return End::Dropped(Why::LeaseLost);
        }
    };
    let ledger = pulse.ledger.clone();
    let heart = tokio::spawn(pulse.keep(until));
    let release = tokio::spawn({
        let (abort, wish) = (abort.clone(), bench.wishes.release.clone());
        async move {
            wish.cancelled().await;
            abort.stop(Why::Released);
        }
    });

    let end = match carry_out(bench, &claim, &ledger, &abort).await {
        Some(outcome) => report(bench, &claim, &abort, outcome).await,
        None => End::Dropped(abort.why().unwrap_or(Why::LeaseLost)),
    };
    heart.abort();
    release.abort();
    if let End::Dropped(why) = end {
        tracing::warn!(attempt = claim.attempt_id, ?why, "dropped");
        if why != Why::LeaseLost {
            let reason = if why == Why::Cancelled {
                "cancelled"
            } else {
                "worker stopped"
            };
            if let Err(error) = bench.server.release(&claim, reason).await {
                tracing::warn!(%error, "the attempt could not be given back; its lease will run out");
            }
        }
    }
    if let Err(error) = clear(&bench.scratch) {
        tracing::warn!(%error, "scratch folder not emptied");
    }
    end
}

/// Empties the scratch folder.
pub fn clear(scratch: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(scratch)
}

/// Fetches and grades. None: stopped, nothing may be said.
async fn carry_out(bench: &Bench, claim: &Arc<Claim>, ledger: &Ledger, abort: &Abort) -> Option<Outcome> {
    let fetched = tokio::select! {
        fetched = fetch_all(bench, claim, ledger) => fetched,
        () = abort.stopped() => return None,
    };
    match fetched {
        Ok(()) => {}
        Err(FetchHalt::LeaseLost) => {
            abort.stop(Why::LeaseLost);
            return None;
        }
        Err(FetchHalt::Failed(problem)) => return Some(infra(*problem)),
    }
    let dir = bench.scratch.clone();
    let options = bench.options.clone();
    let (claim, ledger, flag) = (claim.clone(), ledger.clone(), abort.flag());
    let graded = tokio::task::spawn_blocking(move || {
        let grounds = Grounds::fetched(&dir.join("contest"), &claim.contest_digest).map_err(|error| Halt::Failed {
            class: FailureClass::Infra,
            problem: Box::new(grounds_problem(&error)),
        })?;
        let mut watch = Watch {
            abort: flag,
            report: Box::new(move |progress| ledger.report(progress)),
        };
        let job = Job {
            checkpoint: dir.join("submission"),
            grounds,
            options,
            shard: None,
            out: dir.join("outputs"),
        };
        pipeline::run(&job, &mut watch)
    })
    .await;
    let outcome = match graded {
        Ok(Ok(Verdict::Graded(report))) => Outcome::Graded { report: *report },
        Ok(Ok(Verdict::Shared)) => return None, // a job is never a shard
        Ok(Ok(Verdict::Rejected { problems, report })) => Outcome::Rejected {
            problems,
            report: *report,
        },
        Ok(Err(Halt::Failed { class, problem })) => Outcome::Failed {
            class,
            problem: *problem,
        },
        Ok(Err(Halt::Stopped)) => return None,
        Err(panic) => {
            tracing::error!(%panic, "the pipeline panicked");
            infra(Problem::new(
                "worker-crashed",
                "worker",
                Text::new("The grader crashed.", "채점기가 비정상 종료했습니다."),
                Text::new(
                    "Nothing to do: the submission is graded again, free of charge.",
                    "조치할 것이 없습니다. 제출물은 추가 비용 없이 다시 채점됩니다.",
                ),
            ))
        }
    };
    // A stop that came with the last step still counts: another worker may have the job by now.
    if abort.why().is_some() { None } else { Some(outcome) }
}

fn infra(problem: Problem) -> Outcome {
    Outcome::Failed {
        class: FailureClass::Infra,
        problem,
    }
}

/// The organizer's business; the team sees that the platform failed.
fn grounds_problem(error: &GroundsError) -> Problem {
    tracing::error!(%error, "the contest's files cannot be used");
    let first = error.problems().into_iter().next();
    first.unwrap_or_else(|| {
        let text = || Text::new(error.to_string(), error.to_string());
        Problem::new("contest-unreadable", "contest.toml", text(), text())
    })
}

/// Why the files are not here.
enum FetchHalt {
    LeaseLost,
    Failed(Box<Problem>),
}

/// Brings every file of the claim to the scratch folder: `submission/…` and `contest/…`.
async fn fetch_all(bench: &Bench, claim: &Claim, ledger: &Ledger) -> Result<(), FetchHalt> {
    let failed = |place: &str, detail: String| {
        tracing::error!(file = place, detail, "fetch failed");
        FetchHalt::Failed(Box::new(Problem::new(
            "fetch-failed",
            place,
            Text::new(
                format!("The worker could not fetch the file: {detail}"),
                format!("워커가 파일을 가져오지 못했습니다: {detail}"),
            ),
            Text::new(
                "Nothing to do: the submission is graded again, free of charge.",
                "조치할 것이 없습니다. 제출물은 추가 비용 없이 다시 채점됩니다.",
            ),
        )))
    };
    let kinds = [
        ("submission", &claim.submission_files),
        ("contest", &claim.contest_files),
    ];
    let all: Vec<(&str, &RemoteFile)> = kinds
        .iter()
        .flat_map(|(kind, files)| files.iter().map(move |f| (*kind, f)))
        .collect();
    if all.len() > MAX_FILES {
        return Err(failed("claim", format!("{} files", all.len())));
    }
    for (_, file) in &all {
        let is_digest = file.sha256.len() == 64 && file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_safe_path(&file.name) || !is_digest {
            return Err(failed("claim", "a file's name or digest is not acceptable".into()));
        }
    }
    let disk = |error: std::io::Error| failed("disk", error.to_string());
    clear(&bench.scratch).map_err(disk)?;
    let needed: BTreeSet<&str> = all.iter().map(|(_, file)| file.sha256.as_str()).collect();
    let total: u64 = all.iter().map(|(_, file)| file.bytes).fold(0, u64::saturating_add);
    bench
        .cache
        .make_room(total, &|name| needed.contains(name))
        .map_err(disk)?;

    let done = AtomicI64::new(0);
    let said = AtomicU64::new(0);
    let tell = |by: i64| {
        let done = done.fetch_add(by, Ordering::Relaxed).saturating_add(by).max(0) as u64;
        // Every chunk would be too much talk: a hundredth of the whole, or the end.
        let step = (total / 100).max(1);
        if done / step != said.swap(done / step, Ordering::Relaxed) || done == total {
            ledger.report(&Progress {
                stage: Stage::Fetch,
                done,
                total,
                ..Progress::default()
            });
        }
    };
    for (kind, file) in all {
        fetch(&bench.server, claim, kind, file, &bench.cache, &tell)
            .await
            .map_err(|error| match &error {
                FetchError::Call {
                    error: CallError::LeaseLost,
                    ..
                } => FetchHalt::LeaseLost,
                FetchError::Call { name, .. } | FetchError::Wrong { name, .. } | FetchError::Disk { name, .. } => {
                    failed(name, error.to_string())
                }
            })?;
        bench
            .cache
            .place(&file.sha256, &bench.scratch.join(kind).join(&file.name))
            .map_err(disk)?;
    }
    fs::create_dir_all(bench.scratch.join("outputs")).map_err(disk)
}

/// Sends outputs and result until the server has them or the lease is lost.
async fn report(bench: &Bench, claim: &Claim, abort: &Abort, outcome: Outcome) -> End {
    let end = match &outcome {
        Outcome::Failed {
            class: FailureClass::Infra,
            problem,
        } => {
            tracing::error!(%problem, "could not grade");
            if MACHINE_FAULTS.contains(&problem.code.as_str()) {
                End::MachineFailed
            } else {
                End::Reported
            }
        }
        Outcome::Failed { problem, .. } => {
            tracing::warn!(%problem, "no score");
            End::Reported
        }
        Outcome::Rejected { problems, .. } => {
            tracing::info!(problems = problems.len(), "rejected");
            End::Reported
        }
        Outcome::Graded { report } => {
            tracing::info!(measures = report.measures.len(), "graded");
            End::Reported
        }
    };
    let send = async {
        if matches!(outcome, Outcome::Graded { .. }) {
            put_outputs(bench, claim).await?;
        }
        let body = ResultBody {
            fence: claim.fence,
            outcome,
        };
        // Serialized once: a repeated request is recognised by its bytes.
        let body = serde_json::to_vec(&body).map_err(|error| CallError::Answer(error.to_string()))?;
        let body = bytes::Bytes::from(body);
        let mut backoff = Backoff::default();
        loop {
            match bench.server.put_result(claim, body.clone()).await {
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "result not taken yet, trying again");
                    tokio::time::sleep(backoff.next(error.after())).await;
                }
                answered => return answered,
            }
        }
    };
    let sent = tokio::select! {
        sent = send => sent,
        () = abort.stopped() => return End::Dropped(abort.why().unwrap_or(Why::LeaseLost)),
    };
    match sent {
        Ok(()) => end,
        Err(error) => {
            tracing::error!(%error, "the server does not take the result");
            match error {
                CallError::LeaseLost => End::Dropped(Why::LeaseLost),
                _ => End::MachineFailed,
            }
        }
    }
}

async fn put_outputs(bench: &Bench, claim: &Claim) -> Result<(), CallError> {
    let dir = bench.scratch.join("outputs");
    let mut names: Vec<String> = fs::read_dir(&dir)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    for name in names {
        let Ok(bytes) = fs::read(dir.join(&name)) else { continue };
        let bytes = bytes::Bytes::from(bytes);
        let mut backoff = Backoff::default();
        for attempt in 1.. {
            match bench.server.put_output(claim, &name, bytes.clone()).await {
                Ok(()) => break,
                Err(CallError::LeaseLost) => return Err(CallError::LeaseLost),
                Err(error) if error.is_passing() && attempt < OUTPUT_TRIES => {
                    tokio::time::sleep(backoff.next(error.after())).await;
                }
                Err(error) => {
                    tracing::error!(name, %error, "output not stored");
                    break;
                }
            }
        }
    }
    Ok(())
}
