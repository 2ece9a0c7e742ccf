//! The queue as the organizers work with it: by state and age, a page at a time. Ids rise with time, so that a page is
//! found by an id and costs the same wherever it lies.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::ids::{JobId, SubmissionId, WorkerId};
use super::submissions::State;
use crate::outcomes::StoredProgress;

/// Which jobs; empty fields match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// queued, running, succeeded, failed, cancelled or quarantined; `live` and `ended` are several of them.
    pub state: Option<String>,
    /// The class of the latest attempt's error.
    pub class: Option<String>,
    /// Part of the submission's title or the team's name, in any case.
    pub search: Option<String>,
    /// The worker of the latest attempt.
    pub worker: Option<WorkerId>,
    /// Ordered at least so many minutes ago.
    pub older: Option<i32>,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// Beyond this job; from the first one when absent.
    pub from: Option<JobId>,
    /// Oldest first, as the queue is worked off.
    pub oldest_first: bool,
}

/// A job with its latest attempt.
#[derive(Clone, Debug)]
pub struct Row {
    /// The job.
    pub job: JobId,
    /// Its submission.
    pub submission: SubmissionId,
    /// What the team calls it.
    pub title: String,
    /// The team's name.
    pub team: String,
    /// queued, running, succeeded, failed, cancelled or quarantined.
    pub state: String,
    /// Where the submission stands.
    pub submission_state: State,
    /// Higher goes first.
    pub priority: i16,
    /// Attempts that count.
    pub attempts: i32,
    /// Most attempts.
    pub max_attempts: i32,
    /// Someone has called it off.
    pub cancel_requested: bool,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
    /// Earliest time a worker may take it.
    pub not_before: DateTime<Utc>,
    /// It waits for that time.
    pub waits: bool,
    /// Seconds since it was ordered (live) or that it took (ended), by the database's clock.
    pub seconds: i64,
    /// No newer job of the submission exists.
    pub latest: bool,
    /// The worker of its latest attempt.
    pub worker: Option<String>,
    /// What that attempt reported last.
    pub progress: Option<StoredProgress>,
    /// The class of its error.
    pub class: Option<String>,
    /// The problem it ended with.
    pub error: Option<Value>,
}

/// Jobs of a page.
///
/// # Errors
/// The database's.
pub async fn page(db: impl PgExecutor<'_>, of: &Filter, cursor: Cursor, limit: i64) -> sqlx::Result<Vec<Row>> {
    // Both directions stand in one statement; the one that is not asked for never runs. Not materialized: a page must not
    // cost the whole table.
    sqlx::query_as!(
        Row,
        r#"WITH wanted AS NOT MATERIALIZED (
               SELECT j.*, s.title, s.state AS submission_state, t.name AS team, a.worker, a.progress, a.error_class, a.error
               FROM jobs j
               JOIN submissions s ON s.id = j.submission_id
               JOIN teams t ON t.id = s.team_id
               LEFT JOIN LATERAL (SELECT a.worker_id, w.name AS worker, a.progress, a.error_class, a.error
                                  FROM attempts a JOIN workers w ON w.id = a.worker_id
                                  WHERE a.job_id = j.id ORDER BY a.fence DESC LIMIT 1) a ON true
               WHERE ($1::text IS NULL OR j.state = $1
                      OR $1 = 'live' AND j.state IN ('queued', 'running') OR $1 = 'ended' AND j.state NOT IN ('queued', 'running'))
                 AND ($2::text IS NULL OR a.error_class = $2)
                 AND ($3::text IS NULL OR strpos(lower(s.title), lower($3)) > 0 OR strpos(lower(t.name), lower($3)) > 0)
                 AND ($4::uuid IS NULL OR a.worker_id = $4)
                 AND ($5::int IS NULL OR j.created_at < now() - make_interval(mins => $5))
           ), shown AS (
               (SELECT * FROM wanted w WHERE $7 AND ($6::uuid IS NULL OR w.id > $6) ORDER BY w.id LIMIT $8)
               UNION ALL
               (SELECT * FROM wanted w WHERE NOT $7 AND ($6::uuid IS NULL OR w.id < $6) ORDER BY w.id DESC LIMIT $8)
           )
           SELECT w.id AS "job!: JobId", w.submission_id AS "submission!: SubmissionId", w.title AS "title!", w.team AS "team!",
                  w.state AS "state!", w.submission_state AS "submission_state!: State", w.priority AS "priority!",
                  w.attempts AS "attempts!", w.max_attempts AS "max_attempts!", w.cancel_requested AS "cancel_requested!",
                  w.created_at AS "created_at!", w.not_before AS "not_before!",
                  w.state = 'queued' AND w.not_before > now() AS "waits!",
                  extract(epoch FROM coalesce(w.finished_at, now()) - w.created_at)::bigint AS "seconds!",
                  NOT EXISTS (SELECT 1 FROM jobs n WHERE n.submission_id = w.submission_id AND n.id > w.id) AS "latest!",
                  w.worker AS "worker?", w.progress AS "progress?: StoredProgress", w.error_class AS "class?", w.error AS "error?"
           FROM shown w ORDER BY CASE WHEN $7 THEN w.id END, w.id DESC"#,
        of.state,
        of.class,
        of.search,
        of.worker.map(|worker| worker.0),
        of.older,
        cursor.from.map(|job| job.0),
        cursor.oldest_first,
        limit
    )
    .fetch_all(db)
    .await
}

/// One job.
///
/// # Errors
/// The database's.
pub async fn find(db: impl PgExecutor<'_>, job: JobId) -> sqlx::Result<Option<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT j.id AS "job: JobId", j.submission_id AS "submission: SubmissionId", s.title, t.name AS team, j.state,
                  s.state AS "submission_state: State", j.priority, j.attempts, j.max_attempts, j.cancel_requested,
                  j.created_at, j.not_before, j.state = 'queued' AND j.not_before > now() AS "waits!",
                  extract(epoch FROM coalesce(j.finished_at, now()) - j.created_at)::bigint AS "seconds!",
                  NOT EXISTS (SELECT 1 FROM jobs n WHERE n.submission_id = j.submission_id AND n.id > j.id) AS "latest!",
                  a.worker AS "worker?", a.progress AS "progress?: StoredProgress", a.error_class AS "class?", a.error AS "error?"
           FROM jobs j
           JOIN submissions s ON s.id = j.submission_id
           JOIN teams t ON t.id = s.team_id
           LEFT JOIN LATERAL (SELECT w.name AS worker, a.progress, a.error_class, a.error
                              FROM attempts a JOIN workers w ON w.id = a.worker_id
                              WHERE a.job_id = j.id ORDER BY a.fence DESC LIMIT 1) a ON true
           WHERE j.id = $1"#,
        job.0
    )
    .fetch_optional(db)
    .await
}

/// How many jobs there are in each state, and how long the oldest of them has been there.
///
/// # Errors
/// The database's.
pub async fn counts(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT state, count(*) AS "n!", extract(epoch FROM now() - min(created_at))::bigint AS "oldest!"
           FROM jobs GROUP BY state"#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.n, row.oldest)).collect())
}

/// The error classes of jobs' latest attempts, with how many jobs each has.
///
/// # Errors
/// The database's.
pub async fn classes(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT error_class AS "class!", count(*) AS "n!" FROM (
               SELECT DISTINCT ON (job_id) job_id, error_class FROM attempts ORDER BY job_id, fence DESC) a
           WHERE error_class IS NOT NULL GROUP BY error_class ORDER BY 2 DESC, 1 LIMIT 30"#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.class, row.n)).collect())
}

/// Jobs set aside after they cost several workers, whose submission nobody has ordered a new grade of.
///
/// # Errors
/// The database's.
pub async fn set_aside(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM jobs j WHERE j.state = 'quarantined'
           AND NOT EXISTS (SELECT 1 FROM jobs n WHERE n.submission_id = j.submission_id AND n.id > j.id)"#
    )
    .fetch_one(db)
    .await
}

/// The submissions whose latest job matches and that can be graded again: nothing of them waits or runs.
///
/// # Errors
/// The database's.
pub async fn rerunnable(db: impl PgExecutor<'_>, of: &Filter, limit: i64) -> sqlx::Result<Vec<SubmissionId>> {
    sqlx::query_scalar!(
        r#"SELECT j.submission_id AS "id: SubmissionId"
           FROM jobs j
           JOIN submissions s ON s.id = j.submission_id
           JOIN teams t ON t.id = s.team_id
           LEFT JOIN LATERAL (SELECT a.worker_id, a.error_class FROM attempts a
                              WHERE a.job_id = j.id ORDER BY a.fence DESC LIMIT 1) a ON true
           WHERE j.state NOT IN ('queued', 'running') AND s.received_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM jobs n WHERE n.submission_id = j.submission_id AND n.id > j.id)
             AND ($1::text IS NULL OR j.state = $1)
             AND ($2::text IS NULL OR a.error_class = $2)
             AND ($3::text IS NULL OR strpos(lower(s.title), lower($3)) > 0 OR strpos(lower(t.name), lower($3)) > 0)
             AND ($4::uuid IS NULL OR a.worker_id = $4)
             AND ($5::int IS NULL OR j.created_at < now() - make_interval(mins => $5))
           ORDER BY j.id LIMIT $6"#,
        of.state,
        of.class,
        of.search,
        of.worker.map(|worker| worker.0),
        of.older,
        limit
    )
    .fetch_all(db)
    .await
}

/// Sets how early a waiting job is taken; higher goes first. False: it does not wait, or has this priority.
///
/// # Errors
/// The database's.
pub async fn set_priority(tx: &mut PgConnection, job: JobId, priority: i16) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "WITH moved AS (UPDATE jobs SET priority = $2 WHERE id = $1 AND state = 'queued' AND priority <> $2 RETURNING id)
         SELECT pg_notify('assay_jobs', id::text) FROM moved",
        job.0,
        priority
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// One try at a job.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// Id.
    pub id: Uuid,
    /// Higher than that of every earlier try.
    pub fence: i64,
    /// The worker's name.
    pub worker: String,
    /// running, succeeded, failed, lost, released or cancelled.
    pub state: String,
    /// The class of its error.
    pub class: Option<String>,
    /// The problem it ended with.
    pub error: Option<Value>,
    /// What it reported last.
    pub progress: StoredProgress,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Seconds it took so far.
    pub seconds: i64,
    /// Seconds since it was heard of, while it runs.
    pub silent: Option<i64>,
}

/// The tries at a job, newest first.
///
/// # Errors
/// The database's.
pub async fn attempts(db: impl PgExecutor<'_>, job: JobId) -> sqlx::Result<Vec<AttemptRow>> {
    sqlx::query_as!(
        AttemptRow,
        r#"SELECT a.id, a.fence, w.name AS worker, a.state, a.error_class AS class, a.error, a.progress AS "progress: StoredProgress",
                  a.started_at, extract(epoch FROM coalesce(a.finished_at, now()) - a.started_at)::bigint AS "seconds!",
                  CASE WHEN a.state = 'running' THEN extract(epoch FROM now() - a.heartbeat_at)::bigint END AS silent
           FROM attempts a JOIN workers w ON w.id = a.worker_id WHERE a.job_id = $1 ORDER BY a.fence DESC LIMIT 100"#,
        job.0
    )
    .fetch_all(db)
    .await
}
