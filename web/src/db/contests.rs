//! Contests: the rules as text, and the files a grade needs beside a submission.

use assay_contest::Contest;
use assay_contest::wire::RemoteFile;
use sqlx::{PgConnection, PgExecutor};

/// A contest as stored. `rules` was parsed from `source` when it was read.
#[derive(Clone, Debug)]
pub struct StoredContest {
    /// The rules.
    pub rules: Contest,
    /// `contest.toml` as the organizer wrote it.
    pub source: String,
    /// sha256 of the rules' canonical form.
    pub digest: String,
    /// Rises with every change of the rules.
    pub version: i32,
}

/// A row whose rules no longer parse: an older row under newer code. Reported, never guessed at.
fn parse(source: String, digest: String, version: i32) -> sqlx::Result<StoredContest> {
    match Contest::parse(&source) {
        Ok(rules) => Ok(StoredContest {
            rules,
            source,
            digest,
            version,
        }),
        Err(errors) => Err(sqlx::Error::Decode(
            format!("stored contest rules do not parse: {errors}").into(),
        )),
    }
}

/// The contest this server's pages are about: the one imported last. Thin: one contest at a time is shown.
///
/// # Errors
/// The database's, or stored rules that no longer parse.
pub async fn current(db: impl PgExecutor<'_>) -> sqlx::Result<Option<StoredContest>> {
    let row = sqlx::query!("SELECT source, digest, version FROM contests ORDER BY imported_at DESC, id LIMIT 1")
        .fetch_optional(db)
        .await?;
    row.map(|row| parse(row.source, row.digest, row.version)).transpose()
}

/// A contest by its slug.
///
/// # Errors
/// The database's, or stored rules that no longer parse.
pub async fn find(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<StoredContest>> {
    let row = sqlx::query!("SELECT source, digest, version FROM contests WHERE id = $1", id)
        .fetch_optional(db)
        .await?;
    row.map(|row| parse(row.source, row.digest, row.version)).transpose()
}

/// Stores the rules and the list of files in one go; the caller's transaction makes it all or nothing. Returns the
/// version, which rises only when the rules or a file changed.
///
/// # Errors
/// The database's.
pub async fn store(tx: &mut PgConnection, rules: &Contest, source: &str, files: &[RemoteFile]) -> sqlx::Result<i32> {
    let digest = rules.digest();
    let version = sqlx::query_scalar!(
        "INSERT INTO contests (id, digest, source) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, source = excluded.source, imported_at = now(),
             version = contests.version + (contests.source <> excluded.source)::int
         RETURNING version",
        rules.id,
        digest,
        source
    )
    .fetch_one(&mut *tx)
    .await?;
    let (names, (bytes, sha256s)): (Vec<String>, (Vec<i64>, Vec<String>)) = files
        .iter()
        .map(|file| {
            (
                file.name.clone(),
                (i64::try_from(file.bytes).unwrap_or(i64::MAX), file.sha256.clone()),
            )
        })
        .unzip();
    sqlx::query!("DELETE FROM contest_files WHERE contest_id = $1", rules.id)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "INSERT INTO contest_files (contest_id, path, bytes, sha256)
         SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[])",
        rules.id,
        &names,
        &bytes,
        &sha256s
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("SELECT pg_notify('assay_board', $1)", rules.id)
        .execute(&mut *tx)
        .await?;
    Ok(version)
}

/// The files of a contest, by path.
///
/// # Errors
/// The database's.
pub async fn files(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Vec<RemoteFile>> {
    let rows = sqlx::query!(
        "SELECT path, bytes, sha256 FROM contest_files WHERE contest_id = $1 ORDER BY path",
        contest
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| RemoteFile {
            name: row.path,
            bytes: row.bytes.unsigned_abs(),
            sha256: row.sha256,
        })
        .collect())
}
