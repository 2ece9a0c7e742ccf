//! Who is out of the ranking, and why. The board leaves out what is in force here and nothing else, so that results, rules
//! and this table together decide it.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::ids::{SubmissionId, TeamId, UserId};
use super::submissions;

/// What is disqualified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One submission; the team's older ones stay.
    Submission(SubmissionId),
    /// A team with everything it has sent and will send.
    Team(TeamId),
}

/// A disqualification in force.
#[derive(Clone, Debug)]
pub struct Disqualification {
    /// The submission; `None` when it is the whole team.
    pub submission: Option<SubmissionId>,
    /// What the team calls it.
    pub title: Option<String>,
    /// The team.
    pub team_id: TeamId,
    /// The team's name.
    pub team: String,
    /// Why, in an organizer's words.
    pub reason: String,
    /// Who decided it.
    pub by: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It holds from now on.
    Now,
    /// It was so before; nothing changed.
    Before,
    /// There is no such submission or team, or it was never sent.
    Nothing,
}

/// Takes a submission or a team out of the ranking. The board hears of it at commit.
///
/// # Errors
/// The database's.
pub async fn disqualify(tx: &mut PgConnection, subject: Subject, reason: &str, by: UserId) -> sqlx::Result<Done> {
    let id = Uuid::now_v7();
    let found = match subject {
        Subject::Submission(submission) => sqlx::query!(
            r#"WITH found AS (SELECT id, contest_id, team_id FROM submissions WHERE id = $2 AND received_at IS NOT NULL),
                    made AS (INSERT INTO disqualifications (id, contest_id, team_id, submission_id, reason, made_by)
                             SELECT $1, contest_id, team_id, id, $3, $4 FROM found
                             ON CONFLICT (submission_id) WHERE undone_at IS NULL AND submission_id IS NOT NULL DO NOTHING
                             RETURNING id)
               SELECT contest_id, EXISTS (SELECT 1 FROM made) AS "made!" FROM found"#,
            id,
            submission.0,
            reason,
            by.0
        )
        .fetch_optional(&mut *tx)
        .await?
        .map(|row| (row.contest_id, row.made)),
        Subject::Team(team) => sqlx::query!(
            r#"WITH found AS (SELECT id, contest_id FROM teams WHERE id = $2),
                    made AS (INSERT INTO disqualifications (id, contest_id, team_id, reason, made_by)
                             SELECT $1, contest_id, id, $3, $4 FROM found
                             ON CONFLICT (team_id) WHERE undone_at IS NULL AND submission_id IS NULL DO NOTHING
                             RETURNING id)
               SELECT contest_id, EXISTS (SELECT 1 FROM made) AS "made!" FROM found"#,
            id,
            team.0,
            reason,
            by.0
        )
        .fetch_optional(&mut *tx)
        .await?
        .map(|row| (row.contest_id, row.made)),
    };
    match found {
        None => Ok(Done::Nothing),
        Some((_, false)) => Ok(Done::Before),
        Some((contest, true)) => {
            tell(tx, subject, &contest).await?;
            Ok(Done::Now)
        }
    }
}

/// Takes a disqualification back. The board hears of it at commit. [`Done::Before`]: none is in force.
///
/// # Errors
/// The database's.
pub async fn undo(tx: &mut PgConnection, subject: Subject, by: UserId) -> sqlx::Result<Done> {
    let (submission, team) = match subject {
        Subject::Submission(submission) => (Some(submission.0), None),
        Subject::Team(team) => (None, Some(team.0)),
    };
    let contest = sqlx::query_scalar!(
        "UPDATE disqualifications SET undone_at = now(), undone_by = $3
         WHERE undone_at IS NULL AND (submission_id = $1 OR (submission_id IS NULL AND team_id = $2))
         RETURNING contest_id",
        submission,
        team,
        by.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    match contest {
        None => Ok(Done::Before),
        Some(contest) => {
            tell(tx, subject, &contest).await?;
            Ok(Done::Now)
        }
    }
}

/// Open pages of what is concerned, and the board, look again at commit.
async fn tell(tx: &mut PgConnection, subject: Subject, contest: &str) -> sqlx::Result<()> {
    match subject {
        Subject::Submission(submission) => submissions::touch(&mut *tx, submission).await?,
        Subject::Team(team) => {
            sqlx::query!(
                "WITH touched AS (UPDATE submissions SET version = version + 1 WHERE team_id = $1 AND state <> 'draft' RETURNING id)
                 SELECT pg_notify('assay_submission', id::text) FROM touched",
                team.0
            )
            .execute(&mut *tx)
            .await?;
        }
    }
    sqlx::query!("SELECT pg_notify('assay_board', $1)", contest)
        .execute(tx)
        .await
        .map(drop)
}

/// What is in force against a submission: its own first, then its team's. The caller has checked who is asking.
///
/// # Errors
/// The database's.
pub async fn of_submission(db: impl PgExecutor<'_>, id: SubmissionId) -> sqlx::Result<Option<Disqualification>> {
    sqlx::query_as!(
        Disqualification,
        r#"SELECT d.submission_id AS "submission: SubmissionId", s.title AS "title?", d.team_id AS "team_id: TeamId",
                  t.name AS team, d.reason, u.name AS "by?", d.made_at AS at
           FROM submissions s
           JOIN disqualifications d ON d.undone_at IS NULL
                AND (d.submission_id = s.id OR (d.submission_id IS NULL AND d.team_id = s.team_id))
           JOIN teams t ON t.id = d.team_id
           LEFT JOIN users u ON u.id = d.made_by
           WHERE s.id = $1
           ORDER BY d.submission_id NULLS LAST LIMIT 1"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// What is in force against a team as a whole.
///
/// # Errors
/// The database's.
pub async fn of_team(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "SELECT reason FROM disqualifications WHERE undone_at IS NULL AND submission_id IS NULL AND team_id = $1",
        team.0
    )
    .fetch_optional(db)
    .await
}

/// Everything in force against a team: of single submissions, and of the team as a whole. The caller has checked who is asking.
///
/// # Errors
/// The database's.
pub async fn against(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<Disqualification>> {
    sqlx::query_as!(
        Disqualification,
        r#"SELECT d.submission_id AS "submission: SubmissionId", s.title AS "title?", d.team_id AS "team_id: TeamId",
                  t.name AS team, d.reason, u.name AS "by?", d.made_at AS at
           FROM disqualifications d
           JOIN teams t ON t.id = d.team_id
           LEFT JOIN submissions s ON s.id = d.submission_id
           LEFT JOIN users u ON u.id = d.made_by
           WHERE d.team_id = $1 AND d.undone_at IS NULL"#,
        team.0
    )
    .fetch_all(db)
    .await
}

/// Everything in force in a contest, newest first.
///
/// # Errors
/// The database's.
pub async fn in_force(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Vec<Disqualification>> {
    sqlx::query_as!(
        Disqualification,
        r#"SELECT d.submission_id AS "submission: SubmissionId", s.title AS "title?", d.team_id AS "team_id: TeamId",
                  t.name AS team, d.reason, u.name AS "by?", d.made_at AS at
           FROM disqualifications d
           JOIN teams t ON t.id = d.team_id
           LEFT JOIN submissions s ON s.id = d.submission_id
           LEFT JOIN users u ON u.id = d.made_by
           WHERE d.contest_id = $1 AND d.undone_at IS NULL
           ORDER BY d.made_at DESC, d.id DESC LIMIT 500"#,
        contest
    )
    .fetch_all(db)
    .await
}
