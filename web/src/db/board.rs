//! What the board is computed from: the latest accepted result of every submission, and nothing else.

use std::collections::BTreeMap;

use assay_contest::wire::ItemScores;
use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use sqlx::types::Json;

use super::ids::{JobId, SubmissionId, TeamId};

/// One graded submission: whose it is, and which result counts for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Graded {
    /// The submission.
    pub submission: SubmissionId,
    /// What its team calls it.
    pub title: String,
    /// The team.
    pub team_id: TeamId,
    /// The team's name.
    pub team: String,
    /// When it was received: RFC 3339 in UTC, microseconds.
    pub received_at: String,
    /// The job whose result counts. A result never changes, so this names it.
    pub job: JobId,
}

/// Graded submissions of a contest in the order of their ids. A submission whose latest result is a rejection is none, and
/// neither is one that is disqualified, by itself or with its team.
///
/// # Errors
/// The database's.
pub async fn graded(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Vec<Graded>> {
    sqlx::query_as!(
        Graded,
        r#"SELECT s.id AS "submission: SubmissionId", s.title, s.team_id AS "team_id: TeamId", t.name AS team,
                  to_char(s.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "received_at!",
                  r.job_id AS "job: JobId"
           FROM submissions s
           JOIN teams t ON t.id = s.team_id
           JOIN LATERAL (SELECT r.outcome, r.job_id FROM results r WHERE r.submission_id = s.id
                         ORDER BY r.accepted_at DESC, r.job_id DESC LIMIT 1) r ON r.outcome = 'graded'
           WHERE s.contest_id = $1 AND s.received_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM disqualifications d WHERE d.undone_at IS NULL AND d.team_id = s.team_id
                             AND coalesce(d.submission_id, s.id) = s.id)
           ORDER BY s.id"#,
        contest
    )
    .fetch_all(db)
    .await
}

/// What a result measured, as stored: everything, sealed documents included. What people may see of it is made in
/// [`crate::outcomes`].
#[derive(Clone, Debug)]
pub struct Measured {
    /// The result.
    pub job: JobId,
    /// Measures by name.
    pub measures: Json<BTreeMap<String, f64>>,
    /// The device class it was graded on.
    pub device: Option<String>,
    /// Digest of its certificate.
    pub certificate: Option<String>,
    /// Outcomes by document, where they were asked for.
    pub items: Option<Json<Vec<ItemScores>>>,
}

/// The results of `jobs`, with their outcomes by document or without.
///
/// # Errors
/// The database's; a report whose measures are not numbers.
pub async fn measured(db: impl PgExecutor<'_>, jobs: &[JobId], items: bool) -> sqlx::Result<Vec<Measured>> {
    let jobs: Vec<uuid::Uuid> = jobs.iter().map(|job| job.0).collect();
    sqlx::query_as!(
        Measured,
        r#"SELECT job_id AS "job: JobId", report->'measures' AS "measures!: Json<BTreeMap<String, f64>>",
                  report->>'device' AS device, report->'certificate'->>'digest' AS certificate,
                  CASE WHEN $2 THEN items END AS "items: Json<Vec<ItemScores>>"
           FROM results WHERE job_id = ANY($1)"#,
        &jobs,
        items
    )
    .fetch_all(db)
    .await
}

/// When the latest result of a contest was accepted.
///
/// # Errors
/// The database's.
pub async fn updated(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "SELECT max(r.accepted_at) FROM results r JOIN submissions s ON s.id = r.submission_id WHERE s.contest_id = $1",
        contest
    )
    .fetch_one(db)
    .await
}
