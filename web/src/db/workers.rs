//! Workers: enrolled with a one-time token, known by one key.

use std::time::Duration;

use assay_contest::wire::Device;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor};

use super::ids::WorkerId;
use super::jobs::interval;
use crate::auth::token::SecretToken;

/// How long an enrolment token may be used.
pub const ENROLMENT_LIFE: Duration = Duration::from_secs(15 * 60);

/// Makes a one-time enrolment token and returns its text, to be shown once. Only its digest is kept.
///
/// # Errors
/// The database's.
pub async fn create_enrolment(db: impl PgExecutor<'_>, life: Duration) -> sqlx::Result<String> {
    let token = SecretToken::random();
    sqlx::query!(
        "INSERT INTO enrolments (token_sha256, expires_at) VALUES ($1, now() + $2)",
        token.digest(),
        interval(life)
    )
    .execute(db)
    .await?;
    Ok(token.expose().to_owned())
}

/// Uses an enrolment token up and lets a worker in. None: the token is unknown, used or too old.
///
/// # Errors
/// The database's.
pub async fn enrol(
    tx: &mut PgConnection,
    token: &SecretToken,
    name: &str,
    device: &Device,
) -> sqlx::Result<Option<(WorkerId, SecretToken)>> {
    // The row lock makes the second of two racing uses wait, and then find it used.
    let valid = sqlx::query_scalar!(
        "SELECT token_sha256 FROM enrolments WHERE token_sha256 = $1 AND used_by IS NULL AND expires_at > now() FOR UPDATE",
        token.digest()
    )
    .fetch_optional(&mut *tx)
    .await?;
    if valid.is_none() {
        return Ok(None);
    }
    let (id, key) = (WorkerId::new(), SecretToken::random());
    sqlx::query!(
        "INSERT INTO workers (id, name, key_sha256, device, seen_at) VALUES ($1, $2, $3, $4, now())",
        id.0,
        name,
        key.digest(),
        json!(device)
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE enrolments SET used_by = $2 WHERE token_sha256 = $1",
        token.digest(),
        id.0
    )
    .execute(tx)
    .await?;
    Ok(Some((id, key)))
}

/// The worker with this key, marked as seen with the device it reports. None: no such key, or revoked.
///
/// # Errors
/// The database's.
pub async fn authenticate(
    db: impl PgExecutor<'_>,
    key: &SecretToken,
    device: Option<&Device>,
) -> sqlx::Result<Option<WorkerId>> {
    sqlx::query_scalar!(
        r#"UPDATE workers SET seen_at = now(), device = coalesce($2, device)
           WHERE key_sha256 = $1 AND revoked_at IS NULL RETURNING id AS "id: WorkerId""#,
        key.digest(),
        device.map(|device| json!(device))
    )
    .fetch_optional(db)
    .await
}

/// A worker as the organizers' page shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct WorkerRow {
    /// Id.
    pub id: WorkerId,
    /// The name it enrolled under.
    pub name: String,
    /// `{name, kind}`.
    pub device: Value,
    /// It takes no new work.
    pub draining: bool,
    /// Its key no longer opens anything.
    pub revoked: bool,
    /// When it was let in.
    pub enrolled_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: Option<DateTime<Utc>>,
    /// Seconds since then, by the database's clock.
    pub silent_seconds: Option<i64>,
    /// The title of what it grades now.
    pub current: Option<String>,
}

/// All workers, the ones heard of last first.
///
/// # Errors
/// The database's.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<WorkerRow>> {
    sqlx::query_as!(
        WorkerRow,
        r#"SELECT w.id AS "id: WorkerId", w.name, w.device, w.draining, w.revoked_at IS NOT NULL AS "revoked!",
                  w.enrolled_at, w.seen_at, extract(epoch FROM now() - w.seen_at)::bigint AS silent_seconds,
                  (SELECT s.title FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN submissions s ON s.id = j.submission_id
                   WHERE a.worker_id = w.id AND a.state = 'running' LIMIT 1) AS "current?"
           FROM workers w ORDER BY w.revoked_at IS NOT NULL, w.seen_at DESC NULLS LAST, w.id LIMIT 200"#
    )
    .fetch_all(db)
    .await
}

/// Lets a worker finish what it has and take no more, or lets it take work again. False: no such worker.
///
/// # Errors
/// The database's.
pub async fn set_draining(db: impl PgExecutor<'_>, id: WorkerId, draining: bool) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE workers SET draining = $2 WHERE id = $1 AND revoked_at IS NULL",
        id.0,
        draining
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a worker's key away. What it holds lapses with its lease. False: no such worker, or revoked before.
///
/// # Errors
/// The database's.
pub async fn revoke(db: impl PgExecutor<'_>, id: WorkerId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE workers SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL",
        id.0
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
