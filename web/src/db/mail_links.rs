//! Links sent by mail: used once, and only while they are young. Only the digest of a token is stored.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::ids::UserId;
use crate::domain::{Email, UserName};

/// Minutes a link is good for.
pub const MINUTES: i32 = 60;

/// What a link does.
#[derive(Debug, Clone)]
pub struct MailLink {
    /// The account whose password it sets; none: it makes the account.
    pub user: Option<UserId>,
    /// The address it was sent to.
    pub email: String,
    /// The name given at sign-up.
    pub name: String,
    /// The language of whoever asked.
    pub locale: String,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// Stores a link that finishes a sign-up.
pub async fn insert_signup(
    executor: impl PgExecutor<'_>,
    digest: &[u8],
    email: &Email,
    name: &UserName,
    locale: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO mail_links (token_sha256, kind, email, name, locale, expires_at)
         VALUES ($1, 'signup', normalize($2), normalize($3), $4, now() + make_interval(mins => $5))",
        digest,
        email.as_str(),
        name.as_str(),
        locale,
        MINUTES
    )
    .execute(executor)
    .await
    .map(drop)
}

/// Stores a link that sets a new password of an account.
pub async fn insert_reset(
    executor: impl PgExecutor<'_>,
    digest: &[u8],
    user: UserId,
    email: &Email,
    locale: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO mail_links (token_sha256, kind, user_id, email, locale, expires_at)
         VALUES ($1, 'reset', $2, normalize($3), $4, now() + make_interval(mins => $5))",
        digest,
        user.0,
        email.as_str(),
        locale,
        MINUTES
    )
    .execute(executor)
    .await
    .map(drop)
}

/// The link, while it can be used.
pub async fn find(executor: impl PgExecutor<'_>, digest: &[u8]) -> sqlx::Result<Option<MailLink>> {
    sqlx::query_as!(
        MailLink,
        r#"SELECT user_id AS "user: UserId", email, name, locale, expires_at FROM mail_links
           WHERE token_sha256 = $1 AND used_at IS NULL AND expires_at > now()"#,
        digest
    )
    .fetch_optional(executor)
    .await
}

/// Uses the link up: of two requests at once, one gets it.
pub async fn take(executor: impl PgExecutor<'_>, digest: &[u8]) -> sqlx::Result<Option<MailLink>> {
    sqlx::query_as!(
        MailLink,
        r#"UPDATE mail_links SET used_at = now()
           WHERE token_sha256 = $1 AND used_at IS NULL AND expires_at > now()
           RETURNING user_id AS "user: UserId", email, name, locale, expires_at"#,
        digest
    )
    .fetch_optional(executor)
    .await
}

/// Ends every other link of an account: its password has just been set.
pub async fn end_of_user(executor: impl PgExecutor<'_>, user: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE mail_links SET used_at = now() WHERE user_id = $1 AND used_at IS NULL",
        user.0
    )
    .execute(executor)
    .await
    .map(drop)
}

/// Deletes links a day past their end; until then they explain what support is asked about.
pub async fn delete_old(executor: impl PgExecutor<'_>) -> sqlx::Result<u64> {
    let done = sqlx::query!("DELETE FROM mail_links WHERE expires_at < now() - interval '1 day'")
        .execute(executor)
        .await?;
    Ok(done.rows_affected())
}
