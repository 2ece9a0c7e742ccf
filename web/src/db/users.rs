//! Accounts. Addresses and names are stored composed (NFC).

use sqlx::PgExecutor;

use super::ids::UserId;
use crate::domain::{Email, UserName};

/// The unique index that makes an address one account.
pub const EMAIL_KEY: &str = "users_email_key";

/// What a login needs to know of an account.
pub struct Credentials {
    /// The account.
    pub id: UserId,
    /// PHC string, argon2id.
    pub password_hash: String,
}

/// Creates an account; violates [`EMAIL_KEY`] when the address is taken. `role` is the column's word.
pub async fn insert(
    executor: impl PgExecutor<'_>,
    email: &Email,
    name: &UserName,
    password_hash: &str,
    role: &str,
    locale: &str,
) -> sqlx::Result<UserId> {
    let id = UserId::new();
    sqlx::query!(
        "INSERT INTO users (id, email, name, password_hash, role, locale)
         VALUES ($1, normalize($2), normalize($3), $4, $5, $6)",
        id.0,
        email.as_str(),
        name.as_str(),
        password_hash,
        role,
        locale
    )
    .execute(executor)
    .await?;
    Ok(id)
}

/// The account of an address, in any case.
pub async fn credentials(executor: impl PgExecutor<'_>, email: &Email) -> sqlx::Result<Option<Credentials>> {
    sqlx::query_as!(
        Credentials,
        r#"SELECT id AS "id: UserId", password_hash FROM users WHERE lower(email) = lower(normalize($1))"#,
        email.as_str()
    )
    .fetch_optional(executor)
    .await
}

/// Stores a stronger hash of the same password, unless it was changed meanwhile.
pub async fn replace_hash(executor: impl PgExecutor<'_>, id: UserId, old: &str, new: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
        id.0,
        old,
        new
    )
    .execute(executor)
    .await
    .map(drop)
}

/// Remembers the language a person chose.
pub async fn set_locale(executor: impl PgExecutor<'_>, id: UserId, locale: &str) -> sqlx::Result<()> {
    sqlx::query!("UPDATE users SET locale = $2 WHERE id = $1", id.0, locale)
        .execute(executor)
        .await
        .map(drop)
}

/// Makes an existing account an organizer. An admin stays one.
pub async fn make_organizer(executor: impl PgExecutor<'_>, id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET role = 'organizer' WHERE id = $1 AND role = 'participant'",
        id.0
    )
    .execute(executor)
    .await
    .map(drop)
}

/// The stored hash of one account.
pub async fn password_hash(executor: impl PgExecutor<'_>, id: UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("SELECT password_hash FROM users WHERE id = $1", id.0)
        .fetch_optional(executor)
        .await
}

/// Records that a mail to the account's address was answered.
pub async fn set_verified(executor: impl PgExecutor<'_>, id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET email_verified_at = coalesce(email_verified_at, now()) WHERE id = $1",
        id.0
    )
    .execute(executor)
    .await
    .map(drop)
}

/// Replaces a password, whatever it was.
pub async fn set_password_hash(executor: impl PgExecutor<'_>, id: UserId, hash: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $2, password_changed_at = now() WHERE id = $1",
        id.0,
        hash
    )
    .execute(executor)
    .await
    .map(drop)
}
