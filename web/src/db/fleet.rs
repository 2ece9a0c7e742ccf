//! The workers as the organizers see them: what each is, what it does now, how it has fared.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;

use super::ids::{JobId, WorkerId};
use crate::outcomes::StoredProgress;

/// A worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Id.
    pub id: WorkerId,
    /// The name it enrolled under.
    pub name: String,
    /// What it says of its device.
    pub device: Value,
    /// It takes no new work.
    pub draining: bool,
    /// Its key opens nothing any more.
    pub revoked: bool,
    /// When it was let in.
    pub enrolled_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: Option<DateTime<Utc>>,
    /// Seconds since then, by the database's clock.
    pub silent_seconds: Option<i64>,
    /// The job it has.
    pub job: Option<JobId>,
    /// What the team calls what it grades.
    pub title: Option<String>,
    /// How far it is.
    pub progress: Option<StoredProgress>,
    /// Grades it brought to an end.
    pub succeeded: i64,
    /// Attempts that failed or were lost since its last success.
    pub failures: i64,
}

/// All workers, those at work first; the ones whose key was taken away last.
///
/// # Errors
/// The database's.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Worker>> {
    of(db, None).await
}

/// Ids and names of all workers, by name.
///
/// # Errors
/// The database's.
pub async fn names(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(WorkerId, String)>> {
    let rows = sqlx::query!(r#"SELECT id AS "id: WorkerId", name FROM workers ORDER BY name, id LIMIT 500"#)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
}

/// One worker.
///
/// # Errors
/// The database's.
pub async fn find(db: impl PgExecutor<'_>, id: WorkerId) -> sqlx::Result<Option<Worker>> {
    Ok(of(db, Some(id)).await?.pop())
}

async fn of(db: impl PgExecutor<'_>, id: Option<WorkerId>) -> sqlx::Result<Vec<Worker>> {
    sqlx::query_as!(
        Worker,
        r#"SELECT w.id AS "id: WorkerId", w.name, w.device, w.draining, w.revoked_at IS NOT NULL AS "revoked!", w.enrolled_at,
                  w.seen_at, extract(epoch FROM now() - w.seen_at)::bigint AS silent_seconds,
                  a.job_id AS "job?: JobId", a.title AS "title?", a.progress AS "progress?: StoredProgress",
                  h.succeeded AS "succeeded!", h.failures AS "failures!"
           FROM workers w
           LEFT JOIN LATERAL (SELECT a.job_id, s.title, a.progress FROM attempts a
                              JOIN jobs j ON j.id = a.job_id JOIN submissions s ON s.id = j.submission_id
                              WHERE a.worker_id = w.id AND a.state = 'running' ORDER BY a.started_at DESC LIMIT 1) a ON true
           CROSS JOIN LATERAL (
               SELECT count(*) FILTER (WHERE h.state = 'succeeded') AS succeeded,
                      count(*) FILTER (WHERE h.state IN ('failed', 'lost') AND h.started_at > coalesce(
                          (SELECT max(g.started_at) FROM attempts g WHERE g.worker_id = w.id AND g.state = 'succeeded'),
                          '-infinity')) AS failures
               FROM attempts h WHERE h.worker_id = w.id) h
           WHERE $1::uuid IS NULL OR w.id = $1
           ORDER BY w.revoked_at IS NOT NULL, a.job_id IS NULL, w.seen_at DESC NULLS LAST, w.id LIMIT 200"#,
        id.map(|id| id.0)
    )
    .fetch_all(db)
    .await
}
