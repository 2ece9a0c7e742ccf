//! Attempts: leases and fences. A write that concerns a grade needs a [`LiveAttempt`], and only [`lock`] makes one: holding
//! it means that the rows are locked, the fence is the newest and the lease has not run out, by the database's clock.

use std::time::Duration;

use assay_contest::wire::{Directive, Progress};
use assay_contest::{Problem, Text};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor};

use super::ids::{AttemptId, JobId, SubmissionId, WorkerId};
use super::jobs::{self, End, interval};
use super::submissions::State;

/// A job that claims keep slipping away from is looked at by a person, however little of it was ever worked on.
const MOST_FENCES: i64 = 20;

/// What a claim handed out.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The new attempt.
    pub attempt: AttemptId,
    /// The job.
    pub job: JobId,
    /// The submission to grade.
    pub submission: SubmissionId,
    /// Higher than that of every earlier attempt at the job.
    pub fence: i64,
    /// The contest of the submission.
    pub contest: String,
}

/// Takes the next job, if there is one. One statement: two workers can never be handed the same job. Among jobs of equal
/// right a worker takes those first that it has not failed at itself.
///
/// # Errors
/// The database's.
pub async fn claim(db: impl PgExecutor<'_>, worker: WorkerId, lease: Duration) -> sqlx::Result<Option<Claimed>> {
    sqlx::query_as!(
        Claimed,
        r#"WITH next AS (
               SELECT j.id FROM jobs j
               WHERE j.state = 'queued' AND j.not_before <= now() AND NOT j.cancel_requested
                 AND EXISTS (SELECT 1 FROM workers w WHERE w.id = $2 AND w.revoked_at IS NULL AND NOT w.draining)
               ORDER BY j.priority DESC,
                        EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = j.id AND a.worker_id = $2
                                AND a.state IN ('failed', 'lost')),
                        j.not_before, j.created_at, j.id
               LIMIT 1 FOR UPDATE OF j SKIP LOCKED
           ), taken AS (
               UPDATE jobs j SET state = 'running', attempts = j.attempts + 1, fence = j.fence + 1
               FROM next WHERE j.id = next.id
               RETURNING j.id, j.submission_id, j.fence
           ), attempt AS (
               INSERT INTO attempts (id, job_id, fence, worker_id, lease_until)
               SELECT $1, id, fence, $2, now() + $3 FROM taken
           ), shown AS (
               UPDATE submissions s SET state = 'running', version = s.version + 1
               FROM taken WHERE s.id = taken.submission_id
               RETURNING s.id, s.contest_id
           ), told AS (
               SELECT pg_notify('assay_submission', id::text) FROM shown
           )
           SELECT $1::uuid AS "attempt!: AttemptId", taken.id AS "job: JobId", taken.submission_id AS "submission: SubmissionId",
                  taken.fence, shown.contest_id AS contest
           FROM taken JOIN shown ON shown.id = taken.submission_id LEFT JOIN told ON true"#,
        AttemptId::new().0,
        worker.0,
        interval(lease)
    )
    .fetch_optional(db)
    .await
}

/// Renews the lease and keeps the progress, unless a later report is there already. None: the lease is lost.
///
/// # Errors
/// The database's.
pub async fn heartbeat(
    db: impl PgExecutor<'_>,
    attempt: AttemptId,
    fence: i64,
    progress: &Progress,
    lease: Duration,
) -> sqlx::Result<Option<Directive>> {
    let step = i64::try_from(progress.step).unwrap_or(i64::MAX);
    let row = sqlx::query!(
        r#"WITH beat AS (
               UPDATE attempts a
               SET lease_until = now() + $4, heartbeat_at = now(),
                   progress = CASE WHEN coalesce((a.progress->>'step')::numeric, -1) < $5::bigint THEN $3 ELSE a.progress END
               FROM jobs j, workers w
               WHERE a.id = $1 AND a.fence = $2 AND a.state = 'running' AND a.lease_until > now()
                 AND j.id = a.job_id AND j.fence = a.fence AND j.state = 'running'
                 AND w.id = a.worker_id AND w.revoked_at IS NULL
               RETURNING j.submission_id, j.cancel_requested, w.draining, w.id AS worker
           ), shown AS (
               UPDATE submissions s SET version = s.version + 1 FROM beat WHERE s.id = beat.submission_id RETURNING s.id
           ), seen AS (
               UPDATE workers w SET seen_at = now() FROM beat WHERE w.id = beat.worker
           )
           SELECT beat.cancel_requested, beat.draining, pg_notify('assay_submission', shown.id::text)::text AS told
           FROM beat JOIN shown ON true"#,
        attempt.0,
        fence,
        json!(progress),
        interval(lease),
        step
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| match row {
        row if row.cancel_requested => Directive::Cancel,
        row if row.draining => Directive::Drain,
        _ => Directive::Continue,
    }))
}

/// The proof that an attempt may still write: rows locked, newest fence, lease running. It ends with the transaction.
#[derive(Debug)]
pub struct LiveAttempt {
    pub(super) attempt: AttemptId,
    pub(super) job: JobId,
    pub(super) submission: SubmissionId,
    pub(super) fence: i64,
    pub(super) attempts: i32,
    pub(super) max_attempts: i32,
    pub(super) cancel_requested: bool,
}

/// What an attempt may do.
#[derive(Debug)]
pub enum Standing {
    /// It may write, once.
    Live(LiveAttempt),
    /// It has written, and this was the digest of what it wrote.
    Settled(String),
    /// It may not: the lease ran out, someone else has the job, or there is no such attempt under this fence.
    Lost,
}

/// Locks an attempt with its job and says what it may do.
///
/// # Errors
/// The database's.
pub async fn lock(tx: &mut PgConnection, attempt: AttemptId, fence: i64) -> sqlx::Result<Standing> {
    let row = sqlx::query!(
        r#"SELECT j.id AS "job: JobId", j.submission_id AS "submission: SubmissionId", j.attempts, j.max_attempts,
                  j.cancel_requested, a.result_sha256,
                  a.state = 'running' AND a.lease_until > clock_timestamp() AND j.fence = a.fence AND j.state = 'running'
                      AND w.revoked_at IS NULL AS "live!"
           FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN workers w ON w.id = a.worker_id
           WHERE a.id = $1 AND a.fence = $2
           FOR UPDATE OF j, a"#,
        attempt.0,
        fence
    )
    .fetch_optional(tx)
    .await?;
    Ok(match row {
        None => Standing::Lost,
        Some(row) => match row.result_sha256 {
            Some(digest) => Standing::Settled(digest),
            None if row.live => Standing::Live(LiveAttempt {
                attempt,
                job: row.job,
                submission: row.submission,
                fence,
                attempts: row.attempts,
                max_attempts: row.max_attempts,
                cancel_requested: row.cancel_requested,
            }),
            None => Standing::Lost,
        },
    })
}

/// What a live attempt may read and where it writes its outputs; no lock is taken. None: the lease is lost.
///
/// # Errors
/// The database's.
pub async fn live(db: impl PgExecutor<'_>, attempt: AttemptId, fence: i64) -> sqlx::Result<Option<Claimed>> {
    sqlx::query_as!(
        Claimed,
        r#"SELECT a.id AS "attempt: AttemptId", j.id AS "job: JobId", j.submission_id AS "submission: SubmissionId",
                  a.fence, s.contest_id AS contest
           FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN submissions s ON s.id = j.submission_id
           JOIN workers w ON w.id = a.worker_id
           WHERE a.id = $1 AND a.fence = $2 AND a.state = 'running' AND a.lease_until > now() AND j.fence = a.fence
             AND w.revoked_at IS NULL"#,
        attempt.0,
        fence
    )
    .fetch_optional(db)
    .await
}

/// Ends an attempt's row. `error` is a problem; `digest` of a reported outcome makes a repeated PUT recognisable.
pub(super) async fn finish(
    tx: &mut PgConnection,
    attempt: AttemptId,
    state: &str,
    error: Option<(&str, &Value)>,
    digest: Option<&str>,
) -> sqlx::Result<()> {
    let (class, problem) = error.unzip();
    sqlx::query!(
        "UPDATE attempts SET state = $2, error_class = $3, error = $4, result_sha256 = $5, finished_at = now() WHERE id = $1",
        attempt.0,
        state,
        class,
        problem,
        digest
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The worker gives the job back: it waits again at once, and the attempt does not count. Where the grade was called off,
/// giving it back is the end of it.
///
/// # Errors
/// The database's.
pub async fn release(tx: &mut PgConnection, live: LiveAttempt, reason: &str) -> sqlx::Result<()> {
    let note = json!({ "reason": reason });
    if live.cancel_requested {
        finish(&mut *tx, live.attempt, "cancelled", Some(("cancelled", &note)), None).await?;
        return jobs::end(tx, live.job, live.submission, End::Cancelled, State::Cancelled, None).await;
    }
    finish(&mut *tx, live.attempt, "released", Some(("released", &note)), None).await?;
    put_back(tx, live, false).await
}

/// Requeues, unless the job has used up its attempts or slipped away from too many workers.
async fn put_back(tx: &mut PgConnection, live: LiveAttempt, counted: bool) -> sqlx::Result<()> {
    if (counted && live.attempts >= live.max_attempts) || live.fence >= MOST_FENCES {
        let reason = json!([workers_lost(live.fence)]);
        return jobs::end(
            tx,
            live.job,
            live.submission,
            End::Quarantined,
            State::Failed,
            Some(&reason),
        )
        .await;
    }
    jobs::requeue(tx, live.job, live.submission, Duration::ZERO, counted).await
}

/// The coded reason of a quarantined job.
fn workers_lost(attempts: i64) -> Problem {
    Problem::new(
        "workers-lost",
        "grade",
        Text::new(
            format!("{attempts} workers stopped answering while grading this submission; it was set aside."),
            format!("이 제출을 채점하던 작업 노드 {attempts}대가 응답을 멈추어 채점을 보류했습니다."),
        ),
        Text::new(
            "You need not do anything and no quota was used: the organizers have been told and will look at it.",
            "따로 하실 일은 없으며 제출 횟수도 차감되지 않았습니다. 운영진이 확인할 예정입니다.",
        ),
    )
}

/// Declares attempts lost whose lease ran out, and puts their jobs back or away. Any number of processes may do this at
/// once. Returns how many were lost.
///
/// # Errors
/// The database's.
pub async fn reap(tx: &mut PgConnection) -> sqlx::Result<usize> {
    lose(tx, None).await
}

/// A worker that asks for work has none: whatever it still holds, it has forgotten (it was killed, or a claim's answer
/// never reached it). Declares that lost now instead of waiting for the lease.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut PgConnection, worker: WorkerId) -> sqlx::Result<usize> {
    lose(tx, Some(worker)).await
}

async fn lose(tx: &mut PgConnection, worker: Option<WorkerId>) -> sqlx::Result<usize> {
    let rows = sqlx::query!(
        r#"SELECT a.id AS "attempt: AttemptId", a.fence, j.id AS "job: JobId", j.submission_id AS "submission: SubmissionId",
                  j.attempts, j.max_attempts, j.cancel_requested, a.heartbeat_at > a.started_at AS "heard!"
           FROM attempts a JOIN jobs j ON j.id = a.job_id
           WHERE a.state = 'running' AND CASE WHEN $1::uuid IS NULL THEN a.lease_until <= now() ELSE a.worker_id = $1 END
           ORDER BY a.id LIMIT 100
           FOR UPDATE OF j, a SKIP LOCKED"#,
        worker.map(|worker| worker.0)
    )
    .fetch_all(&mut *tx)
    .await?;
    let count = rows.len();
    for row in rows {
        let live = LiveAttempt {
            attempt: row.attempt,
            job: row.job,
            submission: row.submission,
            fence: row.fence,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            cancel_requested: row.cancel_requested,
        };
        finish(&mut *tx, live.attempt, "lost", None, None).await?;
        if live.cancel_requested {
            jobs::end(
                &mut *tx,
                live.job,
                live.submission,
                End::Cancelled,
                State::Cancelled,
                None,
            )
            .await?;
        } else {
            // An attempt that was never heard of never began: the claim's answer was lost on the way.
            put_back(&mut *tx, live, row.heard).await?;
        }
    }
    Ok(count)
}
