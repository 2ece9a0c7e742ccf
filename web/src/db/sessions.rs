//! Browser sessions, found by the digest of their token. Every limit is judged by the database's clock.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::ids::UserId;
use crate::auth::session::{ABSOLUTE_HOURS, IDLE_HOURS, TOUCH_SECONDS};
use crate::auth::viewer::{Role, User};

/// A live session.
pub struct Session {
    /// Whose it is.
    pub user: User,
    /// The account's language.
    pub locale: String,
    /// Keys this session's form tokens.
    pub csrf_secret: Vec<u8>,
    /// The time of last use is old enough to be written again.
    pub stale: bool,
}

/// What a person recognises a session by.
#[derive(Debug, Clone, Default)]
pub struct SeenAs {
    /// The browser in a few words.
    pub device: String,
    /// The address it was started from, truncated.
    pub network: String,
}

/// A session in its owner's list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Names the session; opens nothing.
    pub id: Uuid,
    /// The browser in a few words; may be empty.
    pub device: String,
    /// Where it was started; may be empty.
    pub network: String,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub seen_at: DateTime<Utc>,
    /// Is it the one that asks?
    pub current: bool,
}

/// A person's live sessions, the last used first. `digest` is of the session that asks.
pub async fn list(executor: impl PgExecutor<'_>, user: UserId, digest: &[u8]) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        r#"SELECT id, device, network, created_at, seen_at, token_sha256 = $2 AS "current!"
           FROM sessions
           WHERE user_id = $1 AND expires_at > now() AND seen_at > now() - make_interval(hours => $3)
           ORDER BY token_sha256 = $2 DESC, seen_at DESC, id"#,
        user.0,
        digest,
        IDLE_HOURS
    )
    .fetch_all(executor)
    .await
}

/// Ends one of a person's own sessions by its id; false when they have none of it.
pub async fn delete_own(executor: impl PgExecutor<'_>, user: UserId, id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!("DELETE FROM sessions WHERE id = $1 AND user_id = $2", id, user.0)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends all of a person's sessions but the one with this digest; how many.
pub async fn delete_others(executor: impl PgExecutor<'_>, user: UserId, digest: &[u8]) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM sessions WHERE user_id = $1 AND token_sha256 <> $2",
        user.0,
        digest
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}

/// Stores a new session, with what its owner will recognise it by.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    digest: &[u8],
    user: UserId,
    csrf_secret: &[u8],
    seen_as: &SeenAs,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO sessions (token_sha256, user_id, csrf_secret, device, network, expires_at)
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(hours => $6))",
        digest,
        user.0,
        csrf_secret,
        seen_as.device,
        seen_as.network,
        ABSOLUTE_HOURS
    )
    .execute(executor)
    .await
    .map(drop)
}

/// The session with this digest, unless it has ended by age or by idleness.
pub async fn find(executor: impl PgExecutor<'_>, digest: &[u8]) -> sqlx::Result<Option<Session>> {
    let row = sqlx::query!(
        r#"SELECT u.id AS "id: UserId", u.name, u.email, u.role, u.locale, s.csrf_secret,
                  s.seen_at < now() - make_interval(secs => $3::integer) AS "stale!"
           FROM sessions s JOIN users u ON u.id = s.user_id
           WHERE s.token_sha256 = $1 AND s.expires_at > now() AND s.seen_at > now() - make_interval(hours => $2)"#,
        digest,
        IDLE_HOURS,
        TOUCH_SECONDS
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Session {
        user: User {
            id: row.id,
            name: row.name,
            email: row.email,
            role: Role::from_column(&row.role),
        },
        locale: row.locale,
        csrf_secret: row.csrf_secret,
        stale: row.stale,
    }))
}

/// Records that the session was used now.
pub async fn touch(executor: impl PgExecutor<'_>, digest: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("UPDATE sessions SET seen_at = now() WHERE token_sha256 = $1", digest)
        .execute(executor)
        .await
        .map(drop)
}

/// Ends one session. Ending none is fine.
pub async fn delete(executor: impl PgExecutor<'_>, digest: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE token_sha256 = $1", digest)
        .execute(executor)
        .await
        .map(drop)
}

/// Ends every session of a person: after their password changed.
pub async fn delete_of_user(executor: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE user_id = $1", user.0)
        .execute(executor)
        .await
        .map(drop)
}

/// Deletes sessions that have ended.
pub async fn delete_ended(executor: impl PgExecutor<'_>) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM sessions WHERE expires_at <= now() OR seen_at <= now() - make_interval(hours => $1)",
        IDLE_HOURS
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}
