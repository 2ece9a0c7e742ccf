//! Contests: the rules as text, and the files a grade needs beside a submission.

use std::sync::Arc;

use assay_contest::Contest;
use assay_contest::sealed::SealedSet;
use assay_contest::wire::RemoteFile;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::ids::UserId;
use super::seals::Seal;

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
    /// When it was imported last: what is kept in memory of its files is of this import.
    pub imported_at: DateTime<Utc>,
    /// Which documents are sealed, where the rules seal some.
    pub seal: Option<Seal>,
}

/// A contest's row with its seal's.
struct Row {
    source: String,
    digest: String,
    version: i32,
    imported_at: DateTime<Utc>,
    seal_digest: Option<String>,
    documents: Option<Json<SealedSet>>,
    revealed_at: Option<DateTime<Utc>>,
}

/// A row whose rules no longer parse (an older row under newer code), or whose rules seal documents that no seal names:
/// reported, never guessed at. What is sealed by the rules is never shown for want of a row.
fn parse(row: Row) -> sqlx::Result<StoredContest> {
    let refuse = |why: String| sqlx::Error::Decode(why.into());
    let rules =
        Contest::parse(&row.source).map_err(|errors| refuse(format!("stored contest rules do not parse: {errors}")))?;
    let announced = rules.grading.sealed.as_ref().map(|sealed| &sealed.digest);
    if announced != row.seal_digest.as_ref() {
        return Err(refuse(format!(
            "the seal of contest {} is not the one its rules announce",
            rules.id
        )));
    }
    let seal = row.documents.map(|documents| Seal {
        documents: Arc::new(documents.0),
        revealed_at: row.revealed_at,
    });
    Ok(StoredContest {
        rules,
        source: row.source,
        digest: row.digest,
        version: row.version,
        imported_at: row.imported_at,
        seal,
    })
}

/// The contest this server's pages are about: the one imported last. Thin: one contest at a time is shown.
///
/// # Errors
/// The database's, or stored rules that no longer parse.
pub async fn current(db: impl PgExecutor<'_>) -> sqlx::Result<Option<StoredContest>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT c.source, c.digest, c.version, c.imported_at, s.digest AS "seal_digest?",
                  s.documents AS "documents?: Json<SealedSet>", s.revealed_at
           FROM contests c LEFT JOIN seals s ON s.contest_id = c.id
           ORDER BY c.imported_at DESC, c.id LIMIT 1"#
    )
    .fetch_optional(db)
    .await?;
    row.map(parse).transpose()
}

/// A contest by its slug.
///
/// # Errors
/// The database's, or stored rules that no longer parse.
pub async fn find(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<StoredContest>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT c.source, c.digest, c.version, c.imported_at, s.digest AS "seal_digest?",
                  s.documents AS "documents?: Json<SealedSet>", s.revealed_at
           FROM contests c LEFT JOIN seals s ON s.contest_id = c.id
           WHERE c.id = $1"#,
        id
    )
    .fetch_optional(db)
    .await?;
    row.map(parse).transpose()
}

/// Stores the rules and the list of files in one go; the caller's transaction makes it all or nothing. Returns the
/// version, which rises only when the rules changed, and is then kept with who adopted it (`None`: the command line).
///
/// # Errors
/// The database's.
pub async fn store(
    tx: &mut PgConnection,
    rules: &Contest,
    source: &str,
    files: &[RemoteFile],
    by: Option<UserId>,
) -> sqlx::Result<i32> {
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
    sqlx::query!(
        "INSERT INTO contest_versions (contest_id, version, digest, source, adopted_by) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (contest_id, version) DO NOTHING",
        rules.id,
        version,
        digest,
        source,
        by.map(|by| by.0)
    )
    .execute(&mut *tx)
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

/// Locks a contest against other changes of its rules and gives contest.toml as it is.
///
/// # Errors
/// The database's.
pub async fn lock(tx: &mut PgConnection, id: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("SELECT source FROM contests WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(tx)
        .await
}

/// Rules that were in force.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number.
    pub version: i32,
    /// sha256 of the rules' canonical form.
    pub digest: String,
    /// When they came into force.
    pub adopted_at: DateTime<Utc>,
    /// Who adopted them; `None` for the command line.
    pub by: Option<String>,
}

/// The versions of a contest's rules, newest first.
///
/// # Errors
/// The database's.
pub async fn versions(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Vec<Version>> {
    sqlx::query_as!(
        Version,
        r#"SELECT v.version, v.digest, v.adopted_at, u.name AS "by?"
           FROM contest_versions v LEFT JOIN users u ON u.id = v.adopted_by
           WHERE v.contest_id = $1 ORDER BY v.version DESC LIMIT 200"#,
        contest
    )
    .fetch_all(db)
    .await
}

/// One version with its contest.toml.
///
/// # Errors
/// The database's.
pub async fn version(db: impl PgExecutor<'_>, contest: &str, version: i32) -> sqlx::Result<Option<(Version, String)>> {
    let row = sqlx::query!(
        r#"SELECT v.version, v.digest, v.adopted_at, u.name AS "by?", v.source
           FROM contest_versions v LEFT JOIN users u ON u.id = v.adopted_by
           WHERE v.contest_id = $1 AND v.version = $2"#,
        contest,
        version
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let version = Version {
            version: row.version,
            digest: row.digest,
            adopted_at: row.adopted_at,
            by: row.by,
        };
        (version, row.source)
    }))
}
