//! Uploads: the committed offset and the writer's epoch. `received` is the only authority on how many bytes are safe.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use super::ids::{FileId, SubmissionId, TeamId, UserId};
use crate::storage::Key;

/// Who asks: a member of the team, by login or by a token that opens one submission alone.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Whose membership counts.
    pub user: UserId,
    /// The one submission a token names; None for a login.
    pub only: Option<SubmissionId>,
}

impl Owner {
    fn only(&self) -> Option<uuid::Uuid> {
        self.only.map(|submission| submission.0)
    }
}

/// Where the bytes of a file came from that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, serde::Serialize)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An earlier file of the same team.
    Yours,
    /// A public file of the contest's base model.
    Base,
}

/// One declared file.
#[derive(Clone, Debug)]
pub struct UploadFile {
    /// The upload's own id.
    pub id: FileId,
    /// The draft it belongs to.
    pub submission_id: SubmissionId,
    /// The team whose draft that is.
    pub team_id: TeamId,
    /// Its name in the checkpoint folder.
    pub name: String,
    /// Declared length in bytes.
    pub length: u64,
    /// Committed offset in bytes.
    pub received: u64,
    /// Declared sha256, lowercase hex.
    pub sha256_expected: String,
    /// sha256 of what arrived, once it was computed.
    pub sha256_actual: Option<String>,
    /// Where it stands; an upload past its time reads `Expired` before the reaper has come by.
    pub state: FileState,
    /// Upload-Metadata exactly as it was declared.
    pub metadata: String,
    /// When an idle upload is given up.
    pub expires_at: DateTime<Utc>,
    /// True once the submission was sent: its files no longer change.
    pub sealed: bool,
    /// Set when its bytes were here already.
    pub origin: Option<Origin>,
    /// The object that holds its bytes, once they were moved from the data folder.
    pub stored_as: Option<String>,
}

impl UploadFile {
    /// Where the finished file lies.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of(self.stored_as.as_ref(), self.submission_id, &self.name)
    }
}

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, serde::Serialize)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Bytes are still expected.
    Open,
    /// Whole, and its sha256 is the declared one.
    Complete,
    /// Whole, but its sha256 is not the declared one.
    Corrupt,
    /// Given up for being idle too long.
    Expired,
}

/// What closing an upload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Bytes are missing.
    Open,
    /// Complete.
    Complete,
    /// The sha256 differs.
    Corrupt,
}

/// The proof that this writer owns the upload from `offset` on. Only [`begin`] makes one, and every commit asks for it.
#[derive(Debug)]
pub struct WriterLease {
    file: FileId,
    epoch: i64,
    offset: u64,
    length: u64,
}

impl WriterLease {
    /// The upload.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.file
    }

    /// First byte this writer may write.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Declared length of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }
}

struct Row {
    id: FileId,
    submission_id: SubmissionId,
    team_id: TeamId,
    name: String,
    length: i64,
    received: i64,
    sha256_expected: String,
    sha256_actual: Option<String>,
    state: FileState,
    metadata: String,
    expires_at: DateTime<Utc>,
    sealed: bool,
    origin: Option<Origin>,
    stored_as: Option<String>,
}

impl From<Row> for UploadFile {
    fn from(row: Row) -> UploadFile {
        UploadFile {
            id: row.id,
            submission_id: row.submission_id,
            team_id: row.team_id,
            name: row.name,
            length: row.length.unsigned_abs(),
            received: row.received.unsigned_abs(),
            sha256_expected: row.sha256_expected,
            sha256_actual: row.sha256_actual,
            state: row.state,
            metadata: row.metadata,
            expires_at: row.expires_at,
            sealed: row.sealed,
            origin: row.origin,
            stored_as: row.stored_as,
        }
    }
}

/// The upload, if it belongs to a team of `owner`.
///
/// # Errors
/// The database's.
pub async fn find(db: impl PgExecutor<'_>, file: FileId, owner: Owner) -> sqlx::Result<Option<UploadFile>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT f.id AS "id: FileId", f.submission_id AS "submission_id: SubmissionId", s.team_id AS "team_id: TeamId", f.name, f.length, f.received,
                  f.sha256_expected, f.sha256_actual, f.metadata, f.expires_at, s.state <> 'draft' AS "sealed!", f.origin AS "origin: Origin",
                  f.stored_as,
                  CASE WHEN f.state = 'open' AND f.expires_at <= now() AND s.state = 'draft' THEN 'expired'
                       ELSE f.state END AS "state!: FileState"
           FROM submission_files f
           JOIN submissions s ON s.id = f.submission_id
           JOIN memberships m ON m.team_id = s.team_id AND m.user_id = $2
           WHERE f.id = $1 AND ($3::uuid IS NULL OR s.id = $3)"#,
        file.0,
        owner.user.0,
        owner.only()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(UploadFile::from))
}

/// All files of a submission, by name. The caller has checked whose it is.
///
/// # Errors
/// The database's.
pub async fn of_submission(db: impl PgExecutor<'_>, submission: SubmissionId) -> sqlx::Result<Vec<UploadFile>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT f.id AS "id: FileId", f.submission_id AS "submission_id: SubmissionId", s.team_id AS "team_id: TeamId", f.name, f.length, f.received,
                  f.sha256_expected, f.sha256_actual, f.metadata, f.expires_at, s.state <> 'draft' AS "sealed!", f.origin AS "origin: Origin",
                  f.stored_as,
                  CASE WHEN f.state = 'open' AND f.expires_at <= now() AND s.state = 'draft' THEN 'expired'
                       ELSE f.state END AS "state!: FileState"
           FROM submission_files f JOIN submissions s ON s.id = f.submission_id
           WHERE f.submission_id = $1 ORDER BY f.name"#,
        submission.0
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(UploadFile::from).collect())
}

/// Becomes the writer at `offset`: compare-and-set on the committed offset, a new epoch, so that any older writer, in
/// this process or another, can no longer commit. None when the offset differs, the upload is closed, sealed or not `owner`'s.
///
/// # Errors
/// The database's.
pub async fn begin(
    db: impl PgExecutor<'_>,
    file: FileId,
    owner: Owner,
    offset: u64,
) -> sqlx::Result<Option<WriterLease>> {
    let Ok(at) = i64::try_from(offset) else { return Ok(None) };
    let row = sqlx::query!(
        "UPDATE submission_files f SET writer_epoch = f.writer_epoch + 1, last_progress_at = now()
         FROM submissions s JOIN memberships m ON m.team_id = s.team_id
         WHERE f.id = $1 AND m.user_id = $2 AND f.received = $3 AND s.id = f.submission_id
           AND ($4::uuid IS NULL OR s.id = $4)
           AND s.state = 'draft' AND f.state = 'open' AND f.expires_at > now()
         RETURNING f.writer_epoch, f.length",
        file.0,
        owner.user.0,
        at,
        owner.only()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| WriterLease {
        file,
        epoch: row.writer_epoch,
        offset,
        length: row.length.unsigned_abs(),
    }))
}

/// Promises the bytes below `offset`; they are on disk already. Progress buys the upload more time. False: fenced.
///
/// # Errors
/// The database's.
pub async fn commit(db: impl PgExecutor<'_>, lease: &WriterLease, offset: u64) -> sqlx::Result<bool> {
    let Ok(at) = i64::try_from(offset) else {
        return Ok(false);
    };
    let done = sqlx::query!(
        "UPDATE submission_files
         SET received = $3, last_progress_at = now(), expires_at = greatest(expires_at, now() + interval '1 day')
         WHERE id = $1 AND writer_epoch = $2 AND state = 'open' AND received <= $3",
        lease.file.0,
        lease.epoch,
        at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Closes an upload whose bytes match what was declared.
///
/// # Errors
/// The database's.
pub async fn complete(pool: &PgPool, file: FileId, sha256: &str) -> sqlx::Result<Settled> {
    close(pool, file, FileState::Complete, sha256).await
}

/// Closes an upload whose bytes do not match what was declared.
///
/// # Errors
/// The database's.
pub async fn corrupt(pool: &PgPool, file: FileId, sha256: &str) -> sqlx::Result<Settled> {
    close(pool, file, FileState::Corrupt, sha256).await
}

async fn close(pool: &PgPool, file: FileId, state: FileState, sha256: &str) -> sqlx::Result<Settled> {
    // The epoch rises, so a writer that is still around can promise nothing more about a closed file.
    let now = sqlx::query_scalar!(
        r#"UPDATE submission_files
           SET state = CASE WHEN state = 'open' THEN $2 ELSE state END,
               sha256_actual = CASE WHEN state = 'open' THEN $3 ELSE sha256_actual END,
               writer_epoch = writer_epoch + 1
           WHERE id = $1 AND received = length
           RETURNING state AS "state: FileState""#,
        file.0,
        state as FileState,
        sha256
    )
    .fetch_optional(pool)
    .await?;
    Ok(match now {
        Some(FileState::Complete) => Settled::Complete,
        Some(FileState::Corrupt) => Settled::Corrupt,
        _ => Settled::Open,
    })
}

/// Takes a file out of a draft. False: not there, not `owner`'s, or sent already.
///
/// # Errors
/// The database's.
pub async fn delete(db: impl PgExecutor<'_>, file: FileId, owner: Owner) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        // The draft is locked, so that a file cannot be taken out of a submission that is being sent.
        "WITH draft AS (
             SELECT s.id FROM submissions s
             JOIN submission_files f ON f.submission_id = s.id
             JOIN memberships m ON m.team_id = s.team_id
             WHERE f.id = $1 AND m.user_id = $2 AND s.state = 'draft' AND ($3::uuid IS NULL OR s.id = $3)
             FOR UPDATE OF s
         )
         DELETE FROM submission_files f USING draft WHERE f.id = $1 AND f.submission_id = draft.id",
        file.0,
        owner.user.0,
        owner.only()
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives up open uploads that were idle too long and returns them, so that their bytes can be deleted.
///
/// # Errors
/// The database's.
pub async fn expire(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<FileId>> {
    sqlx::query_scalar!(
        r#"UPDATE submission_files f SET state = 'expired', writer_epoch = f.writer_epoch + 1
           FROM submissions s
           WHERE s.id = f.submission_id AND s.state = 'draft' AND f.state = 'open' AND f.expires_at <= now()
           RETURNING f.id AS "id: FileId""#
    )
    .fetch_all(db)
    .await
}

/// Marks a file as whole without an upload: its bytes were copied and hashed by this process, or linked from a file whose
/// sha256 is known. The epoch rises, so that no writer can go on.
///
/// # Errors
/// The database's.
pub async fn adopted(db: impl PgExecutor<'_>, file: FileId, origin: Option<Origin>) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE submission_files
         SET received = length, sha256_actual = sha256_expected, state = 'complete', origin = $2,
             writer_epoch = writer_epoch + 1
         WHERE id = $1 AND state = 'open'",
        file.0,
        origin as Option<Origin>
    )
    .execute(db)
    .await
    .map(drop)
}

/// [`adopted`] for a file whose bytes are in the object store: it shares the object. False: they are not there.
///
/// # Errors
/// The database's.
pub async fn adopted_stored(db: impl PgExecutor<'_>, file: FileId, origin: Origin, key: &Key) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE submission_files f
         SET received = f.length, sha256_actual = f.sha256_expected, state = 'complete', origin = $2, stored_as = o.key,
             writer_epoch = f.writer_epoch + 1
         FROM objects o
         WHERE f.id = $1 AND f.state = 'open' AND o.key = $3 AND o.bytes = f.length AND o.sha256 = f.sha256_expected",
        file.0,
        origin as Origin,
        key.as_str()
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A finished file whose bytes a team may use again.
#[derive(Clone, Debug)]
pub struct Finished {
    /// sha256 of its bytes.
    pub sha256: String,
    /// Its length in bytes.
    pub length: i64,
    /// The submission it is in.
    pub submission: SubmissionId,
    /// Its name there.
    pub name: String,
    /// The object that holds its bytes, once they were moved.
    pub stored_as: Option<String>,
}

impl Finished {
    /// Where it lies.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of(self.stored_as.as_ref(), self.submission, &self.name)
    }
}

/// Finished files of one team with these digests, one a digest. Never of another team: a digest alone proves nothing about
/// who has the bytes.
///
/// # Errors
/// The database's.
pub async fn finished_of_team(db: impl PgExecutor<'_>, team: TeamId, sha256: &[String]) -> sqlx::Result<Vec<Finished>> {
    sqlx::query_as!(
        Finished,
        r#"SELECT DISTINCT ON (f.sha256_expected, f.length) f.sha256_expected AS sha256, f.length,
                  f.submission_id AS "submission: SubmissionId", f.name, f.stored_as
           FROM submission_files f JOIN submissions s ON s.id = f.submission_id
           WHERE s.team_id = $1 AND f.sha256_expected = ANY ($2) AND f.state = 'complete'
             AND f.sha256_actual = f.sha256_expected
           ORDER BY f.sha256_expected, f.length, f.id DESC"#,
        team.0,
        sha256
    )
    .fetch_all(db)
    .await
}

/// Declared bytes a team's open drafts hold or will hold. Files that were here already are links and cost nothing.
///
/// # Errors
/// The database's.
pub async fn declared_bytes(db: impl PgExecutor<'_>, team: TeamId) -> sqlx::Result<u64> {
    let sum = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(f.length), 0)::bigint AS "sum!"
           FROM submission_files f JOIN submissions s ON s.id = f.submission_id
           WHERE s.team_id = $1 AND s.state = 'draft' AND f.origin IS NULL
             AND (f.state = 'complete' OR f.state = 'open' AND f.expires_at > now())"#,
        team.0
    )
    .fetch_one(db)
    .await?;
    Ok(sum.unsigned_abs())
}

/// A file of a draft that nobody has written to for an hour.
#[derive(Clone, Debug)]
pub struct Resting {
    /// The upload.
    pub id: FileId,
    /// Its draft.
    pub submission: SubmissionId,
    /// Its name there.
    pub name: String,
    /// Bytes promised.
    pub received: i64,
    /// Whole and moved into place.
    pub complete: bool,
}

/// Files of drafts that rest and of which bytes were promised.
///
/// # Errors
/// The database's.
pub async fn resting(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Resting>> {
    sqlx::query_as!(
        Resting,
        r#"SELECT f.id AS "id: FileId", f.submission_id AS "submission: SubmissionId", f.name, f.received,
                  f.state = 'complete' AS "complete!"
           FROM submission_files f JOIN submissions s ON s.id = f.submission_id
           WHERE s.state = 'draft' AND f.last_progress_at < now() - interval '1 hour' AND f.stored_as IS NULL
             AND (f.state = 'complete' OR f.state = 'open' AND f.received > 0)"#
    )
    .fetch_all(db)
    .await
}

/// Gives up a resting file whose bytes are no longer on disk: an offset that cannot be kept is not promised on. True if it
/// still rested.
///
/// # Errors
/// The database's.
pub async fn lost(db: impl PgExecutor<'_>, file: FileId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE submission_files f SET state = 'expired', writer_epoch = f.writer_epoch + 1
         FROM submissions s
         WHERE f.id = $1 AND s.id = f.submission_id AND s.state = 'draft' AND f.state IN ('open', 'complete')
           AND f.last_progress_at < now() - interval '1 hour'",
        file.0
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Which of these uploads still have a row.
///
/// # Errors
/// The database's.
pub async fn known(db: impl PgExecutor<'_>, files: &[FileId]) -> sqlx::Result<Vec<FileId>> {
    let files: Vec<uuid::Uuid> = files.iter().map(|file| file.0).collect();
    sqlx::query_scalar!(
        r#"SELECT id AS "id: FileId" FROM submission_files WHERE id = ANY ($1)"#,
        &files
    )
    .fetch_all(db)
    .await
}
