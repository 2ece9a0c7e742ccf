//! Results: accepted once, under the fence.

use assay_contest::wire::{FailureClass, ItemScores, MACHINE_FAULTS, Outcome, Report};
use assay_contest::{Problem, Text};
use serde_json::json;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::attempts::{self, LiveAttempt, Standing};
use super::ids::{AttemptId, JobId, SubmissionId};
use super::jobs::{self, End};
use super::submissions::State;
use super::workers;
use crate::outcomes::StoredReport;

/// What became of a reported outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It counts from now on.
    Now,
    /// The very same report had been accepted before; nothing changed.
    Before,
    /// The reporter has no right to the job any more; nothing changed.
    LeaseLost,
}

/// Accepts what an attempt reports. `digest` is the sha256 of the request's body: the same attempt may repeat the same
/// body any number of times, and it counts once.
///
/// # Errors
/// The database's.
pub async fn accept(
    tx: &mut PgConnection,
    attempt: AttemptId,
    fence: i64,
    digest: &str,
    outcome: &Outcome,
) -> sqlx::Result<Accepted> {
    match attempts::lock(&mut *tx, attempt, fence).await? {
        Standing::Lost => Ok(Accepted::LeaseLost),
        Standing::Settled(before) if before == digest => Ok(Accepted::Before),
        Standing::Settled(_) => Ok(Accepted::LeaseLost),
        Standing::Live(live) => {
            settle(tx, live, digest, outcome).await?;
            Ok(Accepted::Now)
        }
    }
}

async fn settle(tx: &mut PgConnection, live: LiveAttempt, digest: &str, outcome: &Outcome) -> sqlx::Result<()> {
    if live.cancel_requested {
        attempts::finish(&mut *tx, live.attempt, "cancelled", None, Some(digest)).await?;
        return jobs::end(tx, live.job, live.submission, End::Cancelled, State::Cancelled, None).await;
    }
    match outcome {
        Outcome::Graded { report } => {
            insert(&mut *tx, &live, "graded", report).await?;
            attempts::finish(&mut *tx, live.attempt, "succeeded", None, Some(digest)).await?;
            jobs::end(tx, live.job, live.submission, End::Succeeded, State::Graded, None).await
        }
        Outcome::Rejected { problems, report } => {
            insert(&mut *tx, &live, "rejected", report).await?;
            attempts::finish(&mut *tx, live.attempt, "succeeded", None, Some(digest)).await?;
            let reason = json!(problems);
            jobs::end(
                tx,
                live.job,
                live.submission,
                End::Succeeded,
                State::Rejected,
                Some(&reason),
            )
            .await
        }
        Outcome::Failed { class, problem } => fail(tx, live, digest, *class, problem).await,
    }
}

/// A failure of the platform is tried again after a growing wait, a timeout once on another worker, the submission's own
/// failure never.
async fn fail(
    tx: &mut PgConnection,
    live: LiveAttempt,
    digest: &str,
    class: FailureClass,
    problem: &Problem,
) -> sqlx::Result<()> {
    let error = json!(problem);
    let name = match class {
        FailureClass::Infra => "infra",
        FailureClass::Timeout => "timeout",
        FailureClass::Submission => "submission",
    };
    attempts::finish(&mut *tx, live.attempt, "failed", Some((name, &error)), Some(digest)).await?;
    if class == FailureClass::Infra && MACHINE_FAULTS.contains(&problem.code.as_str()) {
        workers::doubt(&mut *tx, live.worker).await?;
    }
    let again = match class {
        FailureClass::Infra => live.attempts < live.max_attempts,
        FailureClass::Submission => false,
        FailureClass::Timeout => {
            let timeouts = sqlx::query_scalar!(
                r#"SELECT count(*) AS "n!" FROM attempts WHERE job_id = $1 AND error_class = 'timeout'"#,
                live.job.0
            )
            .fetch_one(&mut *tx)
            .await?;
            timeouts < 2 && live.attempts < live.max_attempts
        }
    };
    if again {
        let wait = jobs::backoff(live.attempts, live.attempt);
        return jobs::requeue(tx, live.job, live.submission, wait, true).await;
    }
    let mut reason = vec![problem.clone()];
    if class == FailureClass::Infra {
        reason.push(gave_up(live.attempts));
    }
    let reason = json!(reason);
    jobs::end(tx, live.job, live.submission, End::Failed, State::Failed, Some(&reason)).await
}

fn gave_up(attempts: i32) -> Problem {
    Problem::new(
        "platform-failed",
        "grade",
        Text::new(
            format!("The platform failed {attempts} times in a row on this submission and stopped trying."),
            format!("플랫폼 쪽 문제로 이 제출의 채점이 {attempts}번 연속 실패하여 재시도를 멈췄습니다."),
        ),
        Text::new(
            "You need not do anything and no quota was used: an organizer will run it again.",
            "따로 하실 일은 없으며 제출 횟수도 차감되지 않았습니다. 운영진이 다시 채점합니다.",
        ),
    )
}

async fn insert(tx: &mut PgConnection, live: &LiveAttempt, outcome: &str, report: &Report) -> sqlx::Result<()> {
    let items = Json(&report.items);
    let report = Report {
        items: Vec::new(),
        ..report.clone()
    };
    // job_id is the primary key: a second result of a job cannot exist, whatever this code does.
    sqlx::query!(
        "INSERT INTO results (job_id, submission_id, attempt_id, fence, outcome, report, items)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        live.job.0,
        live.submission.0,
        live.attempt.0,
        live.fence,
        outcome,
        json!(report),
        items as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The result that counts for a submission: the latest accepted one.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The job it came from.
    pub job: JobId,
    /// The fence it was written under; names the folder of its outputs.
    pub fence: i64,
    /// graded or rejected.
    pub outcome: String,
    /// The report.
    pub report: StoredReport,
}

/// The latest result of a submission. The caller has checked whose it is.
///
/// # Errors
/// The database's.
pub async fn latest(db: impl PgExecutor<'_>, submission: SubmissionId) -> sqlx::Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"SELECT job_id AS "job: JobId", fence, outcome, report AS "report: StoredReport" FROM results
           WHERE submission_id = $1 ORDER BY accepted_at DESC, job_id DESC LIMIT 1"#,
        submission.0
    )
    .fetch_optional(db)
    .await
}

/// Outcomes by document of a result.
///
/// # Errors
/// The database's.
pub async fn items(db: impl PgExecutor<'_>, job: JobId) -> sqlx::Result<Vec<ItemScores>> {
    let items = sqlx::query_scalar!(
        r#"SELECT items AS "items: Json<Vec<ItemScores>>" FROM results WHERE job_id = $1"#,
        job.0
    );
    Ok(items.fetch_optional(db).await?.map(|items| items.0).unwrap_or_default())
}
