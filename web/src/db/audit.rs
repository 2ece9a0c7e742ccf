//! The append-only record of who did what. The database refuses to change or remove a line.

use serde_json::Value;
use sqlx::PgExecutor;

use super::ids::UserId;

/// Who asks and from where, taken from the request once; see [`crate::middleware::origin`].
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The account; `None` for the system, for workers and for strangers.
    pub actor: Option<UserId>,
    /// The address, truncated to a /24 or a /56; empty on the command line.
    pub network: String,
    /// The request's id; empty on the command line.
    pub request_id: String,
}

impl Origin {
    /// The program itself: a command or a background task.
    #[must_use]
    pub fn system() -> Origin {
        Origin::default()
    }
}

/// One entry. `action` is a stable dotted name (`login.failed`, `team.created`), `object` what it was done to.
#[derive(Debug)]
pub struct Entry<'a> {
    action: &'a str,
    object: &'a str,
    actor: Option<UserId>,
    before: Option<Value>,
    after: Option<Value>,
    detail: Option<Value>,
}

impl<'a> Entry<'a> {
    /// `action` on `object`, for example `team.created` on `team:<id>`.
    #[must_use]
    pub fn new(action: &'a str, object: &'a str) -> Entry<'a> {
        Entry {
            action,
            object,
            actor: None,
            before: None,
            after: None,
            detail: None,
        }
    }

    /// Who did it, where the session does not say so: a login, a link from a mail.
    #[must_use]
    pub fn by(mut self, actor: UserId) -> Entry<'a> {
        self.actor = Some(actor);
        self
    }

    /// What it was before.
    #[must_use]
    pub fn before(mut self, value: Value) -> Entry<'a> {
        self.before = Some(value);
        self
    }

    /// What it is now.
    #[must_use]
    pub fn after(mut self, value: Value) -> Entry<'a> {
        self.after = Some(value);
        self
    }

    /// Anything else worth keeping; never a secret.
    #[must_use]
    pub fn detail(mut self, value: Value) -> Entry<'a> {
        self.detail = Some(value);
        self
    }
}

/// Appends an entry. Inside the transaction of what it records, so that neither exists without the other.
pub async fn record(executor: impl PgExecutor<'_>, origin: &Origin, entry: Entry<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_log (actor, action, object, detail, before, after, network, request_id)
         VALUES ($1, $2, $3, coalesce($4::jsonb, '{}'::jsonb), $5, $6, $7, $8)",
        entry.actor.or(origin.actor).map(|actor| actor.0),
        entry.action,
        entry.object,
        entry.detail,
        entry.before,
        entry.after,
        origin.network,
        origin.request_id
    )
    .execute(executor)
    .await
    .map(drop)
}
