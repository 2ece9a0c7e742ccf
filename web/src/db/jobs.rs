//! Jobs: the orders to grade. Lock order everywhere: the job, then its attempt, then the submission.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::types::PgInterval;
use sqlx::{PgConnection, PgExecutor};

use super::ids::{AttemptId, JobId, SubmissionId};
use super::outbox;
use super::submissions::{self, State};
use crate::outcomes::StoredProgress;

/// Which runs come first. Inside a lane the queue is fair by team; a lower lane waits for the one above to be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A submission a team waits for.
    Live,
    /// A grade that was ordered again.
    Rerun,
    /// Reference rows and canaries.
    Baseline,
}

impl Lane {
    /// As in `jobs.priority`.
    fn priority(self) -> i16 {
        match self {
            Lane::Live => 0,
            Lane::Rerun => -10,
            Lane::Baseline => -20,
        }
    }
}

/// Orders a grade of a submission that was just received: the job, the outbox row and the bell, in the caller's
/// transaction.
///
/// # Errors
/// The database's; a second live job violates `jobs_live_submission_key`.
pub async fn queue(tx: &mut PgConnection, submission: SubmissionId) -> sqlx::Result<JobId> {
    queue_in(tx, submission, Lane::Live).await
}

/// [`queue`], in a lane of the caller's choice.
///
/// # Errors
/// As [`queue`].
pub async fn queue_in(tx: &mut PgConnection, submission: SubmissionId, lane: Lane) -> sqlx::Result<JobId> {
    let job = JobId::new();
    sqlx::query!(
        "INSERT INTO jobs (id, submission_id, priority) VALUES ($1, $2, $3)",
        job.0,
        submission.0,
        lane.priority()
    )
    .execute(&mut *tx)
    .await?;
    submissions::set_state(tx, submission, State::Queued, None).await?;
    outbox::announce(tx, job, Duration::ZERO).await?;
    Ok(job)
}

/// Orders a new grade of a submission that was received before. None while a job of it is still alive, or for a draft.
///
/// # Errors
/// The database's.
pub async fn rerun(tx: &mut PgConnection, submission: SubmissionId) -> sqlx::Result<Option<JobId>> {
    let live = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE submission_id = $1 AND state IN ('queued', 'running') FOR UPDATE",
        submission.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let received = sqlx::query_scalar!(
        r#"SELECT received_at IS NOT NULL AS "received!" FROM submissions WHERE id = $1 FOR UPDATE"#,
        submission.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if live.is_some() || received != Some(true) {
        return Ok(None);
    }
    queue_in(tx, submission, Lane::Rerun).await.map(Some)
}

/// What became of calling a grade off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not begun; it is off.
    Now,
    /// A worker has it; its next heartbeat tells it to stop.
    Asked,
    /// Nothing of it is alive.
    Nothing,
}

/// Calls a submission's live job off.
///
/// # Errors
/// The database's.
pub async fn cancel(tx: &mut PgConnection, submission: SubmissionId) -> sqlx::Result<Cancelled> {
    let live = sqlx::query!(
        r#"UPDATE jobs SET cancel_requested = true,
                  state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
                  finished_at = CASE WHEN state = 'queued' THEN now() ELSE finished_at END
           WHERE submission_id = $1 AND state IN ('queued', 'running')
           RETURNING state = 'cancelled' AS "off!""#,
        submission.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    match live {
        None => Ok(Cancelled::Nothing),
        Some(job) if job.off => {
            submissions::set_state(tx, submission, State::Cancelled, None).await?;
            Ok(Cancelled::Now)
        }
        Some(_) => {
            submissions::touch(tx, submission).await?;
            Ok(Cancelled::Asked)
        }
    }
}

/// Puts a running job back into the queue after `delay`. `counted` is false when the attempt was nobody's fault and
/// must not use up one of the job's attempts.
pub(super) async fn requeue(
    tx: &mut PgConnection,
    job: JobId,
    submission: SubmissionId,
    delay: Duration,
    counted: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE jobs SET state = 'queued', not_before = now() + $2, attempts = attempts - (NOT $3)::int WHERE id = $1",
        job.0,
        interval(delay),
        counted
    )
    .execute(&mut *tx)
    .await?;
    submissions::set_state(tx, submission, State::Queued, None).await?;
    outbox::announce(tx, job, delay).await?;
    outbox::announce_next(tx, submission).await
}

/// First wait after a failure of the platform; doubles with every attempt.
const BACKOFF: Duration = Duration::from_secs(10);

/// 10 s, 20 s, 40 s, … plus up to a quarter, so that jobs that failed together do not come back together. The attempt's
/// random id is the dice.
pub(super) fn backoff(attempts: i32, attempt: AttemptId) -> Duration {
    let doubled = BACKOFF * 2u32.pow(u32::try_from(attempts - 1).unwrap_or(0).min(6));
    let dice = u32::from(attempt.0.as_bytes()[15]);
    doubled + doubled * dice / 1024
}

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Succeeded,
    Failed,
    Cancelled,
    /// It cost several workers; an organizer has to look.
    Quarantined,
}

/// Ends a job and moves its submission with it.
pub(super) async fn end(
    tx: &mut PgConnection,
    job: JobId,
    submission: SubmissionId,
    how: End,
    state: State,
    reason: Option<&Value>,
) -> sqlx::Result<()> {
    let name = match how {
        End::Succeeded => "succeeded",
        End::Failed => "failed",
        End::Cancelled => "cancelled",
        End::Quarantined => "quarantined",
    };
    sqlx::query!(
        "UPDATE jobs SET state = $2, finished_at = now() WHERE id = $1",
        job.0,
        name
    )
    .execute(&mut *tx)
    .await?;
    submissions::set_state(tx, submission, state, reason).await?;
    // The team's next one was held back while this one ran.
    outbox::announce_next(tx, submission).await
}

/// A duration as Postgres counts it, to the microsecond.
pub(super) fn interval(duration: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
    }
}

/// What a submission's page shows of its latest job.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The job.
    pub job: JobId,
    /// Its state.
    pub state: String,
    /// Someone has called it off.
    pub cancel_requested: bool,
    /// Attempts that count.
    pub attempts: i32,
    /// Most attempts.
    pub max_attempts: i32,
    /// Jobs before it in the order in which claims take them; meaningful while queued.
    pub ahead: i64,
    /// Earliest time a worker may take it.
    pub not_before: DateTime<Utc>,
    /// The latest attempt.
    pub attempt: Option<AttemptId>,
    /// Its fence: names the folder of its outputs.
    pub fence: Option<i64>,
    /// Its state.
    pub attempt_state: Option<String>,
    /// The name of its worker.
    pub worker: Option<String>,
    /// What it reported last.
    pub progress: Option<StoredProgress>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was heard of last.
    pub heartbeat_at: Option<DateTime<Utc>>,
}

/// The latest job of a submission. The caller has checked whose it is.
///
/// # Errors
/// The database's.
pub async fn latest(db: impl PgExecutor<'_>, submission: SubmissionId) -> sqlx::Result<Option<Latest>> {
    sqlx::query_as!(
        Latest,
        r#"SELECT j.id AS "job: JobId", j.state, j.cancel_requested, j.attempts, j.max_attempts, j.not_before,
                  coalesce((SELECT q.place - 1 FROM queue_places q WHERE q.job_id = j.id), 0) AS "ahead!",
                  a.id AS "attempt?: AttemptId", a.fence AS "fence?", a.state AS "attempt_state?",
                  w.name AS "worker?", a.progress AS "progress?: StoredProgress",
                  a.started_at AS "started_at?", a.heartbeat_at AS "heartbeat_at?"
           FROM jobs j
           LEFT JOIN attempts a ON a.job_id = j.id AND a.fence = j.fence
           LEFT JOIN workers w ON w.id = a.worker_id
           WHERE j.submission_id = $1
           ORDER BY j.created_at DESC, j.id DESC LIMIT 1"#,
        submission.0
    )
    .fetch_optional(db)
    .await
}

/// How fast the queue moves, for an estimate of when a waiting job begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Mean length of the latest grades; None before the first.
    pub seconds_per_job: Option<f64>,
    /// Workers that were heard of lately and take work.
    pub workers: i64,
}

impl Pace {
    /// Seconds until a job with `ahead` others before it begins, if anyone is there to begin it: the rounds before it,
    /// and half a grade until the first worker is free.
    #[must_use]
    pub fn wait(&self, ahead: i64) -> Option<f64> {
        let seconds = self.seconds_per_job.filter(|_| self.workers > 0)?;
        let rounds = (ahead.max(0) / self.workers.max(1)) as f64;
        Some(seconds * (rounds + 0.5))
    }
}

/// See [`Pace`].
///
/// # Errors
/// The database's.
pub async fn pace(db: impl PgExecutor<'_>) -> sqlx::Result<Pace> {
    sqlx::query_as!(
        Pace,
        r#"SELECT (SELECT avg(extract(epoch FROM finished_at - started_at))::float8
                   FROM (SELECT started_at, finished_at FROM attempts WHERE state = 'succeeded'
                         ORDER BY finished_at DESC LIMIT 20) latest) AS seconds_per_job,
                  (SELECT count(*) FROM workers WHERE revoked_at IS NULL AND NOT draining
                   AND seen_at > now() - interval '2 minutes') AS "workers!""#
    )
    .fetch_one(db)
    .await
}

/// Jobs by state, for the operator's graphs.
///
/// # Errors
/// The database's.
pub async fn depth(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(r#"SELECT state, count(*) AS "n!" FROM jobs GROUP BY state"#)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.n)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let attempt = AttemptId::new();
        for (attempts, least) in [(1, 10), (2, 20), (3, 40), (60, 640)] {
            let wait = backoff(attempts, attempt);
            assert!(
                wait >= Duration::from_secs(least) && wait <= Duration::from_secs(least) * 5 / 4,
                "{attempts}: {wait:?}"
            );
        }
    }

    #[test]
    fn an_estimate_needs_a_worker_and_a_grade_to_go_by() {
        let pace = |seconds_per_job, workers| Pace {
            seconds_per_job,
            workers,
        };
        assert_eq!(pace(None, 4).wait(0), None);
        assert_eq!(pace(Some(60.0), 0).wait(0), None);
        assert_eq!(pace(Some(60.0), 2).wait(0), Some(30.0));
        assert_eq!(pace(Some(60.0), 2).wait(5), Some(150.0));
    }
}
