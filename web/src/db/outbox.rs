//! The outbox: what has to be told to the broker, written in the same transaction as what it tells of. Relays take rows
//! under a lease, so that nothing is locked while the network is waited for. Delivery is at least once; a claim decides
//! who gets a job, so a second bell is harmless.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::ids::{JobId, SubmissionId};
use super::jobs::interval;

/// The only topic so far: a job waits for a worker.
pub const JOB_QUEUED: &str = "job.queued";
/// Longest a relay's error is kept, in characters.
const ERROR_CHARS: usize = 500;

/// One outbox row and one NOTIFY: whoever relays or waits hears of the job when the transaction commits, brokers `after`
/// so long (when the job is due).
pub(super) async fn announce(tx: &mut PgConnection, job: JobId, after: Duration) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH told AS (
             UPDATE jobs SET announced_at = now() + $4 WHERE id = $3 RETURNING id
         )
         INSERT INTO outbox (dedupe_key, topic, job_id, payload, available_at)
         SELECT $1, $2, id, $5, now() + $4 FROM told",
        Uuid::now_v7(),
        JOB_QUEUED,
        job.0,
        interval(after),
        message(job)
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("SELECT pg_notify('assay_jobs', $1)", job.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// What is sent: ids only, no address and no secret.
fn message(job: JobId) -> Value {
    json!({ "v": 1, "job_id": job, "kind": "grade" })
}

/// A job of this submission's team ended or went back: the bell of the team's next one may have been heard while it could
/// not be taken, so it is rung again.
pub(super) async fn announce_next(tx: &mut PgConnection, ended: SubmissionId) -> sqlx::Result<()> {
    let next = sqlx::query_scalar!(
        r#"SELECT q.job_id AS "job!: JobId" FROM queue_places q JOIN jobs j ON j.id = q.job_id
           WHERE q.team_id = (SELECT team_id FROM submissions WHERE id = $1) AND j.submission_id <> $1
             AND j.not_before <= now()
           ORDER BY q.place LIMIT 1"#,
        ended.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    match next {
        Some(job) => announce(tx, job, Duration::ZERO).await,
        None => Ok(()),
    }
}

/// Announces again what has waited for `patience` since it was announced last and is not about to be announced anyway:
/// whatever a broker lost, it hears of it again. Any number of processes may do this at once. Returns how many.
///
/// # Errors
/// The database's.
pub async fn reconcile(tx: &mut PgConnection, patience: Duration) -> sqlx::Result<usize> {
    let waiting = sqlx::query_scalar!(
        r#"SELECT j.id AS "job: JobId" FROM jobs j
           WHERE j.state = 'queued' AND NOT j.cancel_requested AND j.not_before <= now()
             AND j.announced_at <= now() - $1::interval
             AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = j.id AND o.published_at IS NULL)
           ORDER BY j.created_at LIMIT 200 FOR UPDATE SKIP LOCKED"#,
        interval(patience)
    )
    .fetch_all(&mut *tx)
    .await?;
    for job in &waiting {
        announce(&mut *tx, *job, Duration::ZERO).await?;
    }
    Ok(waiting.len())
}

/// A row to publish.
#[derive(Clone, Debug)]
pub struct Due {
    /// The row.
    pub id: i64,
    /// The message's id: the same however often the row is sent.
    pub dedupe_key: Uuid,
    /// What it is about.
    pub topic: String,
    /// What is sent.
    pub payload: Value,
}

/// Takes at most `limit` due rows for `lease` under `token`; nobody else takes them meanwhile.
///
/// # Errors
/// The database's.
pub async fn claim(db: impl PgExecutor<'_>, token: Uuid, lease: Duration, limit: i64) -> sqlx::Result<Vec<Due>> {
    let mut rows = sqlx::query_as!(
        Due,
        "WITH due AS (
             SELECT id FROM outbox
             WHERE published_at IS NULL AND available_at <= now() AND (claimed_until IS NULL OR claimed_until <= now())
             ORDER BY available_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE outbox o SET claim_token = $1, claimed_until = now() + $2, attempts = o.attempts + 1
         FROM due WHERE o.id = due.id
         RETURNING o.id, o.dedupe_key, o.topic, o.payload",
        token,
        interval(lease),
        limit
    )
    .fetch_all(db)
    .await?;
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}

/// Notes that the broker has confirmed these rows. Returns how many were still this relay's.
///
/// # Errors
/// The database's.
pub async fn published(db: impl PgExecutor<'_>, token: Uuid, rows: &[i64]) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE outbox SET published_at = now(), claim_token = NULL, claimed_until = NULL, last_error = NULL
         WHERE id = ANY ($2) AND claim_token = $1",
        token,
        rows
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Gives rows back that were not confirmed, to be tried again after a wait that doubles up to a minute.
///
/// # Errors
/// The database's.
pub async fn failed(db: impl PgExecutor<'_>, token: Uuid, rows: &[i64], error: &str) -> sqlx::Result<()> {
    let error: String = error.chars().take(ERROR_CHARS).collect();
    sqlx::query!(
        "UPDATE outbox SET claim_token = NULL, claimed_until = NULL, last_error = $3,
                available_at = now() + least(60, 2 ^ least(attempts - 1, 6)) * interval '1 second'
         WHERE id = ANY ($2) AND claim_token = $1",
        token,
        rows,
        error
    )
    .execute(db)
    .await
    .map(drop)
}

/// Deletes what was published a day ago, and what nobody will publish and nobody needs any more: rows of that age whose
/// job no longer waits. Returns how many.
///
/// # Errors
/// The database's.
pub async fn sweep(db: impl PgExecutor<'_>) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM outbox o
         WHERE o.published_at < now() - interval '1 day'
            OR (o.published_at IS NULL AND o.created_at < now() - interval '1 day'
                AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = coalesce(o.job_id, (o.payload->>'job_id')::uuid)
                                AND j.state = 'queued'))"
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// How far the relays are behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// Rows that are due and not published.
    pub waiting: i64,
    /// Age of the oldest of them, since it was due.
    pub seconds: f64,
}

/// See [`Lag`].
///
/// # Errors
/// The database's.
pub async fn lag(db: impl PgExecutor<'_>) -> sqlx::Result<Lag> {
    sqlx::query_as!(
        Lag,
        r#"SELECT count(*) AS "waiting!",
                  coalesce(extract(epoch FROM now() - min(available_at)), 0)::float8 AS "seconds!"
           FROM outbox WHERE published_at IS NULL AND available_at <= now()"#
    )
    .fetch_one(db)
    .await
}
