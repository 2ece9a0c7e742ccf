//! Seals: which documents of a contest are kept from everybody, and the moment they are revealed.

use std::sync::Arc;

use assay_contest::sealed::SealedSet;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

/// The seal of a contest, without the key that chose its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Which documents are sealed.
    pub documents: Arc<SealedSet>,
    /// When everybody was told; never taken back.
    pub revealed_at: Option<DateTime<Utc>>,
}

/// Keeps a contest's seal. False when it is revealed and was another one.
///
/// # Errors
/// The database's.
pub async fn store(db: impl PgExecutor<'_>, contest: &str, key: &[u8], documents: &SealedSet) -> sqlx::Result<bool> {
    let kept = sqlx::query!(
        "INSERT INTO seals (contest_id, key, digest, documents) VALUES ($1, $2, $3, $4)
         ON CONFLICT (contest_id) DO UPDATE SET key = excluded.key, digest = excluded.digest, documents = excluded.documents
         WHERE seals.revealed_at IS NULL OR (seals.key, seals.documents) = (excluded.key, excluded.documents)",
        contest,
        key,
        documents.digest(),
        Json(documents) as _
    )
    .execute(db)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// The key of a contest's seal with the digest that was announced. For [`crate::ingest`], which checks one against the other;
/// what anybody is shown comes from [`revealed_key`].
///
/// # Errors
/// The database's.
pub async fn secret(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Option<(Vec<u8>, String)>> {
    let row = sqlx::query!("SELECT key, digest FROM seals WHERE contest_id = $1", contest)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| (row.key, row.digest)))
}

/// The key, once it is revealed.
///
/// # Errors
/// The database's.
pub async fn revealed_key(db: impl PgExecutor<'_>, contest: &str) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT key FROM seals WHERE contest_id = $1 AND revealed_at IS NOT NULL",
        contest
    )
    .fetch_optional(db)
    .await
}

/// Reveals a contest's sealed documents; every page of it changes with this. False when there is nothing left to reveal.
///
/// # Errors
/// The database's.
pub async fn reveal(tx: &mut PgConnection, contest: &str) -> sqlx::Result<bool> {
    let revealed = sqlx::query!(
        "UPDATE seals SET revealed_at = now() WHERE contest_id = $1 AND revealed_at IS NULL",
        contest
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if revealed == 1 {
        sqlx::query!("SELECT pg_notify('assay_board', $1)", contest)
            .execute(&mut *tx)
            .await?;
    }
    Ok(revealed == 1)
}

/// Forgets a seal under which nothing was graded yet.
///
/// # Errors
/// The database's. False when there are results, whose sealed part this would show.
pub async fn forget(tx: &mut PgConnection, contest: &str) -> sqlx::Result<bool> {
    let graded = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM results r JOIN submissions s ON s.id = r.submission_id WHERE s.contest_id = $1) AS "any!""#,
        contest
    )
    .fetch_one(&mut *tx)
    .await?;
    if !graded {
        sqlx::query!("DELETE FROM seals WHERE contest_id = $1", contest)
            .execute(&mut *tx)
            .await?;
    }
    Ok(!graded)
}
