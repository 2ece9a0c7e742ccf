//! The reconciler: what has waited long since its last announcement is announced again. With it the broker may lose
//! everything it holds; without it a lost message would be a job that waits until somebody looks.

use std::time::Duration;

use sqlx::PgPool;

use crate::db::outbox;

/// How often it looks.
pub const EVERY: Duration = Duration::from_secs(30);
/// How long an announcement is given: also the lifetime of a message, so that a queue nobody reads does not grow.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// One look.
///
/// # Errors
/// The database's.
pub async fn run(pool: &PgPool) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    let count = outbox::reconcile(&mut transaction, PATIENCE).await?;
    transaction.commit().await?;
    if count > 0 {
        tracing::info!(count, "announced waiting jobs again");
    }
    Ok(())
}
