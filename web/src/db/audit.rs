//! The append-only record of who did what.

use serde_json::Value;
use sqlx::PgExecutor;

use super::ids::UserId;

/// One entry. `action` is a stable dotted name (`login.failed`, `team.created`), `object` what it was done to.
pub struct Entry<'a> {
    /// Who; `None` for the system and for strangers.
    pub actor: Option<UserId>,
    /// What.
    pub action: &'a str,
    /// To what, for example `team:<id>`.
    pub object: &'a str,
    /// Anything else worth keeping; never a secret.
    pub detail: Value,
    /// The request that did it, empty on the command line.
    pub request_id: &'a str,
}

/// Appends an entry. Inside the transaction of what it records, so that neither exists without the other.
pub async fn record(executor: impl PgExecutor<'_>, entry: Entry<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_log (actor, action, object, detail, request_id) VALUES ($1, $2, $3, $4, $5)",
        entry.actor.map(|actor| actor.0),
        entry.action,
        entry.object,
        entry.detail,
        entry.request_id
    )
    .execute(executor)
    .await
    .map(drop)
}
