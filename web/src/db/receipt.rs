//! The moment of receipt: deadline and quota are judged here, by the database's clock, in one transaction with the job.

use assay_contest::Contest;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::ids::{FileId, JobId, SubmissionId, TeamId};
use super::jobs;
use super::submissions::State;

/// How much of the day's quota a team has used: published scores of the contest's day, and submissions on the way.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Scores published today, the contest's time.
    pub published: i64,
    /// Submissions without a score yet that wait or run now.
    pub on_the_way: i64,
    /// When the day ends.
    pub resets: DateTime<Utc>,
    /// The team's own quota, where an organizer gave it one.
    pub own_quota: Option<i32>,
}

impl Usage {
    /// Published scores the team may get in a day.
    #[must_use]
    pub fn limit(&self, rules: &Contest) -> u32 {
        let own = self.own_quota.and_then(|own| u32::try_from(own).ok());
        own.unwrap_or(rules.quota.graded_per_day)
    }
}

/// See [`Usage`]. A submission is charged once, on the day of its first score; a re-run costs nothing.
///
/// # Errors
/// The database's; an unknown time zone.
pub async fn usage(db: impl PgExecutor<'_>, team: TeamId, timezone: &str) -> sqlx::Result<Usage> {
    sqlx::query_as!(
        Usage,
        r#"SELECT count(*) FILTER (WHERE s.state IN ('queued', 'running') AND r.first_score IS NULL) AS "on_the_way!",
                  count(*) FILTER (WHERE r.first_score >= date_trunc('day', now() AT TIME ZONE $2) AT TIME ZONE $2) AS "published!",
                  (date_trunc('day', now() AT TIME ZONE $2) + interval '1 day') AT TIME ZONE $2 AS "resets!",
                  (SELECT t.graded_per_day FROM teams t WHERE t.id = $1) AS own_quota
           FROM submissions s
           LEFT JOIN LATERAL (SELECT min(r.accepted_at) AS first_score FROM results r
                              WHERE r.submission_id = s.id AND r.outcome = 'graded') r ON true
           WHERE s.team_id = $1"#,
        team.0,
        timezone
    )
    .fetch_one(db)
    .await
}

/// What became of an attempt to send a draft.
#[derive(Clone, Debug)]
pub enum Sent {
    /// It waits for a worker.
    Queued(JobId),
    /// It had been sent before; nothing changed.
    Already(State),
    /// No phase is open at this moment, by the database's clock.
    Closed,
    /// Files are missing or corrupt.
    Incomplete,
    /// The day's published scores, together with those on the way, fill the quota.
    QuotaReached(Usage),
}

/// Sends a draft: judges deadline and quota and queues the job, all in the caller's one transaction. `verified` are the
/// files that `verdict` is about: a draft whose files changed since is not sent.
///
/// Quota counts published scores of the contest's day. Submissions on the way are held against it too, though they are
/// not charged: otherwise a burst would overshoot. They count for nothing if they fail.
///
/// # Errors
/// The database's.
pub async fn send(
    tx: &mut PgConnection,
    draft: SubmissionId,
    rules: &Contest,
    verified: &[FileId],
    verdict: &Value,
) -> sqlx::Result<Sent> {
    // One lock order everywhere: the team, then the submission.
    let team = sqlx::query_scalar!(
        r#"SELECT t.id AS "id: TeamId" FROM teams t
           WHERE t.id = (SELECT team_id FROM submissions WHERE id = $1) FOR UPDATE"#,
        draft.0
    )
    .fetch_one(&mut *tx)
    .await?;
    let state = sqlx::query_scalar!(
        r#"SELECT state AS "state: State" FROM submissions WHERE id = $1 FOR UPDATE"#,
        draft.0
    )
    .fetch_one(&mut *tx)
    .await?;
    if state != State::Draft {
        return Ok(Sent::Already(state));
    }
    let day = usage(&mut *tx, team, &rules.timezone).await?;
    if day.published + day.on_the_way >= i64::from(day.limit(rules)) {
        return Ok(Sent::QuotaReached(day));
    }
    let verified: Vec<uuid::Uuid> = verified.iter().map(|file| file.0).collect();
    let opens: Vec<String> = rules.phases.iter().map(|phase| phase.opens.clone()).collect();
    let closes: Vec<String> = rules.phases.iter().map(|phase| phase.closes.clone()).collect();
    let judged = sqlx::query!(
        r#"UPDATE submissions s
           SET state = 'received', received_at = now(), verdict = $4, reason = NULL, version = version + 1
           FROM (SELECT EXISTS (SELECT 1 FROM unnest($2::text[], $3::text[]) AS phase (opens, closes)
                                WHERE now() >= phase.opens::timestamptz AND now() < phase.closes::timestamptz) AS open,
                        (SELECT count(*) = cardinality($5::uuid[])
                                AND coalesce(bool_and(f.state = 'complete' AND f.id = ANY ($5::uuid[])), false)
                         FROM submission_files f WHERE f.submission_id = $1) AS whole) judge
           WHERE s.id = $1 AND s.state = 'draft' AND judge.open AND judge.whole
           RETURNING s.received_at"#,
        draft.0,
        &opens,
        &closes,
        verdict,
        &verified
    )
    .fetch_optional(&mut *tx)
    .await?;
    if judged.is_none() {
        let open = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM unnest($1::text[], $2::text[]) AS phase (opens, closes)
                              WHERE now() >= phase.opens::timestamptz AND now() < phase.closes::timestamptz) AS "open!""#,
            &opens,
            &closes
        )
        .fetch_one(&mut *tx)
        .await?;
        return Ok(if open { Sent::Incomplete } else { Sent::Closed });
    }
    let job = jobs::queue(tx, draft).await?;
    Ok(Sent::Queued(job))
}
