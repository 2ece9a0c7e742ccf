//! Attempts: leases and fences. A write that concerns a grade needs a [`LiveAttempt`], and only [`lock`] makes one: holding
//! it means that the rows are locked, the fence is the newest and the lease has not run out, by the database's clock.

use std::time::Duration;

use assay_contest::wire::{Directive, Progress};
use assay_contest::{Problem, Text};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor};

use super::audit::{self, Entry, Origin};
use super::ids::{AttemptId, JobId, SubmissionId, WorkerId};
use super::jobs::{self, End, interval};
use super::submissions::State;

/// A job that claims keep slipping away from is looked at by a person, however little of it was ever worked on.
const MOST_FENCES: i64 = 20;
/// A job that this many different workers did not survive is not tried on another.
const MOST_VICTIMS: i64 = 2;

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

/// Serialises claims: how many jobs a team has running is counted before one is taken, and two counts at once would both
/// be right and together wrong. A claim takes a millisecond or two, so they may well take turns.
const CLAIM_LOCK: i64 = 0x6173_7361_7901;

/// Takes the next job, if there is one for this worker: the first of `queue_places` that is due and whose team has fewer
/// than `running_per_team` running. A job that ran out of time on this worker goes to another one, and one that it failed
/// at or lost is left to the others for half a minute, as long as there are others.
///
/// # Errors
/// The database's.
pub async fn claim(
    tx: &mut PgConnection,
    worker: WorkerId,
    lease: Duration,
    running_per_team: u32,
) -> sqlx::Result<Option<Claimed>> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", CLAIM_LOCK)
        .execute(&mut *tx)
        .await?;
    sqlx::query_as!(
        Claimed,
        r#"WITH next AS (
               SELECT j.id FROM jobs j JOIN queue_places q ON q.job_id = j.id
               WHERE j.state = 'queued' AND j.not_before <= now() AND NOT j.cancel_requested AND q.running < $4
                 AND EXISTS (SELECT 1 FROM workers w WHERE w.id = $2 AND w.revoked_at IS NULL AND NOT w.draining)
                 AND NOT (
                     EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = j.id AND a.worker_id = $2
                             AND (a.error_class = 'timeout'
                                  OR a.state IN ('failed', 'lost') AND j.not_before > now() - interval '30 seconds'))
                     AND EXISTS (SELECT 1 FROM workers o WHERE o.id <> $2 AND o.revoked_at IS NULL AND NOT o.draining
                                 AND o.seen_at > now() - interval '2 minutes'
                                 AND NOT EXISTS (SELECT 1 FROM attempts b WHERE b.job_id = j.id AND b.worker_id = o.id
                                                 AND b.state IN ('failed', 'lost'))))
               ORDER BY q.place
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
               RETURNING s.id, s.contest_id, s.team_id
           ), served AS (
               UPDATE teams t SET served_at = clock_timestamp() FROM shown WHERE t.id = shown.team_id
           ), told AS (
               SELECT pg_notify('assay_submission', id::text) FROM shown
           )
           SELECT $1::uuid AS "attempt!: AttemptId", taken.id AS "job: JobId", taken.submission_id AS "submission: SubmissionId",
                  taken.fence, shown.contest_id AS contest
           FROM taken JOIN shown ON shown.id = taken.submission_id LEFT JOIN told ON true"#,
        AttemptId::new().0,
        worker.0,
        interval(lease),
        i64::from(running_per_team)
    )
    .fetch_optional(tx)
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
    pub(super) worker: WorkerId,
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
        r#"SELECT j.id AS "job: JobId", j.submission_id AS "submission: SubmissionId",
                  a.worker_id AS "worker: WorkerId", j.attempts, j.max_attempts, j.cancel_requested, a.result_sha256,
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
                worker: row.worker,
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
    if live.fence >= MOST_FENCES {
        return quarantine(tx, &live, live.fence).await;
    }
    jobs::requeue(tx, live.job, live.submission, Duration::ZERO, false).await
}

/// What follows for the job of an attempt that was lost after it had begun: another try after a wait, or, when it has cost
/// two different workers or all of its tries, a person's look.
async fn lost(tx: &mut PgConnection, live: &LiveAttempt) -> sqlx::Result<()> {
    let victims = sqlx::query_scalar!(
        r#"SELECT count(DISTINCT worker_id) AS "n!" FROM attempts
           WHERE job_id = $1 AND state = 'lost' AND heartbeat_at > started_at"#,
        live.job.0
    )
    .fetch_one(&mut *tx)
    .await?;
    if victims >= MOST_VICTIMS || live.attempts >= live.max_attempts || live.fence >= MOST_FENCES {
        return quarantine(tx, live, i64::from(live.attempts)).await;
    }
    let wait = jobs::backoff(live.attempts, live.attempt);
    jobs::requeue(tx, live.job, live.submission, wait, true).await
}

/// Sets a job aside and leaves a line in the audit log, which is where organizers look.
async fn quarantine(tx: &mut PgConnection, live: &LiveAttempt, attempts: i64) -> sqlx::Result<()> {
    let object = format!("job:{}", live.job);
    let entry = Entry::new("job.quarantined", &object)
        .detail(json!({ "submission": live.submission, "attempts": attempts, "fence": live.fence }));
    audit::record(&mut *tx, &Origin::system(), entry).await?;
    tracing::error!(job = %live.job, submission = %live.submission, attempts, "job quarantined: it costs its workers");
    let reason = json!([workers_lost(attempts)]);
    jobs::end(
        tx,
        live.job,
        live.submission,
        End::Quarantined,
        State::Failed,
        Some(&reason),
    )
    .await
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

/// Why attempts end without a word from their worker.
#[derive(Clone, Copy)]
enum Silence {
    /// Their leases ran out.
    Leases,
    /// Their worker asked for other work.
    Forgot(WorkerId),
    /// Their worker was put out.
    Revoked(WorkerId),
}

/// Declares attempts lost whose lease ran out, and puts their jobs back or away. Any number of processes may do this at
/// once. Returns how many were lost.
///
/// # Errors
/// The database's.
pub async fn reap(tx: &mut PgConnection) -> sqlx::Result<usize> {
    lose(tx, Silence::Leases).await
}

/// A worker that asks for work has none: whatever it still holds, it has forgotten (it was killed, or a claim's answer
/// never reached it). Declares that lost now instead of waiting for the lease.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut PgConnection, worker: WorkerId) -> sqlx::Result<usize> {
    lose(tx, Silence::Forgot(worker)).await
}

/// Takes away what a revoked worker holds. It was not the job's fault: it waits again at once and the attempt is not counted.
pub(super) async fn evict(tx: &mut PgConnection, worker: WorkerId) -> sqlx::Result<usize> {
    lose(tx, Silence::Revoked(worker)).await
}

async fn lose(tx: &mut PgConnection, why: Silence) -> sqlx::Result<usize> {
    let worker = match why {
        Silence::Leases => None,
        Silence::Forgot(worker) | Silence::Revoked(worker) => Some(worker.0),
    };
    let rows = sqlx::query!(
        r#"SELECT a.id AS "attempt: AttemptId", a.fence, a.worker_id AS "worker: WorkerId", j.id AS "job: JobId",
                  j.submission_id AS "submission: SubmissionId", j.attempts, j.max_attempts, j.cancel_requested,
                  a.heartbeat_at > a.started_at AS "heard!"
           FROM attempts a JOIN jobs j ON j.id = a.job_id
           WHERE a.state = 'running' AND CASE WHEN $1::uuid IS NULL THEN a.lease_until <= now() ELSE a.worker_id = $1 END
           ORDER BY a.id LIMIT 100
           FOR UPDATE OF j, a SKIP LOCKED"#,
        worker
    )
    .fetch_all(&mut *tx)
    .await?;
    let count = rows.len();
    for row in rows {
        let live = LiveAttempt {
            attempt: row.attempt,
            job: row.job,
            submission: row.submission,
            worker: row.worker,
            fence: row.fence,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            cancel_requested: row.cancel_requested,
        };
        if let Silence::Revoked(_) = why {
            release(&mut *tx, live, "its worker was revoked").await?;
            continue;
        }
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
        } else if row.heard {
            lost(&mut *tx, &live).await?;
        } else if live.fence >= MOST_FENCES {
            quarantine(&mut *tx, &live, live.fence).await?;
        } else {
            // An attempt that was never heard of never began: the claim's answer was lost on the way.
            jobs::requeue(&mut *tx, live.job, live.submission, Duration::ZERO, false).await?;
        }
    }
    Ok(count)
}

/// What attempts came to and what they took, for the operator's graphs.
#[derive(Clone, Debug)]
pub struct Tally {
    /// succeeded, failed-infra, failed-timeout, failed-submission, lost, released, cancelled or running.
    pub outcome: String,
    /// `cpu`, `gpu` or `reference`: the worker's device now.
    pub device: String,
    /// Attempts.
    pub attempts: i64,
    /// Seconds on the worker, those of running attempts included.
    pub seconds: f64,
}

/// See [`Tally`].
///
/// # Errors
/// The database's.
pub async fn tally(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Tally>> {
    sqlx::query_as!(
        Tally,
        r#"SELECT CASE WHEN a.state = 'failed' THEN 'failed-' || coalesce(a.error_class, 'unknown') ELSE a.state END AS "outcome!",
                  coalesce(w.device->>'kind', '') AS "device!", count(*) AS "attempts!",
                  coalesce(sum(extract(epoch FROM coalesce(a.finished_at, now()) - a.started_at)), 0)::float8 AS "seconds!"
           FROM attempts a JOIN workers w ON w.id = a.worker_id GROUP BY 1, 2"#
    )
    .fetch_all(db)
    .await
}
