//! Browser sessions, found by the digest of their token. Every limit is judged by the database's clock.

use sqlx::PgExecutor;

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

/// Stores a new session.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    digest: &[u8],
    user: UserId,
    csrf_secret: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO sessions (token_sha256, user_id, csrf_secret, expires_at)
         VALUES ($1, $2, $3, now() + make_interval(hours => $4))",
        digest,
        user.0,
        csrf_secret,
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
