//! Workers: enrolled with a one-time token, known by the public half of a key that never leaves them.

use std::time::Duration;

use assay_contest::wire::{Device, MACHINE_FAULTS};
use serde_json::json;
use sqlx::{PgConnection, PgExecutor};

use super::attempts;
use super::audit::{self, Entry, Origin};
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

/// Uses an enrolment token up and lets in the worker that holds this Ed25519 key. A worker that never heard the answer may
/// ask again with the same token and key, and is told the same. None: the token is unknown, too old, or another worker's.
///
/// # Errors
/// The database's.
pub async fn enrol(
    tx: &mut PgConnection,
    token: &SecretToken,
    name: &str,
    device: &Device,
    public_key: &[u8; 32],
) -> sqlx::Result<Option<Enrolment>> {
    // The row lock makes the second of two racing uses wait, and then find it used.
    let made = sqlx::query!(
        r#"SELECT e.used_by AS "used_by: WorkerId", e.expires_at > now() AS "fresh!",
                  (w.public_key = $2 AND w.revoked_at IS NULL) AS same
           FROM enrolments e LEFT JOIN workers w ON w.id = e.used_by
           WHERE e.token_sha256 = $1 FOR UPDATE OF e"#,
        token.digest(),
        public_key
    )
    .fetch_optional(&mut *tx)
    .await?;
    let id = match made {
        Some(made) if made.fresh => match made.used_by {
            None => WorkerId::new(),
            Some(id) if made.same == Some(true) => return Ok(Some(Enrolment::Before(id))),
            Some(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    let inserted = sqlx::query!(
        "INSERT INTO workers (id, name, public_key, device, seen_at) VALUES ($1, $2, $3, $4, now())
         ON CONFLICT (public_key) DO NOTHING",
        id.0,
        name,
        public_key,
        json!(device)
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!(
        "UPDATE enrolments SET used_by = $2 WHERE token_sha256 = $1",
        token.digest(),
        id.0
    )
    .execute(tx)
    .await?;
    Ok(Some(Enrolment::Now(id)))
}

/// What became of an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// The worker is in.
    Now(WorkerId),
    /// It had been let in with the same token and key.
    Before(WorkerId),
}

/// How long a challenge may be answered.
const CHALLENGE_LIFE: Duration = Duration::from_secs(60);

/// Makes a challenge for a worker and returns its text. A worker that does not exist gets one, too, which nobody can
/// answer: whether an id is known is told by the answer to the signature alone.
///
/// # Errors
/// The database's.
pub async fn challenge(db: impl PgExecutor<'_>, worker: WorkerId) -> sqlx::Result<String> {
    let challenge = SecretToken::random();
    sqlx::query!(
        "WITH gone AS (DELETE FROM worker_challenges WHERE expires_at < now())
         INSERT INTO worker_challenges (challenge_sha256, worker_id, expires_at)
         SELECT $1, id, now() + $3 FROM workers WHERE id = $2 AND revoked_at IS NULL AND public_key IS NOT NULL",
        challenge.digest(),
        worker.0,
        interval(CHALLENGE_LIFE)
    )
    .execute(db)
    .await?;
    Ok(challenge.expose().to_owned())
}

/// Uses a challenge up and gives the key that has to have signed it. None: not asked for, answered before, or too late.
///
/// # Errors
/// The database's.
pub async fn answer(
    db: impl PgExecutor<'_>,
    worker: WorkerId,
    challenge: &SecretToken,
) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"WITH used AS (
               DELETE FROM worker_challenges WHERE challenge_sha256 = $2 AND worker_id = $1 AND expires_at > now()
               RETURNING worker_id
           )
           SELECT w.public_key AS "key!" FROM used JOIN workers w ON w.id = used.worker_id
           WHERE w.revoked_at IS NULL AND w.public_key IS NOT NULL"#,
        worker.0,
        challenge.digest()
    )
    .fetch_optional(db)
    .await
}

/// Marks a worker as seen with the device it reports. False: there is no such worker, or it was revoked; its session is
/// worth nothing from that moment on.
///
/// # Errors
/// The database's.
pub async fn seen(db: impl PgExecutor<'_>, worker: WorkerId, device: Option<&Device>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE workers SET seen_at = now(), device = coalesce($2, device) WHERE id = $1 AND revoked_at IS NULL",
        worker.0,
        device.map(|device| json!(device))
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The worker with this bearer key, from before workers had keys of their own, marked as seen. None: no such key, or
/// revoked.
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

/// So many attempts in a row that failed on the machine itself take a worker out of service.
const MOST_MACHINE_FAULTS: i64 = 3;

/// Takes a worker out of service whose latest attempts all failed on the machine itself, and leaves a line in the audit
/// log. The worker notices by itself, too, but one that is started again in a loop would go on.
pub(super) async fn doubt(tx: &mut PgConnection, worker: WorkerId) -> sqlx::Result<()> {
    let out = sqlx::query!(
        r#"UPDATE workers SET draining = true
           WHERE id = $1 AND NOT draining AND $2 <= (
               SELECT count(*) FROM (SELECT a.error_class, a.error->>'code' AS code FROM attempts a
                                     WHERE a.worker_id = $1 AND a.state <> 'running'
                                     ORDER BY a.started_at DESC, a.id DESC LIMIT $2) latest
               WHERE latest.error_class = 'infra' AND latest.code = ANY ($3))"#,
        worker.0,
        MOST_MACHINE_FAULTS,
        &MACHINE_FAULTS.map(str::to_owned)
    )
    .execute(&mut *tx)
    .await?;
    if out.rows_affected() == 0 {
        return Ok(());
    }
    tracing::error!(%worker, "out of service: its latest attempts all failed on the machine itself");
    let object = format!("worker:{worker}");
    let entry = Entry::new("worker.out-of-service", &object).detail(json!({ "failed_in_a_row": MOST_MACHINE_FAULTS }));
    audit::record(tx, &Origin::system(), entry).await
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

/// Takes a worker's key away: its session, its job tokens and its leases end with this transaction, and what it held waits
/// for another worker. False: no such worker, or revoked before.
///
/// # Errors
/// The database's.
pub async fn revoke(tx: &mut PgConnection, id: WorkerId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE workers SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL",
        id.0
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("DELETE FROM worker_challenges WHERE worker_id = $1", id.0)
        .execute(&mut *tx)
        .await?;
    attempts::evict(tx, id).await?;
    Ok(true)
}
