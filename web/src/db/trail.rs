//! Reading the audit log: by filter, newest first, a page at a time.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;

/// What to look for; empty fields match everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the actor's name or address, in any case.
    pub actor: Option<String>,
    /// How the action begins: `submission.`, `worker.drain`.
    pub action: Option<String>,
    /// How the object begins: `submission:<id>`, `worker:`.
    pub object: Option<String>,
    /// First moment.
    pub since: Option<DateTime<Utc>>,
    /// First moment that no longer belongs.
    pub until: Option<DateTime<Utc>>,
    /// Only entries before this one.
    pub before: Option<i64>,
}

/// One entry.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Line {
    /// Rises with time.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who, by name; `None` for the system and strangers.
    pub actor: Option<String>,
    /// Their address.
    pub email: Option<String>,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// Anything else worth keeping.
    pub detail: Value,
    /// What it was before.
    pub before: Option<Value>,
    /// What it was then.
    pub after: Option<Value>,
    /// Where the request came from, truncated.
    pub network: String,
    /// The request that did it.
    pub request_id: String,
}

/// Entries that match, newest first, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn find(db: impl PgExecutor<'_>, filter: &Filter, limit: i64) -> sqlx::Result<Vec<Line>> {
    sqlx::query_as!(
        Line,
        r#"SELECT l.id, l.at, u.name AS "actor?", u.email AS "email?", l.action, l.object, l.detail,
                  l.before, l.after, l.network, l.request_id
           FROM audit_log l LEFT JOIN users u ON u.id = l.actor
           WHERE ($1::bigint IS NULL OR l.id < $1)
             AND ($2::text IS NULL OR l.actor IN (SELECT w.id FROM users w
                  WHERE strpos(lower(w.name), lower($2)) > 0 OR strpos(lower(w.email), lower($2)) > 0))
             AND ($3::text IS NULL OR starts_with(l.action, $3))
             AND ($4::text IS NULL OR starts_with(l.object, $4))
             AND ($5::timestamptz IS NULL OR l.at >= $5)
             AND ($6::timestamptz IS NULL OR l.at < $6)
           ORDER BY l.id DESC LIMIT $7"#,
        filter.before,
        filter.actor,
        filter.action,
        filter.object,
        filter.since,
        filter.until,
        limit
    )
    .fetch_all(db)
    .await
}
