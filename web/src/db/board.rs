//! What the board is computed from: the latest accepted result of every submission, and nothing else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use sqlx::types::Json;

use super::ids::{SubmissionId, TeamId};

/// One scored submission.
#[derive(Clone, Debug)]
pub struct Scored {
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
    /// Measures by name, as its report states them.
    pub measures: Json<BTreeMap<String, f64>>,
    /// The device class it was graded on.
    pub device: Option<String>,
}

/// Scored submissions of a contest in the order of their ids. A submission whose latest result is a rejection has none.
///
/// # Errors
/// The database's; a report whose measures are not numbers.
pub async fn scored(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Vec<Scored>> {
    sqlx::query_as!(
        Scored,
        r#"SELECT s.id AS "submission: SubmissionId", s.title, s.team_id AS "team_id: TeamId", t.name AS team,
                  to_char(s.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "received_at!",
                  r.report->'measures' AS "measures!: Json<BTreeMap<String, f64>>", r.report->>'device' AS device
           FROM submissions s
           JOIN teams t ON t.id = s.team_id
           JOIN LATERAL (SELECT r.outcome, r.report FROM results r WHERE r.submission_id = s.id
                         ORDER BY r.accepted_at DESC, r.job_id DESC LIMIT 1) r ON r.outcome = 'graded'
           WHERE s.contest_id = $1 AND s.received_at IS NOT NULL
           ORDER BY s.id"#,
        contest
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
