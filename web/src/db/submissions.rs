//! Submissions: drafts and what their pages show. The moment of receipt is in [`super::receipt`]. Every query that takes a [`Reader`] has
//! ownership in its WHERE clause, so that another team's submission is simply not there.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::ids::{FileId, SubmissionId, TeamId, UserId};
use crate::storage::FileName;

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The user.
    pub user: UserId,
    /// Organizers see every team's submissions.
    pub organizer: bool,
}

/// Where a submission stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type, serde::Serialize, serde::Deserialize)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Files are still coming in; nothing was promised.
    Draft,
    /// The deadline was judged; lasts for one transaction.
    Received,
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// It has a score.
    Graded,
    /// It is against the rules.
    Rejected,
    /// No score could be found.
    Failed,
    /// Called off.
    Cancelled,
}

impl State {
    /// As stored and as in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Draft => "draft",
            State::Received => "received",
            State::Queued => "queued",
            State::Running => "running",
            State::Graded => "graded",
            State::Rejected => "rejected",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// True while something is still going to happen without the team.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, State::Received | State::Queued | State::Running)
    }
}

/// A submission as its team sees it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Id.
    pub id: SubmissionId,
    /// The contest.
    pub contest_id: String,
    /// The team.
    pub team_id: TeamId,
    /// The team's name.
    pub team: String,
    /// What the team calls it.
    pub title: String,
    /// Where it stands.
    pub state: State,
    /// The inspection at the time it was sent.
    pub verdict: Option<Value>,
    /// Why it was rejected or failed: a list of problems.
    pub reason: Option<Value>,
    /// When the draft was made.
    pub created_at: DateTime<Utc>,
    /// When it was received, by the database's clock: what the deadline was judged by.
    pub received_at: Option<DateTime<Utc>>,
    /// When it came to an end.
    pub finished_at: Option<DateTime<Utc>>,
    /// Rises with every visible change.
    pub version: i64,
}

/// The submission, if `reader` may see it.
///
/// # Errors
/// The database's.
pub async fn find(db: impl PgExecutor<'_>, id: SubmissionId, reader: Reader) -> sqlx::Result<Option<Submission>> {
    sqlx::query_as!(
        Submission,
        r#"SELECT s.id AS "id: SubmissionId", s.contest_id, s.team_id AS "team_id: TeamId", t.name AS team, s.title, s.state AS "state: State",
                  s.verdict, s.reason, s.created_at, s.received_at, s.finished_at, s.version
           FROM submissions s JOIN teams t ON t.id = s.team_id
           WHERE s.id = $1
             AND ($3 OR EXISTS (SELECT 1 FROM memberships m WHERE m.team_id = s.team_id AND m.user_id = $2))"#,
        id.0,
        reader.user.0,
        reader.organizer
    )
    .fetch_optional(db)
    .await
}

/// Submissions of the teams of `user`, newest first.
///
/// # Errors
/// The database's.
pub async fn mine(db: impl PgExecutor<'_>, contest: &str, user: UserId) -> sqlx::Result<Vec<Submission>> {
    sqlx::query_as!(
        Submission,
        r#"SELECT s.id AS "id: SubmissionId", s.contest_id, s.team_id AS "team_id: TeamId", t.name AS team, s.title, s.state AS "state: State",
                  s.verdict, s.reason, s.created_at, s.received_at, s.finished_at, s.version
           FROM submissions s JOIN teams t ON t.id = s.team_id
           JOIN memberships m ON m.team_id = s.team_id AND m.user_id = $2
           WHERE s.contest_id = $1
           ORDER BY s.created_at DESC, s.id DESC LIMIT 200"#,
        contest,
        user.0
    )
    .fetch_all(db)
    .await
}

/// The latest submissions of all teams, for organizers.
///
/// # Errors
/// The database's.
pub async fn latest(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Submission>> {
    sqlx::query_as!(
        Submission,
        r#"SELECT s.id AS "id: SubmissionId", s.contest_id, s.team_id AS "team_id: TeamId", t.name AS team, s.title, s.state AS "state: State",
                  s.verdict, s.reason, s.created_at, s.received_at, s.finished_at, s.version
           FROM submissions s JOIN teams t ON t.id = s.team_id
           WHERE s.state <> 'draft'
           ORDER BY coalesce(s.received_at, s.created_at) DESC, s.id DESC LIMIT $1"#,
        limit
    )
    .fetch_all(db)
    .await
}

/// A file as the team declares it, already held against the limits.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Name.
    pub name: FileName,
    /// Length in bytes.
    pub bytes: i64,
    /// Lowercase hex.
    pub sha256: String,
}

/// The team of `user` in a contest, locked so that counts taken next hold until the transaction ends.
///
/// # Errors
/// The database's.
pub async fn lock_team_of(tx: &mut PgConnection, contest: &str, user: UserId) -> sqlx::Result<Option<TeamId>> {
    sqlx::query_scalar!(
        r#"SELECT t.id AS "id: TeamId" FROM teams t JOIN memberships m ON m.team_id = t.id
           WHERE t.contest_id = $1 AND m.user_id = $2 FOR UPDATE OF t"#,
        contest,
        user.0
    )
    .fetch_optional(tx)
    .await
}

/// How many drafts a team has open; one whose uploads have all been given up no longer counts.
///
/// # Errors
/// The database's.
pub async fn open_drafts(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM submissions s WHERE s.team_id = $1 AND s.state = 'draft'
           AND (EXISTS (SELECT 1 FROM submission_files f WHERE f.submission_id = s.id AND f.expires_at > now())
                OR s.created_at > now() - interval '3 days'
                   AND NOT EXISTS (SELECT 1 FROM submission_files f WHERE f.submission_id = s.id))"#,
        team.0
    )
    .fetch_one(db)
    .await
}

/// Deletes drafts nobody has touched for a week beyond their uploads' time, and returns them so that their bytes can go.
///
/// # Errors
/// The database's.
pub async fn delete_abandoned(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<SubmissionId>> {
    sqlx::query_scalar!(
        r#"DELETE FROM submissions s WHERE s.state = 'draft' AND s.created_at < now() - interval '7 days'
           AND NOT EXISTS (SELECT 1 FROM submission_files f
                           WHERE f.submission_id = s.id AND f.expires_at > now() - interval '7 days')
           RETURNING s.id AS "id: SubmissionId""#
    )
    .fetch_all(db)
    .await
}

/// Makes a draft with its manifest. Returns its id and the uploads' ids in the order declared.
///
/// # Errors
/// The database's.
pub async fn create_draft(
    tx: &mut PgConnection,
    contest: &str,
    team: TeamId,
    user: Option<UserId>,
    title: &str,
    files: &[Declared],
) -> sqlx::Result<(SubmissionId, Vec<FileId>)> {
    let id = SubmissionId::new();
    sqlx::query!(
        "INSERT INTO submissions (id, contest_id, team_id, created_by, title) VALUES ($1, $2, $3, $4, $5)",
        id.0,
        contest,
        team.0,
        user.map(|user| user.0),
        title
    )
    .execute(&mut *tx)
    .await?;
    let mut ids = Vec::with_capacity(files.len());
    for file in files {
        ids.push(declare(&mut *tx, id, file, "").await?);
    }
    Ok((id, ids))
}

/// Adds one declared file to a draft. `metadata` is tus's Upload-Metadata as received.
///
/// # Errors
/// The database's; a second file of the same name violates `submission_files_submission_id_name_key`.
pub async fn declare(
    db: impl PgExecutor<'_>,
    submission: SubmissionId,
    file: &Declared,
    metadata: &str,
) -> sqlx::Result<FileId> {
    let id = FileId::new();
    sqlx::query!(
        "INSERT INTO submission_files (id, submission_id, name, length, sha256_expected, metadata, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, now() + interval '3 days')",
        id.0,
        submission.0,
        file.name.as_str(),
        file.bytes,
        file.sha256,
        metadata
    )
    .execute(db)
    .await?;
    Ok(id)
}

/// A draft that may be changed.
#[derive(Clone, Debug)]
pub struct LockedDraft {
    /// Its contest.
    pub contest_id: String,
    /// Its team.
    pub team_id: TeamId,
}

/// A draft, locked against being sent, with its team, locked so that sums of its declared bytes hold until the transaction
/// ends; if it belongs to a team of `user`.
///
/// # Errors
/// The database's.
pub async fn lock_draft(tx: &mut PgConnection, id: SubmissionId, user: UserId) -> sqlx::Result<Option<LockedDraft>> {
    // One lock order everywhere: the team, then the submission.
    let team = sqlx::query_scalar!(
        "SELECT t.id FROM teams t JOIN memberships m ON m.team_id = t.id AND m.user_id = $2
         WHERE t.id = (SELECT team_id FROM submissions WHERE id = $1) FOR UPDATE OF t",
        id.0,
        user.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(team) = team else { return Ok(None) };
    sqlx::query_as!(
        LockedDraft,
        r#"SELECT contest_id, team_id AS "team_id: TeamId" FROM submissions
           WHERE id = $1 AND team_id = $2 AND state = 'draft' FOR UPDATE"#,
        id.0,
        team
    )
    .fetch_optional(tx)
    .await
}

/// Deletes a draft with its files' rows. False: there is no such draft of `user`'s.
///
/// # Errors
/// The database's.
pub async fn delete_draft(db: impl PgExecutor<'_>, id: SubmissionId, user: UserId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM submissions s USING memberships m
         WHERE s.id = $1 AND s.state = 'draft' AND m.team_id = s.team_id AND m.user_id = $2",
        id.0,
        user.0
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps a refusal's inspection with the draft, for its page.
///
/// # Errors
/// The database's.
pub async fn keep_verdict(db: impl PgExecutor<'_>, id: SubmissionId, verdict: &Value) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE submissions SET verdict = $2, version = version + 1 WHERE id = $1 AND state = 'draft'",
        id.0,
        verdict
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Marks a visible change: the version rises and every open page of the submission hears of it at commit.
///
/// # Errors
/// The database's.
pub async fn touch(db: impl PgExecutor<'_>, id: SubmissionId) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH touched AS (UPDATE submissions SET version = version + 1 WHERE id = $1 RETURNING id)
         SELECT pg_notify('assay_submission', id::text) FROM touched",
        id.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Moves a submission to `state` with its reason. A submission that had a score and loses a re-run to the platform
/// (failed or cancelled) keeps the score: its state falls back to graded.
///
/// # Errors
/// The database's.
pub async fn set_state(
    tx: &mut PgConnection,
    id: SubmissionId,
    state: State,
    reason: Option<&Value>,
) -> sqlx::Result<()> {
    let now = sqlx::query!(
        r#"UPDATE submissions s
           SET state = CASE WHEN $2 IN ('failed', 'cancelled') AND latest.outcome IS NOT NULL THEN latest.outcome ELSE $2 END,
               reason = CASE WHEN $2 IN ('failed', 'cancelled') AND latest.outcome IS NOT NULL THEN s.reason ELSE $3 END,
               finished_at = CASE WHEN $2 IN ('queued', 'running') THEN NULL ELSE now() END,
               version = s.version + 1
           FROM (SELECT (SELECT r.outcome FROM results r WHERE r.submission_id = $1
                         ORDER BY r.accepted_at DESC LIMIT 1) AS outcome) latest
           WHERE s.id = $1
           RETURNING s.contest_id"#,
        id.0,
        state.name(),
        reason
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "SELECT pg_notify('assay_submission', $1), CASE WHEN $3 THEN pg_notify('assay_board', $2) END",
        id.to_string(),
        now.contest_id,
        !state.is_live()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The submission of a team with this title that was not called off: what makes sample submissions idempotent.
///
/// # Errors
/// The database's.
pub async fn titled(db: impl PgExecutor<'_>, team: TeamId, title: &str) -> sqlx::Result<Option<(SubmissionId, State)>> {
    let row = sqlx::query!(
        r#"SELECT id AS "id: SubmissionId", state AS "state: State" FROM submissions
           WHERE team_id = $1 AND title = $2 AND state <> 'cancelled'
           ORDER BY state = 'draft', created_at DESC LIMIT 1"#,
        team.0,
        title
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.id, row.state)))
}

/// Deletes a draft without asking whose it is: for the server's own.
///
/// # Errors
/// The database's.
pub async fn discard(db: impl PgExecutor<'_>, id: SubmissionId) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM submissions WHERE id = $1 AND state = 'draft'", id.0)
        .execute(db)
        .await
        .map(drop)
}

/// Which of these still have a row.
///
/// # Errors
/// The database's.
pub async fn known(db: impl PgExecutor<'_>, ids: &[SubmissionId]) -> sqlx::Result<Vec<SubmissionId>> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"SELECT id AS "id: SubmissionId" FROM submissions WHERE id = ANY ($1)"#,
        &ids
    )
    .fetch_all(db)
    .await
}

/// How many submissions there are in each state.
///
/// # Errors
/// The database's.
pub async fn counts(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(State, i64)>> {
    let rows = sqlx::query!(r#"SELECT state AS "state: State", count(*) AS "n!" FROM submissions GROUP BY state"#)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.n)).collect())
}
