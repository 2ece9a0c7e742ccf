//! Teams and who is in them. Names are stored composed (NFC), so that 팀 typed on any system is one name.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::ids::{TeamId, UserId};
use crate::domain::{InviteCode, TeamName};

/// The unique index that makes a name one team of a contest.
pub const NAME_KEY: &str = "teams_contest_name_key";
/// The constraint that keeps a person in one team of a contest.
pub const ONE_TEAM_KEY: &str = "memberships_contest_id_user_id_key";

/// A team as its members see it.
pub struct Team {
    /// The team.
    pub id: TeamId,
    /// The contest it takes part in.
    pub contest_id: String,
    /// Display name.
    pub name: String,
    /// Lets another person join; for members' eyes.
    pub invite_code: String,
}

/// A member of a team.
pub struct Member {
    /// The account.
    pub user: UserId,
    /// Display name.
    pub name: String,
    /// Made the team.
    pub captain: bool,
    /// When they came.
    pub joined_at: DateTime<Utc>,
}

/// Creates a team with its captain. Run it in a transaction. Violates [`NAME_KEY`] or [`ONE_TEAM_KEY`].
pub async fn create(
    connection: &mut PgConnection,
    contest: &str,
    name: &TeamName,
    code: &InviteCode,
    captain: UserId,
) -> sqlx::Result<TeamId> {
    let id = insert(&mut *connection, contest, name, code).await?;
    add_member(connection, id, contest, captain, true).await?;
    Ok(id)
}

/// Creates a team without members (sample teams). Violates [`NAME_KEY`].
pub async fn insert(
    executor: impl PgExecutor<'_>,
    contest: &str,
    name: &TeamName,
    code: &InviteCode,
) -> sqlx::Result<TeamId> {
    let id = TeamId::new();
    sqlx::query!(
        "INSERT INTO teams (id, contest_id, name, invite_code) VALUES ($1, $2, normalize($3), $4)",
        id.0,
        contest,
        name.as_str(),
        code.as_str()
    )
    .execute(executor)
    .await?;
    Ok(id)
}

/// Adds a person to a team. Violates [`ONE_TEAM_KEY`] when they are in one already.
pub async fn add_member(
    executor: impl PgExecutor<'_>,
    team: TeamId,
    contest: &str,
    user: UserId,
    captain: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO memberships (team_id, user_id, contest_id, captain) VALUES ($1, $2, $3, $4)",
        team.0,
        user.0,
        contest,
        captain
    )
    .execute(executor)
    .await
    .map(drop)
}

/// The team with this name in a contest, in any case.
pub async fn by_name(executor: impl PgExecutor<'_>, contest: &str, name: &TeamName) -> sqlx::Result<Option<TeamId>> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: TeamId" FROM teams WHERE contest_id = $1 AND lower(name) = lower(normalize($2))"#,
        contest,
        name.as_str()
    )
    .fetch_optional(executor)
    .await
}

/// The team of a contest that a code opens.
pub async fn by_invite_code(
    executor: impl PgExecutor<'_>,
    contest: &str,
    code: &InviteCode,
) -> sqlx::Result<Option<Team>> {
    sqlx::query_as!(
        Team,
        r#"SELECT id AS "id: TeamId", contest_id, name, invite_code FROM teams
           WHERE contest_id = $1 AND invite_code = $2"#,
        contest,
        code.as_str()
    )
    .fetch_optional(executor)
    .await
}

/// A person's team in a contest.
pub async fn of_user(executor: impl PgExecutor<'_>, contest: &str, user: UserId) -> sqlx::Result<Option<Team>> {
    sqlx::query_as!(
        Team,
        r#"SELECT t.id AS "id: TeamId", t.contest_id, t.name, t.invite_code
           FROM memberships m JOIN teams t ON t.id = m.team_id
           WHERE m.contest_id = $1 AND m.user_id = $2"#,
        contest,
        user.0
    )
    .fetch_optional(executor)
    .await
}

/// The members of a team, the captain first, then in the order they came.
pub async fn members(executor: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<Vec<Member>> {
    sqlx::query_as!(
        Member,
        r#"SELECT u.id AS "user: UserId", u.name, m.captain, m.joined_at
           FROM memberships m JOIN users u ON u.id = m.user_id
           WHERE m.team_id = $1 ORDER BY m.captain DESC, m.joined_at, u.id"#,
        team.0
    )
    .fetch_all(executor)
    .await
}
