//! All SQL, one module an aggregate. Functions take an executor (a pool, a connection or a transaction) and plain
//! values; who may see what is part of the WHERE clause, never of the code around it.

pub mod attempts;
pub mod audit;
pub mod board;
pub mod contests;
pub mod disqualifications;
pub mod fleet;
pub mod ids;
pub mod jobs;
pub mod mail_links;
pub mod objects;
pub mod outbox;
pub mod people;
pub mod queue;
pub mod receipt;
pub mod results;
pub mod seals;
pub mod sessions;
pub mod submissions;
pub mod teams;
pub mod trail;
pub mod uploads;
pub mod users;
pub mod workers;

use std::collections::HashMap;

use sqlx::{PgExecutor, PgPool, Row as _};

/// The checksums of the migrations applied to this database, by version; empty for one that was never migrated.
pub async fn applied_migrations(pool: &PgPool) -> sqlx::Result<HashMap<i64, Vec<u8>>> {
    // sqlx's own table is not part of our schema, so the checked macros cannot know it.
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(pool)
        .await?;
    if !known {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success")
        .fetch_all(pool)
        .await?;
    rows.into_iter()
        .map(|row| Ok((row.try_get("version")?, row.try_get("checksum")?)))
        .collect()
}

/// Does the database answer?
pub async fn ping(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query("SELECT 1").execute(executor).await.map(drop)
}

/// The database's encoding: comparing names needs UTF8.
pub async fn encoding(executor: impl PgExecutor<'_>) -> sqlx::Result<String> {
    sqlx::query_scalar("SHOW server_encoding").fetch_one(executor).await
}
