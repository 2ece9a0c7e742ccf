//! What the object store holds, and what waits to be moved there.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::ids::{FileId, JobId, SubmissionId};

/// Held by the one process of an installation that moves files; any number will do, as long as nobody else uses it.
const MOVER: i64 = 0x6173_7361_795f_6d76;

/// The name of this installation: it is written into its store.
///
/// # Errors
/// The database's.
pub async fn installation(db: impl PgExecutor<'_>) -> sqlx::Result<Uuid> {
    sqlx::query_scalar!("SELECT id FROM installation").fetch_one(db).await
}

/// Becomes the one that moves files, for as long as the connection lives: when its process dies, however it dies, the
/// database lets the next one in. False: another one is it.
///
/// # Errors
/// The database's.
pub async fn lead(connection: &mut sqlx::PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "got!""#, MOVER)
        .fetch_one(connection)
        .await
}

/// A finished file of a sent submission that is still in the data folder.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Its id.
    pub id: FileId,
    /// The submission it belongs to.
    pub submission: SubmissionId,
    /// Its name there.
    pub name: String,
    /// Its length in bytes.
    pub length: i64,
    /// sha256 of its bytes.
    pub sha256: String,
}

/// Some of the files that wait to be moved, oldest first, without those in `but`.
///
/// # Errors
/// The database's.
pub async fn staged(db: impl PgExecutor<'_>, but: &[Uuid], limit: i64) -> sqlx::Result<Vec<Staged>> {
    sqlx::query_as!(
        Staged,
        r#"SELECT f.id AS "id: FileId", f.submission_id AS "submission: SubmissionId", f.name, f.length,
                  f.sha256_expected AS sha256
           FROM submission_files f JOIN submissions s ON s.id = f.submission_id
           WHERE f.stored_as IS NULL AND f.state = 'complete' AND s.state <> 'draft' AND f.id <> ALL ($1)
           ORDER BY f.id LIMIT $2"#,
        but,
        limit
    )
    .fetch_all(db)
    .await
}

/// Some of the accepted results whose outputs were not moved yet: job and fence.
///
/// # Errors
/// The database's.
pub async fn staged_outputs(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<(JobId, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT job_id AS "job: JobId", fence FROM results WHERE NOT outputs_stored ORDER BY accepted_at LIMIT $1"#,
        limit
    );
    let rows = rows.fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.job, row.fence)).collect())
}

/// A contest file, by content.
#[derive(Clone, Debug)]
pub struct Blob {
    /// sha256 of its bytes.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: i64,
    /// The store has it.
    pub stored: bool,
}

/// Every contest file there is.
///
/// # Errors
/// The database's.
pub async fn blobs(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Blob>> {
    sqlx::query_as!(
        Blob,
        r#"SELECT DISTINCT c.sha256, c.bytes, o.key IS NOT NULL AS "stored!" FROM contest_files c
           LEFT JOIN objects o ON o.key = 'blobs/' || left(c.sha256, 2) || '/' || c.sha256"#
    )
    .fetch_all(db)
    .await
}

/// Notes that the store holds an object: it was read back.
///
/// # Errors
/// The database's.
pub async fn record(db: impl PgExecutor<'_>, key: &str, bytes: i64, sha256: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO objects (key, bytes, sha256) VALUES ($1, $2, $3)
         ON CONFLICT (key) DO UPDATE SET bytes = $2, sha256 = $3, stored_at = now(), seen_at = now()",
        key,
        bytes,
        sha256
    )
    .execute(db)
    .await
    .map(drop)
}

/// Notes that a file lies in an object from now on; then its bytes in the data folder may go.
///
/// # Errors
/// The database's.
pub async fn file_moved(db: impl PgExecutor<'_>, file: FileId, key: &str) -> sqlx::Result<()> {
    sqlx::query!("UPDATE submission_files SET stored_as = $2 WHERE id = $1", file.0, key)
        .execute(db)
        .await
        .map(drop)
}

/// Notes that all outputs of a result are in the store.
///
/// # Errors
/// The database's.
pub async fn outputs_moved(db: impl PgExecutor<'_>, job: JobId) -> sqlx::Result<()> {
    sqlx::query!("UPDATE results SET outputs_stored = true WHERE job_id = $1", job.0)
        .execute(db)
        .await
        .map(drop)
}

/// Which files of these submissions were moved: their copies in the data folder are what a crash left.
///
/// # Errors
/// The database's.
pub async fn moved_files(
    db: impl PgExecutor<'_>,
    submissions: &[SubmissionId],
) -> sqlx::Result<Vec<(SubmissionId, String)>> {
    let submissions: Vec<Uuid> = submissions.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT submission_id AS "submission: SubmissionId", name FROM submission_files
           WHERE submission_id = ANY ($1) AND stored_as IS NOT NULL"#,
        &submissions
    );
    let rows = rows.fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.submission, row.name)).collect())
}

/// Which of these jobs' outputs were moved: job and fence.
///
/// # Errors
/// The database's.
pub async fn moved_outputs(db: impl PgExecutor<'_>, jobs: &[JobId]) -> sqlx::Result<Vec<(JobId, i64)>> {
    let jobs: Vec<Uuid> = jobs.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT job_id AS "job: JobId", fence FROM results WHERE job_id = ANY ($1) AND outputs_stored"#,
        &jobs
    );
    let rows = rows.fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.job, row.fence)).collect())
}

/// Keys of the objects below `folder`, which ends with a slash.
///
/// # Errors
/// The database's.
pub async fn below(db: impl PgExecutor<'_>, folder: &str) -> sqlx::Result<Vec<String>> {
    // '0' is the character after '/'.
    let end = format!("{}0", folder.trim_end_matches('/'));
    sqlx::query_scalar!(
        "SELECT key FROM objects WHERE key >= $1 AND key < $2 ORDER BY key",
        folder,
        end
    )
    .fetch_all(db)
    .await
}

/// Some object the store holds, the newest; none if it never held any.
///
/// # Errors
/// The database's.
pub async fn newest(db: impl PgExecutor<'_>) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("SELECT key FROM objects ORDER BY stored_at DESC LIMIT 1")
        .fetch_optional(db)
        .await
}

/// The multipart upload a crash left of this file.
///
/// # Errors
/// The database's.
pub async fn begun(db: impl PgExecutor<'_>, key: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("SELECT upload_id FROM transfers WHERE key = $1", key)
        .fetch_optional(db)
        .await
}

/// Notes a multipart upload before its first part.
///
/// # Errors
/// The database's.
pub async fn begin(db: impl PgExecutor<'_>, key: &str, upload: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO transfers (key, upload_id) VALUES ($1, $2)
         ON CONFLICT (key) DO UPDATE SET upload_id = $2, begun_at = now()",
        key,
        upload
    )
    .execute(db)
    .await
    .map(drop)
}

/// Forgets a multipart upload that is over.
///
/// # Errors
/// The database's.
pub async fn end(db: impl PgExecutor<'_>, key: &str) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM transfers WHERE key = $1", key)
        .execute(db)
        .await
        .map(drop)
}

/// The database's clock.
///
/// # Errors
/// The database's.
pub async fn now(db: impl PgExecutor<'_>) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(db)
        .await
}

/// Notes that the store has listed these, and returns those we know.
///
/// # Errors
/// The database's.
pub async fn seen(db: impl PgExecutor<'_>, keys: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "UPDATE objects SET seen_at = clock_timestamp() WHERE key = ANY ($1) RETURNING key",
        keys
    )
    .fetch_all(db)
    .await
}

/// Objects that a listing begun at `since` did not show.
///
/// # Errors
/// The database's.
pub async fn unseen(db: impl PgExecutor<'_>, since: DateTime<Utc>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("SELECT key FROM objects WHERE seen_at < $1 ORDER BY key", since)
        .fetch_all(db)
        .await
}

/// Gives up files of drafts whose objects are gone, so that their team sends them again now and not when it submits.
///
/// # Errors
/// The database's.
pub async fn give_up(pool: &PgPool, keys: &[String]) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE submission_files f SET state = 'expired', stored_as = NULL, writer_epoch = f.writer_epoch + 1
         FROM submissions s WHERE s.id = f.submission_id AND s.state = 'draft' AND f.stored_as = ANY ($1)",
        keys
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// How full the store is and how far behind.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Objects.
    pub objects: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Files that wait.
    pub files: i64,
    /// Their bytes.
    pub file_bytes: i64,
    /// Results whose outputs wait.
    pub results: i64,
}

/// See [`Standing`].
///
/// # Errors
/// The database's.
pub async fn standing(db: impl PgExecutor<'_>) -> sqlx::Result<Standing> {
    sqlx::query_as!(
        Standing,
        r#"SELECT (SELECT count(*) FROM objects) AS "objects!",
                  (SELECT coalesce(sum(bytes), 0)::bigint FROM objects) AS "bytes!",
                  count(*) AS "files!", coalesce(sum(f.length), 0)::bigint AS "file_bytes!",
                  (SELECT count(*) FROM results WHERE NOT outputs_stored) AS "results!"
           FROM submission_files f JOIN submissions s ON s.id = f.submission_id
           WHERE f.stored_as IS NULL AND f.state = 'complete' AND s.state <> 'draft'"#
    )
    .fetch_one(db)
    .await
}
