//! Accounts and teams as those who run the installation see them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::ids::{SubmissionId, TeamId, UserId};
use super::submissions::State;

/// An account.
#[derive(Clone, Debug)]
pub struct Person {
    /// The account.
    pub id: UserId,
    /// Display name.
    pub name: String,
    /// Address.
    pub email: String,
    /// participant, organizer or admin.
    pub role: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The team in the current contest.
    pub team: Option<String>,
    /// That team.
    pub team_id: Option<TeamId>,
    /// Live sessions.
    pub sessions: i64,
    /// When one of them was used last.
    pub seen_at: Option<DateTime<Utc>>,
}

/// Accounts whose name, address or team contains `search`, with this role, in the order they came, beyond `after`.
///
/// # Errors
/// The database's.
pub async fn find(
    db: impl PgExecutor<'_>,
    contest: Option<&str>,
    search: Option<&str>,
    role: Option<&str>,
    after: Option<UserId>,
    limit: i64,
) -> sqlx::Result<Vec<Person>> {
    sqlx::query_as!(
        Person,
        r#"SELECT u.id AS "id: UserId", u.name, u.email, u.role, u.created_at, t.name AS "team?", t.id AS "team_id?: TeamId",
                  s.n AS "sessions!", s.seen_at
           FROM users u
           LEFT JOIN memberships m ON m.user_id = u.id AND m.contest_id = $1
           LEFT JOIN teams t ON t.id = m.team_id
           CROSS JOIN LATERAL (SELECT count(*) AS n, max(s.seen_at) AS seen_at FROM sessions s
                               WHERE s.user_id = u.id AND s.expires_at > now()) s
           WHERE ($2::text IS NULL OR strpos(lower(u.name), lower($2)) > 0 OR strpos(lower(u.email), lower($2)) > 0
                  OR strpos(lower(t.name), lower($2)) > 0)
             AND ($3::text IS NULL OR u.role = $3)
             AND ($4::uuid IS NULL OR u.id > $4)
           ORDER BY u.id LIMIT $5"#,
        contest,
        search,
        role,
        after.map(|id| id.0),
        limit
    )
    .fetch_all(db)
    .await
}

/// One account: name, address, role.
///
/// # Errors
/// The database's.
pub async fn one(db: impl PgExecutor<'_>, id: UserId) -> sqlx::Result<Option<(String, String, String)>> {
    let row = sqlx::query!("SELECT name, email, role FROM users WHERE id = $1", id.0)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| (row.name, row.email, row.role)))
}

/// What became of a change of role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// It holds; this was the role before.
    From(String),
    /// It was so before.
    Same,
    /// It would leave the installation without an admin.
    LastAdmin,
    /// There is no such account.
    Nobody,
}

/// Changes a role and ends the person's sessions: what they may do changes at once.
///
/// # Errors
/// The database's.
pub async fn set_role(tx: &mut PgConnection, id: UserId, role: &str) -> sqlx::Result<RoleChange> {
    // All admins are locked in one order: two who demote each other cannot both succeed.
    let admins =
        sqlx::query_scalar!(r#"SELECT id AS "id: UserId" FROM users WHERE role = 'admin' ORDER BY id FOR UPDATE"#)
            .fetch_all(&mut *tx)
            .await?;
    let before = sqlx::query_scalar!("SELECT role FROM users WHERE id = $1 FOR UPDATE", id.0)
        .fetch_optional(&mut *tx)
        .await?;
    match before {
        None => return Ok(RoleChange::Nobody),
        Some(before) if before == role => return Ok(RoleChange::Same),
        Some(_) if admins == [id] => return Ok(RoleChange::LastAdmin),
        Some(_) => {}
    }
    sqlx::query!("UPDATE users SET role = $2 WHERE id = $1", id.0, role)
        .execute(&mut *tx)
        .await?;
    end_sessions(tx, id).await?;
    Ok(RoleChange::From(before.unwrap_or_default()))
}

/// Ends every session of a person; how many there were.
///
/// # Errors
/// The database's.
pub async fn end_sessions(tx: &mut PgConnection, id: UserId) -> sqlx::Result<u64> {
    let done = sqlx::query!("DELETE FROM sessions WHERE user_id = $1", id.0)
        .execute(tx)
        .await?;
    Ok(done.rows_affected())
}

/// A team.
#[derive(Clone, Debug)]
pub struct TeamRow {
    /// The team.
    pub id: TeamId,
    /// Its name.
    pub name: String,
    /// Its contest.
    pub contest: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// How many people.
    pub members: i64,
    /// How many submissions were received.
    pub submissions: i64,
    /// Published scores a day, where it is not what the rules say.
    pub graded_per_day: Option<i32>,
    /// Why the whole team is disqualified.
    pub disqualified: Option<String>,
}

/// Teams of a contest whose name contains `search`, in the order they came, beyond `after`; or the one with `id`.
///
/// # Errors
/// The database's.
pub async fn teams(
    db: impl PgExecutor<'_>,
    contest: &str,
    search: Option<&str>,
    id: Option<TeamId>,
    after: Option<TeamId>,
    limit: i64,
) -> sqlx::Result<Vec<TeamRow>> {
    sqlx::query_as!(
        TeamRow,
        r#"SELECT t.id AS "id: TeamId", t.name, t.contest_id AS contest, t.created_at, t.graded_per_day,
                  (SELECT count(*) FROM memberships m WHERE m.team_id = t.id) AS "members!",
                  (SELECT count(*) FROM submissions s WHERE s.team_id = t.id AND s.received_at IS NOT NULL) AS "submissions!",
                  (SELECT d.reason FROM disqualifications d WHERE d.team_id = t.id AND d.submission_id IS NULL
                   AND d.undone_at IS NULL) AS disqualified
           FROM teams t
           WHERE t.contest_id = $1 AND ($2::text IS NULL OR strpos(lower(t.name), lower($2)) > 0)
             AND ($3::uuid IS NULL OR t.id = $3) AND ($4::uuid IS NULL OR t.id > $4)
           ORDER BY t.id LIMIT $5"#,
        contest,
        search,
        id.map(|id| id.0),
        after.map(|id| id.0),
        limit
    )
    .fetch_all(db)
    .await
}

/// Gives a team its own quota, or the contest's again. The quota it had; none: no such team.
///
/// # Errors
/// The database's.
pub async fn set_quota(tx: &mut PgConnection, team: TeamId, quota: Option<i32>) -> sqlx::Result<Option<Option<i32>>> {
    let before = sqlx::query_scalar!("SELECT graded_per_day FROM teams WHERE id = $1 FOR UPDATE", team.0)
        .fetch_optional(&mut *tx)
        .await?;
    if before.is_some() {
        sqlx::query!("UPDATE teams SET graded_per_day = $2 WHERE id = $1", team.0, quota)
            .execute(tx)
            .await?;
    }
    Ok(before)
}

/// A submission in the organizers' list.
#[derive(Clone, Debug)]
pub struct SubmissionRow {
    /// The submission.
    pub id: SubmissionId,
    /// What the team calls it.
    pub title: String,
    /// The team.
    pub team_id: TeamId,
    /// The team's name.
    pub team: String,
    /// Where it stands.
    pub state: State,
    /// When it was received.
    pub received_at: Option<DateTime<Utc>>,
    /// Why it is disqualified itself.
    pub own: Option<String>,
    /// Why its whole team is.
    pub whole: Option<String>,
}

/// Which submissions; empty fields match everything.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Part of the title or the team's name, or the whole id.
    pub search: Option<String>,
    /// State.
    pub state: Option<String>,
    /// Team.
    pub team: Option<TeamId>,
    /// Disqualified ones only.
    pub disqualified: bool,
    /// Only those before this one.
    pub before: Option<SubmissionId>,
}

/// Received submissions of a contest, newest first.
///
/// # Errors
/// The database's.
pub async fn submissions(
    db: impl PgExecutor<'_>,
    contest: &str,
    wanted: &Wanted,
    limit: i64,
) -> sqlx::Result<Vec<SubmissionRow>> {
    sqlx::query_as!(
        SubmissionRow,
        r#"SELECT s.id AS "id: SubmissionId", s.title, s.team_id AS "team_id: TeamId", t.name AS team, s.state AS "state: State",
                  s.received_at, o.reason AS "own?", w.reason AS "whole?"
           FROM submissions s
           JOIN teams t ON t.id = s.team_id
           LEFT JOIN disqualifications o ON o.submission_id = s.id AND o.undone_at IS NULL
           LEFT JOIN disqualifications w ON w.team_id = s.team_id AND w.submission_id IS NULL AND w.undone_at IS NULL
           WHERE s.contest_id = $1 AND s.received_at IS NOT NULL
             AND ($2::text IS NULL OR strpos(lower(s.title), lower($2)) > 0 OR strpos(lower(t.name), lower($2)) > 0
                  OR s.id::text = lower($2))
             AND ($3::text IS NULL OR s.state = $3)
             AND ($4::uuid IS NULL OR s.team_id = $4)
             AND (NOT $5 OR o.id IS NOT NULL OR w.id IS NOT NULL)
             AND ($6::uuid IS NULL OR s.id < $6)
           ORDER BY s.id DESC LIMIT $7"#,
        contest,
        wanted.search,
        wanted.state,
        wanted.team.map(|team| team.0),
        wanted.disqualified,
        wanted.before.map(|id| id.0),
        limit
    )
    .fetch_all(db)
    .await
}
